//! Implements the transforms with AVX2: one register holds a pair of rows as eight pairs of 16 bits.

use std::arch::x86_64::*;

use super::fix::*;
use super::{CONST_BITS, Coefficients, MOST_IN_COLUMN, PASS1_BITS, Quantised, write};
use crate::imaging::codec::jpeg::dct::pair;

/// Returns the four dequantised pairs of rows of a block, and whether they may be transformed.
#[inline]
#[target_feature(enable = "avx2")]
fn dequantise(Quantised { coefficients, factors }: Quantised<'_>) -> ([__m256i; 4], bool) {
    let mut rows = [_mm256_setzero_si256(); 4];
    let (coefficients, _) = coefficients.as_chunks::<16>();
    let (factors, _) = factors.as_chunks::<16>();
    for ((row, coefficients), factors) in rows.iter_mut().zip(coefficients).zip(factors) {
        *row = _mm256_mullo_epi16(bytemuck::must_cast(*coefficients), bytemuck::must_cast(*factors));
    }
    let [a, b, c, d] = rows.map(|row| _mm256_abs_epi16(row));
    let sums = _mm256_adds_epu16(_mm256_adds_epu16(a, b), _mm256_adds_epu16(c, d));
    // Saturating additions cannot wrap. The two halves of a column are added in 32 bits.
    let columns =
        _mm256_add_epi32(_mm256_srli_epi32::<16>(sums), _mm256_and_si256(sums, _mm256_set1_epi32(0xFFFF)));
    let is_over = _mm256_cmpgt_epi32(columns, _mm256_set1_epi32(i32::from(MOST_IN_COLUMN)));
    (rows, _mm256_testz_si256(is_over, is_over) == 1)
}

/// Returns whether no absolute value of a coefficient is above that of `most`. Only then does [`dequantise`] not wrap.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn is_within(block: &Coefficients, most: &[u16; 64]) -> bool {
    let (coefficients, _) = block.as_chunks::<16>();
    let (most, _) = most.as_chunks::<16>();
    let mut excess = _mm256_setzero_si256();
    for (coefficients, most) in coefficients.iter().zip(most) {
        let sizes = _mm256_abs_epi16(bytemuck::must_cast(*coefficients));
        excess = _mm256_or_si256(excess, _mm256_subs_epu16(sizes, bytemuck::must_cast(*most)));
    }
    _mm256_testz_si256(excess, excess) == 1
}

/// Transforms eight columns in one dimension. The results are 32 bits wide and shifted by `SHIFT`.
#[inline]
#[target_feature(enable = "avx2")]
fn pass8<const SHIFT: i32>([p04, p26, p71, p35]: [__m256i; 4]) -> [__m256i; 8] {
    let one = 1 << CONST_BITS;
    let rounding = _mm256_set1_epi32(1 << (SHIFT - 1));
    let even0 = _mm256_add_epi32(_mm256_madd_epi16(p04, pair(one, one)), rounding);
    let even1 = _mm256_add_epi32(_mm256_madd_epi16(p04, pair(one, -one)), rounding);
    let even2 = _mm256_madd_epi16(p26, pair(F_0_541, F_0_541 - F_1_847));
    let even3 = _mm256_madd_epi16(p26, pair(F_0_541 + F_0_765, F_0_541));
    let even = [
        _mm256_add_epi32(even0, even3),
        _mm256_add_epi32(even1, even2),
        _mm256_sub_epi32(even1, even2),
        _mm256_sub_epi32(even0, even3),
    ];
    let z34 = _mm256_add_epi16(p71, p35);
    let z3 = _mm256_madd_epi16(z34, pair(F_1_175 - F_1_961, F_1_175));
    let z4 = _mm256_madd_epi16(z34, pair(F_1_175, F_1_175 - F_0_390));
    // The odd parts of the rows 0 to 3.
    let odd = [
        _mm256_add_epi32(_mm256_madd_epi16(p71, pair(-F_0_899, F_1_501 - F_0_899)), z4),
        _mm256_add_epi32(_mm256_madd_epi16(p35, pair(F_3_072 - F_2_562, -F_2_562)), z3),
        _mm256_add_epi32(_mm256_madd_epi16(p35, pair(-F_2_562, F_2_053 - F_2_562)), z4),
        _mm256_add_epi32(_mm256_madd_epi16(p71, pair(F_0_298 - F_0_899, -F_0_899)), z3),
    ];
    let mut rows = [even0; 8];
    for index in 0..4 {
        rows[index] = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even[index], odd[index]));
        rows[7 - index] = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even[index], odd[index]));
    }
    rows
}

/// Narrows eight rows of first-pass results to 16 bits and transposes them into pairs of columns.
#[inline]
#[target_feature(enable = "avx2")]
fn turn8(rows: [__m256i; 8]) -> [__m256i; 4] {
    let [upper_even, upper_odd] = turn4([rows[0], rows[1], rows[2], rows[3]]);
    let [lower_even, lower_odd] = turn4([rows[4], rows[5], rows[6], rows[7]]);
    [
        _mm256_permute2x128_si256::<0x20>(upper_even, lower_even),
        _mm256_permute2x128_si256::<0x20>(upper_odd, lower_odd),
        _mm256_permute2x128_si256::<0x31>(upper_even, lower_even),
        _mm256_permute2x128_si256::<0x31>(upper_odd, lower_odd),
    ]
}

/// Transposes four rows into pairs of columns: 0 and 4 in the lower half, 7 and 1 in the upper; 2 and 6, 3 and 5.
#[inline]
#[target_feature(enable = "avx2")]
fn turn4(rows: [__m256i; 4]) -> [__m256i; 2] {
    let first = _mm256_castsi256_ps(_mm256_packs_epi32(rows[0], rows[1]));
    let second = _mm256_castsi256_ps(_mm256_packs_epi32(rows[2], rows[3]));
    [
        _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(first, second)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0xDD>(first, second)),
    ]
}

/// Transforms a block to all 64 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn full(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    let (rows, is_sound) = dequantise(block);
    let columns = pass8::<{ CONST_BITS + PASS1_BITS + 3 }>(turn8(pass8::<{ CONST_BITS - PASS1_BITS }>(rows)));
    let narrow = |a: usize| -> __m256i {
        let first = _mm256_packs_epi32(columns[a], columns[a + 1]);
        let second = _mm256_packs_epi32(columns[a + 2], columns[a + 3]);
        let bytes = _mm256_packs_epi16(first, second);
        // Transposes four columns of four samples to four rows, in each half.
        let order =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        _mm256_shuffle_epi8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)), order)
    };
    let (left, right) = (narrow(0), narrow(4));
    let outer: [[u8; 8]; 4] = bytemuck::must_cast(_mm256_unpacklo_epi32(left, right));
    let inner: [[u8; 8]; 4] = bytemuck::must_cast(_mm256_unpackhi_epi32(left, right));
    let lines = [outer[0], outer[1], inner[0], inner[1], outer[2], outer[3], inner[2], inner[3]];
    is_sound && write(&lines, samples, stride)
}

/// Transforms a block to 4 x 4 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn half(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    let (rows, is_sound) = dequantise(block);
    let turned = turn4(pass4::<{ CONST_BITS - PASS1_BITS + 1 }>(rows));
    let upper = |halves: __m256i| _mm256_permute4x64_epi64::<0xEE>(halves);
    let pairs = [turned[0], turned[1], upper(turned[0]), upper(turned[1])];
    let columns = pass4::<{ CONST_BITS + PASS1_BITS + 3 + 1 }>(pairs);
    let bytes = _mm256_packs_epi16(
        _mm256_packs_epi32(columns[0], columns[1]),
        _mm256_packs_epi32(columns[2], columns[3]),
    );
    let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm_xor_si128(_mm256_castsi256_si128(bytes), _mm_set1_epi8(-128));
    let lines: [[u8; 4]; 4] = bytemuck::must_cast(_mm_shuffle_epi8(bytes, order));
    is_sound && write(&lines, samples, stride)
}

/// Transforms eight columns to half their height.
#[inline]
#[target_feature(enable = "avx2")]
fn pass4<const SHIFT: i32>([p04, p26, p71, p35]: [__m256i; 4]) -> [__m256i; 4] {
    let rounding = _mm256_set1_epi32(1 << (SHIFT - 1));
    let even0 = _mm256_add_epi32(_mm256_madd_epi16(p04, pair(1 << (CONST_BITS + 1), 0)), rounding);
    let even2 = _mm256_madd_epi16(p26, pair(F_1_847, -F_0_765));
    let even = [_mm256_add_epi32(even0, even2), _mm256_sub_epi32(even0, even2)];
    let odd = [
        _mm256_add_epi32(
            _mm256_madd_epi16(p71, pair(-F_0_509, F_2_562)),
            _mm256_madd_epi16(p35, pair(F_0_899, -F_0_601)),
        ),
        _mm256_add_epi32(
            _mm256_madd_epi16(p71, pair(-F_0_211, F_1_061)),
            _mm256_madd_epi16(p35, pair(-F_2_172, F_1_451)),
        ),
    ];
    [
        _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even[0], odd[0])),
        _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even[1], odd[1])),
        _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even[1], odd[1])),
        _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even[0], odd[0])),
    ]
}

/// Transforms a block to 2 x 2 samples. Returns true if it succeeded.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn quarter(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    let (rows, is_sound) = dequantise(block);
    let [upper, lower] = pass2::<{ CONST_BITS - PASS1_BITS + 2 }>(rows);
    let first = _mm256_castsi256_ps(_mm256_packs_epi32(upper, lower));
    let even = _mm256_castps_si256(_mm256_shuffle_ps::<0x08>(first, first));
    let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0x0D>(first, first));
    let upper = |halves: __m256i| _mm256_permute4x64_epi64::<0xEE>(halves);
    let columns = pass2::<{ CONST_BITS + PASS1_BITS + 3 + 2 }>([even, odd, upper(even), upper(odd)]);
    let words = _mm256_packs_epi32(columns[0], columns[1]);
    let bytes = _mm_xor_si128(_mm256_castsi256_si128(_mm256_packs_epi16(words, words)), _mm_set1_epi8(-128));
    let samples4: [u8; 16] = bytemuck::must_cast(bytes);
    let lines = [[samples4[0], samples4[4]], [samples4[1], samples4[5]]];
    is_sound && write(&lines, samples, stride)
}

/// Transforms eight columns to a quarter of their height.
#[inline]
#[target_feature(enable = "avx2")]
fn pass2<const SHIFT: i32>([p04, _, p71, p35]: [__m256i; 4]) -> [__m256i; 2] {
    // Multiplies the first of the pair by 2^15, which does not fit a 16-bit constant.
    let even = _mm256_srai_epi32::<{ 16 - CONST_BITS - 2 }>(_mm256_slli_epi32::<16>(p04));
    let even = _mm256_add_epi32(even, _mm256_set1_epi32(1 << (SHIFT - 1)));
    let odd = _mm256_add_epi32(
        _mm256_madd_epi16(p71, pair(-F_0_720, F_3_624)),
        _mm256_madd_epi16(p35, pair(-F_1_272, F_0_850)),
    );
    [
        _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even, odd)),
        _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even, odd)),
    ]
}
