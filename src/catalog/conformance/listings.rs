//! What a catalog must do when drafts are changed, listed and removed. The catalog is empty at first; the cases run in this order
//! and leave rows behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{draft, photo, source};
use crate::catalog::{Catalog, Change, ChangeError, DraftFilter, Fields, NewDraft, NewPhoto};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaId, MediaKey, Timestamp, UserId};

pub(in crate::catalog) async fn run(catalog: Arc<dyn Catalog>) {
    each_change_is_read_back_as_it_was_returned(&*catalog).await;
    change_that_alters_nothing_keeps_version_and_time(&*catalog).await;
    change_of_another_version_is_refused(&*catalog).await;
    absent_draft_is_not_found(&*catalog).await;
    change_that_does_not_fit_records_nothing(&*catalog).await;
    deleted_draft_is_gone_and_its_id_is_not_used_again(&*catalog).await;
    drafts_are_listed_by_owner_and_status(&*catalog).await;
    pages_are_stable_while_drafts_are_added(&catalog).await;
    drafts_with_a_photo_are_listed_once(&*catalog).await;
    photo_of_two_drafts_is_unreferenced_when_both_are_deleted(&*catalog).await;
    photo_twice_in_a_draft_counts_once(&*catalog).await;
    photo_that_comes_again_is_referenced_again(&*catalog).await;
    unreferenced_photo_is_removed_with_its_sources(&*catalog).await;
    unreferenced_photos_are_listed_oldest_first(&*catalog).await;
    source_that_moved_to_another_photo_survives_removal(&*catalog).await;
    concurrent_changes_without_a_version_all_count(&catalog).await;
    concurrent_changes_of_one_version_succeed_once(&catalog).await;
    concurrent_appends_share_rows_and_lose_no_photo(&catalog).await;
    concurrent_deletes_of_the_last_references_leave_photos_unreferenced(&catalog).await;
    concurrent_deletes_of_one_draft_succeed_once(&catalog).await;
    upload_during_delete_leaves_its_photos_referenced(&catalog).await;
    upload_during_removal_has_its_photo(&catalog).await;
}

fn user(id: u64) -> UserId {
    UserId::try_from(id).unwrap()
}

fn owned(id: u64, photos: &[&str]) -> NewDraft {
    NewDraft { owner: Some(user(id)), ..draft("", photos) }
}

fn of(id: u64, status: Option<DraftStatus>) -> DraftFilter {
    DraftFilter { owner: Some(user(id)), status }
}

fn title(title: &str) -> Change {
    Change::Fields(Fields { title: Some(title.into()), ..Fields::default() })
}

fn status(status: DraftStatus) -> Change {
    Change::Fields(Fields { status: Some(status), ..Fields::default() })
}

fn append(names: &[&str], max: usize) -> Change {
    Change::Append { photos: names.iter().copied().map(photo).collect(), max, attempt: None }
}

/// A time that is later than all that a test does.
fn later() -> Timestamp {
    Timestamp::from_millis(Timestamp::now().millis() + 600_000)
}

/// A time before the tests.
fn earlier() -> Timestamp {
    Timestamp::now().minus(Duration::from_secs(600))
}

async fn is_unreferenced(catalog: &dyn Catalog, media: &Media) -> bool {
    catalog.unreferenced_media(later(), 10_000).await.unwrap().contains(media)
}

async fn is_kept(catalog: &dyn Catalog, media: &Media) -> bool {
    catalog.without_row(&[media.key]).await.unwrap().is_empty()
}

/// Changes a draft, and checks that the draft is read back as it was returned.
async fn changed(catalog: &dyn Catalog, old: &Draft, change: Change) -> Draft {
    let new = catalog.change_draft(old.id, Some(old.version), change).await.unwrap();
    assert_eq!(catalog.draft(old.id).await.unwrap().as_ref(), Some(&new));
    assert_eq!((new.id, new.owner, new.created), (old.id, old.owner, old.created));
    assert_eq!(new.version, old.version + 1);
    assert!(new.updated >= old.updated);
    new
}

fn names(draft: &Draft) -> Vec<MediaKey> {
    draft.photos.iter().map(|photo| photo.key).collect()
}

fn keys(names: &[&str]) -> Vec<MediaKey> {
    names.iter().map(|name| MediaKey::of(name.as_bytes())).collect()
}

/// Runs one task for each item at the same time, and returns their results in order.
async fn together<I, T, F>(items: impl IntoIterator<Item = I>, task: impl Fn(I) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = items.into_iter().map(|item| tokio::spawn(task(item))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

async fn each_change_is_read_back_as_it_was_returned(catalog: &dyn Catalog) {
    let made = catalog.create_draft(owned(1, &["a", "b", "c"])).await.unwrap();
    assert_eq!((made.version, made.updated), (1, made.created));
    assert!(earlier() < made.created && made.created < later(), "{}", made.created);
    let fields = Fields {
        title: Some("Füße 👟".into()),
        description: Some("as \"new\"\n".into()),
        price_suggested: Some(Some(0.1 + 0.2)),
        status: Some(DraftStatus::Ready),
    };
    let new = changed(catalog, &made, Change::Fields(fields)).await;
    assert_eq!((new.title.as_str(), new.description.as_str()), ("Füße 👟", "as \"new\"\n"));
    assert_eq!((new.price_suggested, new.status), (Some(0.1 + 0.2), DraftStatus::Ready));
    let no_price = Fields { price_suggested: Some(None), ..Fields::default() };
    let new = changed(catalog, &new, Change::Fields(no_price)).await;
    assert_eq!((new.price_suggested, new.title.as_str()), (None, "Füße 👟"));
    let new = changed(catalog, &new, Change::Reorder(vec![2, 0, 1])).await;
    assert_eq!(names(&new), keys(&["c", "a", "b"]));
    let new = changed(catalog, &new, append(&["d", "a"], 5)).await;
    assert_eq!(names(&new), keys(&["c", "a", "b", "d", "a"]));
    assert_eq!(new.photos[4], made.photos[0], "the row is shared");
    assert_eq!(new.photos[3].owner, Some(user(1)), "the owner of the draft");
    let known = catalog.media_of_source(source("source of d")).await.unwrap();
    assert_eq!(known.as_ref(), Some(&new.photos[3]));
    let new = changed(catalog, &new, Change::RemovePhoto(0)).await;
    assert_eq!(names(&new), keys(&["a", "b", "d", "a"]));
    let mut last = changed(catalog, &new, Change::RemovePhoto(3)).await;
    assert_eq!(names(&last), keys(&["a", "b", "d"]));
    for _ in 0..3 {
        last = changed(catalog, &last, Change::RemovePhoto(0)).await;
    }
    assert_eq!(names(&last), []);
    let last = changed(catalog, &last, append(&["a"], 1)).await;
    assert_eq!(last.photos, made.photos[..1]);
    for state in DraftStatus::ALL.into_iter().rev().filter(|state| *state != last.status) {
        let read = catalog.change_draft(last.id, None, status(state)).await.unwrap();
        assert_eq!(catalog.draft(last.id).await.unwrap().map(|draft| draft.status), Some(read.status));
    }
    let row = catalog.drafts_page(Some(DraftId(last.id.0 - 1)), 1).await.unwrap().remove(0);
    let read = catalog.draft(last.id).await.unwrap().unwrap();
    assert_eq!(row, read.clone().with_photos(read.photos.iter().map(|media| media.id).collect()));
}

async fn change_that_alters_nothing_keeps_version_and_time(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("same", &["a", "b"])).await.unwrap();
    let same = Fields {
        title: Some("same".into()),
        description: Some(String::new()),
        price_suggested: Some(None),
        status: Some(DraftStatus::Draft),
    };
    for change in
        [Change::Fields(Fields::default()), Change::Fields(same), Change::Reorder(vec![0, 1]), append(&[], 2)]
    {
        assert_eq!(catalog.change_draft(made.id, Some(1), change).await.unwrap(), made);
        assert_eq!(catalog.draft(made.id).await.unwrap().as_ref(), Some(&made));
    }
}

async fn change_of_another_version_is_refused(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["a", "b"])).await.unwrap();
    let new = changed(catalog, &made, title("second")).await;
    for version in [0, 1, 3, u64::MAX] {
        for change in [title("third"), title("second"), Change::RemovePhoto(9), append(&["unseen"], 9)] {
            let refused = catalog.change_draft(made.id, Some(version), change).await;
            assert!(matches!(refused, Err(ChangeError::VersionMismatch)), "{refused:?}");
        }
        let refused = catalog.delete_draft(made.id, Some(version)).await;
        assert!(matches!(refused, Err(ChangeError::VersionMismatch)), "{refused:?}");
    }
    assert_eq!(catalog.draft(made.id).await.unwrap(), Some(new));
    assert_eq!(catalog.without_row(&keys(&["unseen"])).await.unwrap(), keys(&["unseen"]));
    catalog.delete_draft(made.id, Some(2)).await.unwrap();
}

async fn absent_draft_is_not_found(catalog: &dyn Catalog) {
    for id in [DraftId(0), DraftId(1_000_000), DraftId(u64::MAX)] {
        for version in [None, Some(1)] {
            let refused = catalog.change_draft(id, version, append(&["unseen"], 9)).await;
            assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");
            let refused = catalog.delete_draft(id, version).await;
            assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");
        }
    }
    assert_eq!(catalog.without_row(&keys(&["unseen"])).await.unwrap(), keys(&["unseen"]));
}

async fn change_that_does_not_fit_records_nothing(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["a", "b"])).await.unwrap();
    let refused = catalog.change_draft(made.id, None, append(&["unseen", "a"], 3)).await;
    assert!(matches!(refused, Err(ChangeError::TooManyPhotos { max: 3, count: 4 })), "{refused:?}");
    let refused = catalog.change_draft(made.id, None, Change::RemovePhoto(2)).await;
    assert!(matches!(refused, Err(ChangeError::NoSuchPhoto { index: 2, count: 2 })), "{refused:?}");
    for order in [vec![], vec![0], vec![0, 0], vec![0, 2], vec![0, 1, 2]] {
        let refused = catalog.change_draft(made.id, None, Change::Reorder(order)).await;
        assert!(matches!(refused, Err(ChangeError::NotAPermutation { count: 2 })), "{refused:?}");
    }
    assert_eq!(catalog.draft(made.id).await.unwrap(), Some(made));
    assert_eq!(catalog.without_row(&keys(&["unseen"])).await.unwrap(), keys(&["unseen"]));
    assert_eq!(catalog.media_of_source(source("source of unseen")).await.unwrap(), None);
}

async fn deleted_draft_is_gone_and_its_id_is_not_used_again(catalog: &dyn Catalog) {
    let made = catalog.create_draft(owned(2, &["a"])).await.unwrap();
    catalog.delete_draft(made.id, None).await.unwrap();
    assert_eq!(catalog.draft(made.id).await.unwrap(), None);
    assert_eq!(catalog.drafts_of(of(2, None), None, 10).await.unwrap(), []);
    assert_eq!(catalog.drafts_page(Some(DraftId(made.id.0 - 1)), 10).await.unwrap(), []);
    assert!(!catalog.drafts_with(made.photos[0].id, None, 100).await.unwrap().contains(&made.id));
    let refused = catalog.delete_draft(made.id, None).await;
    assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");
    let refused = catalog.change_draft(made.id, None, title("late")).await;
    assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");
    let next = catalog.create_draft(owned(2, &["a"])).await.unwrap();
    assert!(next.id > made.id);
    assert_eq!(next.photos, made.photos, "the rows of the photos stay");
}

async fn drafts_are_listed_by_owner_and_status(catalog: &dyn Catalog) {
    let mut made = Vec::new();
    for n in 0..12 {
        let photos = [&["list 0", "list 1"][..], &["list 1"], &[]][n % 3];
        let new = catalog.create_draft(owned(3, photos)).await.unwrap();
        catalog.create_draft(owned(4, photos)).await.unwrap();
        let state = DraftStatus::ALL[n % 4];
        made.push(catalog.change_draft(new.id, None, status(state)).await.unwrap());
    }
    made.reverse();
    assert_eq!(catalog.drafts_of(of(3, None), None, 100).await.unwrap(), made);
    assert_eq!(catalog.drafts_of(of(3, None), None, 5).await.unwrap(), made[..5]);
    assert_eq!(catalog.drafts_of(of(3, None), Some(made[4].id), 5).await.unwrap(), made[5..10]);
    assert_eq!(catalog.drafts_of(of(3, None), Some(made[11].id), 5).await.unwrap(), []);
    assert_eq!(catalog.drafts_of(of(5, None), None, 5).await.unwrap(), []);
    for state in DraftStatus::ALL {
        let expected: Vec<Draft> = made.iter().filter(|draft| draft.status == state).cloned().collect();
        assert_eq!(expected.len(), 3);
        assert_eq!(catalog.drafts_of(of(3, Some(state)), None, 100).await.unwrap(), expected);
        let before = Some(expected[0].id);
        assert_eq!(catalog.drafts_of(of(3, Some(state)), before, 1).await.unwrap(), expected[1..2]);
    }
    let moved = catalog.change_draft(made[0].id, None, status(DraftStatus::Draft)).await.unwrap();
    assert_eq!(catalog.drafts_of(of(3, Some(DraftStatus::Draft)), None, 1).await.unwrap(), [moved]);
    assert_eq!(catalog.drafts_of(of(3, Some(made[0].status)), None, 9).await.unwrap().len(), 2);

    let nobody = DraftFilter { owner: None, status: None };
    let made = catalog.create_draft(draft("of nobody", &["list 0"])).await.unwrap();
    let listed = catalog.drafts_of(nobody, None, 1000).await.unwrap();
    assert_eq!(listed.first(), Some(&made));
    assert!(listed.iter().all(|draft| draft.owner.is_none()));
    assert!(listed.is_sorted_by(|a, b| a.id > b.id));
}

async fn pages_are_stable_while_drafts_are_added(catalog: &Arc<dyn Catalog>) {
    let mut old = Vec::new();
    for _ in 0..30 {
        old.push(catalog.create_draft(owned(6, &["page"])).await.unwrap().id);
    }
    let adding = tokio::spawn({
        let catalog = Arc::clone(catalog);
        together(0..60, move |_| {
            let catalog = Arc::clone(&catalog);
            async move { catalog.create_draft(owned(6, &["page"])).await.unwrap().id }
        })
    });
    let mut seen: Vec<DraftId> = Vec::new();
    while let page = catalog.drafts_of(of(6, None), seen.last().copied(), 4).await.unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 4 && page.iter().all(|draft| draft.photos.len() == 1));
        seen.extend(page.iter().map(|draft| draft.id));
    }
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    assert!(old.iter().all(|id| seen.contains(id)), "{seen:?}");
    let added = adding.await.unwrap();
    assert_eq!(added.len(), 60);
    assert_eq!(catalog.drafts_of(of(6, None), None, 1000).await.unwrap().len(), 90);
}

async fn drafts_with_a_photo_are_listed_once(catalog: &dyn Catalog) {
    let mut ids = Vec::new();
    let mut media = MediaId(0);
    for n in 0..7 {
        let photos = if n % 2 == 0 { &["with", "a", "with"][..] } else { &["with"] };
        let made = catalog.create_draft(owned(7, photos)).await.unwrap();
        media = made.photos[0].id;
        ids.push(made.id);
    }
    assert_eq!(catalog.drafts_with(media, None, 100).await.unwrap(), ids);
    assert_eq!(catalog.drafts_with(media, None, 3).await.unwrap(), ids[..3]);
    assert_eq!(catalog.drafts_with(media, Some(ids[2]), 3).await.unwrap(), ids[3..6]);
    assert_eq!(catalog.drafts_with(media, Some(ids[6]), 3).await.unwrap(), []);
    assert_eq!(catalog.drafts_with(MediaId(1_000_000), None, 3).await.unwrap(), []);
    catalog.change_draft(ids[0], None, Change::RemovePhoto(0)).await.unwrap();
    assert_eq!(catalog.drafts_with(media, None, 1).await.unwrap(), ids[..1], "it is there once more");
    catalog.change_draft(ids[0], None, Change::RemovePhoto(1)).await.unwrap();
    catalog.delete_draft(ids[1], None).await.unwrap();
    assert_eq!(catalog.drafts_with(media, None, 100).await.unwrap(), ids[2..]);
}

async fn photo_of_two_drafts_is_unreferenced_when_both_are_deleted(catalog: &dyn Catalog) {
    let first = catalog.create_draft(draft("", &["in two", "in one"])).await.unwrap();
    let second = catalog.create_draft(draft("", &["in two"])).await.unwrap();
    let [two, one] = [&first.photos[0], &first.photos[1]];
    assert!(!is_unreferenced(catalog, two).await);
    catalog.delete_draft(first.id, None).await.unwrap();
    assert!(!is_unreferenced(catalog, two).await && is_unreferenced(catalog, one).await);
    assert!(!catalog.remove_media(two.id, later()).await.unwrap());
    catalog.delete_draft(second.id, None).await.unwrap();
    assert!(is_unreferenced(catalog, two).await);
    assert!(is_kept(catalog, two).await && is_kept(catalog, one).await);
    assert_eq!(catalog.media_of_source(source("source of in two")).await.unwrap().as_ref(), Some(two));
}

async fn photo_twice_in_a_draft_counts_once(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["twice", "twice"])).await.unwrap();
    let new = changed(catalog, &made, Change::RemovePhoto(0)).await;
    assert!(!is_unreferenced(catalog, &made.photos[0]).await);
    changed(catalog, &new, Change::RemovePhoto(0)).await;
    assert!(is_unreferenced(catalog, &made.photos[0]).await);
    let made = catalog.create_draft(draft("", &["twice", "twice"])).await.unwrap();
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(is_unreferenced(catalog, &made.photos[0]).await);
}

async fn photo_that_comes_again_is_referenced_again(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["again"])).await.unwrap();
    let media = &made.photos[0];
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(is_unreferenced(catalog, media).await);
    let uploaded = catalog.create_draft(draft("", &["again"])).await.unwrap();
    assert_eq!(uploaded.photos, made.photos);
    assert!(!is_unreferenced(catalog, media).await);
    let emptied = changed(catalog, &uploaded, Change::RemovePhoto(0)).await;
    assert!(is_unreferenced(catalog, media).await);
    let appended = changed(catalog, &emptied, append(&["again"], 1)).await;
    assert_eq!(appended.photos, made.photos);
    assert!(!is_unreferenced(catalog, media).await);
    assert!(!catalog.remove_media(media.id, later()).await.unwrap());
    assert_eq!(catalog.draft(made.id).await.unwrap(), None);
    assert_eq!(catalog.draft(appended.id).await.unwrap(), Some(appended));
}

async fn unreferenced_photo_is_removed_with_its_sources(catalog: &dyn Catalog) {
    let other = NewPhoto { source: source("another of gone"), ..photo("gone") };
    let new = NewDraft { photos: vec![photo("gone"), other], ..draft("", &[]) };
    let made = catalog.create_draft(new.clone()).await.unwrap();
    let media = &made.photos[0];
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(!catalog.remove_media(media.id, earlier()).await.unwrap());
    assert!(!catalog.unreferenced_media(earlier(), 100).await.unwrap().contains(media));
    assert!(is_kept(catalog, media).await);
    assert!(catalog.remove_media(media.id, later()).await.unwrap());
    assert!(!catalog.remove_media(media.id, later()).await.unwrap(), "it is gone");
    assert!(!is_kept(catalog, media).await && !is_unreferenced(catalog, media).await);
    for name in ["source of gone", "another of gone"] {
        assert_eq!(catalog.media_of_source(source(name)).await.unwrap(), None);
    }
    let sources = catalog.sources_page(None, 10_000).await.unwrap();
    assert!(sources.iter().all(|known| known.media_id != media.id));
    let again = catalog.create_draft(new).await.unwrap();
    assert!(again.photos[0].id > media.id, "ids are not used again");
    assert_eq!(catalog.draft(again.id).await.unwrap().as_ref(), Some(&again));
    let known = catalog.media_of_source(source("another of gone")).await.unwrap();
    assert_eq!(known.as_ref(), again.photos.first());
    assert!(!catalog.remove_media(MediaId(0), later()).await.unwrap());
    assert!(!catalog.remove_media(MediaId(u64::MAX), Timestamp::from_millis(u64::MAX)).await.unwrap());
}

async fn unreferenced_photos_are_listed_oldest_first(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["old 2", "old 0", "old 1"])).await.unwrap();
    let mut left = made.clone();
    for key in keys(&["old 0", "old 1", "old 2"]) {
        let index = left.photos.iter().position(|media| media.key == key).unwrap();
        left = catalog.change_draft(made.id, None, Change::RemovePhoto(index)).await.unwrap();
        // Times have a resolution of one millisecond. The pause makes them differ.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let all = catalog.unreferenced_media(later(), 10_000).await.unwrap();
    let order: Vec<MediaKey> = all.iter().map(|media| media.key).collect();
    assert!(order.ends_with(&keys(&["old 0", "old 1", "old 2"])), "{order:?}");
    assert_eq!(catalog.unreferenced_media(later(), 2).await.unwrap(), all[..2]);
    assert_eq!(catalog.unreferenced_media(Timestamp::from_millis(u64::MAX), 10_000).await.unwrap(), all);
    assert_eq!(catalog.unreferenced_media(Timestamp::UNKNOWN, 10_000).await.unwrap(), []);
}

async fn source_that_moved_to_another_photo_survives_removal(catalog: &dyn Catalog) {
    let with = |name: &str| NewDraft {
        photos: vec![NewPhoto { source: source("moving"), ..photo(name) }],
        ..draft("", &[])
    };
    let old = catalog.create_draft(with("moved from")).await.unwrap();
    let new = catalog.create_draft(with("moved to")).await.unwrap();
    catalog.delete_draft(old.id, None).await.unwrap();
    assert!(catalog.remove_media(old.photos[0].id, later()).await.unwrap());
    assert_eq!(catalog.media_of_source(source("moving")).await.unwrap().as_ref(), new.photos.first());
}

async fn concurrent_changes_without_a_version_all_count(catalog: &Arc<dyn Catalog>) {
    let made = catalog.create_draft(draft("", &["a"])).await.unwrap();
    let results = together(0..16, |n| {
        let (catalog, id) = (Arc::clone(catalog), made.id);
        async move { catalog.change_draft(id, None, title(&n.to_string())).await.unwrap() }
    });
    let results = results.await;
    let versions: BTreeSet<u64> = results.iter().map(|draft| draft.version).collect();
    assert_eq!(versions, (2..18).collect());
    let last = catalog.draft(made.id).await.unwrap().unwrap();
    assert_eq!(last.version, 17);
    assert!(results.contains(&last));
}

async fn concurrent_changes_of_one_version_succeed_once(catalog: &Arc<dyn Catalog>) {
    let made = catalog.create_draft(draft("", &["a", "b"])).await.unwrap();
    let results = together(0..16, |n| {
        let (catalog, id) = (Arc::clone(catalog), made.id);
        let change = match n % 3 {
            0 => title(&n.to_string()),
            1 => append(&["raced"], 9),
            _ => Change::RemovePhoto(0),
        };
        async move { catalog.change_draft(id, Some(1), change).await }
    });
    let mut succeeded = Vec::new();
    for result in results.await {
        match result {
            Ok(draft) => succeeded.push(draft),
            Err(ChangeError::VersionMismatch) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(succeeded.len(), 1);
    assert_eq!(catalog.draft(made.id).await.unwrap(), succeeded.pop());
}

async fn concurrent_appends_share_rows_and_lose_no_photo(catalog: &Arc<dyn Catalog>) {
    let made = catalog.create_draft(draft("", &[])).await.unwrap();
    let results = together(0..12, |n| {
        let (catalog, id) = (Arc::clone(catalog), made.id);
        async move {
            let own = format!("appended {n}");
            let names = if n % 2 == 0 { ["appended", &own] } else { [&own, "appended"] };
            catalog.change_draft(id, None, append(&names, 20)).await
        }
    });
    let (mut succeeded, mut refused) = (0, 0);
    for result in results.await {
        match result {
            Ok(_) => succeeded += 1,
            Err(ChangeError::TooManyPhotos { max: 20, count: 22 }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((succeeded, refused), (10, 2));
    let read = catalog.draft(made.id).await.unwrap().unwrap();
    let rows: BTreeSet<MediaId> = read.photos.iter().map(|media| media.id).collect();
    assert_eq!((read.photos.len(), rows.len(), read.version), (20, 11, 11));
}

async fn concurrent_deletes_of_the_last_references_leave_photos_unreferenced(catalog: &Arc<dyn Catalog>) {
    for round in 0..10 {
        let names = ["p", "q", "r"].map(|name| format!("last {name} {round}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut made = Vec::new();
        for n in 0..4 {
            let mut names = names.clone();
            names.rotate_left(n % 3);
            made.push(catalog.create_draft(draft("", &names)).await.unwrap());
        }
        let photos = made[0].photos.clone();
        together(made.into_iter().enumerate(), |(n, made)| {
            let catalog = Arc::clone(catalog);
            async move {
                if n % 2 == 0 {
                    catalog.delete_draft(made.id, None).await.unwrap();
                } else {
                    for _ in 0..3 {
                        catalog.change_draft(made.id, None, Change::RemovePhoto(0)).await.unwrap();
                    }
                }
            }
        })
        .await;
        for media in &photos {
            assert!(is_unreferenced(&**catalog, media).await, "round {round}");
            assert!(catalog.remove_media(media.id, later()).await.unwrap());
        }
    }
}

async fn concurrent_deletes_of_one_draft_succeed_once(catalog: &Arc<dyn Catalog>) {
    let made = catalog.create_draft(draft("", &["a"])).await.unwrap();
    let results = together(0..8, |_| {
        let (catalog, id) = (Arc::clone(catalog), made.id);
        async move { catalog.delete_draft(id, None).await }
    });
    let results = results.await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ChangeError::NotFound))));
}

async fn upload_during_delete_leaves_its_photos_referenced(catalog: &Arc<dyn Catalog>) {
    for round in 0..20 {
        let old = catalog.create_draft(draft("", &["kept 1", "kept 2"])).await.unwrap();
        let deleting = tokio::spawn({
            let catalog = Arc::clone(catalog);
            async move { catalog.delete_draft(old.id, None).await.unwrap() }
        });
        let new = catalog.create_draft(draft("", &["kept 2", "kept 1"])).await.unwrap();
        deleting.await.unwrap();
        for media in &new.photos {
            assert!(!is_unreferenced(&**catalog, media).await, "round {round}");
            assert!(!catalog.remove_media(media.id, later()).await.unwrap());
        }
        catalog.delete_draft(new.id, None).await.unwrap();
    }
}

async fn upload_during_removal_has_its_photo(catalog: &Arc<dyn Catalog>) {
    let mut removed = 0;
    for round in 0..40 {
        let old = catalog.create_draft(draft("", &["raced 1", "raced 2"])).await.unwrap();
        catalog.delete_draft(old.id, None).await.unwrap();
        let removing = tokio::spawn({
            let catalog = Arc::clone(catalog);
            async move {
                let mut removed = 0;
                for media in old.photos {
                    removed += u32::from(catalog.remove_media(media.id, later()).await.unwrap());
                }
                removed
            }
        });
        let new = if round % 2 == 0 {
            catalog.create_draft(draft("", &["raced 2", "raced 1"])).await.unwrap()
        } else {
            let empty = catalog.create_draft(draft("", &[])).await.unwrap();
            catalog.change_draft(empty.id, None, append(&["raced 2", "raced 1"], 2)).await.unwrap()
        };
        removed += removing.await.unwrap();
        assert_eq!(catalog.draft(new.id).await.unwrap().as_ref(), Some(&new), "round {round}");
        for (media, name) in new.photos.iter().zip(["raced 2", "raced 1"]) {
            let known = catalog.media_of_source(source(&format!("source of {name}"))).await.unwrap();
            assert_eq!(known.as_ref(), Some(media), "round {round}");
            assert!(!is_unreferenced(&**catalog, media).await);
        }
        catalog.delete_draft(new.id, None).await.unwrap();
    }
    assert!(removed > 0, "the removal never came first");
}
