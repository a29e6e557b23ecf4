//! Defines pixels of 8-bit samples on their way to the canvas, and the limits that all decoders of pixels share.

use crate::imaging::canvas::Canvas;
use crate::imaging::codec::simd::{self, Kernel};
use crate::imaging::error::ImageError;
use crate::imaging::layout::{Component, Layout, Model};

/// Bytes that a decoder may allocate besides its rows: palettes, dictionaries, profiles.
pub(super) const WORKING_MEMORY: u64 = 8 << 20;
/// Rows that are collected before they are pushed to the canvas.
pub(super) const BAND_ROWS: usize = 32;
/// Pixels that are laid over white together.
const BLOCK: usize = 256;
/// Most bytes that are collected, unless a single row is larger.
const MAX_BAND_BYTES: usize = 1 << 20;

/// The channels of a pixel of 8-bit samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pixel {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// Inks; 255 is full ink.
    Cmyk,
}

impl Pixel {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }

    /// Returns the layout of a picture of such pixels after they are laid over white.
    pub(super) fn layout(self, width: u32, height: u32) -> Layout {
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

    /// Pushes rows of pixels whose colours are already multiplied by alpha, laid over white.
    pub(super) fn push_premultiplied(
        self,
        pixels: &mut [u8],
        canvas: &mut Canvas<'_>,
    ) -> Result<(), ImageError> {
        let flat = match self {
            Self::GreyAlpha => flatten::<2>(pixels, premultiplied_on_white),
            Self::Rgba => flatten::<4>(pixels, premultiplied_on_white),
            _ => pixels.len(),
        };
        canvas.push_pixels(&pixels[..flat])
    }

    /// Pushes rows of pixels, laid over white.
    pub(super) fn push(self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        match self {
            Self::GreyAlpha => simd::run(OverWhite::<2> { pixels }),
            Self::Rgba => simd::run(OverWhite::<4> { pixels }),
            _ => return canvas.push_pixels(pixels),
        }
        canvas.push_pixels_with_alpha(pixels)
    }

    /// Pushes all pixels of a picture, laid over white.
    pub(super) fn push_whole(self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let flat = self.lay_over_white(pixels);
        canvas.push_whole(&pixels[..flat])
    }

    /// Lays pixels over white in place. Returns the number of bytes that remain. This happens before the resize, so that
    /// transparent pixels leave no dark fringe.
    fn lay_over_white(self, pixels: &mut [u8]) -> usize {
        match self {
            Self::GreyAlpha => flatten::<2>(pixels, on_white),
            Self::Rgba => flatten::<4>(pixels, on_white),
            _ => pixels.len(),
        }
    }
}

/// Returns how many rows of `row_bytes` are collected before they are pushed.
pub(super) fn band_rows(row_bytes: usize) -> usize {
    (MAX_BAND_BYTES / row_bytes.max(1)).clamp(1, BAND_ROWS)
}

/// Returns a colour laid over white.
fn on_white(colour: u32, alpha: u32) -> u32 {
    (colour * alpha + 255 * (255 - alpha) + 127) / 255
}

fn premultiplied_on_white(colour: u32, alpha: u32) -> u32 {
    colour + 255 - alpha
}

/// Lays pixels of `N` bytes, whose last byte is alpha, over white in place. Returns the number of bytes that remain.
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

/// Lays pixels of `N` bytes, whose last byte is alpha, over white in place. The alpha byte is undefined afterwards.
struct OverWhite<'a, const N: usize> {
    pixels: &'a mut [u8],
}

impl<const N: usize> Kernel for OverWhite<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (pixels, _) = self.pixels.as_chunks_mut::<N>();
        for pixels in pixels.chunks_mut(BLOCK) {
            let mut alphas = u8::MAX;
            for pixel in &*pixels {
                alphas &= pixel[N - 1];
            }
            // Most screenshots have an alpha that is never used.
            if alphas == u8::MAX {
                continue;
            }
            for pixel in pixels {
                let alpha = u16::from(pixel[N - 1]);
                for channel in pixel {
                    let sum = u16::from(*channel) * alpha + 255 * (255 - alpha) + 127;
                    // Division by 255, exact and without overflow up to 65,279. The sum is at most 65,152.
                    [*channel, _] = ((sum + 1 + (sum >> 8)) >> 8).to_le_bytes();
                }
            }
        }
    }
}

/// Returns whether a decoder failed because its data ended.
pub(super) fn is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_with_every_alpha_is_laid_over_white() {
        let mut pixels = Vec::new();
        for (colour, alpha) in (0..=255u8).flat_map(|colour| (0..=255u8).map(move |alpha| (colour, alpha))) {
            pixels.extend([colour, colour.wrapping_mul(3), 255 - colour, alpha]);
        }
        let mut flat = pixels.clone();
        flatten::<4>(&mut flat, on_white);
        simd::run(OverWhite::<4> { pixels: &mut pixels });
        let made = pixels.as_chunks::<4>().0.iter().map(|[red, green, blue, _]| [*red, *green, *blue]);
        assert!(made.eq(flat.as_chunks::<3>().0[..65_536].iter().copied()));
    }

    #[test]
    fn transparent_pixels_are_laid_over_white() {
        let mut pixels = [0, 100, 200, 128, 9, 9, 9, 0, 1, 2, 3, 255];
        let flat = flatten::<4>(&mut pixels, on_white);
        assert_eq!(pixels[..flat], [127, 177, 227, 255, 255, 255, 1, 2, 3]);
        let mut multiplied = [0, 50, 100, 128];
        let flat = flatten::<4>(&mut multiplied, premultiplied_on_white);
        assert_eq!(multiplied[..flat], [127, 177, 227]);
    }
}
