//! What every media store must do. Runs against an empty store and leaves it empty.
//!
//! Stores differ in one point: a store that is shared cannot know which photos it created, and removes none on rollback.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::{Integrity, ListPage, MediaStore, RenditionName, RenditionStore, Staging, Stored};
use crate::model::MediaKey;

/// Who uses a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// This process alone.
    One,
    /// Other processes too.
    Many,
}

impl Users {
    /// Returns those of the new photos that such a store reports as created.
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

/// Changes one byte as a failing disk does: length and date stay.
pub(super) fn flip_a_byte(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let modified = std::fs::metadata(file).unwrap().modified().unwrap();
    std::fs::write(file, bytes).unwrap();
    std::fs::File::open(file).unwrap().set_modified(modified).unwrap();
}

async fn stage(store: &dyn MediaStore, photos: &[&Bytes]) -> Box<dyn Staging> {
    let staging = store.begin();
    for bytes in photos {
        assert_eq!(staging.stage(Bytes::clone(bytes)).await.unwrap(), MediaKey::of(bytes));
    }
    staging
}

/// Publishes and commits photos, and returns those that are new.
async fn publish(store: &dyn MediaStore, photos: &[&Bytes]) -> Vec<MediaKey> {
    let published = stage(store, photos).await.publish().await.unwrap();
    let created = published.created().to_vec();
    published.commit().await;
    created
}

async fn list(store: &dyn MediaStore) -> Vec<Stored> {
    let pages: Vec<Vec<Stored>> = store.list().try_collect().await.unwrap();
    let mut all = pages.concat();
    all.sort_by_key(|stored| stored.key);
    all
}

async fn list_by_key(store: &dyn MediaStore, after: Option<MediaKey>) -> Vec<ListPage> {
    store.list_by_key(after).try_collect().await.unwrap()
}

/// `damage` changes one byte of a stored photo without the store.
pub(super) async fn run(store: &dyn MediaStore, users: Users, damage: impl Fn(MediaKey)) {
    store.check().await.unwrap();
    staged_bytes_are_invisible_until_published_and_gone_when_dropped(store).await;
    published_bytes_are_read_back_whole_and_in_ranges(store, users).await;
    publishing_twice_creates_once(store, users).await;
    open_object_can_be_read_after_its_photo_is_removed(store).await;
    only_published_photos_have_a_length_and_a_date(store).await;
    rollback_removes_created_photos_and_keeps_older_ones(store, users).await;
    remove_older_removes_only_older_photos(store).await;
    list_has_every_photo_once(store).await;
    quarantined_photo_is_neither_found_nor_listed(store).await;
    damaged_photo_is_found_by_its_hash_and_healed_by_publishing(store, damage).await;
    assert_eq!(store.pending().await.unwrap(), [], "of this process");
}

async fn staged_bytes_are_invisible_until_published_and_gone_when_dropped(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"never published");
    let staging = stage(store, &[&bytes]).await;
    assert!(store.open(MediaKey::of(&bytes)).await.unwrap().is_none());
    drop(staging);
    assert!(store.open(MediaKey::of(&bytes)).await.unwrap().is_none());
}

async fn published_bytes_are_read_back_whole_and_in_ranges(store: &dyn MediaStore, users: Users) {
    let bytes: Bytes = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let key = MediaKey::of(&bytes);
    assert_eq!(publish(store, &[&bytes]).await, users.created(&[key]));
    assert_eq!(read(store, key, None).await.unwrap(), bytes);
    assert_eq!(read(store, key, Some(0..1)).await.unwrap(), bytes[..1]);
    assert_eq!(read(store, key, Some(65_535..131_073)).await.unwrap(), bytes[65_535..131_073]);
    assert_eq!(read(store, key, Some(799_999..800_000)).await.unwrap(), bytes[799_999..]);
    store.remove(&[key]).await.unwrap();
    assert!(read(store, key, None).await.is_none());
}

async fn publishing_twice_creates_once(store: &dyn MediaStore, users: Users) {
    let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let (key_a, key_b) = (MediaKey::of(&a), MediaKey::of(&b));
    assert_eq!(publish(store, &[&a, &a]).await, users.created(&[key_a]));
    assert_eq!(publish(store, &[&a, &b]).await, users.created(&[key_b]));
    assert_eq!(read(store, key_a, None).await.unwrap(), a);
    store.remove(&[key_a, key_b, key_a, MediaKey::of(b"never there")]).await.unwrap();
    assert!(read(store, key_a, None).await.is_none());
    assert!(publish(store, &[]).await.is_empty());
}

async fn open_object_can_be_read_after_its_photo_is_removed(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"still read");
    let key = MediaKey::of(&bytes);
    publish(store, &[&bytes]).await;
    let object = store.open(key).await.unwrap().unwrap();
    store.remove(&[key]).await.unwrap();
    let pieces: Vec<Bytes> = object.read(0..10).try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"still read");
}

async fn only_published_photos_have_a_length_and_a_date(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"eleven more");
    let key = MediaKey::of(&bytes);
    let staging = stage(store, &[&bytes]).await;
    assert_eq!(store.length(key).await.unwrap(), None, "staged is not published");
    staging.publish().await.unwrap().commit().await;
    assert_eq!(store.length(key).await.unwrap(), Some(11));
    let stored = store.stat(key).await.unwrap().unwrap();
    assert_eq!((stored.key, stored.length), (key, 11));
    assert!(stored.modified.elapsed().unwrap_or_default() < Duration::from_secs(600));
    store.remove(&[key]).await.unwrap();
    assert_eq!(store.stat(key).await.unwrap(), None);
}

async fn rollback_removes_created_photos_and_keeps_older_ones(store: &dyn MediaStore, users: Users) {
    let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
    publish(store, &[&old]).await;
    let published = stage(store, &[&old, &new]).await.publish().await.unwrap();
    assert_eq!(read(store, MediaKey::of(&new), None).await.unwrap(), new, "it is visible before the commit");
    published.rollback().await.unwrap();
    assert_eq!(read(store, MediaKey::of(&old), None).await.unwrap(), old);
    assert_eq!(read(store, MediaKey::of(&new), None).await.is_none(), users == Users::One);
    // A photo that is not pending does not change.
    store.reconcile(MediaKey::of(&old), false).await.unwrap();
    assert!(read(store, MediaKey::of(&old), None).await.is_some());
    store.remove(&[MediaKey::of(&old), MediaKey::of(&new)]).await.unwrap();
}

async fn remove_older_removes_only_older_photos(store: &dyn MediaStore) {
    let key = MediaKey::of(b"young");
    publish(store, &[&Bytes::from_static(b"young")]).await;
    let hour = Duration::from_secs(3600);
    assert_eq!(store.remove_older(key, SystemTime::now() - hour).await.unwrap(), None);
    assert!(store.stat(key).await.unwrap().is_some());
    assert_eq!(store.remove_older(key, SystemTime::now() + hour).await.unwrap(), Some(5));
    assert_eq!(store.remove_older(key, SystemTime::now() + hour).await.unwrap(), None, "it is gone");
    assert!(store.stat(key).await.unwrap().is_none());
}

async fn list_has_every_photo_once(store: &dyn MediaStore) {
    assert_eq!(list(store).await, []);
    let mut expected = Vec::new();
    for n in 0..600u32 {
        let bytes = Bytes::copy_from_slice(&n.to_le_bytes());
        publish(store, &[&bytes]).await;
        expected.push(store.stat(MediaKey::of(&bytes)).await.unwrap().unwrap());
    }
    let staging = stage(store, &[&Bytes::from_static(b"not published")]).await;
    expected.sort_by_key(|stored| stored.key);
    assert_eq!(list(store).await, expected);
    for after in [None, Some(0), Some(1), Some(298), Some(598), Some(599)] {
        let pages = list_by_key(store, after.map(|at: usize| expected[at].key)).await;
        let photos: Vec<Stored> = pages.iter().flat_map(|page| page.photos.clone()).collect();
        assert_eq!(photos, expected[after.map_or(0, |at| at + 1)..]);
        for (at, page) in pages.iter().enumerate() {
            assert!(page.photos.len() <= 1000 && page.strays.is_empty());
            assert_eq!(page.is_end, at + 1 == pages.len());
            assert!(page.photos.iter().all(|photo| Some(photo.key) <= page.last));
            let later = pages[at + 1..].iter().flat_map(|page| &page.photos).next();
            assert!(later.is_none_or(|photo| Some(photo.key) > page.last));
        }
    }
    drop(staging);
    store.remove(&expected.iter().map(|stored| stored.key).collect::<Vec<_>>()).await.unwrap();
}

async fn damaged_photo_is_found_by_its_hash_and_healed_by_publishing(
    store: &dyn MediaStore,
    damage: impl Fn(MediaKey),
) {
    let bytes = Bytes::from(vec![7; 150_000]);
    let key = MediaKey::of(&bytes);
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Missing);
    let staging = stage(store, &[&bytes]).await;
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Missing, "staged is not published");
    staging.publish().await.unwrap().commit().await;
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
    damage(key);
    assert_eq!(store.length(key).await.unwrap(), Some(150_000), "no length tells");
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Damaged);
    assert_eq!(publish(store, &[&bytes]).await, [], "a healed photo is not a new one");
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
    assert_eq!(read(store, key, None).await.unwrap(), bytes);
    store.remove(&[key]).await.unwrap();
}

async fn quarantined_photo_is_neither_found_nor_listed(store: &dyn MediaStore) {
    let bytes = Bytes::from_static(b"suspicious");
    let key = MediaKey::of(&bytes);
    assert_eq!(store.quarantine(key).await.unwrap(), None);
    let mut places = Vec::new();
    for _ in 0..2 {
        publish(store, &[&bytes]).await;
        places.push(store.quarantine(key).await.unwrap().unwrap());
        assert!(store.stat(key).await.unwrap().is_none());
        assert!(store.list().try_concat().await.unwrap().is_empty());
    }
    assert_ne!(places[0], places[1], "what is there already stays");
}

async fn read_rendition(store: &dyn RenditionStore, name: RenditionName) -> Option<Bytes> {
    let open = store.open_rendition(name).await.unwrap()?;
    let found = store.find_rendition(name).await.unwrap().unwrap();
    assert_eq!((open.object.len(), &open.stored), (found.length, &found));
    let pieces: Vec<Bytes> = open.object.read(0..found.length).try_collect().await.unwrap();
    Some(pieces.concat().into())
}

/// What every store of renditions must do. Leaves the store as it was.
pub(super) async fn renditions<S: MediaStore + RenditionStore>(store: &S) {
    let photo = Bytes::from_static(b"a photo with renditions");
    let key = MediaKey::of(&photo);
    let [small, large] = [320, 640].map(|side| RenditionName { key, side });
    // A JPEG ends with the marker EOI.
    let jpeg = |content: &[u8]| Bytes::from([content, b"\xFF\xD9"].concat());
    assert!(!store.keep_rendition(small, jpeg(b"early")).await.unwrap(), "there is no photo");
    assert_eq!(read_rendition(store, small).await, None);
    publish(store, &[&photo]).await;
    assert_eq!(read_rendition(store, small).await, None);
    assert!(store.keep_rendition(small, jpeg(b"small")).await.unwrap());
    assert!(store.keep_rendition(large, jpeg(b"large")).await.unwrap());
    assert_eq!(read_rendition(store, small).await, Some(jpeg(b"small")));
    let version = store.find_rendition(small).await.unwrap().unwrap().version;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    assert!(!version.is_empty() && version.chars().all(is_plain), "{version}");
    assert!(store.keep_rendition(small, jpeg(b"anew!")).await.unwrap());
    assert_eq!(read_rendition(store, small).await, Some(jpeg(b"anew!")));
    assert_ne!(store.find_rendition(small).await.unwrap().unwrap().version, version);
    let listed: Vec<MediaKey> = list(store).await.iter().map(|stored| stored.key).collect();
    assert_eq!(listed, [key], "a rendition is no photo");
    assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
    assert_eq!(strays(store).await, 0);
    let soon = SystemTime::now() + Duration::from_secs(3600);
    store.remove(&[key]).await.unwrap();
    assert_eq!(read_rendition(store, small).await, None, "it is removed with the photo");
    publish(store, &[&photo]).await;
    assert_eq!(read_rendition(store, small).await, None, "it does not come back");
    assert!(store.keep_rendition(small, jpeg(b"small")).await.unwrap());
    assert_eq!(store.remove_older(key, soon).await.unwrap(), Some(photo.len() as u64));
    publish(store, &[&photo]).await;
    assert_eq!(read_rendition(store, small).await, None, "the collector removes it with the photo");
    assert!(store.keep_rendition(small, jpeg(b"small")).await.unwrap());
    store.quarantine(key).await.unwrap().unwrap();
    publish(store, &[&photo]).await;
    assert_eq!(read_rendition(store, small).await, None, "it is not kept for a damaged photo");
    store.remove(&[key]).await.unwrap();
}

/// What every store must do with renditions that are staged with photos. Leaves the store as it was.
pub(super) async fn staged_renditions<S: MediaStore + RenditionStore>(store: &S, users: Users) {
    let (photo, other) = (Bytes::from_static(b"a photo with copies"), Bytes::from_static(b"another photo"));
    let keys = [&photo, &other].map(|bytes| MediaKey::of(bytes));
    let name = |at: usize, side| RenditionName { key: keys[at], side };
    let jpeg = |content: &[u8]| Bytes::from([content, b"\xFF\xD9"].concat());
    let staged = async || {
        let staging = stage(store, &[&photo, &other]).await;
        staging.stage_renditions(keys[0], vec![(640, jpeg(b"large")), (320, jpeg(b"small"))]).await.unwrap();
        staging.stage_renditions(keys[1], vec![(320, jpeg(b"other"))]).await.unwrap();
        staging
    };
    let staging = staged().await;
    assert_eq!(read_rendition(store, name(0, 320)).await, None, "staged is not published");
    drop(staging);
    let staging = staged().await;
    let published = staging.publish().await.unwrap();
    assert_eq!(read_rendition(store, name(0, 320)).await, None, "only the photos are published");
    let renditions = staging.publish_renditions().await;
    assert_eq!((renditions.stored, renditions.lost, renditions.error.is_some()), (3, 0, false));
    assert_eq!(read_rendition(store, name(0, 640)).await, Some(jpeg(b"large")));
    assert_eq!(read_rendition(store, name(0, 320)).await, Some(jpeg(b"small")));
    assert_eq!(read_rendition(store, name(1, 320)).await, Some(jpeg(b"other")));
    assert_eq!(staging.publish_renditions().await.stored, 0, "nothing is staged any more");
    published.rollback().await.unwrap();
    let is_there = read_rendition(store, name(1, 320)).await.is_some();
    assert_eq!(is_there, users == Users::Many, "it is removed with the photo");
    assert_eq!(strays(store).await, 0);
    let staging = staged().await;
    let published = staging.publish().await.unwrap();
    assert_eq!(staging.publish_renditions().await.stored, 3);
    published.commit().await;
    assert_eq!(read_rendition(store, name(0, 320)).await, Some(jpeg(b"small")));
    store.remove(&keys).await.unwrap();
    assert_eq!(read_rendition(store, name(0, 320)).await, None);
}

/// `lose` removes the file of a photo without the store.
pub(super) async fn stray_renditions_are_removed<S: MediaStore + RenditionStore>(
    store: &S,
    lose: impl Fn(MediaKey),
) {
    let photos = [Bytes::from_static(b"stays"), Bytes::from_static(b"is lost")];
    publish(store, &[&photos[0], &photos[1]]).await;
    let names = photos.each_ref().map(|photo| RenditionName { key: MediaKey::of(photo), side: 320 });
    for name in names {
        assert!(store.keep_rendition(name, Bytes::from_static(b"\xFF\xD8\xFF\xD9")).await.unwrap());
    }
    lose(names[1].key);
    assert_eq!(store.remove_strays(names[0].key).await.unwrap(), 0, "its photo is there");
    assert_eq!(strays(store).await, 1);
    assert!(store.open_rendition(names[0]).await.unwrap().is_some());
    assert!(store.open_rendition(names[1]).await.unwrap().is_none());
    assert_eq!(strays(store).await, 0);
    store.remove(&[names[0].key]).await.unwrap();
}

/// Removes the renditions whose photos are gone, and returns how many.
async fn strays<S: MediaStore + RenditionStore>(store: &S) -> u64 {
    let mut removed = 0;
    for key in list_by_key(store, None).await.into_iter().flat_map(|page| page.strays) {
        removed += store.remove_strays(key).await.unwrap();
    }
    removed
}
