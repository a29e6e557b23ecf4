//! Opens and reads photos that the kernel has in its caches, which takes microseconds and never waits for the disk.
//!
//! Only what is not there needs a thread that may block. On one core each change of threads costs more than copying 64 KiB.
//! Nothing is kept here: the kernel knows which files are removed or replaced, also by other processes.

use std::fs::{File, Metadata};
use std::io::IoSliceMut;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

/// Opens the photo at `path`, or returns `None` if that needs the disk, or fails. Does not block.
pub(super) fn open(path: &Path) -> Option<(File, Metadata)> {
    // Since Linux 5.12. Others, and some sandboxes, refuse it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?);
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata))
}

/// Reads up to `length` bytes from `start` on, at least one. Returns `None` if that needs the disk, or fails. Does not block.
pub(super) fn read(file: &File, start: u64, length: usize) -> Option<Bytes> {
    let mut chunk = vec![0; length];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut chunk)], start, ReadWriteFlags::NOWAIT).ok()?;
    chunk.truncate(read);
    (read > 0).then(|| Bytes::from(chunk))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Some sandboxes refuse the calls: then everything is read by threads that may block, which other tests cover.
    fn is_supported(path: &Path) -> bool {
        open(path).is_some()
    }

    #[test]
    fn file_in_memory_is_opened_and_read_and_one_that_was_removed_or_replaced_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo");
        fs::write(&path, b"first").unwrap();
        if !is_supported(&path) {
            return;
        }
        let (file, metadata) = open(&path).unwrap();
        assert_eq!(metadata.len(), 5);
        assert_eq!(read(&file, 1, 3).as_deref(), Some(&b"irs"[..]));
        assert_eq!(read(&file, 3, 10).as_deref(), Some(&b"st"[..]), "what there is");
        assert_eq!(read(&file, 5, 1), None, "the end is for the reader that may block to report");
        fs::write(dir.path().join("other"), b"second").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(open(&path).unwrap().1.len(), 6);
        assert_eq!(read(&file, 0, 5).as_deref(), Some(&b"first"[..]), "an open photo can be read to its end");
        fs::remove_file(&path).unwrap();
        assert!(open(&path).is_none());
        fs::create_dir(&path).unwrap();
        assert!(open(&path).is_none(), "a directory");
    }
}
