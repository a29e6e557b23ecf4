//! The luma filter with AVX2: a register holds a row of eight samples in 32 bits.

use std::arch::x86_64::*;

use super::luma::{Limits, keep_exempt};
use crate::imaging::codec::heif::hevc::decode::sample::Sample;

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn widen<S: Sample>(row: [S; 8]) -> __m256i {
    match bytemuck::try_cast::<[S; 8], u64>(row) {
        Ok(bytes) => _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes.cast_signed())),
        Err(_) => _mm256_cvtepu16_epi32(bytemuck::cast(row)),
    }
}

/// Narrows numbers of at least 0.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn narrow<S: Sample>(row: __m256i) -> [S; 8] {
    let words = _mm_packus_epi32(_mm256_castsi256_si128(row), _mm256_extracti128_si256::<1>(row));
    let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).cast_unsigned();
    bytemuck::try_cast::<u64, [S; 8]>(bytes).unwrap_or_else(|_| bytemuck::cast(words))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn lanes([low, high]: [i32; 2]) -> __m256i {
    _mm256_set_m128i(_mm_set1_epi32(high), _mm_set1_epi32(low))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn clamp(value: __m256i, least: __m256i, most: __m256i) -> __m256i {
    _mm256_max_epi32(_mm256_min_epi32(value, most), least)
}

/// Does what [`super::filter_edge`] does.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub(in super::super) fn filter_edge<S: Sample>(rows: &mut [[S; 8]; 8], limits: &Limits) {
    let old = *rows;
    let [p3, p2, p1, p0, q0, q1, q2, q3] = old.map(|row| widen(row));
    let add = |a, b| _mm256_add_epi32(a, b);
    let sub = |a, b| _mm256_sub_epi32(a, b);
    let twice = |a| _mm256_add_epi32(a, a);
    let zero = _mm256_setzero_si256();
    let negative = |a| _mm256_sub_epi32(zero, a);
    let top = _mm256_set1_epi32(limits.most);
    let strong = lanes(limits.strong);
    let mut new = [p2, p1, p0, q0, q1, q2];
    if limits.near != [0; 2] {
        let near = lanes(limits.near);
        let nine = _mm256_mullo_epi32(sub(q0, p0), _mm256_set1_epi32(9));
        let three = _mm256_mullo_epi32(sub(q1, p1), _mm256_set1_epi32(3));
        let delta = _mm256_srai_epi32::<4>(add(sub(nine, three), _mm256_set1_epi32(8)));
        let ten = _mm256_mullo_epi32(near, _mm256_set1_epi32(10));
        let is_small = _mm256_cmpgt_epi32(ten, _mm256_abs_epi32(delta));
        let delta = _mm256_and_si256(clamp(delta, negative(near), near), is_small);
        let one = _mm256_set1_epi32(1);
        let beside = |far, middle, near, delta, limit| {
            let limit = _mm256_and_si256(limit, is_small);
            let mean = _mm256_srai_epi32::<1>(add(add(far, near), one));
            let change = _mm256_srai_epi32::<1>(add(sub(mean, middle), delta));
            clamp(add(middle, clamp(change, negative(limit), limit)), zero, top)
        };
        new[1] = beside(p2, p1, p0, delta, lanes(limits.before));
        new[2] = clamp(add(p0, delta), zero, top);
        new[3] = clamp(sub(q0, delta), zero, top);
        new[4] = beside(q2, q1, q0, negative(delta), lanes(limits.after));
    }
    if limits.strong != [0; 2] {
        let is_strong = _mm256_cmpgt_epi32(strong, zero);
        let (two, four) = (_mm256_set1_epi32(2), _mm256_set1_epi32(4));
        let pick = |new, of_strong, old| {
            let of_strong = clamp(clamp(of_strong, sub(old, strong), add(old, strong)), zero, top);
            _mm256_blendv_epi8(new, of_strong, is_strong)
        };
        let middle = add(p0, q0);
        let before = add(add(p2, p1), middle);
        let after = add(add(q2, q1), middle);
        let eighth = |sum| _mm256_srai_epi32::<3>(add(sum, four));
        new[0] = pick(new[0], eighth(add(before, twice(add(p3, p2)))), p2);
        new[1] = pick(new[1], _mm256_srai_epi32::<2>(add(before, two)), p1);
        new[2] = pick(new[2], eighth(add(add(before, add(p1, middle)), q1)), p0);
        new[3] = pick(new[3], eighth(add(add(after, add(q1, middle)), p1)), q0);
        new[4] = pick(new[4], _mm256_srai_epi32::<2>(add(after, two)), q1);
        new[5] = pick(new[5], eighth(add(after, twice(add(q3, q2)))), q2);
    }
    for (row, new) in rows[1..7].iter_mut().zip(new) {
        *row = narrow(new);
    }
    keep_exempt(rows, &old, limits.changes);
}
