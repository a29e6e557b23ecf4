//! Implements the transforms with NEON: one register holds a row of 16-bit numbers, whose products with constants fill two.

use std::arch::aarch64::*;

use super::fix::*;
use super::{CONST_BITS, Coefficients, MOST_IN_COLUMN, PASS1_BITS, Quantised, write};

/// Rows or columns of 16-bit numbers, by their index.
type Lines<T> = [T; 8];

/// Returns the dequantised rows of a block, and whether they may be transformed. Their columns are as [`in_order`] takes them.
#[inline]
#[target_feature(enable = "neon")]
fn dequantise(Quantised { coefficients, factors }: Quantised<'_>) -> (Lines<int16x8_t>, bool) {
    let mut rows = [vdupq_n_s16(0); 8];
    let (coefficients, _) = coefficients.as_chunks::<8>();
    let (factors, _) = factors.as_chunks::<8>();
    let products =
        |at: usize| vmulq_s16(bytemuck::must_cast(coefficients[at]), bytemuck::must_cast(factors[at]));
    for (pair, rows) in rows.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (left, right) = (products(2 * pair), products(2 * pair + 1));
        *rows = [vuzp1q_s16(left, right), vuzp2q_s16(left, right)];
    }
    let [a, b, c, d, e, f, g, h] = rows.map(|row| vreinterpretq_u16_s16(vabsq_s16(row)));
    // Saturating additions cannot wrap.
    let upper = vqaddq_u16(vqaddq_u16(a, b), vqaddq_u16(c, d));
    let lower = vqaddq_u16(vqaddq_u16(e, f), vqaddq_u16(g, h));
    (in_order(rows), vmaxvq_u16(vqaddq_u16(upper, lower)) <= MOST_IN_COLUMN)
}

/// Puts rows or columns in order, from the order that they have in a block.
#[inline(always)]
fn in_order<T>([zero, four, two, six, seven, one, three, five]: Lines<T>) -> Lines<T> {
    [zero, one, two, three, four, five, six, seven]
}

/// Returns whether no absolute value of a coefficient is above that of `most`. Only then does [`dequantise`] not wrap.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn is_within(block: &Coefficients, most: &[u16; 64]) -> bool {
    let (coefficients, _) = block.as_chunks::<8>();
    let (most, _) = most.as_chunks::<8>();
    let mut excess = vdupq_n_u16(0);
    for (coefficients, most) in coefficients.iter().zip(most) {
        let sizes = vreinterpretq_u16_s16(vabsq_s16(bytemuck::must_cast(*coefficients)));
        excess = vorrq_u16(excess, vqsubq_u16(sizes, bytemuck::must_cast(*most)));
    }
    vmaxvq_u16(excess) == 0
}

/// Sums of eight columns in 32 bits.
#[derive(Clone, Copy)]
struct Sums([int32x4_t; 2]);

impl Sums {
    /// Multiplies a line by a power of two.
    #[inline]
    #[target_feature(enable = "neon")]
    fn shifted<const BITS: i32>(line: int16x8_t) -> Self {
        Self([vshll_n_s16::<BITS>(vget_low_s16(line)), vshll_high_n_s16::<BITS>(line)])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn of(line: int16x8_t, factor: i16) -> Self {
        Self([vmull_n_s16(vget_low_s16(line), factor), vmull_high_n_s16(line, factor)])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn and(self, line: int16x8_t, factor: i16) -> Self {
        let Self([low, high]) = self;
        Self([vmlal_n_s16(low, vget_low_s16(line), factor), vmlal_high_n_s16(high, line, factor)])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn plus(self, other: Self) -> Self {
        Self([vaddq_s32(self.0[0], other.0[0]), vaddq_s32(self.0[1], other.0[1])])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn minus(self, other: Self) -> Self {
        Self([vsubq_s32(self.0[0], other.0[0]), vsubq_s32(self.0[1], other.0[1])])
    }

    /// Rounds to 16 bits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn rounded<const SHIFT: i32>(self) -> int16x8_t {
        vrshrn_high_n_s32::<SHIFT>(vrshrn_n_s32::<SHIFT>(self.0[0]), self.0[1])
    }

    /// Drops the lower 16 bits of the sum.
    #[inline]
    #[target_feature(enable = "neon")]
    fn upper_of_sum(self, other: Self) -> int16x8_t {
        vaddhn_high_s32(vaddhn_s32(self.0[0], other.0[0]), self.0[1], other.0[1])
    }

    /// Drops the lower 16 bits of the difference.
    #[inline]
    #[target_feature(enable = "neon")]
    fn upper_of_difference(self, other: Self) -> int16x8_t {
        vsubhn_high_s32(vsubhn_s32(self.0[0], other.0[0]), self.0[1], other.0[1])
    }
}

/// Transforms eight columns in one dimension. The sums and differences of even and odd parts are the rows 0 to 3 and 7 to 4.
#[inline]
#[target_feature(enable = "neon")]
fn pass8(rows: Lines<int16x8_t>) -> ([Sums; 4], [Sums; 4]) {
    let even0 = Sums::shifted::<CONST_BITS>(vaddq_s16(rows[0], rows[4]));
    let even1 = Sums::shifted::<CONST_BITS>(vsubq_s16(rows[0], rows[4]));
    let even2 = Sums::of(rows[2], F_0_541).and(rows[6], F_0_541 - F_1_847);
    let even3 = Sums::of(rows[2], F_0_541 + F_0_765).and(rows[6], F_0_541);
    let even = [even0.plus(even3), even1.plus(even2), even1.minus(even2), even0.minus(even3)];
    let (z3, z4) = (vaddq_s16(rows[7], rows[3]), vaddq_s16(rows[1], rows[5]));
    let sum3 = Sums::of(z3, F_1_175 - F_1_961).and(z4, F_1_175);
    let sum4 = Sums::of(z3, F_1_175).and(z4, F_1_175 - F_0_390);
    let odd = [
        sum4.and(rows[1], F_1_501 - F_0_899).and(rows[7], -F_0_899),
        sum3.and(rows[3], F_3_072 - F_2_562).and(rows[5], -F_2_562),
        sum4.and(rows[5], F_2_053 - F_2_562).and(rows[3], -F_2_562),
        sum3.and(rows[7], F_0_298 - F_0_899).and(rows[1], -F_0_899),
    ];
    (even, odd)
}

/// Transposes eight rows.
#[inline]
#[target_feature(enable = "neon")]
fn turn8(rows: Lines<int16x8_t>) -> Lines<int16x8_t> {
    let step = |[a, b, c, d, e, f, g, h]: Lines<int16x8_t>| {
        let [[a, b], [c, d], [e, f], [g, h]] = [(a, e), (b, f), (c, g), (d, h)]
            .map(|(upper, lower)| [vzip1q_s16(upper, lower), vzip2q_s16(upper, lower)]);
        [a, b, c, d, e, f, g, h]
    };
    step(step(step(rows)))
}

/// Transforms a block to all 64 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn full(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    const FIRST: i32 = CONST_BITS - PASS1_BITS;
    const SECOND: i32 = CONST_BITS + PASS1_BITS + 3 - 16;
    let (rows, is_sound) = dequantise(block);
    let (even, odd) = pass8(rows);
    let mut rows = [vdupq_n_s16(0); 8];
    for index in 0..4 {
        rows[index] = even[index].plus(odd[index]).rounded::<FIRST>();
        rows[7 - index] = even[index].minus(odd[index]).rounded::<FIRST>();
    }
    let (even, odd) = pass8(in_order(turn8(rows)));
    // Interleaves a column with the one four to its right.
    let narrow = |left: int16x8_t, right: int16x8_t| {
        let [left, right] = [left, right].map(|column| vqrshrn_n_s16::<SECOND>(column));
        vzip1q_s8(vcombine_s8(left, left), vcombine_s8(right, right))
    };
    let sum = |at: usize| even[at].upper_of_sum(odd[at]);
    let difference = |at: usize| even[at].upper_of_difference(odd[at]);
    let (c04, c15) = (narrow(sum(0), difference(3)), narrow(sum(1), difference(2)));
    let (c26, c37) = (narrow(sum(2), difference(1)), narrow(sum(3), difference(0)));
    let (even_upper, even_lower) = (vzip1q_s8(c04, c26), vzip2q_s8(c04, c26));
    let (odd_upper, odd_lower) = (vzip1q_s8(c15, c37), vzip2q_s8(c15, c37));
    let pairs = [
        vzip1q_s8(even_upper, odd_upper),
        vzip2q_s8(even_upper, odd_upper),
        vzip1q_s8(even_lower, odd_lower),
        vzip2q_s8(even_lower, odd_lower),
    ];
    let lines: [[u8; 8]; 8] =
        bytemuck::must_cast(pairs.map(|pair| vaddq_u8(vreinterpretq_u8_s8(pair), vdupq_n_u8(128))));
    is_sound && write(&lines, samples, stride)
}

/// Transforms a block to 4 x 4 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn half(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    const FIRST: i32 = CONST_BITS - PASS1_BITS + 1;
    const SECOND: i32 = CONST_BITS + PASS1_BITS + 3 + 1 - 16;
    let (rows, is_sound) = dequantise(block);
    let (even, odd) = pass4(rows);
    let row0 = even[0].plus(odd[0]).rounded::<FIRST>();
    let row1 = even[1].plus(odd[1]).rounded::<FIRST>();
    let row2 = even[1].minus(odd[1]).rounded::<FIRST>();
    let row3 = even[0].minus(odd[0]).rounded::<FIRST>();
    // The columns 0, 2, 7 and 3, and 4, 6, 1 and 5, of two rows.
    let pairs = |a, b| [vtrn1q_s16(a, b), vtrn2q_s16(a, b)].map(|pairs| vreinterpretq_s32_s16(pairs));
    let ([upper0, upper1], [lower0, lower1]) = (pairs(row0, row1), pairs(row2, row3));
    let c07 = vreinterpretq_s16_s32(vtrn1q_s32(upper0, lower0));
    let c41 = vreinterpretq_s16_s32(vtrn1q_s32(upper1, lower1));
    let c23 = vreinterpretq_s16_s32(vtrn2q_s32(upper0, lower0));
    let c65 = vreinterpretq_s16_s32(vtrn2q_s32(upper1, lower1));
    let (even, odd) = columns4([c07, c41, c23, c65]);
    let first = vaddhn_high_s32(vaddhn_s32(even[0], odd[0]), even[1], odd[1]);
    let second = vsubhn_high_s32(vsubhn_s32(even[1], odd[1]), even[0], odd[0]);
    let bytes = vqrshrn_high_n_s16::<SECOND>(vqrshrn_n_s16::<SECOND>(first), second);
    let bytes = vaddq_u8(vreinterpretq_u8_s8(bytes), vdupq_n_u8(128));
    let order = bytemuck::must_cast([0_u8, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]);
    let lines: [[u8; 4]; 4] = bytemuck::must_cast(vqtbl1q_u8(bytes, order));
    is_sound && write(&lines, samples, stride)
}

/// Transforms eight columns to half their height: sums are the rows 0 and 1, differences the rows 3 and 2.
#[inline]
#[target_feature(enable = "neon")]
fn pass4(rows: Lines<int16x8_t>) -> ([Sums; 2], [Sums; 2]) {
    let even0 = Sums::shifted::<{ CONST_BITS + 1 }>(rows[0]);
    let even2 = Sums::of(rows[2], F_1_847).and(rows[6], -F_0_765);
    let odd0 = Sums::of(rows[1], F_2_562).and(rows[3], F_0_899).and(rows[5], -F_0_601).and(rows[7], -F_0_509);
    let odd1 = Sums::of(rows[1], F_1_061).and(rows[3], -F_2_172).and(rows[5], F_1_451).and(rows[7], -F_0_211);
    ([even0.plus(even2), even0.minus(even2)], [odd0, odd1])
}

/// Does what [`pass4`] does, for four rows of which each register has two columns.
#[inline]
#[target_feature(enable = "neon")]
fn columns4([c07, c41, c23, c65]: [int16x8_t; 4]) -> ([int32x4_t; 2], [int32x4_t; 2]) {
    let even0 = vshll_n_s16::<{ CONST_BITS + 1 }>(vget_low_s16(c07));
    let even2 = vmull_n_s16(vget_low_s16(c23), F_1_847);
    let even2 = vmlal_n_s16(even2, vget_low_s16(c65), -F_0_765);
    let odd = |factors: [i16; 4]| {
        let sum = vmlal_high_n_s16(vmull_high_n_s16(c41, factors[0]), c23, factors[1]);
        vmlal_high_n_s16(vmlal_high_n_s16(sum, c65, factors[2]), c07, factors[3])
    };
    let odd0 = odd([F_2_562, F_0_899, -F_0_601, -F_0_509]);
    let odd1 = odd([F_1_061, -F_2_172, F_1_451, -F_0_211]);
    ([vaddq_s32(even0, even2), vsubq_s32(even0, even2)], [odd0, odd1])
}

/// Transforms a block to 2 x 2 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn quarter(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    const FIRST: i32 = CONST_BITS - PASS1_BITS + 2;
    const SECOND: i32 = CONST_BITS + PASS1_BITS + 3 + 2;
    let (rows, is_sound) = dequantise(block);
    let even = Sums::shifted::<{ CONST_BITS + 2 }>(rows[0]);
    let odd = Sums::of(rows[1], F_3_624).and(rows[3], -F_1_272).and(rows[5], F_0_850).and(rows[7], -F_0_720);
    let (upper, lower) = (even.plus(odd).rounded::<FIRST>(), even.minus(odd).rounded::<FIRST>());
    // Of the columns 7, 1, 3 and 5.
    let factors = bytemuck::must_cast([-F_0_720, F_3_624, -F_1_272, F_0_850]);
    let products = |row| vmull_s16(vget_high_s16(row), factors);
    let sums = vpaddq_s32(products(upper), products(lower));
    let odd = vget_low_s32(vpaddq_s32(sums, sums));
    // Column 0 of both rows.
    let even = vget_low_s32(vshll_n_s16::<{ CONST_BITS + 2 }>(vget_low_s16(vzip1q_s16(upper, lower))));
    let sample = |sums| vqmovn_s32(vcombine_s32(vrshr_n_s32::<SECOND>(sums), vdup_n_s32(0)));
    let (left, right) = (sample(vadd_s32(even, odd)), sample(vsub_s32(even, odd)));
    let words = vzip1_s16(left, right);
    let bytes = vqmovn_s16(vcombine_s16(words, words));
    let lines: [[u8; 2]; 4] = bytemuck::must_cast(vadd_u8(vreinterpret_u8_s8(bytes), vdup_n_u8(128)));
    is_sound && write(&[lines[0], lines[1]], samples, stride)
}
