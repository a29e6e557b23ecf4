//! The kernels with AVX2.

use std::arch::x86_64::*;

use super::portable::{self, HORIZONTAL_SHIFT, ROW_BITS, TILE, VERTICAL_SHIFT};
use crate::imaging::scale::taps::{LANES, Taps};

const WIDTH: usize = 64;

/// The compiler makes byte shuffles of the portable code, which the baseline of x86-64 lacks: 12 megapixels of RGB are
/// resized in 23 ms instead of 35.
#[target_feature(enable = "avx2")]
pub(super) fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
    portable::take_component::<N>(pixels, component, out);
}

#[target_feature(enable = "avx2")]
pub(super) fn vertical(window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    let round = _mm256_set1_epi32(1 << (VERTICAL_SHIFT - 1));
    let pairs = window.chunks_exact(2 * stride).zip(weights.as_chunks::<2>().0);
    for (block, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        // Unpacking and packing work on halves: one sum has 0..4 and 8..12 of 16 samples, the other one the rest.
        let mut sums = [[round; 2]; WIDTH / 16];
        for (rows, weights) in pairs.clone() {
            let weights = _mm256_set1_epi32(bytemuck::must_cast(*weights));
            let (upper, lower) = rows.split_at(stride);
            let (Some(upper), Some(lower)) = (samples(upper, block), samples(lower, block)) else { break };
            for (n, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_cvtepu8_epi16(bytemuck::must_cast(upper[n]));
                let b = _mm256_cvtepu8_epi16(bytemuck::must_cast(lower[n]));
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weights));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weights));
            }
        }
        for (out, [low, high]) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            const SHIFT: i32 = VERTICAL_SHIFT as i32;
            *out = bytemuck::must_cast(_mm256_packs_epi32(
                _mm256_srai_epi32::<SHIFT>(low),
                _mm256_srai_epi32::<SHIFT>(high),
            ));
        }
    }
}

fn samples(row: &[u8], block: usize) -> Option<&[[u8; 16]]> {
    row.as_chunks::<WIDTH>().0.get(block).map(|samples| samples.as_chunks::<16>().0)
}

/// Computes the horizontal pass with `REGISTERS` registers of weights for each target sample.
#[target_feature(enable = "avx2")]
pub(super) fn horizontal<const REGISTERS: usize>(row: &[i16], taps: &Taps, out: &mut [u8]) {
    const GROUP: usize = 8;
    let round = _mm256_set1_epi32(1 << (HORIZONTAL_SHIFT - 1));
    let (groups, rest) = out.as_chunks_mut::<GROUP>();
    let whole = groups.len() * GROUP;
    let firsts = taps.first.as_chunks::<GROUP>().0;
    let weights = taps.weights.as_chunks::<LANES>().0.as_chunks::<REGISTERS>().0.as_chunks::<GROUP>().0;
    for ((out, first), weights) in groups.iter_mut().zip(firsts).zip(weights) {
        let mut sums = [_mm256_setzero_si256(); GROUP];
        for n in 0..GROUP {
            let Some(samples) = row.get(first[n]..) else { return };
            let Some(samples) = samples.as_chunks::<LANES>().0.first_chunk::<REGISTERS>() else { return };
            for at in 0..REGISTERS {
                let products =
                    _mm256_madd_epi16(bytemuck::must_cast(samples[at]), bytemuck::must_cast(weights[n][at]));
                sums[n] = if at == 0 { products } else { _mm256_add_epi32(sums[n], products) };
            }
        }
        // Adds eight times eight partial sums to eight sums in order.
        let pairs = [0, 2, 4, 6].map(|n| _mm256_hadd_epi32(sums[n], sums[n + 1]));
        let fours = [_mm256_hadd_epi32(pairs[0], pairs[1]), _mm256_hadd_epi32(pairs[2], pairs[3])];
        let low = _mm256_permute2x128_si256::<0x20>(fours[0], fours[1]);
        let high = _mm256_permute2x128_si256::<0x31>(fours[0], fours[1]);
        const SHIFT: i32 = HORIZONTAL_SHIFT as i32;
        let sum = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(round, _mm256_add_epi32(low, high)));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let bytes: [u8; 16] = bytemuck::must_cast(_mm_packus_epi16(words, words));
        *out = *bytes[..GROUP].as_chunks::<GROUP>().0.first().unwrap_or(&[0; GROUP]);
    }
    if !rest.is_empty() {
        portable::horizontal(row, taps, whole, out);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn weigh_rows(window: &[u8], stride: usize, weights: &[i8], out: &mut [u8]) {
    let width = out.len();
    if width < SAMPLES {
        return portable::weigh_rows(window, stride, weights, 0, out);
    }
    let mut at = 0;
    while at + 4 * SAMPLES <= width {
        weigh_block::<4>(window, stride, weights, at, out);
        at += 4 * SAMPLES;
    }
    while at < width {
        // The last block repeats samples of the one before it.
        at = at.min(width - SAMPLES);
        weigh_block::<1>(window, stride, weights, at, out);
        at += SAMPLES;
    }
}

/// Samples of a register.
const SAMPLES: usize = 32;

/// Computes `REGISTERS` registers of samples, two rows at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn weigh_block<const REGISTERS: usize>(
    window: &[u8],
    stride: usize,
    weights: &[i8],
    at: usize,
    out: &mut [u8],
) {
    let row = |from: usize| {
        let row = window.get(from..)?.as_chunks::<SAMPLES>().0.first_chunk::<REGISTERS>();
        row.map(|row| row.map(bytemuck::must_cast::<_, __m256i>))
    };
    // No sum of two products overflows: weights are at most 64.
    let mut sums = [[_mm256_set1_epi16(1 << (ROW_BITS - 1)); 2]; REGISTERS];
    let mut from = at;
    let (pairs, single) = weights.as_chunks::<2>();
    for pair in pairs {
        let weights = _mm256_set1_epi16(bytemuck::must_cast(*pair));
        let (Some(upper), Some(lower)) = (row(from), row(from + stride)) else { return };
        for n in 0..REGISTERS {
            let low = _mm256_unpacklo_epi8(upper[n], lower[n]);
            let high = _mm256_unpackhi_epi8(upper[n], lower[n]);
            sums[n][0] = _mm256_add_epi16(sums[n][0], _mm256_maddubs_epi16(low, weights));
            sums[n][1] = _mm256_add_epi16(sums[n][1], _mm256_maddubs_epi16(high, weights));
        }
        from += 2 * stride;
    }
    for weight in single {
        let weights = _mm256_set1_epi16(bytemuck::must_cast([*weight, 0]));
        let Some(row) = row(from) else { return };
        for n in 0..REGISTERS {
            let (low, high) = (_mm256_unpacklo_epi8(row[n], row[n]), _mm256_unpackhi_epi8(row[n], row[n]));
            sums[n][0] = _mm256_add_epi16(sums[n][0], _mm256_maddubs_epi16(low, weights));
            sums[n][1] = _mm256_add_epi16(sums[n][1], _mm256_maddubs_epi16(high, weights));
        }
    }
    let out = out.get_mut(at..).unwrap_or_default().as_chunks_mut::<SAMPLES>().0;
    for (out, [low, high]) in out.iter_mut().zip(sums) {
        const SHIFT: i32 = ROW_BITS as i32;
        let bytes = _mm256_packus_epi16(_mm256_srai_epi16::<SHIFT>(low), _mm256_srai_epi16::<SHIFT>(high));
        *out = bytemuck::must_cast(bytes);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn turn(from: &[u8], width: usize, to: &mut [u8]) {
    portable::turn(from, width, to, |tile| turned(tile));
}

/// Turns a tile: four times each row and the one eight below it are interleaved.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(tile: [[u8; TILE]; TILE]) -> [[u8; TILE]; TILE] {
    let step = |rows: [__m128i; TILE]| {
        let mut next = rows;
        for n in 0..TILE / 2 {
            next[2 * n] = _mm_unpacklo_epi8(rows[n], rows[n + TILE / 2]);
            next[2 * n + 1] = _mm_unpackhi_epi8(rows[n], rows[n + TILE / 2]);
        }
        next
    };
    let rows = tile.map(bytemuck::must_cast);
    step(step(step(step(rows)))).map(bytemuck::must_cast)
}
