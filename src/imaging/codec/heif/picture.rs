//! Headers and planes of coded pictures, for every decoder.

use crate::imaging::error::ImageError;

/// Largest coded picture in pixels: what the highest levels of HEVC (6.2) and AV1 (6.3) and AVIF's advanced profile allow.
/// A larger image is a grid of tiles. It bounds the memory and the time that one call of a decoder can take.
pub(super) const MAX_CODED_PIXELS: u64 = 35_651_584;

/// The resolution of chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroma {
    /// None: grey.
    None,
    /// Half as many in both directions.
    Quarter,
    /// Half as many across.
    #[cfg_attr(not(feature = "avif"), expect(dead_code, reason = "the decoder for HEVC does not read it"))]
    Half,
    /// As many as luma.
    Full,
}

impl Chroma {
    /// Whether a plane is half as wide, and half as high, as luma.
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
    /// Nothing is specified, and the range is full.
    pub(super) const UNSPECIFIED: Self = Self { primaries: 2, transfer: 2, matrix: 2, full_range: true };
}

/// What the headers of a coded picture declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The size that the decoder allocates, up to a block larger than the shown size.
    pub(super) coded: (u32, u32),
    /// The size of the picture that the decoder returns.
    pub(super) shown: (u32, u32),
    pub(super) chroma: Chroma,
    /// Bits of a sample, 8 to 12.
    pub(super) depth: u8,
    /// Side of the largest coding block. Decoders keep data for each block.
    pub(super) block: u32,
    /// Whether the decoder may add film grain to a copy of the picture.
    pub(super) has_grain: bool,
    /// The code points of the bitstream, or its defaults.
    pub(super) cicp: Cicp,
}

impl Header {
    /// Pixels of the coded size.
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.coded.0) * u64::from(self.coded.1)
    }
}

/// A decoded picture.
pub(super) struct Picture {
    pub(super) header: Header,
    pub(super) planes: Box<dyn Planes>,
}

/// The planes of a picture: luma, then Cb and Cr.
pub(super) trait Planes {
    /// Copies the beginning of a row of a plane. Rows and samples that are not there are [`ImageError::Corrupt`].
    fn copy_row(&self, plane: usize, row: usize, to: &mut [u16]) -> Result<(), ImageError>;
}
