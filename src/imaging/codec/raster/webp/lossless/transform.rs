//! Undoes the transforms of RFC 9649 section 3.5 row by row. A pixel is a number: alpha (highest byte), red, green, blue.

use std::mem;
use std::ops::Range;

/// Opaque black, the prediction for the first pixel.
const BLACK: u32 = 0xFF00_0000;

/// A small picture whose pixels each hold a parameter of a block of a larger picture.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The side of a block is two to this power.
    pub(super) bits: u32,
    pub(super) across: usize,
    pub(super) pixels: Vec<u32>,
}

impl Blocks {
    /// Returns the blocks that row `y` passes through, with the columns of each, in a picture of `width` columns.
    fn row(&self, y: usize, width: usize) -> impl Iterator<Item = (Range<usize>, u32)> {
        let start = (y >> self.bits) * self.across;
        let blocks = self.pixels.get(start..).unwrap_or_default().iter().take(self.across).enumerate();
        let bits = self.bits;
        blocks.map(move |(block, pixel)| (block << bits..((block + 1) << bits).min(width), *pixel))
    }
}

#[derive(Debug)]
pub(super) enum Transform {
    /// Each pixel is the difference from a prediction; `above` is the previous row after the transform was undone.
    Predictor { modes: Blocks, above: Vec<u32> },
    /// Red and blue are differences from values predicted from green and red.
    Colour(Blocks),
    /// Green was subtracted from red and blue.
    SubtractGreen,
    /// Green contains palette indices: 2^`bits` of them in each pixel of the row.
    Palette { colours: Box<[u32; 256]>, bits: u32, width: usize, full: Vec<u32> },
}

impl Transform {
    pub(super) fn predictor(modes: Blocks) -> Self {
        Self::Predictor { modes, above: Vec::new() }
    }

    /// Creates the transform of a palette, for a picture of `width` columns.
    pub(super) fn palette(differences: &[u32], bits: u32, width: usize) -> Self {
        // Indices beyond the palette are transparent.
        let mut colours = Box::new([0; 256]);
        let mut colour = 0;
        for (to, difference) in colours.iter_mut().zip(differences) {
            colour = sum(colour, *difference);
            *to = colour;
        }
        Self::Palette { colours, bits, width, full: Vec::new() }
    }

    /// Undoes the transform of row `y`. Rows come from the top, each once.
    pub(super) fn undo(&mut self, row: &mut Vec<u32>, y: usize) {
        match self {
            Self::Predictor { modes, above } => {
                if y == 0 {
                    predict_first(row);
                } else {
                    predict(row, above, y, modes);
                }
                above.clear();
                above.extend_from_slice(row);
                // To the right of the last pixel is the first one of the next row.
                above.push(0);
            }
            Self::Colour(elements) => {
                for (columns, element) in elements.row(y, row.len()) {
                    row[columns].iter_mut().for_each(|pixel| *pixel = with_colours(*pixel, element));
                }
            }
            Self::SubtractGreen => {
                for pixel in row {
                    let green = *pixel >> 8 & 0xFF;
                    *pixel = sum(*pixel, green << 16 | green);
                }
            }
            Self::Palette { colours, bits, width, full } => {
                let (count, index_bits) = (1 << *bits, 8 >> *bits);
                let mask = (1 << index_bits) - 1;
                full.resize(*width, 0);
                for (pixels, packed) in full.chunks_mut(count).zip(row.iter()) {
                    let mut indices = packed >> 8 & 0xFF;
                    for pixel in pixels {
                        *pixel = colours[(indices & mask) as usize];
                        indices >>= index_bits;
                    }
                }
                mem::swap(row, full);
            }
        }
    }
}

/// Predicts the first row: each pixel from the pixel to the left.
fn predict_first(row: &mut [u32]) {
    let mut left = BLACK;
    for pixel in row {
        left = sum(*pixel, left);
        *pixel = left;
    }
}

/// Predicts a row after the first. Each block selects the predictor; the first column always uses the pixel above.
fn predict(row: &mut [u32], above: &mut [u32], y: usize, modes: &Blocks) {
    row[0] = sum(row[0], above[0]);
    above[row.len()] = row[0];
    for (columns, pixel) in modes.row(y, row.len()) {
        let columns = columns.start.max(1)..columns.end;
        if columns.is_empty() {
            continue;
        }
        match pixel >> 8 & 0xF {
            1 => add(row, above, columns, |left, _, _, _| left),
            2 => add(row, above, columns, |_, top, _, _| top),
            3 => add(row, above, columns, |_, _, top_right, _| top_right),
            4 => add(row, above, columns, |_, _, _, top_left| top_left),
            5 => add(row, above, columns, |left, top, top_right, _| mean(mean(left, top_right), top)),
            6 => add(row, above, columns, |left, _, _, top_left| mean(left, top_left)),
            7 => add(row, above, columns, |left, top, _, _| mean(left, top)),
            8 => add(row, above, columns, |_, top, _, top_left| mean(top_left, top)),
            9 => add(row, above, columns, |_, top, top_right, _| mean(top, top_right)),
            10 => add(row, above, columns, |left, top, top_right, top_left| {
                mean(mean(left, top_left), mean(top, top_right))
            }),
            11 => add(row, above, columns, |left, top, _, top_left| select(left, top, top_left)),
            12 => add(row, above, columns, |left, top, _, top_left| full_gradient(left, top, top_left)),
            13 => add(row, above, columns, |left, top, _, top_left| half_gradient(mean(left, top), top_left)),
            _ => add(row, above, columns, |_, _, _, _| BLACK),
        }
    }
}

/// Adds to each of `columns` the prediction from the pixels left, above, above right and above left.
#[inline]
fn add(row: &mut [u32], above: &[u32], columns: Range<usize>, predicted: impl Fn(u32, u32, u32, u32) -> u32) {
    let (start, end) = (columns.start, columns.end);
    let (mut left, mut top_left) = (row[start - 1], above[start - 1]);
    let tops = above[start..end].iter().zip(&above[start + 1..=end]);
    for (pixel, (top, top_right)) in row[columns].iter_mut().zip(tops) {
        left = sum(*pixel, predicted(left, *top, *top_right, top_left));
        top_left = *top;
        *pixel = left;
    }
}

/// Returns the sum of each channel, modulo 256.
#[inline]
fn sum(a: u32, b: u32) -> u32 {
    const EVEN: u32 = 0x00FF_00FF;
    const ODD: u32 = !EVEN;
    ((a & EVEN).wrapping_add(b & EVEN) & EVEN) | ((a & ODD).wrapping_add(b & ODD) & ODD)
}

/// Returns the mean of each channel, rounded down.
#[inline]
fn mean(a: u32, b: u32) -> u32 {
    (((a ^ b) & 0xFEFE_FEFE) >> 1) + (a & b)
}

#[inline]
fn channels(pixel: u32) -> [i32; 4] {
    pixel.to_le_bytes().map(i32::from)
}

/// Applies `of` to each channel, and clamps to 0..=255.
#[inline]
fn clamped(of: impl Fn(usize) -> i32) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|channel| of(channel).clamp(0, 255) as u8))
}

/// Returns left or top, whichever is nearer to left + top - top left.
#[inline]
fn select(left: u32, top: u32, top_left: u32) -> u32 {
    let (l, t, corner) = (channels(left), channels(top), channels(top_left));
    let from_top: i32 = (0..4).map(|channel| (l[channel] - corner[channel]).abs()).sum();
    let from_left: i32 = (0..4).map(|channel| (t[channel] - corner[channel]).abs()).sum();
    if from_left < from_top { left } else { top }
}

#[inline]
fn full_gradient(left: u32, top: u32, top_left: u32) -> u32 {
    let (left, top, corner) = (channels(left), channels(top), channels(top_left));
    clamped(|channel| left[channel] + top[channel] - corner[channel])
}

#[inline]
fn half_gradient(mean: u32, top_left: u32) -> u32 {
    let (mean, corner) = (channels(mean), channels(top_left));
    clamped(|channel| mean[channel] + (mean[channel] - corner[channel]) / 2)
}

/// Adds to red and blue the products of the multipliers in `element` with green, and with red.
#[inline]
fn with_colours(pixel: u32, element: u32) -> u32 {
    let [blue, green, red, alpha] = pixel.to_le_bytes();
    let [green_to_red, green_to_blue, red_to_blue, _] = element.to_le_bytes();
    let delta =
        |multiplier: u8, colour: u8| ((i32::from(multiplier as i8) * i32::from(colour as i8)) >> 5) as u8;
    let red = red.wrapping_add(delta(green_to_red, green));
    let blue = blue.wrapping_add(delta(green_to_blue, green)).wrapping_add(delta(red_to_blue, red));
    u32::from_le_bytes([blue, green, red, alpha])
}
