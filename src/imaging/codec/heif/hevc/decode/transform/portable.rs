//! The inverse transforms as products of matrices, for any processor.

use super::{Block, Extent, FIRST_SHIFT, MATRIX, SINE_MATRIX, fill_single, second_shift};

/// Transforms the cosine coefficients of a block, which are cleared.
pub(in super::super) fn cosine(
    coefficients: &mut Block,
    residuals: &mut Block,
    log2: u32,
    extent: Extent,
    depth: u32,
) {
    if extent.is_single() {
        fill_single(coefficients, residuals, log2, depth);
        return;
    }
    let step = 32 >> log2;
    multiply(coefficients, residuals, log2, extent, depth, |frequency, at| {
        i32::from(MATRIX[(frequency * step) & 31][at & 31])
    });
}

/// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
pub(in super::super) fn sine(coefficients: &mut Block, residuals: &mut Block, depth: u32) {
    let extent = Extent { columns: 4, rows: 4 };
    multiply(coefficients, residuals, 2, extent, depth, |frequency, at| {
        i32::from(SINE_MATRIX[frequency & 3][at & 3])
    });
}

fn multiply(
    coefficients: &mut Block,
    residuals: &mut Block,
    log2: u32,
    extent: Extent,
    depth: u32,
    factor: impl Fn(usize, usize) -> i32,
) {
    let side = 1usize << log2;
    let clip = |value: i32| value.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    let mut columns = [0i16; 1024];
    for y in 0..side {
        for x in 0..extent.columns {
            let sum: i32 = (0..extent.rows)
                .map(|row| factor(row, y) * i32::from(coefficients[(row << log2 | x) & 1023]))
                .sum();
            columns[(y << log2 | x) & 1023] = clip((sum + (1 << (FIRST_SHIFT - 1))) >> FIRST_SHIFT);
        }
    }
    coefficients[..extent.rows << log2].fill(0);
    let shift = second_shift(depth);
    for y in 0..side {
        for x in 0..side {
            let sum: i32 = (0..extent.columns)
                .map(|column| factor(column, x) * i32::from(columns[(y << log2 | column) & 1023]))
                .sum();
            residuals[(y << log2 | x) & 1023] = clip((sum + (1 << (shift - 1))) >> shift);
        }
    }
}
