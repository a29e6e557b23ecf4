//! Tests of sled's own behaviour; see `conformance` for what all catalogs have in common.

use super::rows::{References, owner_set, unreferenced_key};
use super::*;
use crate::catalog::{NewPhoto, Row, conformance};
use crate::model::MediaKey;

#[tokio::test]
async fn sled_passes_catalog_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_listings_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
    conformance::listings::run(Arc::clone(&catalog) as Arc<dyn Catalog>).await;
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_identities_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
    conformance::identities::run(Arc::clone(&catalog) as _, Arc::clone(&catalog) as _).await;
    // They survive a restart.
    let users = catalog.identities_page(None, 1000).await.unwrap();
    Arc::into_inner(catalog).unwrap().close().await;
    let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    assert_eq!(catalog.identities_page(None, 1000).await.unwrap(), users);
    catalog.close().await;
    // A salvage finds them, and takes nothing else for a row that it cannot read.
    let mut salvage = SledCatalog::salvage(dir.path()).unwrap();
    let mut found = Vec::new();
    let visit = |row| {
        if let Row::Identity(row) = row {
            found.push(row);
        }
        Ok::<_, CatalogError>(())
    };
    salvage.rows(visit).unwrap();
    assert_eq!((found, salvage.report().unknown), (users, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_leases_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
    conformance::leases::run(Arc::clone(&catalog) as _, catalog).await;
}

#[tokio::test]
async fn damaged_indexes_are_found_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    let photo = |name: u8| NewPhoto {
        key: MediaKey::of(&[name]),
        width: 4,
        height: 3,
        size_bytes: 1,
        source: SourceId::from_digest([name; 32]),
        facts: None,
    };
    for photos in [&[1, 2][..], &[2, 3, 4]] {
        let photos = photos.iter().copied().map(photo).collect();
        catalog.create_draft(NewDraft { photos, ..NewDraft::default() }).await.unwrap();
    }
    let third = catalog.create_draft(NewDraft { photos: vec![photo(5)], ..NewDraft::default() });
    let third = third.await.unwrap();
    catalog.delete_draft(third.id, None).await.unwrap();
    {
        let trees = &catalog.opened().await.unwrap().trees;
        let status = crate::model::DraftStatus::Draft;
        let set = |media: u64, count| {
            let value = References { count, since: Timestamp::from_millis(5) }.bytes();
            trees.references.insert(media.to_be_bytes(), value).unwrap();
        };
        trees.drafts_of_owner.put(&owner_set(None, status), DraftId(1), false).unwrap();
        trees.drafts_of_owner.put(&owner_set(UserId::try_from(7).ok(), status), DraftId(2), true).unwrap();
        trees.drafts_with_media.put(&2_u64.to_be_bytes(), DraftId(1), false).unwrap();
        trees.drafts_with_media.put(&1_u64.to_be_bytes(), DraftId(2), true).unwrap();
        set(1, 0);
        trees.unreferenced.insert(unreferenced_key(Timestamp::from_millis(5), MediaId(1)), &[]).unwrap();
        set(2, 3);
        trees.references.remove(3_u64.to_be_bytes()).unwrap();
        trees.unreferenced.insert(unreferenced_key(Timestamp::from_millis(9), MediaId(4)), &[]).unwrap();
        // The time of the last reference differs from the one in the index.
        set(5, 0);
    }
    let of_seven = DraftFilter { owner: UserId::try_from(7).ok(), status: None };
    assert_eq!(catalog.drafts_of(of_seven, None, 9).await.unwrap(), [], "another one's draft is not shown");
    let mut faults = catalog.check_indexes(false).await.unwrap();
    faults.sort();
    let mut expected = [
        IndexFault::Unlisted(DraftId(1)),
        IndexFault::Unindexed(DraftId(1), MediaId(2)),
        IndexFault::Undercounted(MediaId(1)),
        IndexFault::Undercounted(MediaId(3)),
        IndexFault::Overcounted(MediaId(2)),
        IndexFault::Overcounted(MediaId(5)),
        IndexFault::StaleList(DraftId(2)),
        IndexFault::StaleReference(DraftId(2), MediaId(1)),
        IndexFault::StaleUnreferenced(MediaId(4)),
        IndexFault::StaleUnreferenced(MediaId(5)),
    ];
    expected.sort();
    assert_eq!(faults, expected);
    faults = catalog.check_indexes(true).await.unwrap();
    faults.sort();
    assert_eq!(faults, expected);
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
    let later = Timestamp::from_millis(Timestamp::now().millis() + 60_000);
    assert_eq!(catalog.unreferenced_media(later, 9).await.unwrap(), third.photos);
    assert!(!catalog.remove_media(MediaId(1), later).await.unwrap());
    assert!(catalog.remove_media(MediaId(5), later).await.unwrap());
    assert_eq!(catalog.drafts_with(MediaId(2), None, 9).await.unwrap(), [DraftId(1), DraftId(2)]);
    let nobodys = DraftFilter { owner: None, status: None };
    let listed = catalog.drafts_of(nobodys, None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|draft| draft.id.0).collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_uploads_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
    conformance::uploads::run(Arc::clone(&catalog) as Arc<dyn Catalog>).await;
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_attempts_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    conformance::attempts::run(Arc::new(catalog)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sled_passes_outbox_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open_with(dir.path(), FreeDisk::Bytes(0), true).await.unwrap();
    conformance::outbox::run(Arc::new(catalog)).await;
}

/// Its change is not undone either: it was made durable before the event was given to be delivered.
#[tokio::test]
async fn event_that_a_killed_process_took_is_due_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open_with(dir.path(), FreeDisk::Bytes(0), true).await.unwrap();
    let (draft, _) = catalog.opened().await.unwrap().trees.insert(&NewDraft::default()).unwrap();
    let due = catalog.take_due_events(Timestamp::now(), Duration::from_secs(60), 9).await.unwrap();
    let after_kill = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), after_kill.path().join(entry.file_name())).unwrap();
        }
    }
    let again = SledCatalog::open_with(after_kill.path(), FreeDisk::Bytes(0), true).await.unwrap();
    assert_eq!(again.draft(draft.id).await.unwrap(), Some(draft));
    let due_again = again.take_due_events(Timestamp::now(), Duration::from_secs(60), 9).await.unwrap();
    assert_eq!((due_again, due.len()), (due, 1), "the lease ended with its process");
}

#[tokio::test]
async fn sled_passes_restore_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    conformance::restorable::run(&SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap()).await;
}

#[tokio::test]
async fn catalog_open_elsewhere_is_in_use_not_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let _open = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    let again = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await;
    assert!(matches!(again, Err(CatalogError::InUse)), "{again:?}");
}

#[tokio::test]
async fn restart_keeps_drafts_and_counters() {
    let dir = tempfile::tempdir().unwrap();
    let new = NewDraft {
        title: "kept".into(),
        photos: vec![NewPhoto {
            key: MediaKey::of(b"1"),
            width: 4,
            height: 3,
            size_bytes: 1,
            source: SourceId::from_digest([1; 32]),
            facts: None,
        }],
        ..NewDraft::default()
    };
    let first = {
        let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
        catalog.create_draft(new.clone()).await.unwrap()
    };
    // sled releases the directory lock a moment after the last handle is dropped.
    let mut tries = 0;
    let reopened = loop {
        match SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await {
            Ok(catalog) => break catalog,
            Err(error) if tries == 1000 => panic!("{error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
        tries += 1;
    };
    assert_eq!(reopened.draft(first.id).await.unwrap(), Some(first.clone()));
    let known = reopened.media_of_source(SourceId::from_digest([1; 32])).await.unwrap();
    assert_eq!(known.as_ref(), first.photos.first());
    let second = reopened.create_draft(new).await.unwrap();
    assert_eq!((second.id, &second.photos), (DraftId(2), &first.photos));
}

/// After a failed write, acknowledged drafts are kept and new drafts are accepted.
#[tokio::test]
async fn broken_catalog_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    let new = NewDraft::default();
    let first = catalog.create_draft(new.clone()).await.unwrap();
    catalog.opened().await.unwrap().broken.store(true, Ordering::Relaxed);
    catalog.check().await.unwrap();
    assert_eq!(catalog.draft(first.id).await.unwrap(), Some(first));
    assert_eq!(catalog.create_draft(new).await.unwrap().id, DraftId(2));
}

/// The on-disk format must stay readable: these rows were written before rows had owners.
#[tokio::test]
async fn rows_from_before_owners_have_no_owner() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
    let key = MediaKey::of(b"old");
    let media = format!(r#"{{"id":1,"key":"{key}","width":4,"height":3,"size_bytes":2}}"#);
    let draft = r#"{"title":"old","description":"","status":"draft","price_suggested":null,"photos":[1]}"#;
    let trees = &catalog.opened().await.unwrap().trees;
    let one = 1_u64.to_be_bytes();
    trees.media.insert(one, media.as_bytes()).unwrap();
    trees.drafts.insert(one, draft).unwrap();
    let read = catalog.draft(DraftId(1)).await.unwrap().unwrap();
    assert_eq!((read.owner, read.photos[0].owner, read.title.as_str()), (None, None, "old"));
    // Without an owner they serialise to the same bytes, so that exports stay equal.
    assert_eq!(serde_json::to_string(&read.photos[0]).unwrap(), media);
    let row = catalog.drafts_page(None, 1).await.unwrap().remove(0);
    assert_eq!(serde_json::to_string(&row).unwrap(), draft.replacen('{', r#"{"id":1,"#, 1));
}
