//! The directories of the store: opened once, made again if they are removed while the server runs, and opened again if
//! somebody puts others in their place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir_sync::DirSync;
use super::{STAGING, found};
use crate::disk;

/// See the module.
#[derive(Debug)]
pub(super) struct Directories {
    root: Arc<Path>,
    opened: Mutex<Opened>,
}

#[derive(Debug)]
struct Opened {
    names: Arc<DirSync>,
    /// The staging directory. It is locked as long as the store is open; `None` where another process is the master.
    staging: Option<File>,
}

impl Directories {
    /// Creates what is missing, and locks the staging directory: another process must not clear what this one has staged.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let staging = Some(lock_staging(root)?);
        let opened = Opened { names: Arc::new(DirSync::open(root)?), staging };
        Ok(Self { root: root.into(), opened: Mutex::new(opened) })
    }

    /// Creates and locks nothing.
    pub(super) fn open_for_reading(root: &Path) -> io::Result<Self> {
        fs::read_dir(root)?;
        let opened = Opened { names: Arc::new(DirSync::open(root)?), staging: None };
        Ok(Self { root: root.into(), opened: Mutex::new(opened) })
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    /// The names in the directory of the photos.
    pub(super) fn names(&self) -> Arc<DirSync> {
        Arc::clone(&self.opened().names)
    }

    /// Whether this process may change anything.
    pub(super) fn writable(&self) -> io::Result<()> {
        match self.opened().staging {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading alone")),
        }
    }

    /// Makes again what was removed, and opens again what is not the directory that was opened. Blocks.
    ///
    /// # Errors
    /// A directory cannot be made, or another process uses the one that is there now.
    pub(super) fn restore(&self) -> io::Result<()> {
        let mut opened = self.opened();
        let Some(staging) = &opened.staging else { return Ok(()) };
        if is_at(staging, &self.staging())? && is_at(opened.names.dir(), &self.root)? {
            return Ok(());
        }
        tracing::error!(
            "a directory of the media store was removed or replaced: it is made and opened again"
        );
        if !is_at(staging, &self.staging())? {
            opened.staging = Some(lock_staging(&self.root)?);
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

fn lock_staging(root: &Path) -> io::Result<File> {
    let staging = root.join(STAGING);
    disk::create_dir(&staging)?;
    let lock = File::open(&staging)?;
    lock.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
    Ok(lock)
}

/// Whether the directory at `path` is the one that is open as `dir`.
fn is_at(dir: &File, path: &Path) -> io::Result<bool> {
    let Some(now) = found(File::open(path))? else { return Ok(false) };
    let id = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
    Ok(id(dir)? == id(&now)?)
}
