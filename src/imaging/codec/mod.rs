//! All decoders behind one function. A decoder reads the header first; no pixel is decoded before its size is checked.

#[cfg(any(feature = "heic", feature = "avif"))]
mod heif;
pub(super) mod jpeg;
mod picture;
mod raster;

pub(super) use self::picture::{DecodeError, Picture};
use super::work_budget::Input;
use super::{ImageError, Recipe};

/// An image format that a decoder here reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Ico,
    /// HEIC and AVIF: one container, and either codec in it.
    #[cfg(any(feature = "heic", feature = "avif"))]
    Heif,
}

impl Format {
    /// The format of a sniffed MIME type, if a decoder here reads it.
    pub fn from_mime(mime: &str) -> Option<Self> {
        match mime {
            "image/jpeg" => Some(Self::Jpeg),
            "image/png" => Some(Self::Png),
            "image/webp" => Some(Self::WebP),
            "image/gif" => Some(Self::Gif),
            "image/bmp" => Some(Self::Bmp),
            "image/tiff" => Some(Self::Tiff),
            "image/vnd.microsoft.icon" => Some(Self::Ico),
            #[cfg(feature = "heic")]
            "image/heic" => Some(Self::Heif),
            #[cfg(feature = "avif")]
            "image/avif" => Some(Self::Heif),
            #[cfg(any(feature = "heic", feature = "avif"))]
            "image/heif" => Some(Self::Heif),
            _ => None,
        }
    }
}

/// Reads the header of a file and refuses zero sizes and too many pixels.
pub(super) fn open<'a>(
    format: Format,
    input: &Input<'a>,
    recipe: &Recipe,
) -> Result<Box<dyn Picture + 'a>, ImageError> {
    match format {
        Format::Jpeg => jpeg::open(input, recipe),
        #[cfg(any(feature = "heic", feature = "avif"))]
        Format::Heif => Ok(Box::new(heif::Heif::open(input, recipe)?)),
        _ => raster::open(format, input, recipe),
    }
}

/// Holds a declared size against the limit. Done before anything is allocated for it.
pub(super) fn check_size(width: u64, height: u64, max: u64) -> Result<(u32, u32), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty);
    }
    let too_many = ImageError::TooManyPixels { width, height, max };
    if width.checked_mul(height).is_none_or(|pixels| pixels > max) {
        return Err(too_many);
    }
    Ok((u32::try_from(width).map_err(|_| too_many)?, u32::try_from(height).map_err(|_| too_many)?))
}
