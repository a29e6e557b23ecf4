//! Everything but JPEG: pictures of pixels. Rows go to the canvas as they are decoded where the format's decoder gives
//! rows; otherwise the whole picture is decoded first.

mod png;
mod tiff;
mod webp;
mod whole;

use self::png::Png;
use self::tiff::Tiff;
use self::webp::WebP;
use self::whole::Whole;
use super::{DecodeError, Format, Picture, check_size};
use crate::imaging::canvas::{Canvas, Component, Layout, Model};
use crate::imaging::work_budget::Input;
use crate::imaging::{ImageError, Recipe};

/// What a decoder may allocate beside its rows: palettes, dictionaries, profiles.
const WORKING_MEMORY: u64 = 8 << 20;
/// Rows that are collected before they are handed on.
const BAND_ROWS: usize = 32;
/// Bytes that are collected at most, unless a single row is larger.
const MAX_BAND_BYTES: usize = 1 << 20;

/// Reads the header of an image that is no JPEG.
pub(super) fn open<'a>(
    format: Format,
    input: &Input<'a>,
    recipe: &Recipe,
) -> Result<Box<dyn Picture + 'a>, ImageError> {
    match format {
        Format::Png => Ok(Box::new(Png::open(input, recipe)?)),
        Format::WebP => Ok(Box::new(WebP::open(input, recipe)?)),
        Format::Tiff => Ok(Box::new(Tiff::open(input, recipe)?)),
        Format::Ico => match png_in_ico(input)? {
            Some(png) => Ok(Box::new(Png::open(&png, recipe)?)),
            None => Ok(Box::new(Whole::open(format, input, recipe)?)),
        },
        _ => Ok(Box::new(Whole::open(format, input, recipe)?)),
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

    /// The same for pixels whose colours are multiplied by alpha already: white shows through by what alpha leaves.
    fn push_premultiplied(self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let flat = match self {
            Self::GreyAlpha => flatten::<2>(pixels, premultiplied_on_white),
            Self::Rgba => flatten::<4>(pixels, premultiplied_on_white),
            _ => pixels.len(),
        };
        canvas.push_pixels(&pixels[..flat])
    }

    /// Puts rows on the canvas, over white: before the resize, so that transparent pixels leave no dark fringe.
    fn push(self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let flat = match self {
            Self::GreyAlpha => flatten::<2>(pixels, on_white),
            Self::Rgba => flatten::<4>(pixels, on_white),
            _ => pixels.len(),
        };
        canvas.push_pixels(&pixels[..flat])
    }
}

/// How many rows of so many bytes are collected before they are handed on.
fn band_rows(row_bytes: usize) -> usize {
    (MAX_BAND_BYTES / row_bytes.max(1)).clamp(1, BAND_ROWS)
}

/// A colour over white; a weighted mean of two values up to 255 is at most 255.
fn on_white(colour: u32, alpha: u32) -> u32 {
    (colour * alpha + 255 * (255 - alpha) + 127) / 255
}

fn premultiplied_on_white(colour: u32, alpha: u32) -> u32 {
    colour + 255 - alpha
}

/// Lays pixels of `N` bytes, of which the last is alpha, over white in place, and gives the number of bytes left.
fn flatten<const N: usize>(pixels: &mut [u8], over: impl Fn(u32, u32) -> u32) -> usize {
    let count = pixels.len() / N;
    for at in 0..count {
        let alpha = u32::from(pixels[N * at + N - 1]);
        for channel in 0..N - 1 {
            let colour = over(u32::from(pixels[N * at + channel]), alpha);
            pixels[(N - 1) * at + channel] = u8::try_from(colour).unwrap_or(u8::MAX);
        }
    }
    (N - 1) * count
}

/// The entry of an ICO's directory that is read, and where the data is that it points to: offset and length. The deepest
/// picture counts, of equally deep ones the largest.
fn best_of_ico(file: &[u8]) -> Option<(&[u8; 16], usize, usize)> {
    let count = u16::from_le_bytes(*file.get(4..)?.first_chunk()?);
    let entries = file.get(6..)?.as_chunks::<16>().0.iter().take(usize::from(count));
    // 0 stands for 256.
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    let best = entries.max_by_key(|entry| ([entry[7], entry[6]], side(entry[0]) * side(entry[1])))?;
    let number = |at: usize| Some(u32::from_le_bytes(*best.get(at..)?.first_chunk()?) as usize);
    let offset = number(12)?;
    let rest = file.len().checked_sub(offset)?;
    Some((best, offset, number(8)?.min(rest)))
}

/// The PNG in an ICO, if that is what is read of it. The ICO decoder would read it without limits.
fn png_in_ico<'a>(input: &Input<'a>) -> Result<Option<Input<'a>>, ImageError> {
    let file = input.whole()?;
    let Some((_, offset, length)) = best_of_ico(file) else { return Ok(None) };
    let is_png = file[offset..offset + length].starts_with(b"\x89PNG");
    is_png.then(|| input.part(offset, length)).transpose()
}

/// An ICO of nothing but the picture that is read, so that the decoder cannot choose another one.
fn one_picture_ico(file: &[u8]) -> Result<Vec<u8>, ImageError> {
    const DATA: u32 = 6 + 16;
    let (entry, offset, length) = best_of_ico(file).ok_or(ImageError::Corrupt)?;
    let picture = &file[offset..offset + length];
    let mut ico = file.get(..4).ok_or(ImageError::Corrupt)?.to_vec();
    ico.extend(1u16.to_le_bytes());
    ico.extend(&entry[..8]);
    ico.extend(u32::try_from(picture.len()).map_err(|_| ImageError::Corrupt)?.to_le_bytes());
    ico.extend(DATA.to_le_bytes());
    ico.extend(picture);
    Ok(ico)
}

fn is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod cost_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_weighed_against_white() {
        let mut pixels = [0, 100, 200, 128, 9, 9, 9, 0, 1, 2, 3, 255];
        let flat = flatten::<4>(&mut pixels, on_white);
        assert_eq!(pixels[..flat], [127, 177, 227, 255, 255, 255, 1, 2, 3]);
        let mut multiplied = [0, 50, 100, 128];
        let flat = flatten::<4>(&mut multiplied, premultiplied_on_white);
        assert_eq!(multiplied[..flat], [127, 177, 227]);
    }
}
