//! Free disk space, and directories that survive a power failure.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

/// Free space below which a disk counts as full, reserved for work that has begun and for other users of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeDisk {
    /// 64 MiB, or 1/16 of a volume smaller than 1 GiB.
    Auto,
    /// This many bytes.
    Bytes(u64),
}

impl FreeDisk {
    fn floor(self, volume: u64) -> u64 {
        match self {
            Self::Auto => (64 << 20).min(volume / 16),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Checks that the volume of `dir` has more than this much space, and inodes for new files. May block.
    ///
    /// # Errors
    /// [`StorageFull`](io::ErrorKind::StorageFull) if not; `is_out_of_inodes` then tells whether inodes are missing. Any
    /// other error if the volume cannot be read.
    pub fn check(self, dir: &Path) -> io::Result<()> {
        let volume = statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.fragment_size());
        if bytes(volume.blocks_available()) < self.floor(bytes(volume.blocks())) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // A file system that does not count inodes reports 0 in total.
        let inodes = volume.files();
        if inodes > 0 && volume.files_available() < inode_floor(inodes) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, OutOfInodes));
        }
        Ok(())
    }
}

/// A directory for files without names, which the system removes with the process.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    /// The directory.
    pub dir: Arc<Path>,
    /// Below this free space its volume counts as full.
    pub min_free: FreeDisk,
}

/// Returns the number of free inodes below which a volume counts as full: 1024, or 1/16 of a small volume's, at least 1.
fn inode_floor(inodes: u64) -> u64 {
    (inodes / 16).clamp(1, 1024)
}

/// The volume has space, but no free inodes.
#[derive(Debug, thiserror::Error)]
#[error("the volume has no inodes left")]
struct OutOfInodes;

/// Returns true if an error of [`FreeDisk::check`] means that inodes ran out, not space.
pub(crate) fn is_out_of_inodes(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<OutOfInodes>())
}

/// Creates an unnamed file in `dir`. Creates `dir` again if it was removed. Blocks.
///
/// # Errors
/// The file cannot be created.
pub(crate) fn scratch_file(dir: &Path) -> io::Result<File> {
    match tempfile::tempfile_in(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir(dir)?;
            tempfile::tempfile_in(dir)
        }
        created => created,
    }
}

/// Checks that files can be created in `dir`: it exists, its file system is not read-only, and permissions allow it. Blocks.
///
/// # Errors
/// Files cannot be created.
pub(crate) fn check_writable(dir: &Path) -> io::Result<()> {
    tempfile::tempfile_in(dir).map(drop)
}

/// Returns true if an error means that space ran out. Deleting files may help; a retry alone does not.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns true if an error means that the process or the system has no free file descriptor. A later retry may help. It
/// recognises only the system's own errors, not errors that wrap them.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

/// Creates `dir` and its missing parents, each durably.
///
/// # Errors
/// A directory cannot be created or synced.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
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

/// Syncs `dir`, so that files created, renamed or removed in it survive a power failure.
///
/// # Errors
/// The directory cannot be synced.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_volume_has_small_floor() {
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
    fn missing_parents_are_created() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(&dir.path().join("file/below")).is_err());
    }
}
