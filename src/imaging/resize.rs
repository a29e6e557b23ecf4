//! Lanczos3 by SIMD.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{ImageError, Rgb};

/// Resamples to exactly `width` x `height`; a picture that has this size already is handed back as it is.
pub(super) fn lanczos3(image: Rgb, width: u32, height: u32) -> Result<Rgb, ImageError> {
    if (image.width, image.height) == (width, height) {
        return Ok(image);
    }
    let source = ImageRef::new(image.width, image.height, &image.pixels, PixelType::U8x3)
        .map_err(|_| ImageError::Corrupt)?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&source, &mut target, &options).map_err(|_| ImageError::Corrupt)?;
    Ok(Rgb { width, height, pixels: target.into_vec() })
}
