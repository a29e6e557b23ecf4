//! Selects a decoder. A decoder reads the header first, and decodes no pixel before its size is checked.

mod format;
#[cfg(any(feature = "heic", feature = "avif"))]
pub(super) mod heif;
pub(super) mod jpeg;
mod picture;
mod raster;
mod simd;

pub(crate) use self::format::Format;
pub(super) use self::picture::{DecodeError, Picture};
use self::raster::{Png, Tiff, WebP, Whole, png_in_ico};
use super::error::ImageError;
use super::recipe::Recipe;
use super::work_budget::Input;

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
        Format::Png => Ok(Box::new(Png::open(input, recipe)?)),
        Format::WebP => Ok(Box::new(WebP::open(input, recipe)?)),
        Format::Tiff => Ok(Box::new(Tiff::open(input, recipe)?)),
        Format::Ico => match png_in_ico(input)? {
            Some(png) => Ok(Box::new(Png::open(&png, recipe)?)),
            None => Ok(Box::new(Whole::open(format, input, recipe)?)),
        },
        Format::Gif | Format::Bmp => Ok(Box::new(Whole::open(format, input, recipe)?)),
    }
}

/// Asserts that our decoder of lossy WebP gives the samples of `image-webp`, with and without SIMD.
#[cfg(any(test, fuzzing))]
pub(super) fn assert_webp_decoders_agree(input: &Input<'_>, recipe: &Recipe) {
    if let Ok(webp) = WebP::open(input, recipe) {
        webp.assert_decoders_agree();
    }
}
