//! The directories of the store. They are opened once, created again if they are removed while the server runs, and opened
//! again if they are replaced.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir_sync::DirSync;
use super::files::found;
use crate::disk;

pub(super) const STAGING: &str = ".staging";

/// The open directories of the store.
#[derive(Debug)]
pub(super) struct Directories {
    root: Arc<Path>,
    opened: Mutex<Opened>,
}

#[derive(Debug)]
struct Opened {
    names: Arc<DirSync>,
    access: Access,
}

/// What this process may do with the store.
#[derive(Debug)]
pub(super) enum Access {
    /// Everything. The staging directory is locked while the store is open.
    All(File),
    /// Read photos, and remove some under the locks of their keys, while another process may do everything.
    Remove,
    /// Read photos.
    Read,
}

impl Directories {
    /// Creates missing directories, and locks the staging directory: another process must not clear what this one staged.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let access = Access::All(lock_staging(root)?);
        let opened = Opened { names: Arc::new(DirSync::open(root)?), access };
        Ok(Self { root: root.into(), opened: Mutex::new(opened) })
    }

    /// Opens the directories while another process has them open, without creating or locking any.
    pub(super) fn open_beside(root: &Path, access: Access) -> io::Result<Self> {
        fs::read_dir(root)?;
        let opened = Opened { names: Arc::new(DirSync::open(root)?), access };
        Ok(Self { root: root.into(), opened: Mutex::new(opened) })
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    /// Returns the directory of the photos.
    pub(super) fn names(&self) -> Arc<DirSync> {
        Arc::clone(&self.opened().names)
    }

    /// Fails unless this process may do everything.
    pub(super) fn writable(&self) -> io::Result<()> {
        match self.opened().access {
            Access::All(_) => Ok(()),
            Access::Remove | Access::Read => Err(read_only()),
        }
    }

    /// Fails if the store is open for reading only.
    pub(super) fn removable(&self) -> io::Result<()> {
        match self.opened().access {
            Access::All(_) | Access::Remove => Ok(()),
            Access::Read => Err(read_only()),
        }
    }

    /// Creates removed directories again, and opens replaced ones again. Blocks.
    ///
    /// # Errors
    /// A directory cannot be created, or another process has locked the new one.
    pub(super) fn restore(&self) -> io::Result<()> {
        let mut opened = self.opened();
        let Access::All(staging) = &opened.access else { return Ok(()) };
        if is_at(staging, &self.staging())? && is_at(opened.names.dir(), &self.root)? {
            return Ok(());
        }
        tracing::error!(
            "a directory of the media store was removed or replaced: it is created and opened again"
        );
        if !is_at(staging, &self.staging())? {
            opened.access = Access::All(lock_staging(&self.root)?);
        }
        let names = DirSync::open(&self.root)?;
        names.sync_now()?;
        opened.names = Arc::new(names);
        Ok(())
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the store is not open for this")
}

fn lock_staging(root: &Path) -> io::Result<File> {
    let staging = root.join(STAGING);
    disk::create_dir(&staging)?;
    let lock = File::open(&staging)?;
    lock.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
    Ok(lock)
}

/// Returns whether the directory at `path` is the one that is open as `dir`.
fn is_at(dir: &File, path: &Path) -> io::Result<bool> {
    let Some(now) = found(File::open(path))? else { return Ok(false) };
    let id = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
    Ok(id(dir)? == id(&now)?)
}
