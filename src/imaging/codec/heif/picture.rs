//! What a decoder of coded pictures takes and gives, whichever it is.

use crate::imaging::ImageError;

/// Largest coded picture in pixels: what the highest levels of HEVC (6.2) and AV1 (6.3) and AVIF's advanced profile allow.
/// A larger image is a grid of tiles. It bounds the memory and the time that one call of a decoder can take.
pub(super) const MAX_CODED_PIXELS: u64 = 35_651_584;

/// How many chroma samples there are.
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

    /// Samples of all planes for so many pixels, rounded up.
    pub(super) fn samples(self, pixels: u64) -> u64 {
        match self {
            Self::None => pixels,
            Self::Quarter => pixels + pixels.div_ceil(2),
            Self::Half => 2 * pixels,
            Self::Full => 3 * pixels,
        }
    }
}

/// How sample values name colours: code points of ITU-T H.273, 2 where it is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cicp {
    pub(super) primaries: u16,
    pub(super) transfer: u16,
    pub(super) matrix: u16,
    pub(super) full_range: bool,
}

impl Cicp {
    /// Nothing said, and the full range.
    pub(super) const UNSPECIFIED: Self = Self { primaries: 2, transfer: 2, matrix: 2, full_range: true };
}

/// What the headers of a coded picture declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The size that the decoder allocates for, up to a block larger than what is shown.
    pub(super) coded: (u32, u32),
    /// The size of what it gives.
    pub(super) shown: (u32, u32),
    pub(super) chroma: Chroma,
    /// Bits of a sample, 8 to 12.
    pub(super) depth: u8,
    /// Side of the largest coding block: decoders keep notes for each.
    pub(super) block: u32,
    /// Whether the decoder may lay film grain over a copy of the picture.
    pub(super) has_grain: bool,
    /// What the bitstream says, or means by saying nothing.
    pub(super) cicp: Cicp,
}

impl Header {
    /// Pixels of the coded size.
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.coded.0) * u64::from(self.coded.1)
    }
}

/// A decoded picture, its rows ready to be read.
pub(super) struct Picture {
    pub(super) header: Header,
    pub(super) planes: Box<dyn Planes>,
}

/// The planes of a picture: luma, then Cb and Cr.
pub(super) trait Planes {
    /// Copies the beginning of a row of a plane. Rows and samples that are not there are [`ImageError::Corrupt`].
    fn copy_row(&self, plane: usize, row: usize, to: &mut [u16]) -> Result<(), ImageError>;
}

/// A decoder of coded pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// HEVC.
    #[cfg(feature = "heic")]
    Hevc,
    /// AV1.
    #[cfg(feature = "avif")]
    Av1,
}

impl Codec {
    /// The codec of an item's type, if it is built in.
    pub(super) fn of_item(kind: &[u8; 4]) -> Option<Self> {
        match kind {
            #[cfg(feature = "heic")]
            b"hvc1" => Some(Self::Hevc),
            #[cfg(feature = "avif")]
            b"av01" => Some(Self::Av1),
            _ => None,
        }
    }

    /// The property with the decoder's configuration.
    pub(super) fn configuration(self) -> &'static [u8; 4] {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => b"hvcC",
            #[cfg(feature = "avif")]
            Self::Av1 => b"av1C",
        }
    }

    /// Whether the headers of a picture are in its configuration alone, whatever its data are.
    pub(super) fn is_told_by_configuration(self) -> bool {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => true,
            #[cfg(feature = "avif")]
            Self::Av1 => false,
        }
    }

    /// Reads the headers in a configuration, or in front of the data of a picture.
    #[cfg_attr(
        not(feature = "avif"),
        expect(unused_variables, reason = "HEVC has all headers in the configuration")
    )]
    pub(super) fn header(self, configuration: &[u8], data: &[u8]) -> Result<Header, ImageError> {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => super::hevc::header(configuration),
            #[cfg(feature = "avif")]
            Self::Av1 => super::av1::header(configuration, data),
        }
    }

    /// Decodes one picture. The caller has held the size in its header against the limits.
    pub(super) fn decode(self, configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => super::hevc::decode(configuration, data),
            #[cfg(feature = "avif")]
            Self::Av1 => super::av1::decode(configuration, data),
        }
    }

    /// Bytes of one decoded picture.
    pub(super) fn picture_memory(self, header: &Header) -> u64 {
        let samples = header.chroma.samples(header.pixels());
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => 2 * samples,
            #[cfg(feature = "avif")]
            Self::Av1 if header.depth == 8 => samples,
            #[cfg(feature = "avif")]
            Self::Av1 => 2 * samples,
        }
    }

    /// Upper estimate of the bytes that decoding one picture holds beside the picture itself, its coded data not counted;
    /// measured.
    pub(super) fn working_memory(self, header: &Header) -> u64 {
        let picture = self.picture_memory(header);
        let pixels = header.pixels();
        match self {
            // The picture before its offsets are applied, or before it is cut to its window; 33 bytes for each 8 x 8
            // pixels; the filters of each coding tree block; tables.
            #[cfg(feature = "heic")]
            Self::Hevc => {
                let blocks = pixels.div_ceil(u64::from(header.block).pow(2));
                picture + pixels * 33 / 64 + 64 * blocks + (64 << 10)
            }
            // The picture before film grain is laid on it, notes on each block, and tables.
            #[cfg(feature = "avif")]
            Self::Av1 => u64::from(header.has_grain) * picture + pixels + (2 << 20),
        }
    }

    /// Upper estimate of the bytes that the decoder holds of the coded data of a picture.
    pub(super) fn data_memory(self, data: &[u8]) -> u64 {
        match self {
            // A copy without its escapes, and their positions in a list that grows by doubling.
            #[cfg(feature = "heic")]
            Self::Hevc => {
                let escapes = memchr::memmem::find_iter(data, b"\0\0\x03").count();
                (data.len() + 12 * escapes) as u64
            }
            // A copy of the units that are decoded, and one in the decoder.
            #[cfg(feature = "avif")]
            Self::Av1 => 2 * data.len() as u64,
        }
    }
}
