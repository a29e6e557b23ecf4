use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, mknod};

use super::directories::STAGING;
use super::quarantine::QUARANTINE;
use super::*;
use crate::media::{Publication, RenditionName, RenditionStore, conformance};

fn open(dir: &Path) -> LocalStore {
    LocalStore::open(dir, FreeDisk::Bytes(0)).unwrap()
}

async fn staged(store: &LocalStore, photos: &[&'static [u8]]) -> Box<dyn Staging> {
    let staging = store.begin();
    for bytes in photos {
        staging.stage(Bytes::from_static(bytes)).await.unwrap();
    }
    staging
}

async fn published(store: &LocalStore, photos: &[&'static [u8]]) -> Box<dyn Publication> {
    staged(store, photos).await.publish().await.unwrap()
}

/// Leaves a staged file, as a crash does.
fn leave_staged(store: &LocalStore, bytes: &[u8]) {
    let name = MediaName::from(MediaKey::of(bytes)).tagged("crash");
    fs::write(store.scratch_dir().join(name), bytes).unwrap();
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = [root.to_owned(), root.join(STAGING)]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn name(bytes: &[u8]) -> String {
    format!("{}.jpg", MediaKey::of(bytes))
}

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let damage = |key| conformance::flip_a_byte(&dir.path().join(format!("{key}.jpg")));
    conformance::run(&open(dir.path()), conformance::Users::One, damage).await;
    assert_eq!(names(dir.path()), Vec::<String>::new(), "the suite leaves nothing behind");
}

#[tokio::test]
async fn renditions_conform() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    conformance::renditions(&store).await;
    conformance::staged_renditions(&store, conformance::Users::One).await;
    let lose = |key| fs::remove_file(dir.path().join(format!("{key}.jpg"))).unwrap();
    conformance::stray_renditions_are_removed(&store, lose).await;
    assert_eq!(names(dir.path()), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == STAGING || name == QUARANTINE), "{left:?}");
}

#[tokio::test]
async fn rendition_that_a_loss_of_power_cut_off_is_absent_and_can_be_kept_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    published(&store, &[b"photo"]).await.commit().await;
    let name = RenditionName { key: MediaKey::of(b"photo"), side: 320 };
    let whole = Bytes::from_static(b"\xFF\xD8 copy \xFF\xD9");
    let path = dir.path().join(name.to_string());
    for cut in [0, 1, whole.len() - 1] {
        assert!(store.keep_rendition(name, whole.clone()).await.unwrap());
        assert!(store.find_rendition(name).await.unwrap().is_some());
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(store.find_rendition(name).await.unwrap().is_none(), "{cut}");
    }
    fs::write(&path, vec![0; whole.len()]).unwrap();
    assert!(store.open_rendition(name).await.unwrap().is_none());
}

#[tokio::test]
async fn foreign_files_in_the_place_of_renditions_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    published(&store, &[b"photo", b"other"]).await.commit().await;
    let [key, other] = [MediaKey::of(b"photo"), MediaKey::of(b"other")];
    let name = RenditionName { key, side: 320 };
    assert!(store.keep_rendition(name, Bytes::from_static(b"\xFF\xD9")).await.unwrap());
    fs::write(dir.path().join(format!("{key}/notes.txt")), "mine").unwrap();
    fs::write(dir.path().join(other.to_string()), "a file, not a directory").unwrap();
    store.remove(&[key, other]).await.unwrap();
    let left: Vec<_> = fs::read_dir(dir.path().join(key.to_string()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes.txt"]);
    assert!(dir.path().join(other.to_string()).is_file());
}

#[tokio::test]
async fn photos_that_a_crash_left_in_staging_are_pending_until_reconciled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // As after a crash: one photo is not published, two are.
    leave_staged(&store, b"half an upload");
    drop(published(&store, &[b"kept", b"lost"]).await);
    fs::write(store.scratch_dir().join("spilled"), b"?").unwrap();
    assert_eq!(names(dir.path()).len(), 6);
    assert!(LocalStore::open(dir.path(), FreeDisk::Bytes(0)).is_err(), "not while the store is open");
    drop(store);

    let store = open(dir.path());
    let mut pending = store.pending().await.unwrap();
    pending.sort();
    let mut expected = [MediaKey::of(b"half an upload"), MediaKey::of(b"kept"), MediaKey::of(b"lost")];
    expected.sort();
    assert_eq!(pending, expected);
    store.reconcile(MediaKey::of(b"kept"), true).await.unwrap();
    store.reconcile(MediaKey::of(b"lost"), false).await.unwrap();
    store.reconcile(MediaKey::of(b"half an upload"), false).await.unwrap();
    assert_eq!(names(dir.path()), [name(b"kept")]);
    assert_eq!(store.pending().await.unwrap(), []);
}

#[tokio::test]
async fn photo_that_existed_before_the_crash_is_never_removed_by_reconciling() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    published(&store, &[b"old"]).await.commit().await;
    leave_staged(&store, b"old");
    drop(store);
    let store = open(dir.path());
    store.reconcile(MediaKey::of(b"old"), false).await.unwrap();
    assert_eq!(names(dir.path()), [name(b"old")]);
}

#[tokio::test]
async fn short_file_is_replaced_by_the_next_upload() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fs::write(dir.path().join(name(b"photo")), b"pho").unwrap();
    let publication = published(&store, &[b"photo"]).await;
    assert_eq!(publication.created(), [], "it existed before");
    publication.commit().await;
    assert_eq!(fs::read(dir.path().join(name(b"photo"))).unwrap(), b"photo");
    assert_eq!(names(dir.path()), [name(b"photo")]);
}

#[tokio::test]
async fn publishing_an_existing_photo_renews_its_date() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = MediaKey::of(b"photo");
    published(&store, &[b"photo"]).await.commit().await;
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    File::open(store.path(key)).unwrap().set_modified(long_ago).unwrap();
    assert!(store.stat(key).await.unwrap().unwrap().modified.elapsed().unwrap().as_secs() > 900_000);
    published(&store, &[b"photo"]).await.commit().await;
    assert!(store.stat(key).await.unwrap().unwrap().modified.elapsed().unwrap().as_secs() < 600);
}

#[tokio::test]
async fn foreign_files_are_neither_listed_nor_touched() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let upper = name(b"x").to_uppercase();
    for foreign in ["README", "x.jpg", &upper, &name(b"y").replace(".jpg", ".jpeg")] {
        fs::write(dir.path().join(foreign), b"mine").unwrap();
    }
    fs::create_dir(dir.path().join(name(b"a directory"))).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join(name(b"a link"))).unwrap();
    let pages: Vec<Vec<Stored>> = futures_util::TryStreamExt::try_collect(store.list()).await.unwrap();
    assert!(pages.concat().is_empty());
}

/// For uploads (`verify`, `publish`) and for readers (`open`, `stat`), which must not wait for a writer of the pipe.
#[tokio::test]
async fn foreign_entry_under_the_name_of_a_photo_is_no_photo_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = MediaKey::of(b"photo");
    let path = store.path(key);
    // Not by `bind`, which takes paths of at most 107 bytes.
    let node = |kind| mknod(&path, kind, Mode::S_IRWXU, 0).unwrap();
    let pipe = || node(SFlag::S_IFIFO);
    let directory = || {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "mine").unwrap();
    };
    let socket = || node(SFlag::S_IFSOCK);
    let dangling = || std::os::unix::fs::symlink("nowhere", &path).unwrap();
    let circular = || std::os::unix::fs::symlink(&path, &path).unwrap();
    let makers: [&dyn Fn(); 5] = [&pipe, &directory, &socket, &dangling, &circular];
    for make in makers {
        make();
        let reading = async {
            assert!(store.open(key).await.unwrap().is_none());
            assert_eq!(store.verify(key).await.unwrap(), Integrity::Missing);
        };
        tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap();
        let publication = published(&store, &[b"photo"]).await;
        publication.commit().await;
        assert_eq!(fs::read(&path).unwrap(), b"photo");
        assert_eq!(names(dir.path()), [name(b"photo")]);
        fs::remove_file(&path).unwrap();
    }
    let aside = fs::read_dir(dir.path().join(QUARANTINE)).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(aside.join("inside")).unwrap(), b"mine", "a directory is kept");
}

#[tokio::test]
async fn removed_directories_are_created_and_locked_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("media");
    let store = open(&root);
    let key = MediaKey::of(b"photo");
    for removed in [root.join(STAGING), root.clone()] {
        fs::remove_dir_all(&removed).unwrap();
        let publication = published(&store, &[b"photo"]).await;
        publication.commit().await;
        assert_eq!(store.verify(key).await.unwrap(), Integrity::Whole);
        assert!(LocalStore::open(&root, FreeDisk::Bytes(0)).is_err(), "not while the store is open");
        fs::remove_dir_all(&removed).unwrap();
        store.check().await.unwrap();
        assert!(root.join(STAGING).is_dir());
    }
    // Another directory replaces the one that was opened.
    fs::rename(&root, dir.path().join("moved")).unwrap();
    fs::create_dir_all(root.join(STAGING)).unwrap();
    store.check().await.unwrap();
    assert!(LocalStore::open(&root, FreeDisk::Bytes(0)).is_err(), "the new one is locked, too");
    // A directory that cannot be created again is an error until it can.
    fs::remove_dir_all(&root).unwrap();
    fs::write(&root, "a file").unwrap();
    assert!(store.check().await.is_err());
    assert!(store.begin().stage(Bytes::from_static(b"photo")).await.is_err());
    fs::remove_file(&root).unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn little_free_space_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let check = |floor| LocalStore::open(dir.path(), FreeDisk::Bytes(floor)).unwrap();
    assert!(matches!(check(u64::MAX).check().await, Err(MediaError::Full(_))));
    check(0).check().await.unwrap();
}

#[tokio::test]
async fn store_opened_for_reading_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(LocalStore::open_for_reading(&dir.path().join("none")).is_err());
    let master = open(dir.path());
    let _publication = published(&master, &[b"photo"]).await;
    let before = names(dir.path());
    let reader = LocalStore::open_for_reading(dir.path()).unwrap();
    let key = MediaKey::of(b"photo");
    assert_eq!(reader.length(key).await.unwrap(), Some(5));
    assert_eq!(reader.pending().await.unwrap(), [], "pending photos belong to the process that writes");
    assert!(reader.begin().stage(Bytes::from_static(b"another")).await.is_err());
    assert!(reader.begin().publish().await.is_err());
    assert!(reader.remove(&[key]).await.is_err());
    assert!(reader.remove_older(key, SystemTime::now() + Duration::from_secs(60)).await.is_err());
    assert!(reader.quarantine(key).await.is_err());
    assert_eq!(names(dir.path()), before);
}

#[tokio::test]
async fn store_opened_for_removal_removes_photos_and_does_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let master = open(dir.path());
    published(&master, &[b"photo"]).await.commit().await;
    let remover = LocalStore::open_for_removal(dir.path()).unwrap();
    let key = MediaKey::of(b"photo");
    assert!(remover.begin().stage(Bytes::from_static(b"another")).await.is_err());
    assert!(remover.quarantine(key).await.is_err());
    assert_eq!(remover.length(key).await.unwrap(), Some(5));
    remover.remove(&[key]).await.unwrap();
    assert_eq!(master.length(key).await.unwrap(), None);
    published(&master, &[b"photo"]).await.commit().await;
    assert_eq!(remover.length(key).await.unwrap(), Some(5));
}
