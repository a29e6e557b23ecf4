//! Reads and writes rows of samples in blocks of a fixed number, which the compiler turns into vectors.

/// Pixels of a row that are converted at a time.
pub(super) const BLOCK: usize = 32;
/// Bytes of a pixel: red, green, blue, and one that is always 255.
pub(super) const PIXEL: usize = 4;

pub(super) type Pixel = [u8; PIXEL];

/// Returns the samples of `row` from `at` on. The last sample of the row is repeated.
#[inline(always)]
pub(super) fn block<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    let rest = row.get(at..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut block = [row.last().copied().unwrap_or_default(); N];
        block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        block
    })
}

/// Writes `block` to `row` from `at` on, as far as the row reaches.
#[inline(always)]
pub(super) fn put<const N: usize>(row: &mut [u8], at: usize, block: [u8; N]) {
    let rest = row.get_mut(at..).unwrap_or_default();
    match rest.first_chunk_mut() {
        Some(whole) => *whole = block,
        None => rest.iter_mut().zip(block).for_each(|(to, from)| *to = from),
    }
}
