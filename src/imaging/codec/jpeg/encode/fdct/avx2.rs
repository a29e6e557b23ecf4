//! Implements the transform with AVX2: one register holds a row (or column) of both blocks.

use std::arch::x86_64::*;

use super::fix::*;
use super::{Blocks, CONST_BITS, LEVEL, PASS1_BITS, Samples};
use crate::imaging::codec::jpeg::dct::{ZIGZAG, pair};
use crate::imaging::codec::jpeg::encode::adaptive::DeadZone;
use crate::imaging::codec::jpeg::encode::quant::Quant;

/// Transforms and quantises two blocks. With `ADAPTIVE`, coefficients in the dead zone become zero. With `TURNED`, the rows of
/// samples are the columns of the blocks.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn transform<const ADAPTIVE: bool, const TURNED: bool>(
    samples: &Samples,
    quant: &Quant,
    blocks: &mut Blocks,
) {
    let rows = samples.map(|row| _mm256_cvtepu8_epi16(bytemuck::must_cast(row)));
    let rows = if TURNED { rows } else { turn(rows) };
    let mut columns = pass::<{ CONST_BITS - PASS1_BITS }>(rows);
    columns[0] = _mm256_sub_epi16(_mm256_slli_epi16::<PASS1_BITS>(columns[0]), _mm256_set1_epi16(LEVEL));
    columns[4] = _mm256_slli_epi16::<PASS1_BITS>(columns[4]);
    let mut rows = pass::<{ CONST_BITS + PASS1_BITS }>(turn(columns));
    for row in [0, 4] {
        let rounded = _mm256_add_epi16(rows[row], _mm256_set1_epi16(1 << (PASS1_BITS - 1)));
        rows[row] = _mm256_srai_epi16::<PASS1_BITS>(rounded);
    }
    let twice = |half: [u16; 8]| _mm256_broadcastsi128_si256(bytemuck::must_cast(half));
    let part = if ADAPTIVE { part(&rows, quant.dead_zone) } else { _mm256_setzero_si256() };
    let (out, _) = blocks.coefficients.as_chunks_mut::<16>();
    for (index, (row, out)) in rows.iter_mut().zip(out).enumerate() {
        let size = _mm256_abs_epi16(*row);
        let biased = _mm256_add_epi16(size, twice(quant.bias[index]));
        let product = _mm256_mulhi_epu16(biased, twice(quant.reciprocal[index]));
        // The value is below 2^15. With an unsigned multiplication the compiler would split this instruction.
        let level = _mm256_mulhi_epi16(product, twice(quant.scale[index]));
        *row = _mm256_sign_epi16(level, *row);
        if ADAPTIVE {
            let edge = _mm256_mulhi_epu16(twice(quant.zone_steps[index]), part);
            *row = _mm256_and_si256(*row, _mm256_cmpgt_epi16(size, edge));
        }
        *out = bytemuck::must_cast(*row);
    }
    blocks.present = present(rows);
}

/// Returns the part of a step that is the dead zone, in all places of each block.
#[inline]
#[target_feature(enable = "avx2")]
fn part(rows: &[__m256i; 8], zone: DeadZone) -> __m256i {
    let [dc, ..] = *rows;
    // DC is the lowest place of each half.
    let mut sum = _mm256_abs_epi16(_mm256_blend_epi16::<1>(dc, _mm256_setzero_si256()));
    for row in rows.iter().skip(1) {
        sum = _mm256_adds_epu16(sum, _mm256_abs_epi16(*row));
    }
    // Each step adds a rotated copy, so that every place gets the sum of all.
    sum = _mm256_adds_epu16(sum, _mm256_alignr_epi8::<8>(sum, sum));
    sum = _mm256_adds_epu16(sum, _mm256_alignr_epi8::<4>(sum, sum));
    sum = _mm256_adds_epu16(sum, _mm256_alignr_epi8::<2>(sum, sum));
    let all = |number: u16| _mm256_set1_epi16(number.cast_signed());
    let more = _mm256_mulhi_epu16(_mm256_min_epu16(sum, all(zone.most_detail)), all(zone.slope));
    _mm256_adds_epu16(more, all(zone.least))
}

/// Transforms eight columns of each block in one dimension. Results 0 and 4 are neither shifted nor rounded.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>(rows: [__m256i; 8]) -> [__m256i; 8] {
    let sum = |a: usize| _mm256_add_epi16(rows[a], rows[7 - a]);
    let difference = |a: usize| _mm256_sub_epi16(rows[a], rows[7 - a]);
    let (outer, inner) = (_mm256_add_epi16(sum(0), sum(3)), _mm256_add_epi16(sum(1), sum(2)));
    let even = Pairs::new(_mm256_sub_epi16(sum(0), sum(3)), _mm256_sub_epi16(sum(1), sum(2)));
    let [t7, t6, t5, t4] = [difference(0), difference(1), difference(2), difference(3)];
    let (t47, t56) = (Pairs::new(t4, t7), Pairs::new(t5, t6));
    let z34 = Pairs::new(_mm256_add_epi16(t4, t6), _mm256_add_epi16(t5, t7));
    let rounding = Pairs([_mm256_set1_epi32(1 << (SHIFT - 1)); 2]);
    let z3 = z34.times(F_1_175 - F_1_961, F_1_175).plus(rounding);
    let z4 = z34.times(F_1_175, F_1_175 - F_0_390).plus(rounding);
    [
        _mm256_add_epi16(outer, inner),
        t47.times(-F_0_899, F_1_501 - F_0_899).plus(z4).narrow::<SHIFT>(),
        even.times(F_0_541 + F_0_765, F_0_541).plus(rounding).narrow::<SHIFT>(),
        t56.times(-F_2_562, F_3_072 - F_2_562).plus(z3).narrow::<SHIFT>(),
        _mm256_sub_epi16(outer, inner),
        t56.times(F_2_053 - F_2_562, -F_2_562).plus(z4).narrow::<SHIFT>(),
        even.times(F_0_541, F_0_541 - F_1_847).plus(rounding).narrow::<SHIFT>(),
        t47.times(F_0_298 - F_0_899, -F_0_899).plus(z3).narrow::<SHIFT>(),
    ]
}

/// Two interleaved rows, or eight 32-bit sums of each block.
#[derive(Clone, Copy)]
struct Pairs([__m256i; 2]);

impl Pairs {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(first: __m256i, second: __m256i) -> Self {
        Self([_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)])
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn times(self, first: i16, second: i16) -> Self {
        let factors = pair(first, second);
        Self(self.0.map(|half| _mm256_madd_epi16(half, factors)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn plus(self, other: Self) -> Self {
        Self([_mm256_add_epi32(self.0[0], other.0[0]), _mm256_add_epi32(self.0[1], other.0[1])])
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn narrow<const SHIFT: i32>(self) -> __m256i {
        _mm256_packs_epi32(_mm256_srai_epi32::<SHIFT>(self.0[0]), _mm256_srai_epi32::<SHIFT>(self.0[1]))
    }
}

/// Transposes each block.
#[inline]
#[target_feature(enable = "avx2")]
fn turn(rows: [__m256i; 8]) -> [__m256i; 8] {
    let step = |rows: [__m256i; 8]| {
        let [a, b, c, d, e, f, g, h] = rows;
        [(a, e), (b, f), (c, g), (d, h)]
            .map(|(upper, lower)| [_mm256_unpacklo_epi16(upper, lower), _mm256_unpackhi_epi16(upper, lower)])
    };
    let flat = |[[a, b], [c, d], [e, f], [g, h]]: [[__m256i; 2]; 4]| [a, b, c, d, e, f, g, h];
    flat(step(flat(step(flat(step(rows))))))
}

/// Maps zigzag order to the byte of the coefficient in rows 2n and 2n + 1; 128, which gives zero, if it is in other rows.
const ORDER: [[[u8; 16]; 4]; 4] = {
    let mut order = [[[128; 16]; 4]; 4];
    let mut index = 0;
    while index < 64 {
        let natural = ZIGZAG[index];
        order[index / 16][natural as usize / 16][index % 16] = natural % 16;
        index += 1;
    }
    order
};

/// Returns a bit for each coefficient of the two blocks that is not zero.
#[inline]
#[target_feature(enable = "avx2")]
fn present(rows: [__m256i; 8]) -> [u64; 2] {
    // Saturation never makes a zero of another value.
    let pairs = [0, 2, 4, 6].map(|row| _mm256_packs_epi16(rows[row], rows[row + 1]));
    let [a, b, c, d] = ORDER.map(|order| {
        let mut quarter = _mm256_setzero_si256();
        for (pair, order) in pairs.into_iter().zip(order) {
            if order != [128; 16] {
                let order = _mm256_broadcastsi128_si256(bytemuck::must_cast(order));
                quarter = _mm256_or_si256(quarter, _mm256_shuffle_epi8(pair, order));
            }
        }
        _mm256_cmpeq_epi8(quarter, _mm256_setzero_si256())
    });
    let absent = |lower: __m256i, upper: __m256i| {
        let (lower, upper) = (_mm256_movemask_epi8(lower), _mm256_movemask_epi8(upper));
        u64::from(lower.cast_unsigned()) | u64::from(upper.cast_unsigned()) << 32
    };
    let first = absent(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d));
    let second = absent(_mm256_permute2x128_si256::<0x31>(a, b), _mm256_permute2x128_si256::<0x31>(c, d));
    [!first, !second]
}
