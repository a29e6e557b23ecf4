//! What one client may add to the store.

use super::*;
use crate::ratelimit::{MemoryLimiter, Quota};

const DAY: Duration = Duration::from_secs(86_400);

/// Each photo of these tests takes one KiB.
async fn setup_with(photos: u32) -> (Setup, Arc<MemoryLimiter>) {
    let Setup { ingest, catalog, dir } = setup().await;
    let limiter = Arc::new(MemoryLimiter::new(Quota { burst: photos, window: DAY }));
    let ingest = Arc::into_inner(ingest).unwrap().with_quota(Some(Arc::clone(&limiter) as _));
    (Setup { ingest: Arc::new(ingest), catalog, dir }, limiter)
}

/// The units that are left for the client of these uploads. This takes them.
async fn left(limiter: &MemoryLimiter) -> usize {
    let mut left = 0;
    while limiter.take(new_draft().caller.client, 1).await.allowed {
        left += 1;
    }
    left
}

#[tokio::test]
async fn photos_that_are_stored_already_are_not_charged() {
    let (setup, limiter) = setup_with(10).await;
    setup.upload(&[photo(20), photo(40), photo(20)]).await.unwrap();
    setup.upload(&[photo(40), photo(20)]).await.unwrap();
    let same_output = [photo(20), b"x".to_vec()].concat();
    setup.upload(&[same_output]).await.unwrap();
    // Two sources of one output in one upload.
    let again = [photo(60), b"x".to_vec()].concat();
    setup.upload(&[photo(60), again]).await.unwrap();
    assert_eq!(left(&limiter).await, 7);
}

#[tokio::test]
async fn spent_quota_refuses_new_photos_and_admits_stored_ones() {
    let (setup, _) = setup_with(2).await;
    setup.upload(&[photo(20), photo(40)]).await.unwrap();
    for upload in [vec![photo(60)], vec![photo(20), photo(60)], vec![photo(60), photo(80), photo(100)]] {
        let refused = setup.upload(&upload).await;
        let Err(IngestError::QuotaSpent { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after > DAY / 3 && retry_after <= DAY / 2, "{retry_after:?}");
        assert_eq!(setup.files(), 2);
    }
    assert_eq!(setup.upload(&[photo(40), photo(20)]).await.unwrap().draft.photos.len(), 2);
}

#[tokio::test]
async fn failed_upload_is_not_charged() {
    let (setup, limiter) = setup_with(3).await;
    setup.upload(&[photo(20), photo(40), photo(180)[..60].to_vec()]).await.unwrap_err();
    setup.catalog.fail_next_draft(Some(full()));
    setup.upload(&[photo(20), photo(40)]).await.unwrap_err();
    // More new photos than there is room for: the server refunds the charges of the first ones.
    setup.upload(&[photo(20), photo(40), photo(60), photo(80)]).await.unwrap_err();
    setup.upload(&[photo(20), photo(40), photo(60)]).await.unwrap();
    assert_eq!(left(&limiter).await, 0);
}

#[tokio::test]
async fn commit_of_unknown_outcome_is_charged() {
    let (setup, limiter) = setup_with(3).await;
    setup.catalog.fail_next_draft(Some(CatalogError::Indeterminate(Box::new(full()))));
    setup.upload(&[photo(20), photo(40)]).await.unwrap_err();
    assert_eq!(left(&limiter).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_uploads_of_one_client_never_keep_more_than_the_quota() {
    let (setup, limiter) = setup_with(3).await;
    let setup = Arc::new(setup);
    let uploads = (0..10).map(|n| {
        let setup = Arc::clone(&setup);
        // Each photo comes twice.
        tokio::spawn(async move { setup.upload(&[photo(n / 2 * 40)]).await })
    });
    let mut stored = 0;
    for upload in uploads.collect::<Vec<_>>() {
        match upload.await.unwrap() {
            Ok(_) => stored += 1,
            // Ten photos may be more than the workers and their queue take together.
            Err(error) => {
                assert!(
                    matches!(error, IngestError::QuotaSpent { .. } | IngestError::Busy { .. }),
                    "{error}"
                );
            }
        }
    }
    assert!((1..=3).contains(&setup.files()), "{} files", setup.files());
    assert!(stored >= setup.files());
    assert_eq!(left(&limiter).await, 3 - setup.files());
}

#[tokio::test]
async fn photo_larger_than_the_whole_quota_is_refused() {
    let (setup, _) = setup_with(1).await;
    let noise = image::RgbImage::from_fn(64, 64, |x, y| {
        let random = (x * 64 + y).wrapping_mul(2_654_435_761).to_be_bytes();
        image::Rgb([random[0], random[1], random[2]])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let refused = setup.upload(&[png.into_inner()]).await;
    let Err(IngestError::LargerThanQuota { retry_after: DAY, max_kib: 1 }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(setup.files(), 0);
}
