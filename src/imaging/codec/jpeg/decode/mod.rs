//! A fast decoder for the JPEGs that cameras and web sites write: Huffman-coded, 8 bits, sequential in one scan or progressive.
//!
//! Its samples are exactly those of libjpeg-turbo. It takes half of the time or less, and holds neither a whole plane nor the
//! coefficients of a whole picture.
//! Any irregularity before the last pixel is [`RegularError::Fallback`]: the caller then decodes the file with libjpeg-turbo,
//! which decides whether the file is acceptable. What follows the last pixel is judged here, by the same rules.

mod bands;
mod bits;
mod header;
mod huffman;
mod idct;
mod part;
mod progressive;
mod sequential;
mod simd;
mod trailer;

pub(in crate::imaging) use self::bands::{BandSink, FallbackReason, PlaneSize, RegularError, RowBuffer};
use self::header::Header;
use self::part::Part;
use self::progressive::Progressive;
use self::sequential::Scan;
use self::simd::Work;
use crate::imaging::layout::Model;

/// Bytes of the tables and blocks of a sequential scan.
const SEQUENTIAL_MEMORY: u64 = 256 << 10;

#[derive(Debug)]
pub(in crate::imaging) struct Regular<'a> {
    header: Header<'a>,
}

impl<'a> Regular<'a> {
    /// Reads the header. Returns `None` if this decoder does not support the file.
    pub(in crate::imaging) fn open(file: &'a [u8]) -> Option<Self> {
        let header = Header::read(file)?;
        let most = Self::factors(&header, Ord::max);
        let is_divisible = |part: &Part| most.0 % part.across == 0 && most.1 % part.down == 0;
        header.parts().iter().all(is_divisible).then_some(Self { header })
    }

    /// Returns whether this decoder is faster than libjpeg-turbo on this processor. Its samples are the same in any case.
    pub(in crate::imaging) fn is_fast() -> bool {
        simd::is_fast()
    }

    /// Returns width and height in pixels, 1..=65,500.
    pub(in crate::imaging) fn size(&self) -> (u32, u32) {
        (self.header.width.into(), self.header.height.into())
    }

    /// Returns what the components mean.
    pub(in crate::imaging) fn model(&self) -> Model {
        self.header.model
    }

    /// Returns the sampling factors of each component, across and down. A single component has 1 x 1.
    pub(in crate::imaging) fn sampling(&self) -> impl ExactSizeIterator<Item = (u8, u8)> {
        self.header.parts().iter().map(|part| (part.across, part.down))
    }

    /// Returns the size of `component` at `divisor`, which is 1, 2, 4 or 8. Returns `None` for other divisors.
    pub(in crate::imaging) fn plane_size(&self, component: usize, divisor: u8) -> Option<PlaneSize> {
        let size = size_of(divisor)?;
        let part = self.header.parts().get(component)?;
        let (most, least) = (Self::factors(&self.header, Ord::max), Self::factors(&self.header, Ord::min));
        let measure = |side: u16, factor: u8, most: u8, least: u8| {
            let [factor, most, least] = [factor, most, least].map(usize::from);
            let mcus = usize::from(side).div_ceil(8 * most);
            let scaled = usize::from(side).div_ceil(divisor.into());
            (scaled.next_multiple_of(most / least) * factor / most, mcus * factor * size)
        };
        let (width, padded) = measure(self.header.width, part.across, most.0, least.0);
        let (height, _) = measure(self.header.height, part.down, most.1, least.1);
        Some(PlaneSize { width, height, padded, band: usize::from(part.down) * size })
    }

    /// Returns an upper bound of the bytes that decoding holds besides the bands.
    pub(in crate::imaging) fn memory(&self) -> u64 {
        SEQUENTIAL_MEMORY + Progressive::memory(&self.header)
    }

    /// Decodes the picture at `divisor`, which is 1, 2, 4 or 8.
    ///
    /// # Errors
    /// See [`RegularError`]. Bands that were filled before an error are invalid.
    pub(in crate::imaging) fn decode(
        self,
        divisor: u8,
        bands: &mut impl BandSink,
    ) -> Result<(), RegularError> {
        let (work, size) = self.work(divisor).ok_or(FallbackReason::Tables)?;
        simd::run(work, size, bands)
    }

    #[cfg(any(test, fuzzing))]
    pub(in crate::imaging) fn decode_portably(
        self,
        divisor: u8,
        bands: &mut impl BandSink,
    ) -> Result<(), RegularError> {
        let (work, size) = self.work(divisor).ok_or(FallbackReason::Tables)?;
        simd::run_anywhere(work, size, bands)
    }

    /// Returns the scans with their tables, and the samples on a side of a block. Returns `None` if a table is missing or
    /// irregular, or for other divisors.
    fn work(&self, divisor: u8) -> Option<(Work<'a>, usize)> {
        let height = |component| self.plane_size(component, divisor).map_or(0, |plane| plane.height);
        let heights = [0, 1, 2, 3].map(height);
        let work = if self.header.scans.is_empty() {
            Work::Sequential(Scan::new(&self.header, heights)?)
        } else {
            Work::Progressive(Progressive::new(&self.header, heights)?)
        };
        Some((work, size_of(divisor)?))
    }

    /// Returns the largest or smallest sampling factors across and down.
    fn factors(header: &Header<'_>, choose: fn(u8, u8) -> u8) -> (u8, u8) {
        let pairs = header.parts().iter().map(|part| (part.across, part.down));
        pairs.reduce(|a, b| (choose(a.0, b.0), choose(a.1, b.1))).unwrap_or((1, 1))
    }
}

/// Returns the samples on a side of a block at `divisor`.
fn size_of(divisor: u8) -> Option<usize> {
    matches!(divisor, 1 | 2 | 4 | 8).then(|| usize::from(8 / divisor))
}

#[cfg(test)]
mod tests;
