//! Inverse transforms from coefficients to the samples of libjpeg-turbo's "slow" integer transform and its reduced forms.
//!
//! Blocks whose sums might not fit 16 bits are refused, because libjpeg-turbo's variants (C, SSE, AVX2, Neon) differ for them.
//! Blocks that were encoded from 8-bit samples have far smaller sums.

pub(super) mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
pub(super) mod vector;

use crate::imaging::codec::jpeg::dct::{CONST_BITS, PASS1_BITS, ZIGZAG, fix};

/// Coefficients of a block, in the order of [`PLACE`].
pub(super) type Coefficients = [i16; 64];

/// [`Coefficients`] with unused ones after them, so that every `u8` is an index that needs no check.
pub(super) type Block = [i16; 256];

/// The largest allowed sum of absolute values of a dequantised column. Passes multiply by at most 4 * 1.3871 and add pairs:
/// 2 * 4 * 1.3871 * 2953 < 2^15.
pub(super) const MOST_IN_COLUMN: u16 = 2953;

/// Maps a row to its position in the layout that stores the rows (0,4), (2,6), (7,1), (3,5) as pairs, because one SIMD
/// instruction multiplies and adds a pair. Columns use the same layout in the second pass.
const PAIRED: [usize; 8] = [0, 5, 2, 6, 1, 7, 3, 4];

/// Returns the index in [`Block`] of the coefficient at `row` and `column`.
const fn place(row: usize, column: usize) -> usize {
    PAIRED[row] / 2 * 16 + PAIRED[column] * 2 + PAIRED[row] % 2
}

/// Maps the zigzag order of a coefficient to its index in [`Block`].
pub(super) const PLACE: [u8; 64] = {
    let mut places = [0; 64];
    let mut index = 0;
    while index < 64 {
        let natural = ZIGZAG[index] as usize;
        // At most 63.
        places[index] = place(natural / 8, natural % 8).to_le_bytes()[0];
        index += 1;
    }
    places
};

/// Quantisation factors, placed as in [`Block`].
pub(super) type Factors = [i16; 64];

/// A block before it is dequantised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantised<'a> {
    pub(super) coefficients: &'a Coefficients,
    pub(super) factors: &'a Factors,
}

/// The quantisation table of a component, with the limits of its coefficients.
#[derive(Debug)]
pub(super) struct Quant {
    pub(super) factors: Factors,
    /// Maps the zigzag order of a coefficient to the largest absolute value that [`MOST_IN_COLUMN`] allows.
    pub(super) limits: [u16; 64],
}

impl Quant {
    /// Creates the table from factors in zigzag order.
    pub(super) fn new(factors: &[u8; 64]) -> Self {
        let mut quant = Self { factors: [0; 64], limits: [u16::MAX; 64] };
        for ((factor, place), limit) in factors.iter().zip(PLACE).zip(&mut quant.limits) {
            quant.factors[usize::from(place)] = i16::from(*factor);
            *limit = MOST_IN_COLUMN.checked_div(u16::from(*factor)).unwrap_or(u16::MAX);
        }
        quant
    }
}

/// Writes lines of samples one below the other. Returns false if the buffer is too small.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn write<const WIDTH: usize>(lines: &[[u8; WIDTH]], samples: &mut [u8], stride: usize) -> bool {
    for (line, start) in lines.iter().zip((0..).step_by(stride.max(1))) {
        let Some(room) = samples.get_mut(start..start + WIDTH) else { return false };
        room.copy_from_slice(line);
    }
    true
}
