//! Keeps the bytes of one photo until a worker reads them, and hashes them as they arrive. They are in memory while the
//! budget has room, else in an unlinked file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::MmapMut;

use super::page_pool::{PagePool, PooledPages};
use crate::blocking::blocking;
use crate::budget::{Reservation, Share};
use crate::disk::{self, Scratch};

/// Memory is taken from the budget in steps of this size.
const STEP: u64 = 64 * 1024;
/// The hash is fed with pieces of this size that begin at multiples of it. With others it cannot use its widest registers:
/// pieces as they come off the socket took up to ten times as long. They still fit the cache.
const HASH_STEP: usize = 128 * 1024;
/// Files are written in pieces of this size. Each slow phone whose photo is in a file takes as much memory.
const WRITE_STEP: usize = 4 * 1024;

/// A photo as it arrives.
#[derive(Debug)]
pub(super) struct Spool {
    scratch: Scratch,
    page_pool: Arc<PagePool>,
    /// Boxed: it takes 2 kB, and each future that passes a spool on would reserve them twice.
    hasher: Box<blake3::Hasher>,
    length: u64,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    /// In memory; `hashed` bytes are in the hash.
    Memory { bytes: Buffer, loan: Reservation, hashed: usize },
    /// In a file. `pending` bytes are neither hashed nor written; they begin at a multiple of [`WRITE_STEP`].
    File { file: Arc<File>, pending: Vec<u8> },
}

/// The bytes of a photo that is received whole.
#[derive(Debug)]
pub(super) enum Source {
    /// In memory that is reserved from the budget.
    Memory(Buffer, #[expect(dead_code, reason = "held for its drop")] Reservation),
    /// In an unlinked file of this length.
    File(Arc<File>, u64),
}

impl Spool {
    /// Returns an empty spool that writes to `scratch` when `share` has no room. `hasher` is fed with all bytes.
    ///
    /// The caller writes at most as many bytes as a piece of `pool` has.
    pub(super) fn new(
        scratch: Scratch,
        share: &Arc<Share>,
        page_pool: Arc<PagePool>,
        hasher: blake3::Hasher,
    ) -> Self {
        let bytes = Buffer::Small(Vec::new());
        let storage = Storage::Memory { bytes, loan: share.reservation(), hashed: 0 };
        Self { scratch, page_pool, hasher: Box::new(hasher), length: 0, storage }
    }

    /// Returns the number of bytes written so far.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Appends `chunk`.
    ///
    /// # Errors
    /// The disk failed; the spooled bytes are lost.
    pub(super) async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.length += chunk.len() as u64;
        if let Storage::Memory { bytes, loan, hashed } = &mut self.storage {
            let missing = self.length.saturating_sub(loan.bytes()).div_ceil(STEP) * STEP;
            if missing == 0 || loan.try_grow(missing) {
                bytes.append(&chunk, &self.page_pool)?;
                let ready = bytes.len() / HASH_STEP * HASH_STEP;
                self.hasher.update(&bytes[*hashed..ready]);
                *hashed = ready;
                return Ok(());
            }
            self.spill().await?;
        }
        self.append(chunk).await
    }

    /// Moves the bytes in memory to a file.
    async fn spill(&mut self) -> io::Result<()> {
        let scratch = self.scratch.clone();
        let file = blocking(move || {
            let file = disk::scratch_file(&scratch.dir)?;
            scratch.min_free.check(&scratch.dir)?;
            Ok::<_, io::Error>(file)
        });
        let storage = Storage::File { file: Arc::new(file.await?), pending: Vec::new() };
        let Storage::Memory { bytes, loan, hashed } = std::mem::replace(&mut self.storage, storage) else {
            return Ok(());
        };
        let ready = bytes.len() / WRITE_STEP * WRITE_STEP;
        self.hasher.update(&bytes[hashed..ready]);
        if let Storage::File { file, pending } = &mut self.storage {
            pending.reserve_exact(WRITE_STEP);
            pending.extend_from_slice(&bytes[ready..]);
            let file = Arc::clone(file);
            blocking(move || (&*file).write_all(&bytes[..ready])).await?;
        }
        drop(loan);
        Ok(())
    }

    /// Appends whole steps to the file, and keeps the rest in memory.
    async fn append(&mut self, mut chunk: Bytes) -> io::Result<()> {
        let Storage::File { file, pending } = &mut self.storage else { return Ok(()) };
        let whole = (pending.len() + chunk.len()) / WRITE_STEP * WRITE_STEP;
        if whole == 0 {
            pending.extend_from_slice(&chunk);
            return Ok(());
        }
        let now = chunk.split_to(whole - pending.len());
        let mut rest = Vec::with_capacity(WRITE_STEP);
        rest.extend_from_slice(&chunk);
        // Copied out of the frame, so that its buffer can be read into again.
        drop(chunk);
        let first = std::mem::replace(pending, rest);
        self.hasher.update(&first).update(&now);
        let (file, scratch) = (Arc::clone(file), self.scratch.clone());
        blocking(move || {
            scratch.min_free.check(&scratch.dir)?;
            (&*file).write_all(&first)?;
            (&*file).write_all(&now)
        })
        .await
    }

    /// Returns the bytes, ready to be read, and their hash.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) async fn finish(mut self) -> io::Result<(Source, blake3::Hash)> {
        let source = match self.storage {
            Storage::Memory { bytes, loan, hashed } => {
                self.hasher.update(&bytes[hashed..]);
                Source::Memory(bytes, loan)
            }
            Storage::File { file, pending } => {
                self.hasher.update(&pending);
                let writing = Arc::clone(&file);
                blocking(move || (&*writing).write_all(&pending)).await?;
                Source::File(file, self.length)
            }
        };
        Ok((source, self.hasher.finalize()))
    }
}

/// The bytes of a photo in memory. Large ones have pages of their own.
#[derive(Debug)]
pub(super) enum Buffer {
    Small(Vec<u8>),
    /// The pages, and how many of their bytes belong to the photo.
    Large(PooledPages, usize),
}

impl Buffer {
    /// Up to this size bytes come from the allocator, which keeps too much of larger ones that thousands of phones leave.
    const SMALL: usize = 16 * 1024;

    /// Appends `chunk`.
    fn append(&mut self, chunk: &[u8], page_pool: &Arc<PagePool>) -> io::Result<()> {
        let needed = self.len() + chunk.len();
        if let Self::Small(bytes) = self {
            if needed <= Self::SMALL {
                bytes.extend_from_slice(chunk);
                return Ok(());
            }
            let mut pages = page_pool.take()?;
            pages.write(0, bytes)?;
            *self = Self::Large(pages, bytes.len());
        }
        match self {
            Self::Large(pages, length) => {
                pages.write(*length, chunk)?;
                *length = needed;
                Ok(())
            }
            Self::Small(_) => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(pages, length) => &pages[..*length],
        }
    }
}

/// The bytes of a photo, readable as a slice.
#[derive(Debug)]
pub(super) enum Loaded<'s> {
    InPlace(&'s [u8]),
    FromFile(MmapMut),
}

impl Deref for Loaded<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::FromFile(map) => map,
        }
    }
}

impl Source {
    /// Returns how much memory [`load`](Self::load) takes beyond what is reserved already.
    pub(super) fn load_cost(&self) -> u64 {
        match self {
            Self::Memory(..) => 0,
            Self::File(_, length) => *length,
        }
    }

    /// Returns the first bytes: up to `length` of a file, or all of them if they are in memory.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) async fn head(&self, length: usize) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes, _) => Ok(Cow::Borrowed(bytes)),
            Self::File(file, whole) => {
                let file = Arc::clone(file);
                let length = usize::try_from(*whole).map_or(length, |whole| whole.min(length));
                let read = blocking(move || {
                    let mut head = vec![0; length];
                    file.read_exact_at(&mut head, 0)?;
                    Ok::<_, io::Error>(head)
                });
                Ok(Cow::Owned(read.await?))
            }
        }
    }

    /// Returns the bytes, mapped into memory if they are in a file.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn load(&self) -> io::Result<Loaded<'_>> {
        match self {
            Self::Memory(bytes, _) => Ok(Loaded::InPlace(bytes)),
            Self::File(file, length) => {
                let mut map = MmapMut::map_anon(usize::try_from(*length).map_err(io::Error::other)?)?;
                (&**file).rewind()?;
                (&**file).read_exact(&mut map)?;
                Ok(Loaded::FromFile(map))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FreeDisk;
    use proptest::prelude::*;

    async fn spool(
        limit: u64,
        bytes: &[u8],
        chunk: usize,
    ) -> (Source, blake3::Hash, Arc<Share>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let share = Share::new(limit);
        let scratch = Scratch { dir: dir.path().into(), min_free: FreeDisk::Bytes(0) };
        let mut spool = Spool::new(scratch, &share, PagePool::new(1 << 24, 0), blake3::Hasher::new());
        for chunk in bytes.chunks(chunk) {
            spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        assert_eq!(spool.len(), bytes.len() as u64);
        let (source, hash) = spool.finish().await.unwrap();
        (source, hash, share, dir)
    }

    fn noise(length: u32) -> Vec<u8> {
        (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
    }

    #[tokio::test]
    async fn photo_within_the_budget_stays_in_memory_and_is_accounted() {
        let bytes = noise(3_000_000);
        let (source, hash, share, _dir) = spool(1 << 22, &bytes, 10_000).await;
        assert_eq!(hash, blake3::hash(&bytes));
        assert!((3_000_000..3_000_000 + STEP).contains(&share.used()));
        assert_eq!((source.load_cost(), &*source.load().unwrap()), (0, &*bytes));
        drop(source);
        assert_eq!(share.used(), 0);
    }

    #[tokio::test]
    async fn photo_beyond_the_budget_spills_to_an_unlinked_file_and_returns_its_memory() {
        let bytes = noise(3_000_000);
        let (source, hash, share, dir) = spool(1 << 20, &bytes, 10_000).await;
        assert_eq!(hash, blake3::hash(&bytes));
        assert_eq!(share.used(), 0);
        assert_eq!(source.load_cost(), 3_000_000);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(*source.load().unwrap(), *bytes);
        assert_eq!(*source.head(1000).await.unwrap(), bytes[..1000]);
        assert_eq!(*source.head(usize::MAX).await.unwrap(), *bytes);
        assert_eq!(*source.load().unwrap(), *bytes, "it may be loaded twice");
    }

    #[tokio::test]
    async fn spilling_below_the_floor_of_free_space_fails() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch { dir: dir.path().into(), min_free: FreeDisk::Bytes(u64::MAX) };
        let mut spool = Spool::new(scratch, &Share::new(0), PagePool::new(1 << 24, 0), blake3::Hasher::new());
        let refused = spool.write(Bytes::from_static(b"photo")).await.unwrap_err();
        assert!(crate::disk::is_full(&refused));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bytes_and_hash_do_not_depend_on_chunks_or_place(length in 0u32..400_000, chunk in 1usize..150_000, limit in 0u64..400_000) {
            let chunk = chunk.max(usize::try_from(length).unwrap() / 200);
            let bytes = noise(length);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (source, hash, _share, _dir) = runtime.block_on(spool(limit, &bytes, chunk));
            prop_assert_eq!(hash, blake3::hash(&bytes));
            if length > 0 {
                prop_assert_eq!(&*source.load().unwrap(), &*bytes);
            }
        }
    }
}
