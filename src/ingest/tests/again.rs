//! Photos that are uploaded again.

use super::*;

fn recognised(uploaded: &Uploaded) -> Vec<bool> {
    uploaded.photos.iter().map(|photo| photo.is_recognised).collect()
}

#[tokio::test]
async fn photo_uploaded_again_is_recognised_and_answered_alike() {
    let setup = setup().await;
    let first = setup.upload(&[photo(1), photo(2), photo(1)]).await.unwrap();
    assert_eq!(recognised(&first), [false, false, true], "the third is the first once more");
    assert_eq!(first.draft.photos[0], first.draft.photos[2]);
    let again = setup.upload(&[photo(3), photo(2), photo(1), photo(2)]).await.unwrap();
    assert_eq!(recognised(&again), [false, true, true, true]);
    let of = |photo: usize| first.draft.photos[photo].clone();
    assert_eq!(again.draft.photos[1..], [of(1), of(0), of(1)]);
    assert_eq!(again.draft.photos[0].id.0, 3);
    assert_eq!((again.photos[1].key, again.photos[1].mime), (first.photos[1].key, "image/png"));
    assert_eq!(setup.files(), 3);
    assert_eq!(setup.ingest.budget.sources.used(), 0, "sources are given back");
}

#[tokio::test]
async fn photo_whose_file_is_gone_or_short_is_encoded_again() {
    let setup = setup().await;
    let first = setup.upload(&[photo(1)]).await.unwrap();
    let file = setup.dir.path().join("media").join(format!("{}.jpg", first.photos[0].key));
    let bytes = std::fs::read(&file).unwrap();
    for damage in [None, Some(&bytes[..100]), Some(&[])] {
        std::fs::remove_file(&file).unwrap();
        if let Some(damage) = damage {
            std::fs::write(&file, damage).unwrap();
        }
        let again = setup.upload(&[photo(1)]).await.unwrap();
        assert_eq!(recognised(&again), [false]);
        assert_eq!(again.draft.photos, first.draft.photos);
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
    assert_eq!(recognised(&setup.upload(&[photo(1)]).await.unwrap()), [true]);
}

#[tokio::test]
async fn photo_with_a_flipped_byte_is_encoded_again_and_the_damaged_file_is_quarantined() {
    let setup = setup().await;
    let first = setup.upload(&[photo(1)]).await.unwrap();
    let media = setup.dir.path().join("media");
    let file = media.join(format!("{}.jpg", first.photos[0].key));
    let bytes = std::fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 0x40;
    std::fs::write(&file, &damaged).unwrap();
    let again = setup.upload(&[photo(1)]).await.unwrap();
    assert_eq!(recognised(&again), [false]);
    assert_eq!(again.draft.photos, first.draft.photos);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let aside = std::fs::read_dir(media.join(".quarantine")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
    assert_eq!(setup.ingest.publisher.quarantined.get(), 1);
    // The same output from another source heals it as well.
    std::fs::write(&file, &damaged).unwrap();
    let other = [photo(1), b"x".to_vec()].concat();
    assert_eq!(recognised(&setup.upload(&[other]).await.unwrap()), [false]);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

/// The file is removed between the recognition of the photo and the commit, as by a rollback of the upload that published it,
/// or by the garbage collector.
#[tokio::test]
async fn photo_whose_file_is_removed_before_the_commit_is_encoded_again() {
    let setup = setup().await;
    let first = setup.upload(&[photo(1)]).await.unwrap();
    let key = first.photos[0].key;
    let guard = setup.ingest.publisher.lock_keys([key]).await.unwrap();
    let setup = Arc::new(setup);
    let second = tokio::spawn({
        let setup = Arc::clone(&setup);
        async move { setup.upload(&[photo(1), photo(2), photo(1)]).await }
    });
    while setup.ingest.commits.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    setup.ingest.publisher.store().remove(&[key]).await.unwrap();
    drop(guard);
    let second = second.await.unwrap().unwrap();
    assert_eq!(recognised(&second), [false, false, true]);
    assert_eq!(second.draft.photos[0], first.draft.photos[0]);
    assert_eq!(setup.files(), 2);
}

#[tokio::test]
async fn photo_of_a_failed_upload_is_not_recognised_later() {
    let setup = setup().await;
    let bad = photo(9)[..60].to_vec();
    for _ in 0..2 {
        setup.upload(&[photo(1), bad.clone()]).await.unwrap_err();
    }
    setup.catalog.fail_next_draft(Some(full()));
    setup.upload(&[photo(1)]).await.unwrap_err();
    assert_eq!(setup.files(), 0);
    assert_eq!(recognised(&setup.upload(&[photo(1)]).await.unwrap()), [false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_never_removes_a_photo_of_a_concurrent_upload() {
    let setup = Arc::new(setup().await);
    for round in 0..10 {
        let uploads = (0..8).map(|n| {
            let setup = Arc::clone(&setup);
            tokio::spawn(async move {
                if n % 2 == 0 {
                    setup.catalog.fail_next_draft(Some(full()));
                }
                setup.upload(&[photo(round), photo(100 + round)]).await
            })
        });
        let mut drafts = Vec::new();
        for upload in uploads.collect::<Vec<_>>() {
            drafts.extend(upload.await.unwrap().ok());
        }
        for photo in drafts.iter().flat_map(|uploaded| &uploaded.draft.photos) {
            assert_eq!(
                setup.ingest.publisher.store().length(photo.key).await.unwrap(),
                Some(photo.size_bytes)
            );
        }
        setup.catalog.fail_next_draft(None);
    }
}

#[tokio::test]
async fn photo_encoded_with_other_settings_is_not_recognised() {
    let setup = setup().await;
    setup.upload(&[photo(1)]).await.unwrap();
    let other = |limits: Limits, recipe: Recipe| {
        let old = &setup.ingest;
        let (pool, publisher) = (Arc::clone(&old.pool), Arc::clone(&old.publisher));
        Arc::new(Ingest::new(limits, recipe, old.budget.clone(), pool, publisher, old.scratch.clone()))
    };
    let (limits, recipe) = (setup.ingest.limits.clone(), setup.ingest.recipe);
    let same = upload_to(&other(limits.clone(), recipe), &[photo(1)]).await.unwrap();
    assert_eq!(recognised(&same), [true]);
    let better =
        upload_to(&other(limits.clone(), Recipe { quality: 81, ..recipe }), &[photo(1)]).await.unwrap();
    assert_eq!(recognised(&better), [false]);
    let refusals = [
        (limits.clone(), Recipe { max_pixels: 32 * 24 - 1, ..recipe }),
        (Limits { mime_prefixes: vec!["image/jpeg".into()], ..limits.clone() }, recipe),
        (Limits { photo_bytes: 50, ..limits }, recipe),
    ];
    for (limits, recipe) in refusals {
        let refused = upload_to(&other(limits, recipe), &[photo(1)]).await;
        assert!(matches!(refused, Err(IngestError::Photo { index: 0, .. })), "{refused:?}");
    }
}
