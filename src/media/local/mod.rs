//! Photos on a local disk: `<root>/<sha256>.jpg`.
//!
//! Bytes are written to `<root>/.staging/<sha256>.<random>.jpg` and synced. Publishing gives the file its name as a second
//! link, and syncs the directory before the upload is acknowledged. The staged name stays until the publication is committed:
//! so the files that a crash leaves in staging name exactly the photos that are pending, and a start does not have to read
//! the whole store.

mod dir_sync;
mod directories;
mod files;
mod list;
mod publish;
mod quarantine;
mod reading;
mod renditions;
mod staged_file;
mod staging;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use nix::unistd::{AccessFlags, access};

use self::directories::Directories;
use self::files::{found, stored};
use self::staging::LocalStaging;
use super::{Integrity, ListPage, MediaError, MediaName, MediaObject, MediaStore, Staging, Stored};
use crate::blocking::blocking;
use crate::disk::{self, FreeDisk};
use crate::model::MediaKey;
use crate::page_cache;

/// Photos in a directory of a local disk.
#[derive(Debug, Clone)]
pub(crate) struct LocalStore {
    root: Arc<Path>,
    min_free: FreeDisk,
    directories: Arc<Directories>,
    /// Staged files of an earlier process, by the keys of the photos in them.
    pending: Arc<Mutex<HashMap<MediaKey, Vec<PathBuf>>>>,
}

impl LocalStore {
    /// Opens the store under `root` and creates its directories. Photos that a crash left in staging are
    /// [`pending`](MediaStore::pending) from then on; other files there are removed.
    ///
    /// Below `min_free` [`check`](MediaStore::check) reports full.
    ///
    /// # Errors
    /// The directories cannot be created or written.
    pub(crate) fn open(root: &Path, min_free: FreeDisk) -> io::Result<Self> {
        let directories = Directories::open(root)?;
        let mut pending: HashMap<MediaKey, Vec<PathBuf>> = HashMap::new();
        for entry in fs::read_dir(directories.staging())? {
            let path = entry?.path();
            match staged_key(&path) {
                Some(key) => pending.entry(key).or_default().push(path),
                None => fs::remove_file(path)?,
            }
        }
        // For photos that an earlier process published and did not sync.
        directories.names().sync_now()?;
        let pending = Arc::new(Mutex::new(pending));
        Ok(Self { root: root.into(), min_free, directories: Arc::new(directories), pending })
    }

    /// Returns the directory for scratch files, on the same disk as the photos.
    pub(crate) fn scratch_dir(&self) -> PathBuf {
        self.directories.staging()
    }

    async fn remove_files(&self, keys: &[MediaKey]) -> io::Result<()> {
        let (root, keys) = (Arc::clone(&self.root), keys.to_vec());
        blocking(move || keys.iter().try_for_each(|key| renditions::remove_with_photo(&root, *key))).await?;
        self.directories.names().sync().await
    }

    fn path(&self, key: MediaKey) -> PathBuf {
        let name = MediaName::from(key).to_string();
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + 1 + name.len());
        path.push(&self.root);
        path.push(name);
        path
    }

    fn pending_files(&self) -> std::sync::MutexGuard<'_, HashMap<MediaKey, Vec<PathBuf>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the key in the name of a staged file.
fn staged_key(path: &Path) -> Option<MediaKey> {
    Some(MediaName::of_tagged(path.file_name()?.to_str()?)?.key())
}

struct OpenFile {
    file: Arc<File>,
    length: u64,
}

impl MediaObject for OpenFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }

    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        page_cache::read_pieces(self.file, range).boxed()
    }
}

#[async_trait]
impl MediaStore for LocalStore {
    fn begin(&self) -> Box<dyn Staging> {
        Box::new(LocalStaging::new(self))
    }

    async fn pending(&self) -> Result<Vec<MediaKey>, MediaError> {
        Ok(self.pending_files().keys().copied().collect())
    }

    async fn reconcile(&self, key: MediaKey, keep: bool) -> Result<(), MediaError> {
        let Some(staged) = self.pending_files().get(&key).cloned() else {
            return Ok(());
        };
        let photo = self.path(key);
        let root = Arc::clone(&self.root);
        blocking(move || {
            publish::reconcile(&photo, &staged, keep)?;
            if found(fs::metadata(&photo))?.is_none() {
                renditions::remove_all(&root, key)?;
            }
            Ok::<_, io::Error>(())
        })
        .await?;
        self.pending_files().remove(&key);
        Ok(())
    }

    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError> {
        self.directories.removable()?;
        Ok(self.remove_files(keys).await?)
    }

    async fn remove_older(&self, key: MediaKey, than: SystemTime) -> Result<Option<u64>, MediaError> {
        self.directories.writable()?;
        let (root, path) = (Arc::clone(&self.root), self.path(key));
        let removed = blocking(move || match found(fs::metadata(&path))? {
            Some(file) if file.is_file() && file.modified()? < than => {
                renditions::remove_with_photo(&root, key)?;
                Ok::<_, io::Error>(Some(file.len()))
            }
            _ => Ok(None),
        })
        .await?;
        Ok(removed)
    }

    async fn quarantine(&self, key: MediaKey) -> Result<Option<String>, MediaError> {
        self.directories.writable()?;
        let (path, root) = (self.path(key), Arc::clone(&self.root));
        let moved = blocking(move || {
            let moved = quarantine::move_aside(&path, &root, key)?;
            renditions::remove_all(&root, key)?;
            Ok::<_, io::Error>(moved)
        })
        .await?;
        if moved.is_some() {
            self.directories.names().sync().await?;
        }
        Ok(moved.map(|path| path.display().to_string()))
    }

    fn list(&self) -> BoxStream<'static, Result<Vec<Stored>, MediaError>> {
        list::pages(Arc::clone(&self.root))
    }

    fn list_by_key(&self, after: Option<MediaKey>) -> BoxStream<'static, Result<ListPage, MediaError>> {
        list::pages_by_key(Arc::clone(&self.root), after)
    }

    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError> {
        let path = self.path(key);
        let opened = match page_cache::open(&path) {
            Some(opened) => Some(opened),
            None => blocking(move || reading::open_photo(&path)).await?,
        };
        Ok(opened.map(|(file, metadata)| {
            Box::new(OpenFile { file: Arc::new(file), length: metadata.len() }) as Box<dyn MediaObject>
        }))
    }

    async fn stat(&self, key: MediaKey) -> Result<Option<Stored>, MediaError> {
        let path = self.path(key);
        if let Some((_, file)) = page_cache::open(&path) {
            return Ok(Some(stored(key, &file)?));
        }
        let stored = blocking(move || match found(fs::metadata(path))? {
            Some(file) if file.is_file() => stored(key, &file).map(Some),
            _ => Ok(None),
        })
        .await?;
        Ok(stored)
    }

    async fn verify(&self, key: MediaKey) -> Result<Integrity, MediaError> {
        let path = self.path(key);
        Ok(blocking(move || reading::verify(&path, key)).await?)
    }

    async fn check(&self) -> Result<(), MediaError> {
        let store = self.clone();
        let check = move || {
            store.directories.restore()?;
            store.min_free.check(&store.root)?;
            access(&*store.root, AccessFlags::W_OK | AccessFlags::X_OK)?;
            disk::check_writable(&store.scratch_dir())
        };
        Ok(blocking(check).await?)
    }
}
