//! The inverse transforms as products of matrices, for any processor.
//!
//! Both stages add up multiples of whole rows: of coefficients, then of the matrix. So the loops over a row become vector code
//! for every processor that has vectors.

use super::{Block, Cosines, Extent, FIRST_SHIFT, MATRIX, MATRIX4, Matrix, SINE_MATRIX, part, second_shift};

static FACTORS8: Matrix<8> = part();
static FACTORS16: Matrix<16> = part();

/// Transforms the coefficients of a block. There is more than one.
pub(in super::super) fn cosines(block: Cosines<'_>) {
    let Cosines { coefficients, residuals, log2, extent, depth } = block;
    match log2 {
        2 => multiply::<4, 4>(coefficients, residuals, extent, depth, &MATRIX4),
        3 => multiply::<8, 8>(coefficients, residuals, extent, depth, &FACTORS8),
        4 => multiply::<16, 8>(coefficients, residuals, extent, depth, &FACTORS16),
        _ => multiply::<32, 8>(coefficients, residuals, extent, depth, &MATRIX),
    }
}

/// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
pub(in super::super) fn sine(coefficients: &mut Block, residuals: &mut Block, depth: u32) {
    let extent = Extent { columns: 4, rows: 4 };
    multiply::<4, 4>(coefficients, residuals, extent, depth, &SINE_MATRIX);
}

/// Transforms columns, `LANES` at a time, and then rows.
#[inline(always)]
fn multiply<const SIDE: usize, const LANES: usize>(
    coefficients: &mut Block,
    residuals: &mut Block,
    extent: Extent,
    depth: u32,
    factors: &Matrix<SIDE>,
) {
    let (rows, _) = coefficients.as_chunks_mut::<SIDE>();
    let rows = rows.get_mut(..extent.rows).unwrap_or_default();
    let mut columns = [[0i16; SIDE]; SIDE];
    for left in (0..extent.columns.min(SIDE)).step_by(LANES) {
        for (y, to) in columns.iter_mut().enumerate() {
            let mut sums = [1 << (FIRST_SHIFT - 1); LANES];
            for (row, factors) in rows.iter().zip(factors) {
                if let Some(row) = row.get(left..).and_then(<[i16]>::first_chunk) {
                    add(&mut sums, row, factors[y]);
                }
            }
            if let Some(to) = to.get_mut(left..).and_then(<[i16]>::first_chunk_mut) {
                *to = clipped(sums, FIRST_SHIFT);
            }
        }
    }
    rows.as_flattened_mut().fill(0);
    let shift = second_shift(depth);
    for (to, row) in residuals.as_chunks_mut::<SIDE>().0.iter_mut().zip(&columns) {
        let mut sums = [1 << (shift - 1); SIDE];
        for (sample, factors) in row.iter().zip(factors).take(extent.columns) {
            add(&mut sums, factors, *sample);
        }
        *to = clipped(sums, shift);
    }
}

/// Adds the multiple of a row to sums.
#[inline(always)]
fn add<const N: usize>(sums: &mut [i32; N], row: &[i16; N], factor: i16) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += i32::from(*value) * i32::from(factor);
    }
}

/// Drops fractional bits and clips to 16 bits.
#[inline(always)]
fn clipped<const N: usize>(sums: [i32; N], shift: u32) -> [i16; N] {
    sums.map(|sum| (sum >> shift).clamp(i16::MIN.into(), i16::MAX.into()) as i16)
}
