//! Pages of memory for large photos.
//!
//! Pages take no memory until they are written, are never copied to grow, and return to the system immediately, while an
//! allocator would keep them. The pool keeps a few: for a photo that is only hashed and not decoded, getting fresh pages
//! from the system is most of the work.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

/// A pool of pages.
#[derive(Debug)]
pub(super) struct PagePool {
    length: u64,
    keep: u64,
    /// Spare pages, those with most memory last.
    spare: Mutex<Vec<Pages>>,
}

/// Memory in pages of its own. It holds zeros, or the bytes of an earlier photo.
#[derive(Debug)]
pub(super) struct Pages {
    map: MmapMut,
    /// How many bytes from the start were ever written. The system has provided memory for these.
    touched: usize,
}

impl PagePool {
    /// Returns a pool of pieces of `length` bytes that keeps at most `keep` bytes of memory in spare pieces.
    pub(super) fn new(length: u64, keep: u64) -> Arc<Self> {
        Arc::new(Self { length, keep, spare: Mutex::default() })
    }

    /// Returns a piece, a spare one if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<PooledPages> {
        let largest = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pages = match largest {
            Some(pages) => pages,
            None => {
                let length = usize::try_from(self.length).map_err(io::Error::other)?;
                Pages { map: MmapMut::map_anon(length)?, touched: 0 }
            }
        };
        Ok(PooledPages { pages: Some(pages), page_pool: Arc::clone(self) })
    }

    fn put_back(&self, pages: Pages) {
        if pages.touched as u64 > self.keep {
            return;
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let at = spare.partition_point(|other| other.touched <= pages.touched);
        spare.insert(at, pages);
        let mut kept: usize = spare.iter().map(|pages| pages.touched).sum();
        // The pieces with least memory are freed first: they are the cheapest to replace.
        let surplus = spare.iter().take_while(|pages| {
            let is_too_much = kept as u64 > self.keep;
            kept -= pages.touched;
            is_too_much
        });
        let surplus = surplus.count();
        spare.drain(..surplus);
    }
}

/// A piece of the pool. Dropping it returns it.
#[derive(Debug)]
pub(super) struct PooledPages {
    /// `None` only during `drop`.
    pages: Option<Pages>,
    page_pool: Arc<PagePool>,
}

impl PooledPages {
    /// Writes `bytes` at `at`.
    ///
    /// # Errors
    /// They do not fit; nothing is written.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let end = at.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let pages = self.pages.as_mut().ok_or(io::ErrorKind::FileTooLarge)?;
        let free = pages.map.deref_mut().get_mut(at..end).ok_or(io::ErrorKind::FileTooLarge)?;
        free.copy_from_slice(bytes);
        pages.touched = pages.touched.max(end);
        Ok(())
    }
}

impl Deref for PooledPages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], |pages| pages.map.deref())
    }
}

impl Drop for PooledPages {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.page_pool.put_back(pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(page_pool: &PagePool) -> Vec<usize> {
        page_pool.spare.lock().unwrap().iter().map(|pages| pages.touched).collect()
    }

    #[test]
    fn pages_are_reused_and_no_more_are_kept_than_allowed() {
        let page_pool = PagePool::new(1 << 20, 100_000);
        let mut first = page_pool.take().unwrap();
        let mut second = page_pool.take().unwrap();
        first.write(0, &[1; 60_000]).unwrap();
        second.write(10, &[2; 30_000]).unwrap();
        let place = first.as_ptr();
        drop(second);
        drop(first);
        assert_eq!(spare(&page_pool), [30_010, 60_000]);
        let mut third = PagePool::new(1 << 20, 100_000).take().unwrap();
        third.write(0, &[1; 40_000]).unwrap();
        third.page_pool = Arc::clone(&page_pool);
        drop(third);
        assert_eq!(spare(&page_pool), [40_000, 60_000], "three would be too many, and the smallest goes");
        let mut again = page_pool.take().unwrap();
        assert_eq!(again.as_ptr(), place);
        again.write(60_000, &[3; 50_000]).unwrap();
        assert_eq!((again[59_999], again[60_000]), (1, 3));
        drop(again);
        assert_eq!(spare(&page_pool), [40_000], "it has grown too large to be kept");
    }

    #[test]
    fn write_beyond_the_piece_is_refused() {
        let page_pool = PagePool::new(100, 0);
        let mut pages = page_pool.take().unwrap();
        assert!(pages.write(50, &[0; 51]).is_err());
        assert!(pages.write(usize::MAX, &[0; 2]).is_err());
        pages.write(50, &[7; 50]).unwrap();
        assert_eq!(pages[99], 7);
    }
}
