//! The inverse transforms with NEON: 16-bit numbers are multiplied and added to 32 bits.
//!
//! Frequencies are taken in groups of four. The sums of even and of odd frequencies give a sample and its mirror image (partial
//! butterfly). Both stages multiply matrices in tiles of 4 x 4, so nothing is transposed: in the first stage the factors are the
//! left matrix, in the second one the right one.

use std::arch::aarch64::*;

use super::{Block, Cosines, Extent, FIRST_SHIFT, MATRIX, MATRIX4, SINE_MATRIX, second_shift};

/// For the samples of the first half, the factors of each group of four frequencies.
type Left<const HALF: usize, const GROUPS: usize> = [[[i16; 4]; HALF]; GROUPS];

const fn left<const HALF: usize, const GROUPS: usize>() -> Left<HALF, GROUPS> {
    let mut factors = [[[0; 4]; HALF]; GROUPS];
    let mut frequency = 0;
    while frequency < 2 * HALF {
        let mut x = 0;
        while x < HALF {
            factors[frequency / 4][x][frequency % 4] = MATRIX[frequency * (16 / HALF)][x];
            x += 1;
        }
        frequency += 1;
    }
    factors
}

static LEFT8: Left<4, 2> = left();
static LEFT16: Left<8, 4> = left();
static LEFT32: Left<16, 8> = left();
static RIGHT: [[i16; 32]; 32] = MATRIX;

/// Transforms the coefficients of a block. There is more than one.
#[target_feature(enable = "neon")]
pub(in super::super) fn cosines(block: Cosines<'_>) {
    let Cosines { coefficients, residuals, log2, extent, depth } = block;
    match log2 {
        2 => smallest(coefficients, residuals, MATRIX4, depth),
        3 => both::<8, 4, 2>(coefficients, residuals, extent, &LEFT8, depth),
        4 => both::<16, 8, 4>(coefficients, residuals, extent, &LEFT16, depth),
        _ => both::<32, 16, 8>(coefficients, residuals, extent, &LEFT32, depth),
    }
}

/// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
#[target_feature(enable = "neon")]
pub(in super::super) fn sine(coefficients: &mut Block, residuals: &mut Block, depth: u32) {
    smallest(coefficients, residuals, SINE_MATRIX, depth);
}

/// Multiplies a row of the left matrix by four rows of the right one: the sums of even and of odd frequencies.
#[inline]
#[target_feature(enable = "neon")]
fn multiply([even, odd]: [int32x4_t; 2], left: int16x4_t, right: [int16x4_t; 4]) -> [int32x4_t; 2] {
    let even = vmlal_lane_s16::<0>(even, right[0], left);
    let odd = vmlal_lane_s16::<1>(odd, right[1], left);
    [vmlal_lane_s16::<2>(even, right[2], left), vmlal_lane_s16::<3>(odd, right[3], left)]
}

/// Rounds and narrows sums of the first stage.
#[inline]
#[target_feature(enable = "neon")]
fn first(sum: int32x4_t) -> int16x4_t {
    vqrshrn_n_s32::<{ FIRST_SHIFT as i32 }>(sum)
}

/// Rounds and narrows sums of the second stage.
#[derive(Clone, Copy)]
struct Second(int32x4_t);

impl Second {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(depth: u32) -> Self {
        Self(vdupq_n_s32(-(second_shift(depth) as i32)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn narrow(self, sum: int32x4_t) -> int16x4_t {
        vqmovn_s32(vrshlq_s32(sum, self.0))
    }
}

/// Transforms a 4 x 4 block.
#[inline]
#[target_feature(enable = "neon")]
fn smallest(coefficients: &mut Block, residuals: &mut Block, matrix: [[i16; 4]; 4], depth: u32) {
    let zero = [vdupq_n_s32(0); 2];
    let second = Second::new(depth);
    let (coefficients, _) = coefficients.as_chunks_mut::<4>();
    let right = [0, 1, 2, 3].map(|row: usize| -> int16x4_t { bytemuck::must_cast(coefficients[row]) });
    coefficients[..4].fill([0; 4]);
    let factors = matrix.map(|row| -> int16x4_t { bytemuck::must_cast(row) });
    let (residuals, _) = residuals.as_chunks_mut::<4>();
    for (y, out) in residuals.iter_mut().enumerate().take(4) {
        let left = bytemuck::must_cast([matrix[0][y], matrix[1][y], matrix[2][y], matrix[3][y]]);
        let [even, odd] = multiply(zero, left, right);
        let [even, odd] = multiply(zero, first(vaddq_s32(even, odd)), factors);
        *out = bytemuck::must_cast(second.narrow(vaddq_s32(even, odd)));
    }
}

/// Runs both stages for a block of `SIDE` x `SIDE`.
#[inline]
#[target_feature(enable = "neon")]
fn both<const SIDE: usize, const HALF: usize, const GROUPS: usize>(
    coefficients: &mut Block,
    residuals: &mut Block,
    extent: Extent,
    factors: &Left<HALF, GROUPS>,
    depth: u32,
) {
    let mut columns = [[[0_i16; 4]; GROUPS]; SIDE];
    let (rows, _) = coefficients.as_chunks_mut::<4>();
    let (rows, _) = rows.as_chunks_mut::<GROUPS>();
    let (row_groups, column_groups) = ((extent.rows / 4).min(GROUPS), (extent.columns / 4).min(GROUPS));
    for x in 0..column_groups {
        for top in (0..HALF).step_by(4) {
            let mut sums = [[vdupq_n_s32(0); 2]; 4];
            for (rows, factors) in rows.as_chunks::<4>().0.iter().zip(factors).take(row_groups) {
                let right = [0, 1, 2, 3].map(|n: usize| bytemuck::must_cast(rows[n][x]));
                for (sums, factors) in sums.iter_mut().zip(&factors[top..top + 4]) {
                    *sums = multiply(*sums, bytemuck::must_cast(*factors), right);
                }
            }
            for (y, [even, odd]) in (top..).zip(sums) {
                columns[y][x] = bytemuck::must_cast(first(vaddq_s32(even, odd)));
                columns[SIDE - 1 - y][x] = bytemuck::must_cast(first(vsubq_s32(even, odd)));
            }
        }
    }
    rows[..4 * row_groups].fill([[0; 4]; GROUPS]);
    let second = Second::new(depth);
    let (out, _) = residuals.as_chunks_mut::<4>();
    let (out, _) = out.as_chunks_mut::<GROUPS>();
    for (columns, out) in columns.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<4>().0) {
        for x in 0..HALF / 4 {
            let mut sums = [[vdupq_n_s32(0); 2]; 4];
            for group in 0..column_groups {
                let right = [0, 1, 2, 3].map(|n: usize| {
                    let row = &RIGHT[(4 * group + n) * (16 / HALF) & 31];
                    bytemuck::must_cast(row.as_chunks::<4>().0[x])
                });
                for (sums, columns) in sums.iter_mut().zip(columns) {
                    *sums = multiply(*sums, bytemuck::must_cast(columns[group]), right);
                }
            }
            for ([even, odd], out) in sums.into_iter().zip(out.iter_mut()) {
                out[x] = bytemuck::must_cast(second.narrow(vaddq_s32(even, odd)));
                let mirrored = vrev64_s16(second.narrow(vsubq_s32(even, odd)));
                out[GROUPS - 1 - x] = bytemuck::must_cast(mirrored);
            }
        }
    }
}
