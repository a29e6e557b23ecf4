//! What every catalog must do. Runs against an empty catalog.

use std::sync::Arc;

use super::{Catalog, NewDraft, NewPhoto};
use crate::model::{DraftId, DraftStatus, MediaId, MediaKey};

fn photo(name: &str) -> NewPhoto {
    NewPhoto { key: MediaKey::of(name.as_bytes()), width: 1600, height: 1200, size_bytes: 345_678 }
}

fn draft(title: &str, photos: &[&str]) -> NewDraft {
    NewDraft { title: title.into(), photos: photos.iter().copied().map(photo).collect() }
}

pub(super) async fn run(catalog: Arc<dyn Catalog>) {
    catalog.check().await.unwrap();
    assert_eq!(catalog.draft(DraftId(1)).await.unwrap(), None);
    a_draft_is_read_back_as_it_was_answered(&*catalog).await;
    equal_photos_share_one_row(&*catalog).await;
    concurrent_drafts_share_rows_and_never_ids(catalog).await;
}

async fn a_draft_is_read_back_as_it_was_answered(catalog: &dyn Catalog) {
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
