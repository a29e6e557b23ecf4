//! What the rooms that keep things on a local disk share: free space, and directories that survive a power cut.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

/// The free space below which a room calls its disk full, so that what is begun can be finished and the disk's other
/// users keep some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeDisk {
    /// 64 MiB, or 1/16 of a volume smaller than 1 GiB.
    Auto,
    /// So many bytes.
    Bytes(u64),
}

impl FreeDisk {
    fn floor(self, volume: u64) -> u64 {
        match self {
            Self::Auto => (64 << 20).min(volume / 16),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether the volume of `dir` has more than this left. Asks the system, so it may block.
    ///
    /// # Errors
    /// [`StorageFull`](io::ErrorKind::StorageFull) if not; any other if the volume cannot be asked.
    pub fn check(self, dir: &Path) -> io::Result<()> {
        let volume = statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.fragment_size());
        if bytes(volume.blocks_available()) < self.floor(bytes(volume.blocks())) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// Whether an error says that space ran out: deleting something may help, trying again alone does not.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that the process, or the system, has no file descriptor left: trying again in a moment may help.
/// The error may be wrapped, as tempfile's are.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| [Errno::EMFILE, Errno::ENFILE].contains(&Errno::from_raw(code))) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Creates `dir` and what lies above it where missing, each durably.
///
/// # Errors
/// One of them cannot be made or synced.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(parent),
    }
}

/// Makes names that were given or taken in `dir` survive a power cut.
///
/// # Errors
/// The directory cannot be synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_volume_has_a_small_floor() {
        assert_eq!(FreeDisk::Auto.floor(1 << 40), 64 << 20);
        assert_eq!(FreeDisk::Auto.floor(160 << 20), 10 << 20);
        assert!(is_full(&FreeDisk::Bytes(u64::MAX).check(Path::new(".")).unwrap_err()));
        FreeDisk::Bytes(0).check(Path::new(".")).unwrap();
    }

    #[test]
    fn a_lack_of_descriptors_is_known_under_its_wrappings() {
        let error = || io::Error::from(Errno::EMFILE);
        assert!(is_out_of_files(&error()));
        assert!(is_out_of_files(&io::Error::other(error())));
        assert!(!is_out_of_files(&io::Error::other(io::Error::from(Errno::ENOSPC))));
    }

    #[test]
    fn directories_are_made_as_deep_as_needed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(&dir.path().join("file/below")).is_err());
    }
}
