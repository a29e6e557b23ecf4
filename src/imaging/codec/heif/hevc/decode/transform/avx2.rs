//! The inverse transforms with AVX2: pairs of 16-bit numbers are multiplied and added to 32 bits.
//!
//! Frequencies are taken in groups of four: the pair of even ones and the pair of odd ones. The sums of even and of odd
//! frequencies give a sample and its mirror image (partial butterfly). The first stage holds eight columns in a register, the
//! second one row; both read the same table, so nothing is transposed.

use std::arch::x86_64::*;

use super::{Block, Cosines, Extent, FIRST_SHIFT, MATRIX, MATRIX4, SINE_MATRIX, second_shift};

/// For each group of four frequencies, the factors of the first half of the samples: the pairs of even and of odd frequencies.
type Pairs<const HALF: usize, const GROUPS: usize> = [[[i32; HALF]; 2]; GROUPS];

const fn pair(low: i16, high: i16) -> i32 {
    (high as i32) << 16 | (low as u16) as i32
}

const fn pairs<const HALF: usize, const GROUPS: usize>() -> Pairs<HALF, GROUPS> {
    let mut pairs = [[[0; HALF]; 2]; GROUPS];
    let step = 32 / (2 * HALF);
    let mut group = 0;
    while group < GROUPS {
        let mut x = 0;
        while x < HALF {
            let first = 4 * group * step;
            pairs[group][0][x] = pair(MATRIX[first][x], MATRIX[first + 2 * step][x]);
            pairs[group][1][x] = pair(MATRIX[first + step][x], MATRIX[first + 3 * step][x]);
            x += 1;
        }
        group += 1;
    }
    pairs
}

static PAIRS8: Pairs<4, 2> = pairs();
static PAIRS16: Pairs<8, 4> = pairs();
static PAIRS32: Pairs<16, 8> = pairs();

/// Transforms the coefficients of a block. There is more than one.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(in super::super) fn cosines(block: Cosines<'_>) {
    let Cosines { coefficients, residuals, log2, extent, depth } = block;
    let mut columns = [0; 1024];
    match log2 {
        2 => smallest(coefficients, residuals, MATRIX4, depth),
        3 => {
            first::<8, 4, 2>(coefficients, &mut columns, extent, &PAIRS8);
            second8(&columns, residuals, extent, depth);
        }
        4 => {
            first::<16, 8, 4>(coefficients, &mut columns, extent, &PAIRS16);
            second16(&columns, residuals, extent, depth);
        }
        _ => {
            first::<32, 16, 8>(coefficients, &mut columns, extent, &PAIRS32);
            second32(&columns, residuals, extent, depth);
        }
    }
}

/// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(in super::super) fn sine(coefficients: &mut Block, residuals: &mut Block, depth: u32) {
    smallest(coefficients, residuals, SINE_MATRIX, depth);
}

#[inline]
#[target_feature(enable = "avx2")]
fn load8(from: &Block, at: usize) -> __m128i {
    let chunk: &[i16; 8] = from.get(at..).and_then(<[i16]>::first_chunk).unwrap_or(&[0; 8]);
    bytemuck::must_cast(*chunk)
}

#[inline(always)]
fn store<const COUNT: usize>(to: &mut Block, at: usize, samples: [i16; COUNT]) {
    if let Some(room) = to.get_mut(at..at + COUNT) {
        room.copy_from_slice(&samples);
    }
}

/// Transforms a 4 x 4 block with all frequencies in one register.
#[inline]
#[target_feature(enable = "avx2")]
fn smallest(coefficients: &mut Block, residuals: &mut Block, matrix: [[i16; 4]; 4], depth: u32) {
    let m = |low: usize, x: usize| pair(matrix[low][x], matrix[low + 1][x]);
    let (upper, lower) = (load8(coefficients, 0), load8(coefficients, 8));
    coefficients[..16].fill(0);
    let interleave =
        |rows: __m128i| _mm256_broadcastsi128_si256(_mm_unpacklo_epi16(rows, _mm_unpackhi_epi64(rows, rows)));
    let (rows01, rows23) = (interleave(upper), interleave(lower));
    let two = |low: usize, y: usize| {
        let (a, b) = (m(low, y), m(low, y + 1));
        _mm256_setr_epi32(a, a, a, a, b, b, b, b)
    };
    let rounding = _mm256_set1_epi32(1 << (FIRST_SHIFT - 1));
    let stage = |y: usize| {
        let sum =
            _mm256_add_epi32(_mm256_madd_epi16(rows01, two(0, y)), _mm256_madd_epi16(rows23, two(2, y)));
        _mm256_srai_epi32::<{ FIRST_SHIFT as i32 }>(_mm256_add_epi32(sum, rounding))
    };
    // The rows 0 and 2, and 1 and 3.
    let rows = _mm256_packs_epi32(stage(0), stage(2));
    let along =
        |low: usize| _mm256_broadcastsi128_si256(_mm_setr_epi32(m(low, 0), m(low, 1), m(low, 2), m(low, 3)));
    let (low, high) = (along(0), along(2));
    let shift = second_shift(depth);
    let (rounding, shift) = (_mm256_set1_epi32(1 << (shift - 1)), _mm_cvtsi32_si128(shift as i32));
    let finish = |a: __m256i, b: __m256i| {
        let sum = _mm256_add_epi32(_mm256_madd_epi16(a, low), _mm256_madd_epi16(b, high));
        _mm256_sra_epi32(_mm256_add_epi32(sum, rounding), shift)
    };
    let first = finish(_mm256_shuffle_epi32::<0x00>(rows), _mm256_shuffle_epi32::<0x55>(rows));
    let second = finish(_mm256_shuffle_epi32::<0xAA>(rows), _mm256_shuffle_epi32::<0xFF>(rows));
    let samples = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
    store::<16>(residuals, 0, bytemuck::must_cast(samples));
}

/// Transforms columns, eight at a time. Of each four columns, the second and the third are swapped in the result.
#[inline]
#[target_feature(enable = "avx2")]
fn first<const SIDE: usize, const HALF: usize, const GROUPS: usize>(
    coefficients: &mut Block,
    columns: &mut Block,
    extent: Extent,
    pairs: &Pairs<HALF, GROUPS>,
) {
    let groups = (extent.rows / 4).min(GROUPS);
    let rounding = _mm256_set1_epi32(1 << (FIRST_SHIFT - 1));
    for left in (0..extent.columns).step_by(8) {
        let mut inputs = [[_mm256_setzero_si256(); 2]; GROUPS];
        for (group, input) in inputs.iter_mut().enumerate().take(groups) {
            let row = |n: usize| load8(coefficients, (4 * group + n) * SIDE + left);
            for (n, input) in input.iter_mut().enumerate() {
                let (a, b) = (row(n), row(n + 2));
                *input = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
            }
        }
        for y in 0..HALF {
            let (mut even, mut odd) = (rounding, _mm256_setzero_si256());
            for (input, pairs) in inputs.iter().zip(pairs).take(groups) {
                even = _mm256_add_epi32(even, _mm256_madd_epi16(input[0], _mm256_set1_epi32(pairs[0][y])));
                odd = _mm256_add_epi32(odd, _mm256_madd_epi16(input[1], _mm256_set1_epi32(pairs[1][y])));
            }
            let sum = _mm256_srai_epi32::<{ FIRST_SHIFT as i32 }>(_mm256_add_epi32(even, odd));
            let difference = _mm256_srai_epi32::<{ FIRST_SHIFT as i32 }>(_mm256_sub_epi32(even, odd));
            let both = _mm256_packs_epi32(sum, difference);
            let both = _mm256_shufflehi_epi16::<0b11_01_10_00>(_mm256_shufflelo_epi16::<0b11_01_10_00>(both));
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            let [upper, lower]: [[i16; 8]; 2] = bytemuck::must_cast(both);
            store(columns, y * SIDE + left, upper);
            store(columns, (SIDE - 1 - y) * SIDE + left, lower);
        }
    }
    coefficients[..extent.rows * SIDE].fill(0);
}

/// Rounds and shifts sums of the second stage.
#[derive(Clone, Copy)]
struct Finish {
    rounding: __m256i,
    shift: __m128i,
}

impl Finish {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(depth: u32) -> Self {
        let shift = second_shift(depth);
        Self { rounding: _mm256_set1_epi32(1 << (shift - 1)), shift: _mm_cvtsi32_si128(shift as i32) }
    }

    /// Returns the samples of the first half, and their mirror images. The rounding is in the even part.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(self, even: __m256i, odd: __m256i) -> (__m256i, __m256i) {
        let sum = _mm256_sra_epi32(_mm256_add_epi32(even, odd), self.shift);
        (sum, _mm256_sra_epi32(_mm256_sub_epi32(even, odd), self.shift))
    }
}

/// Transforms two rows of eight at a time, each in one half of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn second8(columns: &Block, residuals: &mut Block, extent: Extent, depth: u32) {
    let finish = Finish::new(depth);
    let factors = |group: usize, odd: usize| {
        _mm256_broadcastsi128_si256(bytemuck::must_cast::<[i32; 4], __m128i>(PAIRS8[group][odd]))
    };
    let (even0, odd0, even1, odd1) = (factors(0, 0), factors(0, 1), factors(1, 0), factors(1, 1));
    let has_two = extent.columns > 4;
    for at in (0..64).step_by(16) {
        let chunk: &[i16; 16] = columns[at..].first_chunk().unwrap_or(&[0; 16]);
        let rows: __m256i = bytemuck::must_cast(*chunk);
        let mut even =
            _mm256_add_epi32(finish.rounding, _mm256_madd_epi16(_mm256_shuffle_epi32::<0x00>(rows), even0));
        let mut odd = _mm256_madd_epi16(_mm256_shuffle_epi32::<0x55>(rows), odd0);
        if has_two {
            even = _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_shuffle_epi32::<0xAA>(rows), even1));
            odd = _mm256_add_epi32(odd, _mm256_madd_epi16(_mm256_shuffle_epi32::<0xFF>(rows), odd1));
        }
        let (sum, difference) = finish.halves(even, odd);
        let samples = _mm256_packs_epi32(sum, _mm256_shuffle_epi32::<0x1B>(difference));
        store::<16>(residuals, at, bytemuck::must_cast(samples));
    }
}

/// Returns two frequencies of a row in all parts of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn frequencies(columns: &Block, at: usize) -> __m256i {
    let chunk: &[i16; 2] = columns.get(at..).and_then(<[i16]>::first_chunk).unwrap_or(&[0; 2]);
    _mm256_set1_epi32(bytemuck::must_cast(*chunk))
}

#[inline]
#[target_feature(enable = "avx2")]
fn reversed(lanes: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(lanes, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0))
}

#[inline]
#[target_feature(enable = "avx2")]
fn narrow(low: __m256i, high: __m256i) -> [i16; 16] {
    bytemuck::must_cast(_mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn second16(columns: &Block, residuals: &mut Block, extent: Extent, depth: u32) {
    let finish = Finish::new(depth);
    let groups = (extent.columns / 4).min(4);
    for at in (0..256).step_by(16) {
        let (mut even, mut odd) = (finish.rounding, _mm256_setzero_si256());
        for (group, pairs) in PAIRS16.iter().enumerate().take(groups) {
            let (a, b) = (bytemuck::must_cast(pairs[0]), bytemuck::must_cast(pairs[1]));
            even = _mm256_add_epi32(even, _mm256_madd_epi16(frequencies(columns, at + 4 * group), a));
            odd = _mm256_add_epi32(odd, _mm256_madd_epi16(frequencies(columns, at + 4 * group + 2), b));
        }
        let (sum, difference) = finish.halves(even, odd);
        store(residuals, at, narrow(sum, reversed(difference)));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn second32(columns: &Block, residuals: &mut Block, extent: Extent, depth: u32) {
    let finish = Finish::new(depth);
    let groups = (extent.columns / 4).min(8);
    for at in (0..1024).step_by(32) {
        let mut even = [finish.rounding; 2];
        let mut odd = [_mm256_setzero_si256(); 2];
        for (group, pairs) in PAIRS32.iter().enumerate().take(groups) {
            let a = frequencies(columns, at + 4 * group);
            let b = frequencies(columns, at + 4 * group + 2);
            let [a0, a1]: [__m256i; 2] = bytemuck::must_cast(pairs[0]);
            let [b0, b1]: [__m256i; 2] = bytemuck::must_cast(pairs[1]);
            even[0] = _mm256_add_epi32(even[0], _mm256_madd_epi16(a, a0));
            even[1] = _mm256_add_epi32(even[1], _mm256_madd_epi16(a, a1));
            odd[0] = _mm256_add_epi32(odd[0], _mm256_madd_epi16(b, b0));
            odd[1] = _mm256_add_epi32(odd[1], _mm256_madd_epi16(b, b1));
        }
        let (sum0, difference0) = finish.halves(even[0], odd[0]);
        let (sum1, difference1) = finish.halves(even[1], odd[1]);
        store(residuals, at, narrow(sum0, sum1));
        store(residuals, at + 16, narrow(reversed(difference1), reversed(difference0)));
    }
}
