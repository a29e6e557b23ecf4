//! Opens and reads files that the kernel has in its caches, which takes microseconds and never waits for the disk.
//!
//! Only what is not there needs a thread that may block. On one core each change of threads costs more than copying 64 KiB.
//! Nothing is kept here: the kernel knows which files are removed or replaced, also by other processes.

use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::blocking::blocking;

/// Length of one read, and distance of the bytes by which [`holds`] judges.
const STEP: usize = 64 * 1024;

/// Opens the regular file at `path`, or returns `None` if that needs the disk, or fails. Does not block.
pub(crate) fn open(path: &Path) -> Option<(File, Metadata)> {
    // Since Linux 5.12. Others, and some sandboxes, refuse it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?);
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata))
}

/// Reads up to `length` bytes from `start` on, at least one. Returns `None` if that needs the disk, or fails. Does not block.
pub(crate) fn read(file: &File, start: u64, length: usize) -> Option<Bytes> {
    let mut chunk = vec![0; length];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut chunk)], start, ReadWriteFlags::NOWAIT).ok()?;
    chunk.truncate(read);
    (read > 0).then(|| Bytes::from(chunk))
}

/// Reads `range` in pieces: what is in memory immediately, and the rest on a thread that may block.
pub(crate) fn read_pieces(
    file: Arc<File>,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let length = usize::try_from(range.end - range.start).map_or(STEP, |rest| rest.min(STEP));
        let start = range.start;
        let piece = match read(&file, start, length) {
            Some(piece) => piece,
            None => {
                let reader = Arc::clone(&file);
                let read = blocking(move || {
                    let mut piece = vec![0; length];
                    reader.read_exact_at(&mut piece, start)?;
                    Ok::<_, io::Error>(Bytes::from(piece))
                });
                read.await?
            }
        };
        let rest = start + piece.len() as u64..range.end;
        Ok(Some((piece, (file, rest))))
    })
}

/// Returns whether the bytes of `range` are in memory, judged by the last one of each 64 KiB. Does not block.
///
/// The kernel reads files ahead and frees their pages in larger units than a page. So a wrong answer is rare, and costs one
/// wait for the disk.
pub(crate) fn holds(file: &File, range: &Range<u64>) -> bool {
    let mut byte = [0];
    let mut ends = range.clone().step_by(STEP).map(|start| range.end.min(start + STEP as u64));
    ends.all(|end| {
        let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], end - 1, ReadWriteFlags::NOWAIT);
        read == Ok(1)
    })
}

/// Reads `range` from the disk, so that its bytes are in memory. Blocks.
///
/// # Errors
/// The file is shorter, or cannot be read.
pub(crate) fn load(file: &File, range: &Range<u64>) -> io::Result<()> {
    let mut chunk = vec![0; STEP];
    for start in range.clone().step_by(STEP) {
        let length = usize::try_from(range.end - start).map_or(STEP, |rest| rest.min(STEP));
        file.read_exact_at(&mut chunk[..length], start)?;
    }
    Ok(())
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

    #[test]
    fn loaded_range_is_held_and_one_beyond_the_end_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo");
        fs::write(&path, vec![1; 5 * STEP / 2]).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        if !is_supported(&path) {
            return;
        }
        let file = File::open(&path).unwrap();
        for range in [0..length, 7..length - 7, 1..2] {
            load(&file, &range).unwrap();
            assert!(holds(&file, &range), "{range:?}");
        }
        for range in [0..length + 1, length..length + 1] {
            assert!(load(&file, &range).is_err(), "{range:?}");
            assert!(!holds(&file, &range), "{range:?}");
        }
    }
}
