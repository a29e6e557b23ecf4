//! Selects the decoder of coded pictures: HEVC or AV1.

use super::picture::{Header, Picture};
use crate::imaging::error::ImageError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    #[cfg(feature = "heic")]
    Hevc,
    #[cfg(feature = "avif")]
    Av1,
}

impl Codec {
    /// Returns the codec of an item's type, if it is built in.
    pub(super) fn of_item(kind: &[u8; 4]) -> Option<Self> {
        match kind {
            #[cfg(feature = "heic")]
            b"hvc1" => Some(Self::Hevc),
            #[cfg(feature = "avif")]
            b"av01" => Some(Self::Av1),
            _ => None,
        }
    }

    /// Returns the property with the decoder's configuration.
    pub(super) fn configuration(self) -> &'static [u8; 4] {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => b"hvcC",
            #[cfg(feature = "avif")]
            Self::Av1 => b"av1C",
        }
    }

    /// Returns true if the configuration contains all headers of a picture.
    pub(super) fn has_headers_in_configuration(self) -> bool {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => true,
            #[cfg(feature = "avif")]
            Self::Av1 => false,
        }
    }

    /// Reads the headers in a configuration, or at the start of the data of a picture.
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

    /// Decodes one picture. The caller must have checked the size in its header against the limits.
    pub(super) fn decode(self, configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
        match self {
            #[cfg(feature = "heic")]
            Self::Hevc => super::hevc::decode(configuration, data),
            #[cfg(feature = "avif")]
            Self::Av1 => super::av1::decode(configuration, data),
        }
    }

    /// Returns the bytes of one decoded picture.
    pub(super) fn picture_memory(header: &Header) -> u64 {
        let samples = header.chroma.samples(header.pixels());
        if header.depth == 8 { samples } else { 2 * samples }
    }

    /// Returns a measured upper bound of the bytes that decoding one picture holds, without the picture and its coded data.
    pub(super) fn working_memory(self, header: &Header) -> u64 {
        let pixels = header.pixels();
        match self {
            // Three bytes for each 8 x 8 pixels; the filters of each coding tree block; a row of these blocks as it was before
            // the last filter; tables, and the headers of slices.
            #[cfg(feature = "heic")]
            Self::Hevc => {
                let blocks = pixels.div_ceil(u64::from(header.block).pow(2));
                let row = 2 * u64::from(header.coded.0 + 2) * u64::from(header.block + 5);
                pixels * 3 / 64 + 48 * blocks + row + (192 << 10)
            }
            // The picture before film grain is added, data for each block, and tables.
            #[cfg(feature = "avif")]
            Self::Av1 => u64::from(header.has_grain) * Self::picture_memory(header) + pixels + (2 << 20),
        }
    }

    /// Returns an upper bound of the bytes that the decoder holds of the coded data of a picture.
    pub(super) fn data_memory(self, data: &[u8]) -> u64 {
        match self {
            // A copy without its escapes. What is kept of each slice is in the working memory.
            #[cfg(feature = "heic")]
            Self::Hevc => data.len() as u64,
            // A copy of the units that are decoded, and one in the decoder.
            #[cfg(feature = "avif")]
            Self::Av1 => 2 * data.len() as u64,
        }
    }
}
