//! What the rooms that keep things on a local disk share: free space, and directories that survive a power cut.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

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

    /// Whether the volume of `dir` has more than this left, and inodes for new files. Asks the system, so it may block.
    ///
    /// # Errors
    /// [`StorageFull`](io::ErrorKind::StorageFull) if not, of which [`is_out_of_inodes`] knows those that lack inodes; any
    /// other if the volume cannot be asked.
    pub fn check(self, dir: &Path) -> io::Result<()> {
        let volume = statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.fragment_size());
        if bytes(volume.blocks_available()) < self.floor(bytes(volume.blocks())) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // A file system that does not count its inodes says that it has 0 in all.
        let inodes = volume.files();
        if inodes > 0 && volume.files_available() < inode_floor(inodes) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, OutOfInodes));
        }
        Ok(())
    }
}

/// A directory for files that have no name, and so end with the process.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// The directory.
    pub dir: Arc<Path>,
    /// Below this free space its volume counts as full.
    pub min_free: FreeDisk,
}

/// The number of free inodes below which a volume counts as full: 1024, or 1/16 of a small volume's, and at least 1.
fn inode_floor(inodes: u64) -> u64 {
    (inodes / 16).clamp(1, 1024)
}

/// The volume has space, but no inodes for new files.
#[derive(Debug, thiserror::Error)]
#[error("the volume has no inodes left")]
struct OutOfInodes;

/// Whether an error of [`FreeDisk::check`] says that inodes ran out, not space.
pub fn is_out_of_inodes(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<OutOfInodes>())
}

/// Creates a file without a name in `dir`, which is created again if it was removed. Blocks.
///
/// # Errors
/// The file system refuses.
pub fn scratch_file(dir: &Path) -> io::Result<File> {
    match tempfile::tempfile_in(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir(dir)?;
            tempfile::tempfile_in(dir)
        }
        created => created,
    }
}

/// Whether files can be created in `dir`: it exists, its file system is not read-only, and the permissions allow it. Blocks.
///
/// # Errors
/// Why not.
pub fn check_writable(dir: &Path) -> io::Result<()> {
    tempfile::tempfile_in(dir).map(drop)
}

/// Whether an error says that space ran out: deleting something may help, trying again alone does not.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that the process, or the system, has no file descriptor left: trying again in a moment may help.
/// Only the system's own errors are known; what wraps them must not stand in between.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
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
    fn inode_floor_is_small_on_a_small_volume_and_never_zero() {
        assert_eq!([0, 8, 30, 1600, 1 << 30].map(inode_floor), [1, 1, 1, 100, 1024]);
        assert!(is_out_of_inodes(&io::Error::new(io::ErrorKind::StorageFull, OutOfInodes)));
        assert!(!is_out_of_inodes(&io::ErrorKind::StorageFull.into()));
    }

    #[test]
    fn removed_scratch_directory_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("a/b");
        assert_eq!(check_writable(&scratch).unwrap_err().kind(), io::ErrorKind::NotFound);
        scratch_file(&scratch).unwrap();
        check_writable(&scratch).unwrap();
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "these files have no names");
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
