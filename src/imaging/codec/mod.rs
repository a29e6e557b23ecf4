//! One door to all decoders: a header read first, pixels only after its size was found acceptable.

#[cfg(any(feature = "heic", feature = "avif"))]
mod heif;
pub(super) mod jpeg;
pub(super) mod markers;
mod raster;

use super::exif::{self, Orientation};
use super::{ImageError, Recipe, Rgb};

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

/// An opened file: its header is read and within the limits.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Jpeg(jpeg::Jpeg<'a>),
    Raster(raster::Raster<'a>),
    #[cfg(any(feature = "heic", feature = "avif"))]
    Heif(Box<heif::Heif<'a>>),
}

/// Reads the header of `bytes` and refuses zero sizes and too many pixels.
pub(super) fn open<'a>(format: Format, bytes: &'a [u8], recipe: &Recipe) -> Result<Source<'a>, ImageError> {
    match format {
        Format::Jpeg => jpeg::Jpeg::open(bytes, recipe).map(Source::Jpeg),
        #[cfg(any(feature = "heic", feature = "avif"))]
        Format::Heif => heif::Heif::open(bytes, recipe).map(|heif| Source::Heif(Box::new(heif))),
        _ => raster::Raster::open(format, bytes, recipe).map(Source::Raster),
    }
}

impl Source<'_> {
    /// Declared width and height.
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Self::Jpeg(jpeg) => jpeg.size(),
            Self::Raster(raster) => raster.size(),
            #[cfg(any(feature = "heic", feature = "avif"))]
            Self::Heif(heif) => heif.size(),
        }
    }

    /// Width and height of what [`decode`](Self::decode) gives; smaller than the declared size where the decoder scales.
    pub(super) fn decoded_size(&self) -> (u32, u32) {
        match self {
            Self::Jpeg(jpeg) => jpeg.decoded_size(),
            Self::Raster(raster) => raster.size(),
            #[cfg(any(feature = "heic", feature = "avif"))]
            Self::Heif(heif) => heif.size(),
        }
    }

    /// What makes the picture upright, `file` being the bytes that it was opened from.
    pub(super) fn orientation(&self, format: Format, file: &[u8]) -> Orientation {
        match self {
            #[cfg(any(feature = "heic", feature = "avif"))]
            Self::Heif(heif) => heif.orientation(),
            _ => exif::orientation(format, file),
        }
    }

    /// Upper estimate of the bytes that decoding holds at its peak.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Jpeg(jpeg) => jpeg.memory(),
            Self::Raster(raster) => raster.memory(),
            #[cfg(any(feature = "heic", feature = "avif"))]
            Self::Heif(heif) => heif.memory(),
        }
    }

    /// The pixels, and the ICC profile that tells their colours if there is one.
    pub(super) fn decode(self) -> Result<(Rgb, Option<Vec<u8>>), ImageError> {
        match self {
            Self::Jpeg(jpeg) => jpeg.decode(),
            Self::Raster(raster) => raster.decode(),
            #[cfg(any(feature = "heic", feature = "avif"))]
            Self::Heif(heif) => heif.decode(),
        }
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
