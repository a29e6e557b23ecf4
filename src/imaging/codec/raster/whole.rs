//! Decodes GIF, BMP and ICO to whole pictures with the `image` crate.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, ico::IcoDecoder};
use image::{ColorType, DynamicImage, ImageDecoder, Limits};

use super::ico::one_picture_ico;
use super::pixel::{Pixel, WORKING_MEMORY, is_end};
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::format::Format;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::layout::Layout;
use crate::imaging::limits::MAX_PROFILE_BYTES;
use crate::imaging::limits::check_size;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// An image whose header was read.
pub(in crate::imaging::codec) struct Whole<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    width: u32,
    height: u32,
    /// Bytes that the decoder holds besides its output.
    hidden: u64,
    profile: Option<Vec<u8>>,
}

impl std::fmt::Debug for Whole<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Whole({} x {})", self.width, self.height)
    }
}

impl<'a> Whole<'a> {
    pub(in crate::imaging::codec) fn open(
        format: Format,
        input: &Input<'a>,
        recipe: &Recipe,
    ) -> Result<Self, ImageError> {
        let (file, reader) = (input.whole()?, input.reader());
        let mut decoder: Box<dyn ImageDecoder + 'a> = match format {
            Format::Gif => Box::new(GifDecoder::new(reader).map_err(classify)?),
            Format::Bmp => Box::new(BmpDecoder::new(reader).map_err(classify)?),
            Format::Ico => Box::new(IcoDecoder::new(Cursor::new(one_picture_ico(file)?)).map_err(classify)?),
            _ => return Err(ImageError::Unsupported),
        };
        let (width, height) = decoder.dimensions();
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let output = decoder.total_bytes();
        decoder.set_limits(limits(output)).map_err(classify)?;
        // A corrupt profile does not make the pixels unacceptable.
        let profile = decoder.icc_profile().ok().flatten();
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        let hidden = match format {
            // The decoder keeps the extensions before the frame, and uses a second buffer if frame and screen differ in width.
            Format::Gif => output + 2 * file.len() as u64,
            Format::Ico => file.len() as u64,
            _ => 0,
        };
        Ok(Self { decoder, width, height, hidden, profile })
    }
}

impl Picture for Whole<'_> {
    fn layout(&self) -> Layout {
        Pixel::Rgb.layout(self.width, self.height)
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn pushes_whole(&self) -> bool {
        true
    }

    fn memory(&self) -> u64 {
        // Bytes a pixel of the conversion to 8-bit RGB, besides the decoded picture. Alpha is flattened in place.
        let converted = match self.decoder.color_type() {
            ColorType::Rgb8 | ColorType::Rgba8 => 0,
            colour if colour.has_alpha() => 4,
            _ => 3,
        };
        self.decoder.total_bytes()
            + converted * u64::from(self.width) * u64::from(self.height)
            + self.hidden
            + WORKING_MEMORY
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        let decoded = DynamicImage::from_decoder(self.decoder).map_err(classify)?;
        if decoded.color().has_alpha() {
            Pixel::Rgba.push_whole(&mut decoded.into_rgba8().into_raw(), canvas)?;
        } else {
            Pixel::Rgb.push_whole(&mut decoded.into_rgb8().into_raw(), canvas)?;
        }
        Ok(())
    }
}

/// Returns limits for the declared pixels, which were checked, and the decoder's own work. The output buffer does not count.
fn limits(pixels: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(pixels.saturating_add(WORKING_MEMORY));
    limits
}

fn classify(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(_) => ImageError::Unsupported,
        image::ImageError::Limits(_) => ImageError::TooMuchMemory,
        image::ImageError::IoError(error) if is_end(&error) => ImageError::Truncated,
        _ => ImageError::Corrupt,
    }
}
