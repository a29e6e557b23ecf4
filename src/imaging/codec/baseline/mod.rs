//! A fast decoder for the JPEGs that most cameras write: sequential, Huffman-coded, 8 bits, one scan.
//!
//! It gives exactly libjpeg-turbo's samples, band by band, in little more than half of its time, and never holds a whole plane. It is no
//! judge: whatever is not perfectly regular, from a second scan to one byte too many, is [`Failure::Odd`], and the caller asks
//! libjpeg-turbo, which knows what can be forgiven.

mod bits;
mod header;
mod huffman;
mod idct;
mod scan;
mod simd;

pub(in crate::imaging) use self::header::Model;
use self::header::{Header, Part};
use self::huffman::Odd;
use self::scan::Scan;
use crate::imaging::ImageError;

/// Where the samples of a component go.
#[derive(Debug, Default)]
pub(in crate::imaging) struct Room<'a> {
    /// At least as many rows as [`Plane::band`] tells, of `stride` samples, the last one of at least [`Plane::padded`] samples.
    pub(in crate::imaging) samples: &'a mut [u8],
    /// Samples from one row to the next; at least [`Plane::padded`].
    pub(in crate::imaging) stride: usize,
}

/// Where decoded samples go: the caller owns the rows, the decoder writes blocks straight into them.
pub(in crate::imaging) trait Bands {
    /// Room for the next band of every component, by its index; an empty one for those that the file does not have.
    fn rooms(&mut self) -> [Room<'_>; 4];

    /// The first `rows` rows of the room of `component` are filled: [`Plane::band`], or fewer at the bottom of the picture.
    ///
    /// # Errors
    /// Whatever ends the work early: a deadline, a client that is gone.
    fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError>;
}

/// Why no picture came out. What was filled before is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) enum Failure {
    /// The file is not as regular as this decoder demands; libjpeg-turbo has to say what it is worth.
    Odd,
    /// [`Bands::filled`] said so.
    Stopped(ImageError),
}

impl From<Odd> for Failure {
    fn from(_: Odd) -> Self {
        Self::Odd
    }
}

/// The size of a component's samples at some divisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) struct Plane {
    /// Samples across, as `tj3YUVPlaneWidth` says: up to a whole number of the least sampled component's.
    pub(in crate::imaging) width: usize,
    /// Samples down, as `tj3YUVPlaneHeight` says.
    pub(in crate::imaging) height: usize,
    /// Samples that are written in a row: those of whole MCUs.
    pub(in crate::imaging) padded: usize,
    /// Rows of a band: those of one MCU.
    pub(in crate::imaging) band: usize,
}

/// A file whose header is regular.
#[derive(Debug)]
pub(in crate::imaging) struct Baseline<'a> {
    header: Header<'a>,
}

impl<'a> Baseline<'a> {
    /// `None` if the file is not of the kind that is decoded here. Allocates nothing.
    pub(in crate::imaging) fn open(file: &'a [u8]) -> Option<Self> {
        let header = Header::read(file)?;
        let most = Self::factors(&header, Ord::max);
        let is_divisible = |part: &Part| most.0 % part.across == 0 && most.1 % part.down == 0;
        header.parts().iter().all(is_divisible).then_some(Self { header })
    }

    /// Whether decoding here is faster than libjpeg-turbo on this processor. If not, the samples are right all the same.
    pub(in crate::imaging) fn is_fast() -> bool {
        simd::is_fast()
    }

    /// Width and height in pixels, 1..=65,500.
    pub(in crate::imaging) fn size(&self) -> (u32, u32) {
        (self.header.width.into(), self.header.height.into())
    }

    /// What the components mean.
    pub(in crate::imaging) fn model(&self) -> Model {
        self.header.model
    }

    /// The sampling factors of each component, across and down; 1 x 1 if there is one alone.
    pub(in crate::imaging) fn sampling(&self) -> impl ExactSizeIterator<Item = (u8, u8)> {
        self.header.parts().iter().map(|part| (part.across, part.down))
    }

    /// The size of `component` at `divisor`, which is 1, 2, 4 or 8; `None` for others.
    pub(in crate::imaging) fn plane(&self, component: usize, divisor: u8) -> Option<Plane> {
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
        Some(Plane { width, height, padded, band: usize::from(part.down) * size })
    }

    /// Decodes the picture at `divisor`, which is 1, 2, 4 or 8. Holds some tens of kilobytes, whatever the size of the picture.
    ///
    /// # Errors
    /// [`Failure`], at any time; what was filled before must then be thrown away.
    pub(in crate::imaging) fn decode(self, divisor: u8, bands: &mut impl Bands) -> Result<(), Failure> {
        let size = size_of(divisor).ok_or(Failure::Odd)?;
        let scan = self.scan(divisor).ok_or(Failure::Odd)?;
        simd::run(scan, size, bands)
    }

    /// The same without instructions that only some processors have.
    #[cfg(any(test, fuzzing))]
    pub(in crate::imaging) fn decode_portably(
        self,
        divisor: u8,
        bands: &mut impl Bands,
    ) -> Result<(), Failure> {
        let size = size_of(divisor).ok_or(Failure::Odd)?;
        let scan = self.scan(divisor).ok_or(Failure::Odd)?;
        simd::run_anywhere(scan, size, bands)
    }

    /// The scan with its tables; `None` if those are not there or irregular.
    fn scan(&self, divisor: u8) -> Option<Scan<'a>> {
        let height = |component| self.plane(component, divisor).map_or(0, |plane| plane.height);
        Scan::new(&self.header, [0, 1, 2, 3].map(height))
    }

    /// The largest or smallest of the sampling factors across and down.
    fn factors(header: &Header<'_>, choose: fn(u8, u8) -> u8) -> (u8, u8) {
        let pairs = header.parts().iter().map(|part| (part.across, part.down));
        pairs.reduce(|a, b| (choose(a.0, b.0), choose(a.1, b.1))).unwrap_or((1, 1))
    }
}

/// Samples on a side of a block at `divisor`.
fn size_of(divisor: u8) -> Option<usize> {
    matches!(divisor, 1 | 2 | 4 | 8).then(|| usize::from(8 / divisor))
}

#[cfg(test)]
mod tests;
