//! PNG, WebP, GIF, BMP, TIFF and ICO by the decoders of the `image` crate.

use std::io::Cursor;

use image::codecs::{
    bmp::BmpDecoder, gif::GifDecoder, ico::IcoDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder,
};
use image::{ColorType, DynamicImage, ImageDecoder, Limits};

use super::{Format, check_size};
use crate::imaging::colour::MAX_PROFILE_BYTES;
use crate::imaging::{ImageError, Recipe, Rgb};

/// What a decoder may allocate beside its output: rows, palettes, dictionaries, a second frame.
const WORKING_MEMORY: u64 = 16 << 20;

/// An image whose header was read.
pub(in crate::imaging) struct Raster<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    width: u32,
    height: u32,
}

impl std::fmt::Debug for Raster<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raster({} x {})", self.width, self.height)
    }
}

impl<'a> Raster<'a> {
    pub(super) fn open(format: Format, bytes: &'a [u8], recipe: &Recipe) -> Result<Self, ImageError> {
        let reader = Cursor::new(bytes);
        let mut decoder: Box<dyn ImageDecoder + 'a> = match format {
            Format::Png => Box::new(PngDecoder::with_limits(reader, limits(0)).map_err(classify)?),
            Format::WebP => Box::new(WebPDecoder::new(reader).map_err(classify)?),
            Format::Gif => Box::new(GifDecoder::new(reader).map_err(classify)?),
            Format::Bmp => Box::new(BmpDecoder::new(reader).map_err(classify)?),
            Format::Tiff => Box::new(TiffDecoder::new(reader).map_err(classify)?),
            Format::Ico => match png_in_ico(bytes) {
                Some(png) => return Self::open(Format::Png, png, recipe),
                None => Box::new(IcoDecoder::new(reader).map_err(classify)?),
            },
            _ => return Err(ImageError::Unsupported),
        };
        let (width, height) = decoder.dimensions();
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let bytes = decoder.total_bytes();
        decoder.set_limits(limits(bytes)).map_err(classify)?;
        Ok(Self { decoder, width, height })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(super) fn memory(&self) -> u64 {
        // What the conversion to 8-bit RGB allocates beside the decoded picture; alpha is flattened in place.
        let converted = match self.decoder.color_type() {
            ColorType::Rgb8 | ColorType::Rgba8 => 0,
            colour if colour.has_alpha() => 4,
            _ => 3,
        };
        self.decoder.total_bytes()
            + converted * u64::from(self.width) * u64::from(self.height)
            + WORKING_MEMORY
    }

    pub(super) fn decode(mut self) -> Result<(Rgb, Option<Vec<u8>>), ImageError> {
        // A broken profile is no reason to refuse whole pixels.
        let profile = self.decoder.icc_profile().ok().flatten();
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        let decoded = DynamicImage::from_decoder(self.decoder).map_err(classify)?;
        let pixels = if decoded.color().has_alpha() {
            flatten_on_white(decoded.into_rgba8().into_raw())
        } else {
            decoded.into_rgb8().into_raw()
        };
        Ok((Rgb { width: self.width, height: self.height, pixels }, profile))
    }
}

/// The PNG in the largest picture of an ICO, if it is one. The ICO decoder would read it without limits.
fn png_in_ico(file: &[u8]) -> Option<&[u8]> {
    let count = u16::from_le_bytes(*file.get(4..)?.first_chunk()?);
    let entries = file.get(6..)?.chunks_exact(16).take(usize::from(count));
    // 0 stands for 256. Of equal sizes the one with most bits a pixel counts, as in the decoder.
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    let largest = entries.max_by_key(|entry| (side(entry[0]) * side(entry[1]), entry[6], entry[7]))?;
    let number = |at: usize| Some(u32::from_le_bytes(*largest.get(at..)?.first_chunk()?) as usize);
    let picture = file.get(number(12)?..)?;
    let picture = picture.get(..number(8)?).unwrap_or(picture);
    picture.starts_with(b"\x89PNG").then_some(picture)
}

/// Room for the pixels that the header declared (they were found acceptable) and for the decoder's own work.
fn limits(pixels: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(pixels.saturating_mul(2).saturating_add(WORKING_MEMORY));
    limits
}

/// Packs RGBA into RGB in place, over white. Before the resize, so that transparent pixels leave no dark fringe.
fn flatten_on_white(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for at in 0..count {
        let alpha = u32::from(pixels[4 * at + 3]);
        for channel in 0..3 {
            let colour = u32::from(pixels[4 * at + channel]);
            // A weighted mean of two values up to 255 is at most 255.
            pixels[3 * at + channel] =
                u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    pixels.truncate(3 * count);
    pixels
}

fn classify(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(_) => ImageError::Unsupported,
        image::ImageError::Limits(_) => ImageError::TooMuchMemory,
        image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated
        }
        _ => ImageError::Corrupt,
    }
}
