//! Keeps one photo's bytes until a worker reads them: in memory while the budget lasts, else in an unlinked file.

use std::io::{self, Read, Seek};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapMut;
use tokio::io::AsyncWriteExt;

use super::pages::{Borrowed, Shelf};
use crate::budget::{Reservation, Share};

/// Memory is taken from the budget in steps of this size.
const STEP: u64 = 64 * 1024;

/// Writes to a spilled file are collected to this size; a slow phone then costs twice as much.
const WRITE_BUFFER: usize = 16 * 1024;

/// A photo as it arrives.
#[derive(Debug)]
pub(super) struct Spool {
    dir: Arc<Path>,
    shelf: Arc<Shelf>,
    length: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory { bytes: Buffer, loan: Reservation },
    File(tokio::io::BufWriter<tokio::fs::File>),
}

/// The bytes of a photo that has arrived whole.
#[derive(Debug)]
pub(super) enum Source {
    /// In memory, on loan from the budget.
    Memory(Buffer, Reservation),
    /// In an unlinked file of this length.
    File(std::fs::File, u64),
}

impl Spool {
    /// An empty spool that spills to an unlinked file in `dir` when `share` has no room.
    ///
    /// The length of the pieces of `shelf` bounds what the caller will write.
    pub(super) fn new(dir: Arc<Path>, share: &Arc<Share>, shelf: Arc<Shelf>) -> Self {
        let place = Place::Memory { bytes: Buffer::Small(Vec::new()), loan: share.reservation() };
        Self { dir, shelf, length: 0, place }
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Appends `chunk`.
    ///
    /// # Errors
    /// The disk refuses; what was written is lost.
    pub(super) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.length += chunk.len() as u64;
        match &mut self.place {
            Place::Memory { bytes, loan } => {
                let missing = self.length.saturating_sub(loan.bytes()).div_ceil(STEP) * STEP;
                if missing == 0 || loan.try_grow(missing) {
                    return bytes.append(chunk, &self.shelf);
                }
                let dir = PathBuf::from(&*self.dir);
                let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(dir))
                    .await
                    .map_err(io::Error::other)??;
                let mut file = tokio::fs::File::from_std(file);
                // Its own buffer would grow to 2 MiB with the first write and stay.
                file.set_max_buf_size(WRITE_BUFFER);
                let mut file = tokio::io::BufWriter::with_capacity(WRITE_BUFFER, file);
                file.write_all(bytes).await?;
                file.write_all(chunk).await?;
                self.place = Place::File(file);
                Ok(())
            }
            Place::File(file) => file.write_all(chunk).await,
        }
    }

    /// The bytes, ready to be read.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) async fn finish(self) -> io::Result<Source> {
        match self.place {
            Place::Memory { bytes, loan } => Ok(Source::Memory(bytes, loan)),
            Place::File(mut file) => {
                file.flush().await?;
                Ok(Source::File(file.into_inner().into_std().await, self.length))
            }
        }
    }
}

/// A photo in memory; a large one in pages of its own.
#[derive(Debug)]
pub(super) enum Buffer {
    Small(Vec<u8>),
    /// The pages, and how many of their bytes are the photo's.
    Large(Borrowed, usize),
    /// Read back from a file.
    Loaded(MmapMut),
}

impl Buffer {
    const SMALL: usize = 64 * 1024;

    /// Appends `chunk`.
    fn append(&mut self, chunk: &[u8], shelf: &Arc<Shelf>) -> io::Result<()> {
        let needed = self.len() + chunk.len();
        if let Self::Small(bytes) = self {
            if needed <= Self::SMALL {
                bytes.extend_from_slice(chunk);
                return Ok(());
            }
            let mut pages = shelf.take()?;
            pages.write(0, bytes)?;
            *self = Self::Large(pages, bytes.len());
        }
        match self {
            Self::Large(pages, length) => {
                pages.write(*length, chunk)?;
                *length = needed;
                Ok(())
            }
            Self::Small(_) | Self::Loaded(_) => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(pages, length) => &pages[..*length],
            Self::Loaded(map) => map,
        }
    }
}

impl Source {
    /// Memory that [`load`](Self::load) takes on top of what is held already.
    pub(super) fn load_cost(&self) -> u64 {
        match self {
            Self::Memory(..) => 0,
            Self::File(_, length) => *length,
        }
    }

    /// The bytes in memory, with the loan that covers them if there is one.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn load(self) -> io::Result<(Buffer, Option<Reservation>)> {
        match self {
            Self::Memory(bytes, loan) => Ok((bytes, Some(loan))),
            Self::File(mut file, length) => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let mut map = MmapMut::map_anon(length)?;
                file.rewind()?;
                file.read_exact(&mut map)?;
                Ok((Buffer::Loaded(map), None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spool(limit: u64, bytes: &[u8]) -> (Source, Arc<Share>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let share = Share::new(limit);
        let mut spool = Spool::new(dir.path().into(), &share, Shelf::new(1 << 24, 0));
        for chunk in bytes.chunks(10_000) {
            spool.write(chunk).await.unwrap();
        }
        assert_eq!(spool.len(), bytes.len() as u64);
        (spool.finish().await.unwrap(), share, dir)
    }

    #[tokio::test]
    async fn what_fits_stays_in_memory_and_is_accounted() {
        let bytes = vec![7; 3_000_000];
        let (source, share, _dir) = spool(1 << 22, &bytes).await;
        assert!((3_000_000..3_000_000 + STEP).contains(&share.used()));
        let (loaded, loan) = source.load().unwrap();
        assert_eq!(*loaded, *bytes);
        drop(loan);
        assert_eq!(share.used(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_spills_to_a_file_without_a_name_and_returns_its_memory() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let (source, share, dir) = spool(1 << 20, &bytes).await;
        assert_eq!(share.used(), 0);
        assert_eq!(source.load_cost(), 3_000_000);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(*source.load().unwrap().0, *bytes);
    }
}
