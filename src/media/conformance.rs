//! What every media store must do. Runs against an empty store and leaves it empty.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::MediaStore;
use crate::model::MediaKey;

async fn read(store: &dyn MediaStore, key: MediaKey, range: Option<std::ops::Range<u64>>) -> Option<Bytes> {
    let object = store.open(key).await.unwrap()?;
    let range = range.unwrap_or(0..object.len());
    let pieces: Vec<Bytes> = object.read(range).try_collect().await.unwrap();
    Some(
        pieces
            .iter()
            .fold(BytesMut::new(), |mut all, piece| {
                all.extend_from_slice(piece);
                all
            })
            .freeze(),
    )
}

pub(super) async fn run(store: &dyn MediaStore) {
    store.check().await.unwrap();
    staged_bytes_are_invisible_until_published_and_gone_when_dropped(store).await;
    published_bytes_are_read_back_whole_and_in_ranges(store).await;
    publishing_is_idempotent_and_names_what_is_new(store).await;
    an_open_object_outlives_its_name(store).await;
    a_length_is_told_of_what_is_published_alone(store).await;
}

async fn staged_bytes_are_invisible_until_published_and_gone_when_dropped(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"never published");
    let staged = store.stage(bytes.clone()).await.unwrap();
    assert_eq!(staged.key(), MediaKey::of(&bytes));
    assert!(store.open(staged.key()).await.unwrap().is_none());
    drop(staged);
    assert!(store.open(MediaKey::of(&bytes)).await.unwrap().is_none());
}

async fn published_bytes_are_read_back_whole_and_in_ranges(store: &dyn MediaStore) {
    let bytes: Bytes = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let staged = store.stage(bytes.clone()).await.unwrap();
    let key = staged.key();
    assert_eq!(store.publish(vec![staged]).await.unwrap(), [key]);
    assert_eq!(read(store, key, None).await.unwrap(), bytes);
    assert_eq!(read(store, key, Some(0..1)).await.unwrap(), bytes[..1]);
    assert_eq!(read(store, key, Some(65_535..131_073)).await.unwrap(), bytes[65_535..131_073]);
    assert_eq!(read(store, key, Some(799_999..800_000)).await.unwrap(), bytes[799_999..]);
    store.remove(&[key]).await.unwrap();
    assert!(read(store, key, None).await.is_none());
}

async fn publishing_is_idempotent_and_names_what_is_new(store: &dyn MediaStore) {
    let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let (key_a, key_b) = (MediaKey::of(&a), MediaKey::of(&b));
    let twice = vec![store.stage(a.clone()).await.unwrap(), store.stage(a.clone()).await.unwrap()];
    assert_eq!(store.publish(twice).await.unwrap(), [key_a]);
    let mixed = vec![store.stage(a.clone()).await.unwrap(), store.stage(b.clone()).await.unwrap()];
    assert_eq!(store.publish(mixed).await.unwrap(), [key_b]);
    assert_eq!(read(store, key_a, None).await.unwrap(), a);
    store.remove(&[key_a, key_b, key_a, MediaKey::of(b"never there")]).await.unwrap();
    assert!(read(store, key_a, None).await.is_none());
    assert!(store.publish(Vec::new()).await.unwrap().is_empty());
}

async fn an_open_object_outlives_its_name(store: &dyn MediaStore) {
    let staged = store.stage(Bytes::from_static(b"still read")).await.unwrap();
    let key = staged.key();
    store.publish(vec![staged]).await.unwrap();
    let object = store.open(key).await.unwrap().unwrap();
    assert!(!object.is_empty());
    store.remove(&[key]).await.unwrap();
    let pieces: Vec<Bytes> = object.read(0..10).try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"still read");
}

async fn a_length_is_told_of_what_is_published_alone(store: &dyn MediaStore) {
    let staged = store.stage(Bytes::from_static(b"eleven more")).await.unwrap();
    let key = staged.key();
    assert_eq!(store.length(key).await.unwrap(), None, "staged is not published");
    store.publish(vec![staged]).await.unwrap();
    assert_eq!(store.length(key).await.unwrap(), Some(11));
    store.remove(&[key]).await.unwrap();
    assert_eq!(store.length(key).await.unwrap(), None);
}
