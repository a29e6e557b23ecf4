//! The kernels with AVX2.

use std::arch::x86_64::*;

use super::portable::{self, HORIZONTAL_SHIFT, VERTICAL_SHIFT};
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
