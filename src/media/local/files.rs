//! Operations on single files, whose errors this store tells apart.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::media::Stored;
use crate::model::MediaKey;

pub(super) fn stored(key: MediaKey, file: &Metadata) -> io::Result<Stored> {
    Ok(Stored { key, length: file.len(), modified: file.modified()? })
}

/// Turns an absent file into `None`.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file. It is no error if there is none.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    found(fs::remove_file(path)).map(drop)
}

/// Returns whether an error says that this file system has no hard links. The garbage collector then removes what a crash
/// leaves.
pub(super) fn has_no_links(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK))
}
