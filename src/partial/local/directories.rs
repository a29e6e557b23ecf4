//! The directories of the uploads, and the names of files in them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::disk::{self, FreeDisk, Scratch};
use crate::model::UploadId;
use crate::partial::PartialError;

/// The directory of the uploads under the media root. The store of photos ignores its name.
pub(super) const UPLOADS: &str = ".uploads";

/// The 256 directories of the uploads.
#[derive(Debug)]
pub(super) struct Directories {
    root: Arc<Path>,
    min_free: FreeDisk,
    /// Which of them this process knows to be durable.
    is_durable: [AtomicBool; 256],
}

/// Returns the number of the directory of an upload.
fn number(id: UploadId) -> u8 {
    id.as_bytes()[0]
}

impl Directories {
    pub(super) fn new(media_root: &Path, min_free: FreeDisk) -> Self {
        let root = media_root.join(UPLOADS).into();
        Self { root, min_free, is_durable: [const { AtomicBool::new(false) }; 256] }
    }

    /// Returns the directory of all uploads, and the floor of its free space.
    pub(super) fn volume(&self) -> Scratch {
        Scratch { dir: Arc::clone(&self.root), min_free: self.min_free }
    }

    /// Returns the directory of the uploads whose ids begin with this byte.
    fn numbered(&self, number: u8) -> PathBuf {
        self.root.join(format!("{number:02x}"))
    }

    /// Returns the directory of an upload.
    pub(super) fn dir(&self, id: UploadId) -> PathBuf {
        self.numbered(number(id))
    }

    /// Returns the file of an upload.
    pub(super) fn path(&self, id: UploadId) -> PathBuf {
        self.dir(id).join(id.to_string())
    }

    /// Creates the directory of an upload, unless it exists, and makes its name durable. Blocks.
    fn create(&self, id: UploadId) -> io::Result<()> {
        let (dir, is_durable) = (self.dir(id), &self.is_durable[usize::from(number(id))]);
        if is_durable.load(Ordering::Acquire) && dir.is_dir() {
            return Ok(());
        }
        disk::create_dir(&dir)?;
        // It may exist because another thread, or a process that died, created it and did not sync it.
        disk::sync_dir(&self.root)?;
        if let Some(media_root) = self.root.parent() {
            disk::sync_dir(media_root)?;
        }
        is_durable.store(true, Ordering::Release);
        Ok(())
    }

    /// Opens the file of an upload at `offset`, or creates it at 0. Returns `None` while a dropped writer still writes, and if
    /// the `caller` was dropped. Blocks.
    pub(super) fn open(
        &self,
        id: UploadId,
        offset: u64,
        caller: &Weak<()>,
    ) -> Result<Option<File>, PartialError> {
        let is_new = offset == 0;
        if is_new {
            self.create(id)?;
            self.min_free.check(&self.root)?;
        }
        // Only this process reads the file: it may have EXIF data that a stored photo does not have.
        let opened =
            OpenOptions::new().write(true).create(is_new).truncate(false).mode(0o600).open(self.path(id));
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound && !is_new => {
                return Err(PartialError::Missing);
            }
            opened => opened?,
        };
        // Each write of a dropped writer has the file open until it ends, and with it this lock.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The caller may be gone, and its successor may have appended and ended before this call got the lock. Then the bytes
        // after `offset` may be acknowledged. While this call has the lock, no successor can append.
        if caller.strong_count() == 0 {
            return Ok(None);
        }
        match file.metadata()?.len() {
            length if length < offset => return Err(PartialError::Missing),
            // The sync that makes new bytes durable also makes this durable. Until then a crash may bring the old bytes
            // back, and the next writer cuts them off.
            length if length > offset => file.set_len(offset)?,
            _ => {}
        }
        Ok(Some(file))
    }

    /// See [`PartialStore::page`](crate::partial::PartialStore::page). Blocks.
    pub(super) fn page(&self, after: Option<UploadId>, limit: usize) -> io::Result<Vec<UploadId>> {
        let mut page = Vec::new();
        for dir in after.map_or(0, number)..=u8::MAX {
            let names = match fs::read_dir(self.numbered(dir)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                names => names?,
            };
            let mut ids = Vec::new();
            for entry in names {
                let name = entry?.file_name();
                let id: Option<UploadId> = name.to_str().and_then(|name| name.parse().ok());
                ids.extend(id.filter(|id| number(*id) == dir && Some(*id) > after));
            }
            ids.sort_unstable();
            page.extend(ids.into_iter().take(limit - page.len()));
            if page.len() == limit {
                break;
            }
        }
        Ok(page)
    }
}
