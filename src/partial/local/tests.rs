use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use futures_util::TryStreamExt;

use super::directories::UPLOADS;
use super::*;
use crate::media::{LocalStore, MediaStore};
use crate::model::MediaKey;
use crate::partial::conformance::{self, Row};

fn store(dir: &Path) -> LocalPartialStore {
    LocalPartialStore::new(dir, FreeDisk::Bytes(0))
}

fn file(dir: &Path, id: UploadId) -> PathBuf {
    let id = id.to_string();
    dir.join(UPLOADS).join(&id[..2]).join(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&store(dir.path())).await;
}

#[tokio::test]
async fn unacknowledged_bytes_are_cut_off_and_a_short_file_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut row = Row::new();
    assert_eq!(row.add(&store, 0, b"0123456789").await, 10);
    drop(row.append(&store, 6).await.unwrap());
    assert_eq!(fs::read(file(dir.path(), row.id)).unwrap(), b"012345");
    assert!(matches!(row.append(&store, 7).await.map(drop), Err(PartialError::Missing)));
    assert_eq!(fs::read(file(dir.path(), row.id)).unwrap(), b"012345", "a mistaken offset destroys nothing");
    let mut other = Row::new();
    assert!(matches!(other.append(&store, 1).await.map(drop), Err(PartialError::Missing)));
    assert!(!file(dir.path(), other.id).exists());
    assert_eq!(row.layout, "");
}

#[tokio::test]
async fn file_is_private_and_has_what_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut row = Row::new();
    let mut writer = row.append(&store, 0).await.unwrap();
    let path = file(dir.path(), row.id);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let length = || fs::metadata(&path).unwrap().len();
    for chunk in [3000, 2000, 10] {
        writer.write(Bytes::from(vec![1; chunk])).await.unwrap();
    }
    assert_eq!(length(), 4096, "whole steps are written at once");
    assert_eq!(writer.sync().await.unwrap(), 5010);
    assert_eq!(length(), 5010);
    // A client that sends a step in one piece is fast, and its steps are larger.
    for (chunk, written) in [(5000, 5010), (250_000, 5010), (5000, 256 * 1024)] {
        writer.write(Bytes::from(vec![1; chunk])).await.unwrap();
        assert_eq!(length(), written);
    }
    assert_eq!(writer.sync().await.unwrap(), 265_010);
    assert_eq!(length(), 265_010);
    assert!(std::mem::size_of::<FileWriter>() < 512);
}

#[tokio::test]
async fn full_disk_fails_each_step_as_full() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalPartialStore::new(dir.path(), FreeDisk::Bytes(u64::MAX));
    let mut row = Row::new();
    let refused = row.append(&store, 0).await.map(drop);
    assert!(matches!(refused, Err(PartialError::Full(_))), "{refused:?}");
    assert!(!file(dir.path(), row.id).exists());
    row.add(&self::store(dir.path()), 0, b"before").await;
    let mut writer = row.append(&store, 6).await.unwrap();
    writer.write(Bytes::from_static(b"pending")).await.unwrap();
    assert!(matches!(writer.sync().await, Err(PartialError::Full(_))));
    assert!(matches!(writer.sync().await, Err(PartialError::Io(_))), "the caller opens it again");
    let mut writer = {
        drop(writer);
        row.append(&store, 6).await.unwrap()
    };
    writer.write(Bytes::from(vec![0; 3000])).await.unwrap();
    assert!(matches!(writer.write(Bytes::from(vec![0; 3000])).await, Err(PartialError::Full(_))));
    assert_eq!(row.read(&store, 0, 6).await.unwrap(), b"before");
    store.remove(row.id, 1).await.unwrap();
}

#[tokio::test]
async fn next_writer_waits_for_writes_of_a_dropped_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut row = Row::new();
    row.add(&store, 0, b"one").await;
    // As a write on the blocking pool that goes on after its future was dropped.
    let busy = OpenOptions::new().write(true).open(file(dir.path(), row.id)).unwrap();
    busy.lock().unwrap();
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        busy.write_all_at(b"late", 3).unwrap();
    });
    assert_eq!(row.add(&store, 3, b"two").await, 6);
    late.join().unwrap();
    assert_eq!(fs::read(file(dir.path(), row.id)).unwrap(), b"onetwo");
}

#[tokio::test]
async fn dropped_call_that_opens_an_upload_late_cuts_off_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut row) = (store(dir.path()), Row::new());
    row.add(&store, 0, b"acknowledged").await;
    let caller = Arc::new(());
    let gone = Arc::downgrade(&caller);
    drop(caller);
    assert!(store.directories.open(row.id, 4, &gone).unwrap().is_none());
    assert_eq!(row.read(&store, 0, 12).await.unwrap(), b"acknowledged");
}

#[tokio::test(start_paused = true)]
async fn second_writer_beside_a_living_one_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut row = Row::new();
    let first = row.append(&store, 0).await.unwrap();
    assert!(matches!(row.append(&store, 0).await.map(drop), Err(PartialError::Unavailable(_))));
    drop(first);
    row.append(&store, 0).await.map(drop).unwrap();
}

#[tokio::test]
async fn removed_directory_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut row = Row::new();
    assert_eq!(store.page(None, 10).await.unwrap(), []);
    row.add(&store, 0, b"lost").await;
    fs::remove_dir_all(dir.path().join(UPLOADS)).unwrap();
    assert!(matches!(row.append(&store, 4).await.map(drop), Err(PartialError::Missing)));
    assert_eq!(row.add(&store, 0, b"again").await, 5);
    assert_eq!(store.page(None, 10).await.unwrap(), [row.id]);
}

#[tokio::test]
async fn photos_and_uploads_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let photos = LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap();
    let (store, mut row) = (store(dir.path()), Row::new());
    row.add(&store, 0, b"half a photo").await;
    fs::write(file(dir.path(), row.id).with_file_name("README"), "foreign").unwrap();
    let staging = photos.begin();
    let key = staging.stage(Bytes::from_static(b"photo")).await.unwrap();
    staging.publish().await.unwrap().commit().await;
    drop(staging);
    let listed = photos.list().try_concat().await.unwrap();
    assert_eq!(listed.iter().map(|photo| photo.key).collect::<Vec<MediaKey>>(), [key]);
    drop(photos);
    let photos = LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap();
    assert_eq!(photos.pending().await.unwrap(), []);
    assert_eq!(store.page(None, 10).await.unwrap(), [row.id]);
    assert_eq!(row.read(&store, 0, 12).await.unwrap(), b"half a photo");
}
