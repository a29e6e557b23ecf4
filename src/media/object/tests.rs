use std::path::PathBuf;

use tokio::time::Instant;

use self::listed_bucket::{ListOrder, ListedBucket};
use super::s3::S3Settings;
use super::*;
use crate::bucket::{self, ACCESS_KEY, BUCKET, Line, SECRET_KEY};
use crate::media::conformance;

#[path = "../../../tests/listed_bucket/mod.rs"]
mod listed_bucket;

fn settings(server: &bucket::Bucket) -> S3Settings {
    S3Settings {
        bucket: BUCKET.to_owned(),
        endpoint: Some(server.endpoint()),
        region: None,
        keys: Some(s3::S3Keys::new(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
        presigned_for: Duration::ZERO,
    }
}

struct Setup {
    store: BucketStore,
    server: bucket::Bucket,
    scratch: tempfile::TempDir,
}

async fn setup() -> Setup {
    let (server, scratch) = (bucket::Bucket::start(), tempfile::tempdir().unwrap());
    let store = BucketStore::open(settings(&server).connect().unwrap(), scratch.path(), FreeDisk::Bytes(0))
        .await
        .unwrap();
    Setup { store, server, scratch }
}

impl Setup {
    fn photo(&self, bytes: &[u8]) -> PathBuf {
        self.server.dir().join(BUCKET).join(format!("media/{}.jpg", MediaKey::of(bytes)))
    }

    async fn publish(&self, bytes: &'static [u8]) -> Result<MediaKey, MediaError> {
        let staging = self.store.begin();
        let key = staging.stage(Bytes::from_static(bytes)).await?;
        staging.publish().await?.commit().await;
        Ok(key)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let setup = setup().await;
    let media = setup.server.dir().join(BUCKET).join("media");
    let damage = |key| conformance::flip_a_byte(&media.join(format!("{key}.jpg")));
    conformance::run(&setup.store, conformance::Users::Many, damage).await;
    assert_eq!(setup.server.objects("media"), Vec::<PathBuf>::new(), "the suite leaves nothing behind");
    assert_eq!(setup.server.objects("quarantine").len(), 2);
    assert_eq!(std::fs::read_dir(setup.scratch.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renditions_conform() {
    let setup = setup().await;
    let media = setup.server.dir().join(BUCKET).join("media");
    conformance::renditions(&setup.store).await;
    conformance::staged_renditions(&setup.store, conformance::Users::Many).await;
    let lose = |key| std::fs::remove_file(media.join(format!("{key}.jpg"))).unwrap();
    conformance::stray_renditions_are_removed(&setup.store, lose).await;
}

#[tokio::test]
async fn list_spans_several_answers_and_skips_foreign_objects() {
    let setup = setup().await;
    setup.publish(b"one of them").await.unwrap();
    let made = setup.photo(b"one of them");
    for n in 0..1500u32 {
        std::fs::hard_link(&made, setup.photo(&n.to_le_bytes())).unwrap();
    }
    let hash = MediaKey::of(b"foreign").to_string();
    let foreign =
        ["README", "x.jpg", "../other.jpg", &format!("{}.jpg", hash.to_uppercase()), &format!("{hash}.jpeg")];
    for foreign in foreign {
        std::fs::write(setup.server.dir().join(BUCKET).join("media").join(foreign), "mine").unwrap();
    }
    let inside = setup.server.dir().join(BUCKET).join("media").join(&hash);
    std::fs::create_dir(&inside).unwrap();
    for foreign in ["notes.txt", "05.jpg", "x.jpg"] {
        std::fs::write(inside.join(foreign), "mine").unwrap();
    }
    let pages: Vec<Vec<Stored>> = setup.store.list().try_collect().await.unwrap();
    assert!(pages.iter().all(|page| page.len() <= 1000));
    let mut keys: Vec<MediaKey> = pages.concat().iter().map(|stored| stored.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1501);
    let pages: Vec<ListPage> = setup.store.list_by_key(None).try_collect().await.unwrap();
    let by_key: Vec<MediaKey> = pages.iter().flat_map(|page| &page.photos).map(|photo| photo.key).collect();
    assert_eq!(by_key, keys);
    assert!(pages.iter().all(|page| page.strays.is_empty()));
}

/// Lists all photos of a bucket after one of them. Returns their keys and the number of requests.
async fn listed(photos: &[[u8; 32]], order: ListOrder, after: Option<MediaKey>) -> (Vec<MediaKey>, u64) {
    let (server, scratch) = (ListedBucket::start(photos.to_vec(), order), tempfile::tempdir().unwrap());
    let settings = S3Settings {
        bucket: listed_bucket::BUCKET.to_owned(),
        endpoint: Some(server.endpoint()),
        region: None,
        keys: Some(s3::S3Keys::new(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
        presigned_for: Duration::ZERO,
    };
    let store =
        BucketStore::open(settings.connect().unwrap(), scratch.path(), FreeDisk::Bytes(0)).await.unwrap();
    let before = server.counts();
    let pages: Vec<ListPage> = store.list_by_key(after).try_collect().await.unwrap();
    assert!(pages.iter().all(|page| page.photos.len() <= 1000 && page.strays.is_empty()));
    let requests = server.counts().since(before);
    assert_eq!(requests.all(), requests.list);
    (pages.iter().flat_map(|page| &page.photos).map(|photo| photo.key).collect(), requests.list)
}

#[tokio::test]
async fn photos_are_listed_by_key_a_thousand_in_a_request() {
    let mut keys: Vec<MediaKey> = (0..3500_u32).map(|n| MediaKey::of(&n.to_le_bytes())).collect();
    keys.sort();
    let photos: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
    assert_eq!(listed(&photos, ListOrder::Names, None).await, (keys.clone(), 4));
    assert_eq!(listed(&photos, ListOrder::Names, Some(keys[2499])).await, (keys[2500..].to_vec(), 1));
    assert_eq!(listed(&[], ListOrder::Names, None).await, (vec![], 1));
}

/// As S3's directory buckets do it.
#[tokio::test]
async fn bucket_that_lists_in_another_order_is_sorted() {
    let mut keys: Vec<MediaKey> = (0..3500_u32).map(|n| MediaKey::of(&n.to_le_bytes())).collect();
    keys.sort();
    let photos: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
    // One more request finds out.
    assert_eq!(listed(&photos, ListOrder::Reversed, None).await, (keys.clone(), 5));
    assert_eq!(listed(&photos, ListOrder::Reversed, Some(keys[99])).await, (keys[100..].to_vec(), 5));
}

#[tokio::test]
async fn refused_access_fails_the_start_and_names_the_reason() {
    let setup = setup().await;
    let refused = async |change: &dyn Fn(&mut S3Settings)| {
        let mut settings = settings(&setup.server);
        change(&mut settings);
        let error = BucketStore::open(settings.connect().unwrap(), setup.scratch.path(), FreeDisk::Bytes(0))
            .await
            .unwrap_err();
        assert!(matches!(error, BucketError::Refused { .. }), "{error}");
        error.to_string()
    };
    let no_bucket = refused(&|settings| settings.bucket = "nowhere".to_owned()).await;
    assert!(no_bucket.contains("the bucket nowhere") && no_bucket.contains("NoSuchBucket"), "{no_bucket}");
    let wrong_key =
        refused(&|settings| settings.keys = Some(s3::S3Keys::new(ACCESS_KEY.into(), "wrong".into()))).await;
    assert!(wrong_key.contains("SignatureDoesNotMatch") && wrong_key.contains("S3_"), "{wrong_key}");
    assert!(!wrong_key.contains("wrong"), "no keys in the log");
}

#[tokio::test]
async fn service_that_refuses_connections_is_not_asked_for_a_while_and_then_used_again() {
    let setup = setup().await;
    let key = setup.publish(b"before").await.unwrap();
    setup.server.switch(Line::Refusing);
    for _ in 0..5 {
        assert!(matches!(setup.store.stat(key).await, Err(MediaError::Unavailable(_))));
    }
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(matches!(setup.publish(b"meanwhile").await, Err(MediaError::Unavailable(_))));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing was asked");
    setup.server.switch(Line::Open);
    let deadline = Instant::now() + Duration::from_secs(10);
    while setup.store.check().await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(setup.store.length(key).await.unwrap(), Some(6));
}

#[tokio::test]
async fn absent_object_in_a_bucket_that_never_answered_is_unavailable() {
    let (server, scratch) = (bucket::Bucket::start(), tempfile::tempdir().unwrap());
    server.switch(Line::Refusing);
    let lost = S3Settings { bucket: "nowhere".to_owned(), ..settings(&server) };
    let store = BucketStore::open(lost.connect().unwrap(), scratch.path(), FreeDisk::Bytes(0)).await.unwrap();
    server.switch(Line::Open);
    let error = store.stat(MediaKey::of(b"x")).await.unwrap_err();
    assert!(matches!(error, MediaError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn old_photo_removed_while_published_again_exists_in_the_end() {
    let setup = setup().await;
    let key = setup.publish(b"old").await.unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    std::fs::File::open(setup.photo(b"old")).unwrap().set_modified(long_ago).unwrap();
    let staging = setup.store.begin();
    staging.stage(Bytes::from_static(b"old")).await.unwrap();
    let publishing = tokio::spawn(async move { staging.publish().await.map(drop) });
    // As a garbage collector does that read the age of the photo just before.
    tokio::time::sleep(Duration::from_millis(500)).await;
    setup.store.remove(&[key]).await.unwrap();
    publishing.await.unwrap().unwrap();
    assert_eq!(setup.store.length(key).await.unwrap(), Some(3));
}

#[tokio::test]
async fn object_has_content_type_and_cache_control() {
    let setup = setup().await;
    let key = setup.publish(b"described").await.unwrap();
    let object = setup.store.0.client.get(&path(key)).await.unwrap();
    let value = |attribute| object.attributes.get(&attribute).map(|value| String::from(value.as_ref()));
    assert_eq!(value(object_store::Attribute::ContentType).unwrap(), "image/jpeg");
    let forever = "public, max-age=31536000, immutable";
    assert_eq!(value(object_store::Attribute::CacheControl).unwrap(), forever);
}
