//! Opens the photos of a store that another process may have open, and opens and verifies single files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::LocalStore;
use super::directories::{Access, Directories};
use super::files::found;
use crate::disk::FreeDisk;
use crate::media::Integrity;
use crate::model::MediaKey;

/// Bytes of one read.
const READ_CHUNK: usize = 64 * 1024;

impl LocalStore {
    /// Opens the photos under `root` for reading only, while another process has them open: published photos are whole and
    /// never change. Creates nothing. Files that an earlier process left in staging stay, and are not reported as pending.
    ///
    /// Operations that would change the store fail.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be read.
    pub(crate) fn open_for_reading(root: &Path) -> io::Result<Self> {
        Self::open_beside(root, Access::Read)
    }

    /// Opens the photos under `root` as [`open_for_reading`](Self::open_for_reading) does, and lets photos be removed. The
    /// caller holds the locks of their keys, against the process that publishes photos.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be read.
    pub(crate) fn open_for_removal(root: &Path) -> io::Result<Self> {
        Self::open_beside(root, Access::Remove)
    }

    /// Opens the photos under `root` beside the process that publishes them. Nothing is published here, so no space is kept free.
    fn open_beside(root: &Path, access: Access) -> io::Result<Self> {
        Ok(Self {
            root: root.into(),
            min_free: FreeDisk::Bytes(0),
            directories: Arc::new(Directories::open_beside(root, access)?),
            pending: Arc::default(),
        })
    }
}

/// Opens the photo at `path`, or returns `None` if there is no regular file. Blocks for the disk, but not for the other end of a
/// named pipe.
pub(super) fn open_photo(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let opened = match opened {
        // A socket, or a symbolic link to itself.
        Err(error)
            if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENXIO | Errno::ELOOP)) =>
        {
            None
        }
        opened => found(opened)?,
    };
    let Some(file) = opened else { return Ok(None) };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// See [`MediaStore::verify`](crate::media::MediaStore::verify). Blocks.
pub(super) fn verify(path: &Path, key: MediaKey) -> io::Result<Integrity> {
    let Some((mut file, _)) = open_photo(path)? else { return Ok(Integrity::Missing) };
    let mut hash = Sha256::new();
    let mut chunk = vec![0; READ_CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Integrity::of(key, hash)),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
