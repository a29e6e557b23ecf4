//! Everything but JPEG: pictures of pixels. Rows go to the canvas as they are decoded where the format's decoder gives
//! rows; otherwise the whole picture is decoded first.

mod png;
mod tiff;
mod whole;

use self::png::Png;
use self::tiff::Tiff;
use self::whole::Whole;
use super::{Failed, Format, Picture, check_size};
use crate::imaging::canvas::{Canvas, Component, Layout, Model};
use crate::imaging::{ImageError, Recipe};

/// What a decoder may allocate beside its rows: palettes, dictionaries, profiles.
const WORKING_MEMORY: u64 = 8 << 20;
/// Rows that are collected before they are handed on.
const BAND_ROWS: usize = 32;

/// Reads the header of an image that is no JPEG.
pub(super) fn open<'a>(
    format: Format,
    bytes: &'a [u8],
    recipe: &Recipe,
) -> Result<Box<dyn Picture + 'a>, ImageError> {
    match format {
        Format::Png => Ok(Box::new(Png::open(bytes, recipe)?)),
        Format::Tiff => match Tiff::open(bytes, recipe)? {
            Some(tiff) => Ok(Box::new(tiff)),
            None => Ok(Box::new(Whole::open(format, bytes, recipe)?)),
        },
        Format::Ico => match png_in_ico(bytes) {
            Some(png) => Ok(Box::new(Png::open(png, recipe)?)),
            None => Ok(Box::new(Whole::open(format, bytes, recipe)?)),
        },
        _ => Ok(Box::new(Whole::open(format, bytes, recipe)?)),
    }
}

/// What a pixel of 8-bit samples is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pixel {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// 255 is full ink.
    Cmyk,
}

impl Pixel {
    fn bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }

    /// The layout of a picture of such pixels, once what is transparent is white.
    fn layout(self, width: u32, height: u32) -> Layout {
        let (model, count) = match self {
            Self::Grey | Self::GreyAlpha => (Model::Grey, 1),
            Self::Rgb | Self::Rgba => (Model::Rgb, 3),
            Self::Cmyk => (Model::Cmyk { is_inverted: false }, 4),
        };
        Layout {
            width,
            height,
            divisor: 1,
            model,
            components: vec![Component::of(width, height, 1, 1); count],
        }
    }

    /// Puts rows on the canvas, over white: before the resize, so that transparent pixels leave no dark fringe.
    fn push(self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let flat = match self {
            Self::GreyAlpha => flatten::<2>(pixels),
            Self::Rgba => flatten::<4>(pixels),
            _ => pixels.len(),
        };
        canvas.push_pixels(&pixels[..flat])
    }
}

/// Lays pixels of `N` bytes, of which the last is alpha, over white in place, and gives the number of bytes left.
fn flatten<const N: usize>(pixels: &mut [u8]) -> usize {
    let count = pixels.len() / N;
    for at in 0..count {
        let alpha = u32::from(pixels[N * at + N - 1]);
        for channel in 0..N - 1 {
            let colour = u32::from(pixels[N * at + channel]);
            // A weighted mean of two values up to 255 is at most 255.
            pixels[(N - 1) * at + channel] =
                u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    (N - 1) * count
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

fn is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_weighed_against_white() {
        let mut pixels = [0, 100, 200, 128, 9, 9, 9, 0, 1, 2, 3, 255];
        let flat = flatten::<4>(&mut pixels);
        assert_eq!(pixels[..flat], [127, 177, 227, 255, 255, 255, 1, 2, 3]);
    }
}
