//! Implements the transform with NEON: one register holds a row (or column) of a block.

use std::arch::aarch64::*;

use super::fix::*;
use super::{Blocks, CONST_BITS, LEVEL, PASS1_BITS, Samples};
use crate::imaging::codec::jpeg::dct::ZIGZAG;
use crate::imaging::codec::jpeg::encode::quant::Quant;

/// Transforms and quantises two blocks. With `ADAPTIVE`, coefficients in the dead zone become zero.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn transform<const ADAPTIVE: bool, const TURNED: bool>(
    samples: &Samples,
    quant: &Quant,
    blocks: &mut Blocks,
) {
    let pairs = samples.map(|row| -> uint8x16_t { bytemuck::must_cast(row) });
    let left = pairs.map(|pair| vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(pair))));
    let right = pairs.map(|pair| vreinterpretq_s16_u16(vmovl_high_u8(pair)));
    let (out, _) = blocks.coefficients.as_chunks_mut::<8>();
    let (out, _) = out.as_chunks_mut::<2>();
    for (block, rows) in [left, right].into_iter().enumerate() {
        let levels = quantise::<ADAPTIVE>(coefficients(if TURNED { rows } else { turn(rows) }), quant);
        for (row, out) in levels.into_iter().zip(out.iter_mut()) {
            out[block] = bytemuck::must_cast(row);
        }
        blocks.present[block] = present(levels);
    }
}

/// Transforms the columns of a block of samples, each in a register, in both dimensions.
#[inline]
#[target_feature(enable = "neon")]
fn coefficients(columns: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let mut columns = pass::<{ CONST_BITS - PASS1_BITS }>(columns);
    columns[0] = vsubq_s16(vshlq_n_s16::<PASS1_BITS>(columns[0]), vdupq_n_s16(LEVEL));
    columns[4] = vshlq_n_s16::<PASS1_BITS>(columns[4]);
    let mut rows = pass::<{ CONST_BITS + PASS1_BITS }>(turn(columns));
    for row in [0, 4] {
        rows[row] = vrshrq_n_s16::<PASS1_BITS>(rows[row]);
    }
    rows
}

/// Divides coefficients by the steps of the table.
#[inline]
#[target_feature(enable = "neon")]
fn quantise<const ADAPTIVE: bool>(mut rows: [int16x8_t; 8], quant: &Quant) -> [int16x8_t; 8] {
    let part = if ADAPTIVE { quant.dead_zone.part(detail(&rows)) } else { 0 };
    for (index, row) in rows.iter_mut().enumerate() {
        let size = vreinterpretq_u16_s16(vabsq_s16(*row));
        let biased = vaddq_u16(size, bytemuck::must_cast(quant.bias[index]));
        let product = upper(biased, bytemuck::must_cast(quant.reciprocal[index]));
        // The instruction doubles the product, and the factor is even. Both are below 2^15.
        let half: int16x8_t = bytemuck::must_cast(quant.scale[index].map(|scale| scale / 2));
        let level = vqdmulhq_s16(vreinterpretq_s16_u16(product), half);
        let sign = vshrq_n_s16::<15>(*row);
        *row = vsubq_s16(veorq_s16(level, sign), sign);
        if ADAPTIVE {
            let edge = upper(bytemuck::must_cast(quant.zone_steps[index]), vdupq_n_u16(part));
            *row = vandq_s16(*row, vreinterpretq_s16_u16(vcgtq_u16(size, edge)));
        }
    }
    rows
}

/// Returns the upper 16 bits of products.
#[inline]
#[target_feature(enable = "neon")]
fn upper(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    let (low, high) = (vmull_u16(vget_low_u16(a), vget_low_u16(b)), vmull_high_u16(a, b));
    vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high))
}

/// Returns the sum of the absolute values of all AC coefficients, at most 65,535.
#[inline]
#[target_feature(enable = "neon")]
fn detail(rows: &[int16x8_t; 8]) -> u16 {
    let [dc, ..] = *rows;
    let mut sum = vreinterpretq_u16_s16(vabsq_s16(vsetq_lane_s16::<0>(0, dc)));
    for row in rows.iter().skip(1) {
        sum = vqaddq_u16(sum, vreinterpretq_u16_s16(vabsq_s16(*row)));
    }
    u16::try_from(vaddlvq_u16(sum)).unwrap_or(u16::MAX)
}

/// Transforms eight columns in one dimension. Results 0 and 4 are neither shifted nor rounded.
#[inline]
#[target_feature(enable = "neon")]
fn pass<const SHIFT: i32>(rows: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let sum = |a: usize| vaddq_s16(rows[a], rows[7 - a]);
    let difference = |a: usize| vsubq_s16(rows[a], rows[7 - a]);
    let (outer, inner) = (vaddq_s16(sum(0), sum(3)), vaddq_s16(sum(1), sum(2)));
    let (t13, t12) = (vsubq_s16(sum(0), sum(3)), vsubq_s16(sum(1), sum(2)));
    let [t7, t6, t5, t4] = [difference(0), difference(1), difference(2), difference(3)];
    let (z3, z4) = (vaddq_s16(t4, t6), vaddq_s16(t5, t7));
    let (z3, z4) =
        (Sums::of(z3, F_1_175 - F_1_961).and(z4, F_1_175), Sums::of(z3, F_1_175).and(z4, F_1_175 - F_0_390));
    [
        vaddq_s16(outer, inner),
        z4.and(t4, -F_0_899).and(t7, F_1_501 - F_0_899).narrow::<SHIFT>(),
        Sums::of(t13, F_0_541 + F_0_765).and(t12, F_0_541).narrow::<SHIFT>(),
        z3.and(t5, -F_2_562).and(t6, F_3_072 - F_2_562).narrow::<SHIFT>(),
        vsubq_s16(outer, inner),
        z4.and(t5, F_2_053 - F_2_562).and(t6, -F_2_562).narrow::<SHIFT>(),
        Sums::of(t13, F_0_541).and(t12, F_0_541 - F_1_847).narrow::<SHIFT>(),
        z3.and(t4, F_0_298 - F_0_899).and(t7, -F_0_899).narrow::<SHIFT>(),
    ]
}

/// Eight sums of products in 32 bits.
#[derive(Clone, Copy)]
struct Sums([int32x4_t; 2]);

impl Sums {
    #[inline]
    #[target_feature(enable = "neon")]
    fn of(row: int16x8_t, factor: i16) -> Self {
        Self([vmull_n_s16(vget_low_s16(row), factor), vmull_high_n_s16(row, factor)])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn and(self, row: int16x8_t, factor: i16) -> Self {
        let Self([low, high]) = self;
        Self([vmlal_n_s16(low, vget_low_s16(row), factor), vmlal_high_n_s16(high, row, factor)])
    }

    /// Rounds to 16 bits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn narrow<const SHIFT: i32>(self) -> int16x8_t {
        vrshrn_high_n_s32::<SHIFT>(vrshrn_n_s32::<SHIFT>(self.0[0]), self.0[1])
    }
}

/// Transposes a block.
#[inline]
#[target_feature(enable = "neon")]
fn turn(rows: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let step = |[a, b, c, d, e, f, g, h]: [int16x8_t; 8]| {
        let pairs = [(a, e), (b, f), (c, g), (d, h)];
        let [[a, b], [c, d], [e, f], [g, h]] =
            pairs.map(|(upper, lower)| [vzip1q_s16(upper, lower), vzip2q_s16(upper, lower)]);
        [a, b, c, d, e, f, g, h]
    };
    step(step(step(rows)))
}

/// Sixteen parts of the zigzag order at a time.
const ORDER: [[u8; 16]; 4] = {
    let mut order = [[0; 16]; 4];
    let mut index = 0;
    while index < 64 {
        order[index / 16][index % 16] = ZIGZAG[index];
        index += 1;
    }
    order
};

/// For each of sixteen bytes, its bit in one of two bytes.
const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// Returns a bit for each coefficient of the block that is not zero.
#[inline]
#[target_feature(enable = "neon")]
fn present(rows: [int16x8_t; 8]) -> u64 {
    // Saturation never makes a zero of another value.
    let pair = |row: usize| {
        let (upper, lower) = (vqmovn_s16(rows[row]), vqmovn_s16(rows[row + 1]));
        vreinterpretq_u8_s8(vcombine_s8(upper, lower))
    };
    let table = uint8x16x4_t(pair(0), pair(2), pair(4), pair(6));
    let bits: uint8x16_t = bytemuck::must_cast(BITS);
    let [a, b, c, d] = ORDER.map(|order| {
        let levels = vqtbl4q_u8(table, bytemuck::must_cast(order));
        vandq_u8(vtstq_u8(levels, levels), bits)
    });
    // Each step adds neighbours, until eight bits are in a byte.
    let halves = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(halves, halves)))
}
