//! Turns coefficients into residuals (ITU-T H.265 section 8.6.4): the inverse transforms, and what stands in their place.
//!
//! Only the part of a block that has coefficients is read. The transforms exist for any processor, for AVX2 and for NEON,
//! and give equal results.

pub(super) mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
pub(super) mod vector;

use crate::imaging::codec::simd::Kernel;

/// Coefficients or residuals of a block, in rows as long as the block's.
pub(super) type Block = [i16; 1024];

/// The part of a block outside of which all coefficients are zero. A multiple of four a side, or one coefficient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Extent {
    pub(super) fn is_single(self) -> bool {
        self.columns == 1
    }
}

/// Fractional bits that the first stage drops.
const FIRST_SHIFT: u32 = 7;

/// Returns the fractional bits that the second stage drops.
const fn second_shift(depth: u32) -> u32 {
    20 - depth
}

/// `transMatrix` of the discrete cosine transform: a row for each frequency (section 8.6.4.2). All values are among those of
/// the first column of the odd frequencies and their halves; the rest is symmetry.
const MATRIX: Matrix<32> = {
    // By the angle in parts of a 128th of a circle.
    const QUARTER: [i16; 33] = [
        64, 90, 90, 90, 89, 88, 87, 85, 83, 82, 80, 78, 75, 73, 70, 67, 64, 61, 57, 54, 50, 46, 43, 38, 36,
        31, 25, 22, 18, 13, 9, 4, 0,
    ];
    let mut matrix = [[0; 32]; 32];
    let mut frequency = 0;
    while frequency < 32 {
        let mut x = 0;
        while x < 32 {
            let angle = frequency * (2 * x + 1) % 128;
            let folded = if angle > 64 { 128 - angle } else { angle };
            matrix[frequency][x] = if folded > 32 { -QUARTER[64 - folded] } else { QUARTER[folded] };
            x += 1;
        }
        frequency += 1;
    }
    matrix
};

/// A row of factors for each frequency.
type Matrix<const SIDE: usize> = [[i16; SIDE]; SIDE];

/// Returns the part of [`MATRIX`] for blocks of a size.
const fn part<const SIDE: usize>() -> Matrix<SIDE> {
    let mut part = [[0; SIDE]; SIDE];
    let mut n = 0;
    while n < SIDE * SIDE {
        part[n / SIDE][n % SIDE] = MATRIX[n / SIDE * (32 / SIDE)][n % SIDE];
        n += 1;
    }
    part
}

const MATRIX4: Matrix<4> = part();

/// The matrix of the discrete sine transform of 4 x 4 luma blocks.
const SINE_MATRIX: Matrix<4> = [[29, 55, 74, 84], [74, 74, 0, -74], [84, -29, -74, 55], [55, -84, 74, -29]];

/// Returns the residual of a block whose only coefficient is the first.
fn of_single(coefficient: i16, depth: u32) -> i16 {
    let shift = second_shift(depth);
    let first = (64 * i32::from(coefficient) + 64) >> FIRST_SHIFT;
    ((64 * first + (1 << (shift - 1))) >> shift) as i16
}

/// The cosine coefficients of a block, which are cleared, and where its residuals go.
pub(super) struct Cosines<'a> {
    pub(super) coefficients: &'a mut Block,
    pub(super) residuals: &'a mut Block,
    pub(super) log2: u32,
    pub(super) extent: Extent,
    pub(super) depth: u32,
}

/// Fills a block with the residual of its only coefficient.
pub(super) struct FillSingle<'a>(pub(super) Cosines<'a>);

impl Kernel for FillSingle<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(Cosines { coefficients, residuals, log2, extent: _, depth }) = self;
        let residual = of_single(std::mem::take(&mut coefficients[0]), depth);
        residuals[..1 << (2 * log2)].fill(residual);
    }
}

/// Writes the coefficients of a block without transform as residuals (section 8.6.2, `transform_skip_flag`).
pub(super) fn skip(coefficients: &mut Block, residuals: &mut Block, log2: u32, depth: u32, turned: bool) {
    let shift = second_shift(depth);
    let (up, rounding) = (5 + log2, 1 << (shift - 1));
    move_out(coefficients, residuals, log2, turned, |coefficient| {
        let residual = ((i32::from(coefficient) << up) + rounding) >> shift;
        residual.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    });
}

/// Writes the levels of a lossless block as residuals.
pub(super) fn bypass(coefficients: &mut Block, residuals: &mut Block, log2: u32, turned: bool) {
    move_out(coefficients, residuals, log2, turned, |level| level);
}

fn move_out(
    coefficients: &mut Block,
    residuals: &mut Block,
    log2: u32,
    turned: bool,
    residual: impl Fn(i16) -> i16,
) {
    let count = 1 << (2 * log2);
    for (from, to) in coefficients.iter_mut().zip(residuals.iter_mut()).take(count) {
        *to = residual(std::mem::take(from));
    }
    if turned {
        residuals[..count].reverse();
    }
}

/// Adds up residuals along rows or columns (section 8.6.8).
pub(super) fn accumulate(residuals: &mut Block, log2: u32, is_vertical: bool) {
    let side = 1usize << log2;
    for n in 0..side * side {
        let before =
            if is_vertical { n.checked_sub(side) } else { if n % side == 0 { None } else { Some(n - 1) } };
        if let Some(before) = before {
            residuals[n] = residuals[n].wrapping_add(residuals[before]);
        }
    }
}
