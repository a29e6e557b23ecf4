//! Work on eight samples with AVX2.

use std::arch::x86_64::*;

use super::Kernel;
use crate::imaging::codec::heif::hevc::decode::sample::Sample;

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(super) fn transpose8<S: Sample>(rows: [[S; 8]; 8]) -> [[S; 8]; 8] {
    if let Ok(rows) = bytemuck::try_cast(rows) {
        let turned: [u64; 8] = bytes8(rows);
        return bytemuck::cast(turned);
    }
    let turned: [__m128i; 8] = words8(bytemuck::cast(rows));
    bytemuck::cast(turned)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(super) fn mix8<S: Sample>(near: [S; 8], far: [S; 8], fraction: u8) -> [S; 8] {
    let (low, high) = (i32::from(32 - fraction), i32::from(fraction));
    if let (Ok(near), Ok(far)) =
        (bytemuck::try_cast::<[S; 8], i64>(near), bytemuck::try_cast::<[S; 8], i64>(far))
    {
        let pairs = _mm_unpacklo_epi8(_mm_cvtsi64_si128(near), _mm_cvtsi64_si128(far));
        let sums = _mm_maddubs_epi16(pairs, _mm_set1_epi16((high << 8 | low) as i16));
        let means = _mm_srli_epi16::<5>(_mm_add_epi16(sums, _mm_set1_epi16(16)));
        return bytemuck::cast(_mm_cvtsi128_si64(_mm_packus_epi16(means, means)));
    }
    let (near, far): (__m128i, __m128i) = (bytemuck::cast(near), bytemuck::cast(far));
    let weights = _mm_set1_epi32(high << 16 | low);
    let mean = |pairs| _mm_srli_epi32::<5>(_mm_add_epi32(_mm_madd_epi16(pairs, weights), _mm_set1_epi32(16)));
    let (lower, upper) = (_mm_unpacklo_epi16(near, far), _mm_unpackhi_epi16(near, far));
    bytemuck::cast(_mm_packus_epi32(mean(lower), mean(upper)))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(super) fn add8<S: Sample>(samples: [S; 8], residuals: [i16; 8], most: i16) -> [S; 8] {
    let residuals: __m128i = bytemuck::must_cast(residuals);
    if let Ok(bytes) = bytemuck::try_cast::<[S; 8], u64>(samples) {
        let words = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(bytes.cast_signed()));
        let sums = _mm_adds_epi16(words, residuals);
        return bytemuck::cast(_mm_cvtsi128_si64(_mm_packus_epi16(sums, sums)));
    }
    let sums = _mm_adds_epi16(bytemuck::cast(samples), residuals);
    bytemuck::cast(_mm_max_epi16(_mm_min_epi16(sums, _mm_set1_epi16(most)), _mm_setzero_si128()))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn bytes8(rows: [u64; 8]) -> [u64; 8] {
    let pair = |n: usize| {
        _mm_unpacklo_epi8(
            _mm_cvtsi64_si128(rows[n].cast_signed()),
            _mm_cvtsi64_si128(rows[n + 1].cast_signed()),
        )
    };
    let [a, b, c, d] = [pair(0), pair(2), pair(4), pair(6)];
    let (ab0, ab1) = (_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b));
    let (cd0, cd1) = (_mm_unpacklo_epi16(c, d), _mm_unpackhi_epi16(c, d));
    bytemuck::must_cast([
        _mm_unpacklo_epi32(ab0, cd0),
        _mm_unpackhi_epi32(ab0, cd0),
        _mm_unpacklo_epi32(ab1, cd1),
        _mm_unpackhi_epi32(ab1, cd1),
    ])
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn words8(rows: [__m128i; 8]) -> [__m128i; 8] {
    let pairs =
        |n: usize| (_mm_unpacklo_epi16(rows[n], rows[n + 1]), _mm_unpackhi_epi16(rows[n], rows[n + 1]));
    let [(a0, a1), (b0, b1), (c0, c1), (d0, d1)] = [pairs(0), pairs(2), pairs(4), pairs(6)];
    let fours = |a, b, c, d| {
        let (ab0, ab1) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (cd0, cd1) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        [
            _mm_unpacklo_epi64(ab0, cd0),
            _mm_unpackhi_epi64(ab0, cd0),
            _mm_unpacklo_epi64(ab1, cd1),
            _mm_unpackhi_epi64(ab1, cd1),
        ]
    };
    let ([c0, c1, c2, c3], [c4, c5, c6, c7]) = (fours(a0, b0, c0, d0), fours(a1, b1, c1, d1));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
