//! Headers and planes of coded pictures for all decoders.

use crate::imaging::error::ImageError;

/// Largest coded picture in pixels, which the highest levels of HEVC (6.2) and AV1 (6.3) and AVIF's advanced profile allow. It
/// bounds the memory and the time of one call of a decoder. Larger images are grids of tiles.
pub(super) const MAX_CODED_PIXELS: u64 = 35_651_584;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroma {
    /// No chroma: grey.
    None,
    /// Half of luma in both directions.
    Quarter,
    /// Half of luma across.
    Half,
    Full,
}

impl Chroma {
    /// Returns whether a plane is half as wide, and half as high, as luma.
    pub(super) fn halves(self) -> (bool, bool) {
        (matches!(self, Self::Quarter | Self::Half), self == Self::Quarter)
    }

    /// Returns the samples of all planes for `pixels` pixels, rounded up.
    pub(super) fn samples(self, pixels: u64) -> u64 {
        match self {
            Self::None => pixels,
            Self::Quarter => pixels + pixels.div_ceil(2),
            Self::Half => 2 * pixels,
            Self::Full => 3 * pixels,
        }
    }
}

/// The meaning of sample values as colours: code points of ITU-T H.273. 2 means unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cicp {
    pub(super) primaries: u16,
    pub(super) transfer: u16,
    pub(super) matrix: u16,
    pub(super) full_range: bool,
}

impl Cicp {
    pub(super) const UNSPECIFIED: Self = Self { primaries: 2, transfer: 2, matrix: 2, full_range: true };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The size that the decoder allocates, up to a block larger than the shown size.
    pub(super) coded: (u32, u32),
    pub(super) shown: (u32, u32),
    pub(super) chroma: Chroma,
    /// Bits a sample, 8 to 12.
    pub(super) depth: u8,
    /// Side of the largest coding block. Decoders keep data for each block.
    pub(super) block: u32,
    /// True if the decoder may add film grain to a copy of the picture.
    pub(super) has_grain: bool,
    /// The code points of the bitstream, or its defaults.
    pub(super) cicp: Cicp,
}

impl Header {
    /// Returns the pixels of the coded size.
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.coded.0) * u64::from(self.coded.1)
    }
}

pub(super) struct Picture {
    pub(super) header: Header,
    pub(super) planes: Box<dyn Planes>,
}

/// Gives access to the planes of a picture: luma, then Cb and Cr.
pub(super) trait Planes {
    /// Returns the samples of a row of a plane. A missing row is [`ImageError::Corrupt`].
    fn row(&self, plane: usize, row: usize) -> Result<Samples<'_>, ImageError>;
}

/// Consecutive samples.
#[derive(Debug, Clone, Copy)]
pub(super) enum Samples<'a> {
    /// Samples of 8 bits.
    Bytes(&'a [u8]),
    /// Deeper samples, each in the byte order of the processor.
    Words(&'a [[u8; 2]]),
}

impl<'a> Samples<'a> {
    /// Returns `len` samples from `start` on. Missing ones are [`ImageError::Corrupt`].
    pub(super) fn part(self, start: usize, len: usize) -> Result<Self, ImageError> {
        fn part<T>(all: &[T], start: usize, len: usize) -> Result<&[T], ImageError> {
            all.get(start..).and_then(|rest| rest.get(..len)).ok_or(ImageError::Corrupt)
        }
        Ok(match self {
            Self::Bytes(bytes) => Self::Bytes(part(bytes, start, len)?),
            Self::Words(words) => Self::Words(part(words, start, len)?),
        })
    }

    /// Copies the first samples until `to` is full. Missing ones are [`ImageError::Corrupt`].
    pub(super) fn copy_to(self, to: &mut [u16]) -> Result<(), ImageError> {
        match self.part(0, to.len())? {
            Self::Bytes(bytes) => to.iter_mut().zip(bytes).for_each(|(to, from)| *to = (*from).into()),
            Self::Words(words) => {
                to.iter_mut().zip(words).for_each(|(to, from)| *to = u16::from_ne_bytes(*from));
            }
        }
        Ok(())
    }
}
