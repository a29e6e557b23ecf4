//! What every catalog must do. Runs against an empty catalog.

pub(super) mod attempts;
pub(super) mod identities;
pub(super) mod leases;
pub(super) mod listings;
pub(super) mod outbox;
pub(super) mod restorable;
pub(super) mod uploads;

use std::sync::Arc;
use std::time::Duration;

use super::{Catalog, KnownSource, NewDraft, NewPhoto};
use crate::model::{
    DraftId, DraftStatus, Media, MediaId, MediaKey, PerceptualHash, PhotoFacts, SourceId, ThumbHash, UserId,
};

fn photo(name: &str) -> NewPhoto {
    let source = source(&format!("source of {name}"));
    let (key, facts) = (MediaKey::of(name.as_bytes()), None);
    NewPhoto { key, width: 1600, height: 1200, size_bytes: 345_678, source, facts }
}

/// Facts of a photo, which are not those of another `bits`.
fn facts(bits: u64) -> PhotoFacts {
    PhotoFacts {
        thumbhash: ThumbHash::from_bytes(&bits.to_be_bytes()).unwrap(),
        sharpness: 104_040_000,
        brightness: 25_500,
        dark: 1,
        light: 10_000,
        perceptual_hash: PerceptualHash::from_bits(bits),
    }
}

fn source(name: &str) -> SourceId {
    SourceId::from_digest(*MediaKey::of(name.as_bytes()).as_bytes())
}

fn draft(title: &str, photos: &[&str]) -> NewDraft {
    NewDraft {
        title: title.into(),
        photos: photos.iter().copied().map(photo).collect(),
        ..NewDraft::default()
    }
}

pub(super) async fn run(catalog: Arc<dyn Catalog>) {
    catalog.check().await.unwrap();
    assert_eq!(catalog.draft(DraftId(1)).await.unwrap(), None);
    draft_is_read_back_as_it_was_returned(&*catalog).await;
    equal_photos_share_one_row(&*catalog).await;
    concurrent_drafts_share_rows_and_never_ids(Arc::clone(&catalog)).await;
    source_gives_the_photo_that_was_last_made_from_it(&*catalog).await;
    concurrent_drafts_of_one_source_agree(Arc::clone(&catalog)).await;
    draft_has_its_owner_and_photo_its_first_owner(&*catalog).await;
    rows_are_read_in_pages(&*catalog).await;
    rows_are_read_by_key(&*catalog).await;
    keys_without_a_row_are_returned(&*catalog).await;
    facts_are_recorded_with_a_photo_or_later_and_never_replaced(&*catalog).await;
    sources_are_read_in_pages_and_forgotten(&*catalog).await;
    let age = catalog.created().await.unwrap().elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "it was created for this suite");
    assert_eq!(catalog.created().await.unwrap(), catalog.created().await.unwrap());
}

async fn draft_is_read_back_as_it_was_returned(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("Füße 👟", &["b", "a", "c"])).await.unwrap();
    assert_eq!((made.id, made.title.as_str(), made.status), (DraftId(1), "Füße 👟", DraftStatus::Draft));
    assert_eq!((made.description.as_str(), made.price_suggested), ("", None));
    let ids: Vec<MediaId> = made.photos.iter().map(|media| media.id).collect();
    assert_eq!(ids, [MediaId(1), MediaId(2), MediaId(3)]);
    assert_eq!(made.photos[1].key, MediaKey::of(b"a"), "photos keep the order of the upload");
    assert_eq!(
        (made.photos[0].width, made.photos[0].height, made.photos[0].size_bytes),
        (1600, 1200, 345_678)
    );
    assert_eq!(catalog.draft(made.id).await.unwrap(), Some(made));
}

async fn equal_photos_share_one_row(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["a", "d", "a"])).await.unwrap();
    let ids: Vec<u64> = made.photos.iter().map(|media| media.id.0).collect();
    assert_eq!(ids, [2, 4, 2]);
    assert_eq!(catalog.draft(made.id).await.unwrap(), Some(made));
}

async fn concurrent_drafts_share_rows_and_never_ids(catalog: Arc<dyn Catalog>) {
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                catalog.create_draft(draft(&n.to_string(), &["new", &format!("own {n}")])).await.unwrap()
            })
        })
        .collect();
    let mut drafts = Vec::new();
    for task in tasks {
        drafts.push(task.await.unwrap());
    }
    let mut ids: Vec<u64> = drafts.iter().map(|draft| draft.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (3..43).collect::<Vec<_>>());
    assert!(drafts.iter().all(|draft| draft.photos[0].id == drafts[0].photos[0].id));
    let mut own: Vec<u64> = drafts.iter().map(|draft| draft.photos[1].id.0).collect();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), 40);
    for draft in drafts {
        assert_eq!(catalog.draft(draft.id).await.unwrap(), Some(draft));
    }
}

async fn source_gives_the_photo_that_was_last_made_from_it(catalog: &dyn Catalog) {
    let one = source("one");
    assert_eq!(catalog.media_of_source(one).await.unwrap(), None);
    let with_source = |name| NewDraft {
        title: String::new(),
        photos: vec![photo("a"), NewPhoto { source: one, ..photo(name) }],
        ..NewDraft::default()
    };
    let made = catalog.create_draft(with_source("e")).await.unwrap();
    assert_eq!(catalog.media_of_source(one).await.unwrap().as_ref(), Some(&made.photos[1]));
    let again = catalog.create_draft(with_source("e")).await.unwrap();
    assert_eq!(again.photos, made.photos);
    assert_eq!(catalog.media_of_source(one).await.unwrap().as_ref(), Some(&made.photos[1]));
    let other = catalog.create_draft(with_source("f")).await.unwrap();
    assert_ne!(other.photos[1].id, made.photos[1].id);
    assert_eq!(catalog.media_of_source(one).await.unwrap().as_ref(), Some(&other.photos[1]));
    assert_eq!(catalog.media_of_source(source("source of a")).await.unwrap().as_ref(), Some(&made.photos[0]));
    assert_eq!(catalog.media_of_source(source("source of nothing")).await.unwrap(), None);
}

async fn concurrent_drafts_of_one_source_agree(catalog: Arc<dyn Catalog>) {
    let tasks = (0..20).map(|_| {
        let catalog = Arc::clone(&catalog);
        tokio::spawn(async move { catalog.create_draft(draft("", &["shared source"])).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        let made = task.await.unwrap();
        let known = catalog.media_of_source(source("source of shared source")).await.unwrap();
        assert_eq!(known.as_ref(), made.photos.first());
    }
}

async fn draft_has_its_owner_and_photo_its_first_owner(catalog: &dyn Catalog) {
    let [seven, eight] = [7, 8].map(|id| UserId::try_from(id).unwrap());
    for (owner, first) in [(Some(seven), Some(seven)), (Some(eight), Some(seven)), (None, Some(seven))] {
        let new = NewDraft { owner, ..draft("owned", &["photo of seven", "a"]) };
        let made = catalog.create_draft(new).await.unwrap();
        assert_eq!((made.owner, made.photos[0].owner, made.photos[1].owner), (owner, first, None));
        assert_eq!(catalog.draft(made.id).await.unwrap().as_ref(), Some(&made));
        assert_eq!(
            catalog.media_of_source(source("source of photo of seven")).await.unwrap().as_ref(),
            made.photos.first()
        );
        let before = DraftId(made.id.0 - 1);
        assert_eq!(catalog.drafts_page(Some(before), 1).await.unwrap()[0].owner, owner);
    }
}

async fn rows_are_read_in_pages(catalog: &dyn Catalog) {
    let all = catalog.media_page(None, 1000).await.unwrap();
    let ids: Vec<u64> = all.iter().map(|media| media.id.0).collect();
    assert!(ids.len() > 40 && ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let mut paged = Vec::new();
    loop {
        let page = catalog.media_page(paged.last().map(|media: &Media| media.id), 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

async fn rows_are_read_by_key(catalog: &dyn Catalog) {
    let mut all = catalog.media_page(None, 1000).await.unwrap();
    all.sort_by_key(|media| media.key);
    let key = |at: usize| Some(all[at].key);
    assert_eq!(catalog.media_by_key(None, None, 1000).await.unwrap(), all);
    assert_eq!(catalog.media_by_key(key(3), None, 7).await.unwrap(), all[4..11]);
    assert_eq!(catalog.media_by_key(None, key(3), 7).await.unwrap(), all[..4]);
    assert_eq!(catalog.media_by_key(key(3), key(9), 100).await.unwrap(), all[4..10]);
    assert_eq!(catalog.media_by_key(key(3), key(9), 2).await.unwrap(), all[4..6]);
    for upto in [key(3), key(1)] {
        assert_eq!(catalog.media_by_key(key(3), upto, 100).await.unwrap(), []);
    }
    let [first, last] = [[0; 32], [0xFF; 32]].map(MediaKey::from_digest);
    assert_eq!(catalog.media_by_key(Some(first), Some(last), 1000).await.unwrap(), all);
    assert_eq!(catalog.media_by_key(Some(last), None, 1000).await.unwrap(), []);
}

async fn keys_without_a_row_are_returned(catalog: &dyn Catalog) {
    let [a, b] = ["a", "b"].map(|name| MediaKey::of(name.as_bytes()));
    let [x, y] = ["x", "y"].map(|name| MediaKey::of(name.as_bytes()));
    assert_eq!(catalog.without_row(&[y, a, x, b, y]).await.unwrap(), [y, x, y]);
    assert_eq!(catalog.without_row(&[]).await.unwrap(), []);
}

async fn facts_are_recorded_with_a_photo_or_later_and_never_replaced(catalog: &dyn Catalog) {
    let with_facts = |name: &str, bits| NewPhoto { facts: Some(facts(bits)), ..photo(name) };
    let photos = vec![with_facts("measured", u64::MAX), photo("not measured"), photo("also not measured")];
    let made = catalog.create_draft(NewDraft { photos, ..NewDraft::default() }).await.unwrap();
    let found: Vec<_> = made.photos.iter().map(|photo| photo.facts).collect();
    assert_eq!(found, [Some(facts(u64::MAX)), None, None]);
    assert_eq!(catalog.draft(made.id).await.unwrap().as_ref(), Some(&made));

    let [one, two, _] = [0, 1, 2].map(|at| made.photos[at].id);
    let nobody = MediaId(1 << 40);
    catalog.record_facts(&[(two, facts(2)), (nobody, facts(3)), (one, facts(4))]).await.unwrap();
    catalog.record_facts(&[(two, facts(5))]).await.unwrap();
    catalog.record_facts(&[]).await.unwrap();
    let filled = catalog.draft(made.id).await.unwrap().unwrap();
    let found: Vec<_> = filled.photos.iter().map(|photo| photo.facts).collect();
    assert_eq!(found, [Some(facts(u64::MAX)), Some(facts(2)), None]);
    assert_eq!(filled.without_facts(), made.without_facts(), "neither version nor times of the draft change");
    assert_eq!(catalog.media(nobody).await.unwrap(), None);
    let of_source = catalog.media_of_source(source("source of not measured")).await.unwrap();
    assert_eq!(of_source.as_ref(), Some(&filled.photos[1]));
    let page = catalog.media_page(Some(MediaId(one.0 - 1)), 2).await.unwrap();
    assert_eq!(page, filled.photos[..2]);
    // Equal photos share the row as it is.
    let again = vec![with_facts("measured", 6), with_facts("also not measured", 7)];
    let again = catalog.create_draft(NewDraft { photos: again, ..NewDraft::default() }).await.unwrap();
    assert_eq!(again.photos, [filled.photos[0].clone(), filled.photos[2].clone()]);
}

async fn sources_are_read_in_pages_and_forgotten(catalog: &dyn Catalog) {
    let all = catalog.sources_page(None, 1000).await.unwrap();
    assert!(all.len() > 40 && all.is_sorted_by(|a, b| a.source < b.source));
    for known in &all {
        assert_eq!(known.media.as_ref().map(|media| media.id), Some(known.media_id));
        assert_eq!(catalog.media_of_source(known.source).await.unwrap(), known.media);
    }
    let mut paged: Vec<KnownSource> = Vec::new();
    while let page = catalog.sources_page(paged.last().map(|known| known.source), 9).await.unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 9);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let KnownSource { source, media_id, media } = all[3].clone();
    catalog.forget_source(source, MediaId(media_id.0 + 1)).await.unwrap();
    assert_eq!(catalog.media_of_source(source).await.unwrap(), media, "another photo is not meant");
    catalog.forget_source(source, media_id).await.unwrap();
    catalog.forget_source(source, media_id).await.unwrap();
    assert_eq!(catalog.media_of_source(source).await.unwrap(), None);
    assert_eq!(catalog.without_row(&[media.unwrap().key]).await.unwrap(), [], "the row stays");
}
