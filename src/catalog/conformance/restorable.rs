//! What a catalog must do that can be saved, checked and restored. Runs against an empty catalog.

use super::{draft, facts, source};
use crate::catalog::{
    Begun, Change, DraftFilter, DraftRow, Erased, NewAttempt, NewDraft, RequestHead, Restorable, Restore,
    RestoreError, Row, SourceRow, State,
};
use crate::model::{AttemptId, DraftId, DraftStatus, Media, MediaId, MediaKey, SourceId, Timestamp, UserId};

fn media(id: u64, name: &str) -> Media {
    let (id, key, owner) = (MediaId(id), MediaKey::of(name.as_bytes()), UserId::try_from(id % 2).ok());
    let facts = (id.0 > 1).then(|| facts(id.0));
    Media { id, key, width: 4, height: 3, size_bytes: 2, owner, facts }
}

fn row(id: u64, title: &str, photos: &[u64]) -> DraftRow {
    DraftRow {
        id: DraftId(id),
        title: title.into(),
        description: "no\nbody \"wrote\" it".into(),
        status: DraftStatus::Draft,
        price_suggested: Some(0.1 + 0.2),
        photos: photos.iter().copied().map(MediaId).collect(),
        owner: UserId::try_from(id % 2).ok(),
        created: Timestamp::from_millis(1_700_000_000_123),
        updated: Timestamp::from_millis(1_700_000_000_124 + id),
        version: 3 + id,
    }
}

async fn state(catalog: &dyn Restorable) -> (u64, u64, bool) {
    let State { next_media_id, next_draft_id, is_partial } = catalog.state().await.unwrap();
    (next_media_id, next_draft_id, is_partial)
}

async fn conflict(catalog: &dyn Restorable, rows: Vec<Row>) -> String {
    match catalog.restore(Restore::Rows(rows)).await {
        Err(RestoreError::Conflict(text)) => text,
        other => panic!("{other:?}"),
    }
}

pub(in crate::catalog) async fn run(catalog: &dyn Restorable) {
    assert_eq!(state(catalog).await, (1, 1, false));
    assert_eq!(catalog.media_page(None, 10).await.unwrap(), []);
    assert_eq!(catalog.drafts_page(None, 10).await.unwrap(), []);
    empty_catalog_is_partial_until_the_restore_ends(catalog).await;
    restoring_rows_twice_changes_nothing(catalog).await;
    different_row_is_never_replaced(catalog).await;
    pages_contain_all_rows_in_order(catalog).await;
    rows_recorded_after_a_restore_get_new_ids(catalog).await;
    source_without_a_media_row_is_restored(catalog).await;
    undated_row_gets_the_date_of_the_first_import(catalog).await;
    row_is_equal_whether_its_facts_are_known_or_not(catalog).await;
    restored_photo_is_unreferenced_until_a_draft_refers_to_it(catalog).await;
    user_is_erased_from_attempts_and_media_rows(catalog).await;
    indexes_agree_with_the_drafts(catalog).await;
}

async fn empty_catalog_is_partial_until_the_restore_ends(catalog: &dyn Restorable) {
    let begin = |next_media_id, next_draft_id| Restore::Begin { next_media_id, next_draft_id };
    catalog.restore(begin(20, 10)).await.unwrap();
    assert_eq!(state(catalog).await, (20, 10, true));
    catalog.restore(begin(5, 12)).await.unwrap();
    assert_eq!(state(catalog).await, (20, 12, true), "a counter never sinks");
    catalog.restore(Restore::Rows(vec![Row::Media(media(1, "one"))])).await.unwrap();
    catalog.restore(begin(20, 12)).await.unwrap();
    assert_eq!(state(catalog).await, (20, 12, true), "begun again after a row");
    catalog.restore(Restore::End).await.unwrap();
    assert_eq!(state(catalog).await, (20, 12, false));
    catalog.restore(begin(20, 12)).await.unwrap();
    assert_eq!(state(catalog).await, (20, 12, false), "it is whole, and stays so");
}

async fn restoring_rows_twice_changes_nothing(catalog: &dyn Restorable) {
    let first = SourceRow { source: source("first"), media: MediaId(1) };
    let rows = vec![
        Row::Media(media(1, "one")),
        Row::Media(media(30, "thirty")),
        Row::Draft(row(4, "Füße 👟", &[30, 1, 30])),
        Row::Draft(row(7, "refers to nothing", &[3])),
        Row::Source(first),
    ];
    for _ in 0..2 {
        catalog.restore(Restore::Rows(rows.clone())).await.unwrap();
        assert_eq!(state(catalog).await, (31, 12, false), "counters are above all ids");
        let read = catalog.draft(DraftId(4)).await.unwrap().unwrap();
        assert_eq!(read.photos, [media(30, "thirty"), media(1, "one"), media(30, "thirty")]);
        assert_eq!(read.title, "Füße 👟");
        assert_eq!(catalog.drafts_page(None, 1).await.unwrap(), [row(4, "Füße 👟", &[30, 1, 30])]);
        assert_eq!(catalog.media_of_source(source("first")).await.unwrap(), Some(media(1, "one")));
        let key = media(30, "thirty").key;
        assert_eq!(catalog.media_of_key(key).await.unwrap(), Some(media(30, "thirty")));
        assert_eq!(catalog.media_of_key(MediaKey::of(b"none")).await.unwrap(), None);
    }
}

async fn different_row_is_never_replaced(catalog: &dyn Restorable) {
    let good = Row::Media(media(40, "forty"));
    for (bad, name) in [
        (Row::Media(media(1, "other")), "media 1 "),
        (Row::Media(media(2, "one")), "media 2 "),
        (Row::Draft(row(4, "other", &[30, 1, 30])), "draft 4 "),
        (
            Row::Draft(DraftRow { owner: UserId::try_from(9).ok(), ..row(4, "Füße 👟", &[30, 1, 30]) }),
            "draft 4 ",
        ),
        (Row::Draft(DraftRow { version: 8, ..row(4, "Füße 👟", &[30, 1, 30]) }), "draft 4 "),
        (Row::Media(Media { owner: None, ..media(1, "one") }), "media 1 "),
        (Row::Source(SourceRow { source: source("first"), media: MediaId(30) }), "source "),
        (Row::Media(media(u64::MAX, "last")), "18446744073709551615"),
    ] {
        let text = conflict(catalog, vec![good.clone(), bad]).await;
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(catalog.media_of_key(media(40, "forty").key).await.unwrap(), None, "all of it or nothing");
    assert_eq!(state(catalog).await, (31, 12, false));
}

async fn row_is_equal_whether_its_facts_are_known_or_not(catalog: &dyn Restorable) {
    let known = media(30, "thirty");
    catalog.restore(Restore::Rows(vec![Row::Media(known.without_facts())])).await.unwrap();
    assert_eq!(
        catalog.media(known.id).await.unwrap().as_ref(),
        Some(&known),
        "an older export changes nothing"
    );
    let unknown = media(1, "one");
    let row = Media { facts: Some(facts(1)), ..unknown.clone() };
    catalog.restore(Restore::Rows(vec![Row::Media(row)])).await.unwrap();
    assert_eq!(catalog.media(unknown.id).await.unwrap(), Some(unknown));
}

async fn pages_contain_all_rows_in_order(catalog: &dyn Restorable) {
    let more = (32..40).map(|id| Row::Media(media(id, &id.to_string()))).collect();
    catalog.restore(Restore::Rows(more)).await.unwrap();
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = catalog.media_page(after, 4).await.unwrap();
        ids.extend(page.iter().map(|row| row.id.0));
        if page.len() < 4 {
            break;
        }
        after = page.last().map(|row| row.id);
    }
    assert_eq!(ids, [1, 30, 32, 33, 34, 35, 36, 37, 38, 39]);
    let drafts = catalog.drafts_page(Some(DraftId(4)), 5).await.unwrap();
    assert_eq!(drafts, [row(7, "refers to nothing", &[3])]);
    assert_eq!(catalog.drafts_page(Some(DraftId(7)), 5).await.unwrap(), []);
}

async fn rows_recorded_after_a_restore_get_new_ids(catalog: &dyn Restorable) {
    let made = catalog.create_draft(draft("", &["one", "new"])).await.unwrap();
    assert_eq!(made.id, DraftId(12));
    let ids: Vec<u64> = made.photos.iter().map(|photo| photo.id.0).collect();
    assert_eq!(ids, [1, 40], "the key is known, and the id above all others is not used again");
    assert_eq!(catalog.drafts_page(Some(DraftId(11)), 1).await.unwrap()[0].photos, [MediaId(1), MediaId(40)]);
    assert_eq!(sources(catalog).await.len(), 3);
}

/// What the page of sources has of a source.
async fn sources(catalog: &dyn Restorable) -> Vec<SourceRow> {
    let known = catalog.sources_page(None, 10).await.unwrap();
    known.iter().map(|known| SourceRow { source: known.source, media: known.media_id }).collect()
}

async fn source_without_a_media_row_is_restored(catalog: &dyn Restorable) {
    let nowhere = SourceRow { source: SourceId::from_digest([7; 32]), media: MediaId(1_000) };
    catalog.restore(Restore::Rows(vec![Row::Source(nowhere)])).await.unwrap();
    assert_eq!(state(catalog).await, (41, 13, false), "a reference is no id that was given");
    assert_eq!(catalog.media_of_source(nowhere.source).await.unwrap(), None);
    assert!(sources(catalog).await.contains(&nowhere));
}

/// Rows of an export of a version without dates.
async fn undated_row_gets_the_date_of_the_first_import(catalog: &dyn Restorable) {
    let (created, updated) = (Timestamp::UNKNOWN, Timestamp::UNKNOWN);
    let undated = DraftRow { created, updated, version: 0, ..row(50, "undated", &[1]) };
    let before = Timestamp::now();
    catalog.restore(Restore::Rows(vec![Row::Draft(undated.clone())])).await.unwrap();
    let read = catalog.drafts_page(Some(DraftId(49)), 1).await.unwrap().remove(0);
    assert!(read.created >= before && read.created <= Timestamp::now(), "{}", read.created);
    assert_eq!((read.updated, read.version), (read.created, 1));
    for again in [undated.clone(), read.clone()] {
        catalog.restore(Restore::Rows(vec![Row::Draft(again)])).await.unwrap();
        assert_eq!(catalog.drafts_page(Some(DraftId(49)), 1).await.unwrap(), std::slice::from_ref(&read));
    }
    let other = DraftRow { title: "other".into(), ..undated };
    assert!(conflict(catalog, vec![Row::Draft(other)]).await.contains("draft 50 "));
}

async fn restored_photo_is_unreferenced_until_a_draft_refers_to_it(catalog: &dyn Restorable) {
    let later = Timestamp::from_millis(Timestamp::now().millis() + 600_000);
    let is_unreferenced = async |media: &Media| {
        let found = catalog.unreferenced_media(later, 100).await.unwrap();
        found.contains(media)
    };
    let [before, with, after] = [60, 61, 62].map(|id| media(id, &format!("photo {id}")));
    let photo = |media: &Media| Row::Media(media.clone());
    catalog.restore(Restore::Rows(vec![photo(&before)])).await.unwrap();
    assert!(is_unreferenced(&before).await);
    assert!(
        catalog.unreferenced_media(Timestamp::from_millis(1_700_000_000_000), 100).await.unwrap().is_empty()
    );
    let draft = Row::Draft(row(60, "", &[60, 61, 62, 61]));
    catalog.restore(Restore::Rows(vec![photo(&with), draft.clone()])).await.unwrap();
    catalog.restore(Restore::Rows(vec![photo(&after)])).await.unwrap();
    catalog.restore(Restore::Rows(vec![draft, photo(&before), photo(&with), photo(&after)])).await.unwrap();
    for media in [&before, &with, &after] {
        assert!(!is_unreferenced(media).await, "{}", media.id);
        assert_eq!(catalog.drafts_with(media.id, None, 9).await.unwrap(), [DraftId(60)]);
    }
    let owner = UserId::try_from(60 % 2).ok();
    let listed = catalog.drafts_of(DraftFilter { owner, status: None }, None, 1).await.unwrap();
    assert_eq!(listed.first().map(|draft| draft.id), Some(DraftId(60)));
    catalog.delete_draft(DraftId(60), Some(63)).await.unwrap();
    for media in [&before, &with, &after] {
        assert!(is_unreferenced(media).await, "{}", media.id);
    }
}

/// Creates a draft of a user under the key `k`, with a photo that is shared and one of its own.
async fn owned(catalog: &dyn Restorable, user: UserId) -> crate::model::Draft {
    let request = RequestHead { path: "/upload".into(), content_length: Some(5) };
    let (id, note, since) = (AttemptId::new(Some(user), "k"), String::new(), Timestamp::UNKNOWN);
    let attempt = Some(NewAttempt { id, request, note, since });
    let new = NewDraft { owner: Some(user), attempt, ..draft("", &["shared", &format!("of {user}")]) };
    catalog.create_draft(new).await.unwrap()
}

async fn user_is_erased_from_attempts_and_media_rows(catalog: &dyn Restorable) {
    let [first, second] = [71, 72].map(|id| UserId::try_from(id).unwrap());
    let made = [owned(catalog, first).await, owned(catalog, second).await];
    let shared = &made[0].photos[0];
    assert_eq!((shared.owner, &made[1].photos[0]), (Some(first), shared));
    let attempts = catalog.attempts_page(None, 100).await.unwrap();
    let owners = |user| attempts.iter().filter(move |row| row.attempt.draft.owner == Some(user)).count();
    assert_eq!((owners(first), owners(second)), (1, 1));
    let photos = attempts.iter().flat_map(|row| &row.attempt.draft.photos);
    assert!(photos.clone().count() > 0 && photos.clone().all(|photo| photo.owner.is_none()));

    assert!(!catalog.remove_user(first).await.unwrap(), "a draft has the user");
    let ids: Vec<AttemptId> = attempts.iter().map(|row| row.id).collect();
    let media = [shared.id, made[1].photos[1].id, MediaId(u64::MAX)];
    assert_eq!(catalog.erase(first, &[], &[]).await.unwrap(), Erased::default());
    assert_eq!(catalog.erase(first, &ids, &media).await.unwrap(), Erased { attempts: 1, media: 1 });
    assert_eq!(catalog.erase(first, &ids, &media).await.unwrap(), Erased::default());
    let read = catalog.draft(made[1].id).await.unwrap().unwrap();
    let owners: Vec<Option<UserId>> = read.photos.iter().map(|photo| photo.owner).collect();
    assert_eq!((owners, read.owner), (vec![None, Some(second)], Some(second)));
    let begin = async |user| catalog.begin_attempt(AttemptId::new(Some(user), "k"), Timestamp::UNKNOWN).await;
    assert!(matches!(begin(first).await.unwrap(), Begun::Claimed(_)));
    assert!(matches!(begin(second).await.unwrap(), Begun::Done(_)));

    catalog.delete_draft(made[0].id, None).await.unwrap();
    assert!(!catalog.remove_user(first).await.unwrap(), "a media row has the user");
    catalog.erase(first, &[], &[made[0].photos[1].id]).await.unwrap();
    // Whether a user has a row is up to the catalog.
    catalog.remove_user(first).await.unwrap();
    assert!(!catalog.remove_user(first).await.unwrap());
    assert_eq!(owned(catalog, first).await.owner, Some(first), "a user may come back");
}

async fn indexes_agree_with_the_drafts(catalog: &dyn Restorable) {
    let made = catalog.create_draft(draft("", &["x", "y", "x"])).await.unwrap();
    catalog.change_draft(made.id, None, Change::RemovePhoto(1)).await.unwrap();
    let gone = catalog.create_draft(draft("", &["x", "z"])).await.unwrap();
    catalog.delete_draft(gone.id, None).await.unwrap();
    for repair in [false, true] {
        assert_eq!(catalog.check_indexes(repair).await.unwrap(), []);
    }
}
