//! Photos on a local disk: `<root>/<sha256>.jpg`.
//!
//! Bytes are written to `<root>/.staging`, synced, and renamed within the one file system; the directory is synced before
//! anything is acknowledged. A crash leaves files in `.staging`, which the next start removes, and photos whose draft was not
//! committed any more, to which nothing refers.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tempfile::TempPath;
use uuid::Uuid;

use super::{MediaError, MediaObject, MediaStore, Staged};
use crate::disk::{self, FreeDisk};
use crate::model::MediaKey;

const STAGING: &str = ".staging";
const READ_CHUNK: u64 = 64 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<Path>,
    min_free: FreeDisk,
    _lock: Arc<File>,
}

impl LocalStore {
    /// Opens the store under `root`, creates its directories and clears what a crash left in staging.
    ///
    /// Below `min_free` [`check`](MediaStore::check) reports full.
    ///
    /// # Errors
    /// The directories cannot be made or written.
    pub fn open(root: &Path, min_free: FreeDisk) -> io::Result<Self> {
        let staging = root.join(STAGING);
        disk::create_dir(&staging)?;
        // Held as long as the store: another process must not clear what this one has staged.
        let lock = File::open(&staging)?;
        lock.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
        for leftover in fs::read_dir(&staging)? {
            fs::remove_file(leftover?.path())?;
        }
        disk::sync_dir(root)?;
        Ok(Self { root: root.into(), min_free, _lock: Arc::new(lock) })
    }

    /// The directory for files that must never be seen, on the same disk as the photos.
    pub fn scratch_dir(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    fn path(&self, key: MediaKey) -> PathBuf {
        self.root.join(format!("{key}.jpg"))
    }
}

struct StagedFile {
    key: MediaKey,
    length: u64,
    /// Deletes the file when dropped.
    path: TempPath,
}

impl Staged for StagedFile {
    fn key(&self) -> MediaKey {
        self.key
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

struct OpenFile {
    file: Arc<File>,
    length: u64,
}

impl MediaObject for OpenFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold((self.file, range), |(file, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let length =
                usize::try_from((range.end - range.start).min(READ_CHUNK)).map_err(io::Error::other)?;
            let start = range.start;
            let reader = Arc::clone(&file);
            let chunk = blocking(move || {
                let mut chunk = vec![0; length];
                reader.read_exact_at(&mut chunk, start)?;
                Ok(Bytes::from(chunk))
            })
            .await?;
            let rest = range.start + chunk.len() as u64..range.end;
            Ok(Some((chunk, (file, rest))))
        })
        .boxed()
    }
}

#[async_trait]
impl MediaStore for LocalStore {
    async fn stage(&self, bytes: Bytes) -> Result<Box<dyn Staged>, MediaError> {
        let staging = self.scratch_dir();
        let staged = blocking(move || {
            // tempfile's own naming would hide why the system refuses.
            let path = TempPath::try_from_path(staging.join(format!("{}.jpg", Uuid::now_v7())))?;
            let mut file = File::create_new(&path)?;
            file.write_all(&bytes)?;
            // Readable by a web server in front, as the other files of a media root are.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.set_permissions(mode)?;
            file.sync_all()?;
            Ok(StagedFile { key: MediaKey::of(&bytes), length: bytes.len() as u64, path })
        })
        .await?;
        Ok(Box::new(staged))
    }

    async fn publish(&self, batch: Vec<Box<dyn Staged>>) -> Result<Vec<MediaKey>, MediaError> {
        if batch.is_empty() {
            // Nothing to sync: what is there already was synced by who put it there, or at the start.
            return Ok(Vec::new());
        }
        let store = self.clone();
        let created = blocking(move || {
            let mut created = BTreeSet::new();
            let done = rename_all(&store, batch, &mut created).and_then(|()| disk::sync_dir(&store.root));
            if let Err(error) = done {
                for key in created {
                    let _best_effort = fs::remove_file(store.path(key));
                }
                return Err(error);
            }
            Ok(created.into_iter().collect())
        })
        .await?;
        Ok(created)
    }

    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError> {
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.path(*key)).collect();
        let root = Arc::clone(&self.root);
        blocking(move || {
            for path in paths {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            disk::sync_dir(&root)
        })
        .await?;
        Ok(())
    }

    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError> {
        let path = self.path(key);
        let opened = blocking(move || match File::open(path) {
            Ok(file) => Ok(Some(OpenFile { length: file.metadata()?.len(), file: Arc::new(file) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
        Ok(opened.map(|file| Box::new(file) as Box<dyn MediaObject>))
    }

    async fn length(&self, key: MediaKey) -> Result<Option<u64>, MediaError> {
        let path = self.path(key);
        let length = blocking(move || match fs::metadata(path) {
            Ok(file) => Ok(Some(file.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
        Ok(length)
    }

    async fn check(&self) -> Result<(), MediaError> {
        let store = self.clone();
        Ok(blocking(move || store.min_free.check(&store.scratch_dir())).await?)
    }
}

/// Moves each staged file to its name, and notes in `created` which names are new.
fn rename_all(
    store: &LocalStore,
    batch: Vec<Box<dyn Staged>>,
    created: &mut BTreeSet<MediaKey>,
) -> io::Result<()> {
    for staged in batch {
        let Ok(staged) = staged.into_any().downcast::<StagedFile>() else {
            return Err(io::Error::other("staged by another store"));
        };
        let target = store.path(staged.key);
        match fs::metadata(&target) {
            Ok(existing) if existing.len() == staged.length => {}
            // A file that lost bytes is healed: the new one takes its name.
            Ok(_) => staged.path.persist(&target)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                staged.path.persist(&target)?;
                created.insert(staged.key);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs `work` where it may block. It finishes even if the caller goes away, and then drops what it made.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::conformance;

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

    #[tokio::test]
    async fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        conformance::run(&LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap()).await;
        assert_eq!(names(dir.path()), Vec::<String>::new(), "the suite leaves nothing behind");
    }

    #[tokio::test]
    async fn a_start_clears_what_a_crash_left_in_staging() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap();
        std::mem::forget(store.stage(Bytes::from_static(b"half an upload")).await.unwrap());
        assert_eq!(names(dir.path()).len(), 1);
        assert!(LocalStore::open(dir.path(), FreeDisk::Bytes(0)).is_err(), "not while the store is open");
        assert_eq!(names(dir.path()).len(), 1);
        drop(store);
        LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap();
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_lost_bytes_is_healed_by_the_next_upload() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path(), FreeDisk::Bytes(0)).unwrap();
        let key = MediaKey::of(b"photo");
        fs::write(dir.path().join(format!("{key}.jpg")), b"pho").unwrap();
        let staged = store.stage(Bytes::from_static(b"photo")).await.unwrap();
        assert_eq!(store.publish(vec![staged]).await.unwrap(), [], "it existed before");
        assert_eq!(fs::read(dir.path().join(format!("{key}.jpg"))).unwrap(), b"photo");
    }

    #[tokio::test]
    async fn little_free_space_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let check = |floor| LocalStore::open(dir.path(), FreeDisk::Bytes(floor)).unwrap();
        assert!(matches!(check(u64::MAX).check().await, Err(MediaError::Full(_))));
        check(0).check().await.unwrap();
    }
}
