//! From coefficients to samples, bit for bit as libjpeg-turbo's "slow" integer transform and its reduced forms give them.
//!
//! Refuses blocks whose sums might not fit 16 bits: there the library's own variants (C, SSE, AVX2, Neon) differ from one
//! another. No block that came from 8-bit samples is anywhere near.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod portable;

/// Coefficients of a block, as [`PLACE`] orders them. Only the first 64 are used; the others make every `u8` an index, so that
/// stores need no check.
pub(super) type Block = [i16; 256];

/// The most that the absolute values of a column, dequantised, may add up to. Passes multiply by at most 4 * 1.3871 and add pairs:
/// 2 * 4 * 1.3871 * 2953 < 2^15.
pub(super) const MOST_IN_COLUMN: u16 = 2953;

/// Which pair of rows (or columns) a row (or column) is in, and whether it is the second there. The one-dimensional transforms
/// multiply and add the rows 0 and 4, 2 and 6, 7 and 1, 3 and 5; neighbours can be taken in one instruction. Pairs of columns
/// stand beside each other too, so that what the first pass packs is paired for the second.
const PAIRED: [usize; 8] = [0, 5, 2, 6, 1, 7, 3, 4];

/// Place of the coefficient at `row` and `column`.
const fn place(row: usize, column: usize) -> usize {
    PAIRED[row] / 2 * 16 + PAIRED[column] * 2 + PAIRED[row] % 2
}

/// Places of the coefficients by zigzag order (T.81 figure A.6).
pub(super) const PLACE: [u8; 64] = {
    let mut places = [0; 64];
    let (mut index, mut diagonal) = (0, 0);
    while diagonal < 15 {
        let mut step = 0;
        while step <= diagonal {
            let (row, column) =
                if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
            if row < 8 && column < 8 {
                // At most 63.
                places[index] = place(row, column).to_le_bytes()[0];
                index += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    places
};

/// Quantisation of a component.
#[derive(Debug)]
pub(super) struct Quant {
    /// Factors, placed as in [`Block`].
    pub(super) factors: [i16; 64],
    /// By zigzag order: the largest absolute value of a coefficient that [`MOST_IN_COLUMN`] allows.
    pub(super) limits: [u16; 64],
}

impl Quant {
    /// From factors in zigzag order.
    pub(super) fn new(factors: &[u8; 64]) -> Self {
        let mut quant = Self { factors: [0; 64], limits: [u16::MAX; 64] };
        for ((factor, place), limit) in factors.iter().zip(PLACE).zip(&mut quant.limits) {
            quant.factors[usize::from(place)] = i16::from(*factor);
            *limit = MOST_IN_COLUMN.checked_div(u16::from(*factor)).unwrap_or(u16::MAX);
        }
        quant
    }
}

/// 2^13 times the constants of Loeffler, Ligtenberg and Moschytz, rounded as libjpeg rounds them (`jidctint.c`, `jidctred.c`).
mod fix {
    pub(super) const F_0_211: i16 = 1730;
    pub(super) const F_0_298: i16 = 2446;
    pub(super) const F_0_390: i16 = 3196;
    pub(super) const F_0_509: i16 = 4176;
    pub(super) const F_0_541: i16 = 4433;
    pub(super) const F_0_601: i16 = 4926;
    pub(super) const F_0_720: i16 = 5906;
    pub(super) const F_0_765: i16 = 6270;
    pub(super) const F_0_850: i16 = 6967;
    pub(super) const F_0_899: i16 = 7373;
    pub(super) const F_1_061: i16 = 8697;
    pub(super) const F_1_175: i16 = 9633;
    pub(super) const F_1_272: i16 = 10426;
    pub(super) const F_1_451: i16 = 11893;
    pub(super) const F_1_501: i16 = 12299;
    pub(super) const F_1_847: i16 = 15137;
    pub(super) const F_1_961: i16 = 16069;
    pub(super) const F_2_053: i16 = 16819;
    pub(super) const F_2_172: i16 = 17799;
    pub(super) const F_2_562: i16 = 20995;
    pub(super) const F_3_072: i16 = 25172;
    pub(super) const F_3_624: i16 = 29692;
}

/// Fractional bits of the constants.
const CONST_BITS: i32 = 13;
/// Fractional bits that are kept between the passes.
const PASS1_BITS: i32 = 2;
