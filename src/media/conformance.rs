//! What every media store must do. Runs against an empty store and leaves it empty.
//!
//! Stores differ in one point: a store that is shared cannot know which photos it created, and removes none on rollback.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::{Integrity, MediaStore, Staged, Stored};
use crate::model::MediaKey;

/// Whose photos a store holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// This process's alone.
    One,
    /// Those of others too.
    Many,
}

impl Users {
    /// What a store of theirs calls created, of what is new.
    fn created(self, new: &[MediaKey]) -> Vec<MediaKey> {
        if self == Self::One { new.to_vec() } else { Vec::new() }
    }
}

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

/// As a medium does it: the length and the date stay.
pub(super) fn flip_a_byte(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let modified = std::fs::metadata(file).unwrap().modified().unwrap();
    std::fs::write(file, bytes).unwrap();
    std::fs::File::open(file).unwrap().set_modified(modified).unwrap();
}

/// Publishes for good, and names what is new.
async fn publish(store: &dyn MediaStore, batch: Vec<Box<dyn Staged>>) -> Vec<MediaKey> {
    let published = store.publish(batch).await.unwrap();
    let created = published.created().to_vec();
    assert!(created.iter().all(|key| published.keys().contains(key)));
    published.commit().await;
    created
}

async fn list(store: &dyn MediaStore) -> Vec<Stored> {
    let pages: Vec<Vec<Stored>> = store.list().try_collect().await.unwrap();
    let mut all = pages.concat();
    all.sort_by_key(|stored| stored.key);
    all
}

/// `damage` changes one byte of a stored photo past the store's back.
pub(super) async fn run(store: &dyn MediaStore, users: Users, damage: impl Fn(MediaKey)) {
    store.check().await.unwrap();
    staged_bytes_are_invisible_until_published_and_gone_when_dropped(store).await;
    published_bytes_are_read_back_whole_and_in_ranges(store, users).await;
    publishing_is_idempotent_and_names_what_is_new(store, users).await;
    an_open_object_outlives_its_name(store).await;
    what_is_published_alone_is_told_of(store).await;
    rollback_removes_created_photos_and_keeps_older_ones(store, users).await;
    only_old_photos_are_removed_as_old(store).await;
    the_list_names_every_photo_once(store).await;
    what_is_quarantined_is_out_of_sight(store).await;
    damaged_photo_is_found_by_its_hash_and_healed_by_publishing(store, damage).await;
    assert_eq!(store.pending().await.unwrap(), [], "of this process");
}

async fn staged_bytes_are_invisible_until_published_and_gone_when_dropped(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"never published");
    let staged = store.stage(bytes.clone()).await.unwrap();
    assert_eq!(staged.key(), MediaKey::of(&bytes));
    assert!(store.open(staged.key()).await.unwrap().is_none());
    drop(staged);
    assert!(store.open(MediaKey::of(&bytes)).await.unwrap().is_none());
}

async fn published_bytes_are_read_back_whole_and_in_ranges(store: &dyn MediaStore, users: Users) {
    let bytes: Bytes = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let staged = store.stage(bytes.clone()).await.unwrap();
    let key = staged.key();
    assert_eq!(publish(store, vec![staged]).await, users.created(&[key]));
    assert_eq!(read(store, key, None).await.unwrap(), bytes);
    assert_eq!(read(store, key, Some(0..1)).await.unwrap(), bytes[..1]);
    assert_eq!(read(store, key, Some(65_535..131_073)).await.unwrap(), bytes[65_535..131_073]);
    assert_eq!(read(store, key, Some(799_999..800_000)).await.unwrap(), bytes[799_999..]);
    store.remove(&[key]).await.unwrap();
    assert!(read(store, key, None).await.is_none());
}

async fn publishing_is_idempotent_and_names_what_is_new(store: &dyn MediaStore, users: Users) {
    let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let (key_a, key_b) = (MediaKey::of(&a), MediaKey::of(&b));
    let twice = vec![store.stage(a.clone()).await.unwrap(), store.stage(a.clone()).await.unwrap()];
    assert_eq!(publish(store, twice).await, users.created(&[key_a]));
    let mixed = vec![store.stage(a.clone()).await.unwrap(), store.stage(b.clone()).await.unwrap()];
    assert_eq!(publish(store, mixed).await, users.created(&[key_b]));
    assert_eq!(read(store, key_a, None).await.unwrap(), a);
    store.remove(&[key_a, key_b, key_a, MediaKey::of(b"never there")]).await.unwrap();
    assert!(read(store, key_a, None).await.is_none());
    assert!(publish(store, Vec::new()).await.is_empty());
}

async fn an_open_object_outlives_its_name(store: &dyn MediaStore) {
    let staged = store.stage(Bytes::from_static(b"still read")).await.unwrap();
    let key = staged.key();
    publish(store, vec![staged]).await;
    let object = store.open(key).await.unwrap().unwrap();
    assert!(!object.is_empty());
    store.remove(&[key]).await.unwrap();
    let pieces: Vec<Bytes> = object.read(0..10).try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"still read");
}

async fn what_is_published_alone_is_told_of(store: &dyn MediaStore) {
    let staged = store.stage(Bytes::from_static(b"eleven more")).await.unwrap();
    let key = staged.key();
    assert_eq!(store.length(key).await.unwrap(), None, "staged is not published");
    publish(store, vec![staged]).await;
    assert_eq!(store.length(key).await.unwrap(), Some(11));
    let told = store.stat(key).await.unwrap().unwrap();
    assert_eq!((told.key, told.length), (key, 11));
    assert!(told.modified.elapsed().unwrap_or_default() < Duration::from_secs(600));
    store.remove(&[key]).await.unwrap();
    assert_eq!(store.stat(key).await.unwrap(), None);
}

async fn rollback_removes_created_photos_and_keeps_older_ones(store: &dyn MediaStore, users: Users) {
    let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
    publish(store, vec![store.stage(old.clone()).await.unwrap()]).await;
    let both = vec![store.stage(old.clone()).await.unwrap(), store.stage(new.clone()).await.unwrap()];
    let published = store.publish(both).await.unwrap();
    assert_eq!(read(store, MediaKey::of(&new), None).await.unwrap(), new, "it is visible before the commit");
    published.rollback().await.unwrap();
    assert_eq!(read(store, MediaKey::of(&old), None).await.unwrap(), old);
    assert_eq!(read(store, MediaKey::of(&new), None).await.is_none(), users == Users::One);
    // A photo that is not pending does not change.
    store.reconcile(MediaKey::of(&old), false).await.unwrap();
    assert!(read(store, MediaKey::of(&old), None).await.is_some());
    store.remove(&[MediaKey::of(&old), MediaKey::of(&new)]).await.unwrap();
}

async fn only_old_photos_are_removed_as_old(store: &dyn MediaStore) {
    let key = MediaKey::of(b"young");
    publish(store, vec![store.stage(Bytes::from_static(b"young")).await.unwrap()]).await;
    let hour = Duration::from_secs(3600);
    assert_eq!(store.remove_older(key, SystemTime::now() - hour).await.unwrap(), None);
    assert!(store.stat(key).await.unwrap().is_some());
    assert_eq!(store.remove_older(key, SystemTime::now() + hour).await.unwrap(), Some(5));
    assert_eq!(store.remove_older(key, SystemTime::now() + hour).await.unwrap(), None, "it is gone");
    assert!(store.stat(key).await.unwrap().is_none());
}

async fn the_list_names_every_photo_once(store: &dyn MediaStore) {
    assert_eq!(list(store).await, []);
    let mut expected = Vec::new();
    for n in 0..600u32 {
        let staged = store.stage(Bytes::copy_from_slice(&n.to_le_bytes())).await.unwrap();
        let key = staged.key();
        publish(store, vec![staged]).await;
        expected.push(store.stat(key).await.unwrap().unwrap());
    }
    let staged = store.stage(Bytes::from_static(b"not published")).await.unwrap();
    expected.sort_by_key(|stored| stored.key);
    assert_eq!(list(store).await, expected);
    drop(staged);
    store.remove(&expected.iter().map(|stored| stored.key).collect::<Vec<_>>()).await.unwrap();
}

async fn damaged_photo_is_found_by_its_hash_and_healed_by_publishing(
    store: &dyn MediaStore,
    damage: impl Fn(MediaKey),
) {
    let bytes = Bytes::from(vec![7; 150_000]);
    let key = MediaKey::of(&bytes);
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Missing);
    let staged = store.stage(bytes.clone()).await.unwrap();
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Missing, "staged is not published");
    publish(store, vec![staged]).await;
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
    damage(key);
    assert_eq!(store.length(key).await.unwrap(), Some(150_000), "no length tells");
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Damaged);
    let staged = store.stage(bytes.clone()).await.unwrap();
    assert_eq!(publish(store, vec![staged]).await, [], "a healed photo is not a new one");
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
    assert_eq!(read(store, key, None).await.unwrap(), bytes);
    store.remove(&[key]).await.unwrap();
}

async fn what_is_quarantined_is_out_of_sight(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"suspicious");
    let key = MediaKey::of(&bytes);
    assert_eq!(store.quarantine(key).await.unwrap(), None);
    let mut places = Vec::new();
    for _ in 0..2 {
        let staged = store.stage(bytes.clone()).await.unwrap();
        publish(store, vec![staged]).await;
        places.push(store.quarantine(key).await.unwrap().unwrap());
        assert!(store.stat(key).await.unwrap().is_none());
        assert!(store.list().try_concat().await.unwrap().is_empty());
    }
    assert_ne!(places[0], places[1], "what is there already stays");
}
