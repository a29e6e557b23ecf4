//! Implements the transform for any processor, in 16 bits where these are enough, so that the compiler can vectorise it.

use super::fix::*;
use super::{Blocks, CONST_BITS, LEVEL, PASS1_BITS, Samples};
use crate::imaging::codec::jpeg::dct::ZIGZAG;
use crate::imaging::codec::jpeg::encode::quant::Quant;

type Row = [i16; 8];

/// Transforms and quantises two blocks. With `ADAPTIVE`, coefficients in the dead zone become zero. With `TURNED`, the rows of
/// samples are the columns of the blocks.
#[inline]
pub(in super::super) fn transform<const ADAPTIVE: bool, const TURNED: bool>(
    samples: &Samples,
    quant: &Quant,
    blocks: &mut Blocks,
) {
    for (block, present) in blocks.present.iter_mut().enumerate() {
        let rows = samples.map(|row| std::array::from_fn(|column| i16::from(row[block * 8 + column])));
        let rows = if TURNED { rows } else { turn(&rows) };
        let mut columns = pass::<{ CONST_BITS - PASS1_BITS }>(&rows);
        columns[0] = columns[0].map(|sum| (sum << PASS1_BITS).wrapping_sub(LEVEL));
        columns[4] = columns[4].map(|sum| sum << PASS1_BITS);
        let mut rows = pass::<{ CONST_BITS + PASS1_BITS }>(&turn(&columns));
        for row in [0, 4] {
            rows[row] = rows[row].map(|sum| sum.wrapping_add(1 << (PASS1_BITS - 1)) >> PASS1_BITS);
        }
        let part = if ADAPTIVE { quant.dead_zone.part(detail(&rows)) } else { 0 };
        *present = 0;
        let (out, _) = blocks.coefficients.as_chunks_mut::<8>();
        let out = out.iter_mut().skip(block).step_by(2);
        for (index, (row, out)) in rows.iter().zip(out).enumerate() {
            *out = divide(row, quant, index);
            if ADAPTIVE {
                for ((level, coefficient), step) in out.iter_mut().zip(row).zip(quant.zone_steps[index]) {
                    if u32::from(coefficient.unsigned_abs()) <= (u32::from(step) * u32::from(part)) >> 16 {
                        *level = 0;
                    }
                }
            }
            let flags = out.map(|level| u8::from(level != 0));
            // Gathers the lowest bits of eight bytes in the highest byte.
            let mut rest = u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            while rest != 0 {
                *present |= PLACE_BITS[index][rest.trailing_zeros() as usize % 8];
                rest &= rest - 1;
            }
        }
    }
}

/// Maps row and column to the bit of the zigzag order.
const PLACE_BITS: [[u64; 8]; 8] = {
    let mut bits = [[0; 8]; 8];
    let mut index = 0;
    while index < 64 {
        let natural = ZIGZAG[index] as usize;
        bits[natural / 8][natural % 8] = 1 << index;
        index += 1;
    }
    bits
};

/// Returns the sum of the absolute values of all AC coefficients, at most 65,535.
#[inline(always)]
fn detail(rows: &[Row; 8]) -> u16 {
    let all: u32 = rows.as_flattened().iter().skip(1).map(|level| u32::from(level.unsigned_abs())).sum();
    u16::try_from(all).unwrap_or(u16::MAX)
}

/// Quantises the row `index`.
#[inline(always)]
fn divide(row: &Row, quant: &Quant, index: usize) -> Row {
    let (bias, reciprocal, scale) = (&quant.bias[index], &quant.reciprocal[index], &quant.scale[index]);
    let high = |a: u16, b: u16| u16::try_from((u32::from(a) * u32::from(b)) >> 16).unwrap_or(u16::MAX);
    std::array::from_fn(|column| {
        let biased = row[column].unsigned_abs().wrapping_add(bias[column]);
        // At most 1024.
        let level = high(high(biased, reciprocal[column]), scale[column]).cast_signed();
        let sign = row[column] >> 15;
        (level ^ sign).wrapping_sub(sign)
    })
}

/// Transposes a block: three times it interleaves each row of the upper half with one of the lower half.
#[inline(always)]
fn turn(rows: &[Row; 8]) -> [Row; 8] {
    let step = |rows: &[Row; 8]| -> [Row; 8] {
        std::array::from_fn(|index| {
            let (upper, lower) = (rows[index / 2], rows[index / 2 + 4]);
            let start = index % 2 * 4;
            std::array::from_fn(|at| if at % 2 == 0 { upper[start + at / 2] } else { lower[start + at / 2] })
        })
    };
    step(&step(&step(rows)))
}

/// Transforms eight columns in one dimension. Results 0 and 4 are neither shifted nor rounded.
#[inline(always)]
fn pass<const SHIFT: i32>(rows: &[Row; 8]) -> [Row; 8] {
    let mut out = [[0; 8]; 8];
    for column in 0..8 {
        let sum = |a: usize| rows[a][column].wrapping_add(rows[7 - a][column]);
        let difference = |a: usize| rows[a][column].wrapping_sub(rows[7 - a][column]);
        let narrow = |sum: i32| low((sum + (1 << (SHIFT - 1))) >> SHIFT);
        let (outer, inner) = (sum(0).wrapping_add(sum(3)), sum(1).wrapping_add(sum(2)));
        let (t13, t12) = (sum(0).wrapping_sub(sum(3)), sum(1).wrapping_sub(sum(2)));
        let [t7, t6, t5, t4] = [difference(0), difference(1), difference(2), difference(3)];
        let times =
            |a: i16, x: i16, b: i16, y: i16| i32::from(a) * i32::from(x) + i32::from(b) * i32::from(y);
        let (z3, z4) = (t4.wrapping_add(t6), t5.wrapping_add(t7));
        let (z3, z4) = (times(z3, F_1_175 - F_1_961, z4, F_1_175), times(z3, F_1_175, z4, F_1_175 - F_0_390));
        out[0][column] = outer.wrapping_add(inner);
        out[1][column] = narrow(times(t4, -F_0_899, t7, F_1_501 - F_0_899) + z4);
        out[2][column] = narrow(times(t13, F_0_541 + F_0_765, t12, F_0_541));
        out[3][column] = narrow(times(t5, -F_2_562, t6, F_3_072 - F_2_562) + z3);
        out[4][column] = outer.wrapping_sub(inner);
        out[5][column] = narrow(times(t5, F_2_053 - F_2_562, t6, -F_2_562) + z4);
        out[6][column] = narrow(times(t13, F_0_541, t12, F_0_541 - F_1_847));
        out[7][column] = narrow(times(t4, F_0_298 - F_0_899, t7, -F_0_899) + z3);
    }
    out
}

/// Returns the lower half of a number that fits it.
#[inline(always)]
fn low(number: i32) -> i16 {
    let [a, b, _, _] = number.to_le_bytes();
    i16::from_le_bytes([a, b])
}
