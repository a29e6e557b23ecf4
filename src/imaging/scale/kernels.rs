//! The two passes of the resizer, and the step before them that takes pixels apart, with AVX2 if the processor has it. Portable
//! and AVX2 code give equal results.

use super::taps::{LANES, Taps, WEIGHT_BITS};

/// Fractional bits of a sample between the passes.
const BETWEEN_BITS: u32 = 6;
const VERTICAL_SHIFT: u32 = WEIGHT_BITS - BETWEEN_BITS;
const HORIZONTAL_SHIFT: u32 = WEIGHT_BITS + BETWEEN_BITS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernels {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kernels {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }

    /// Copies sample `component` of each pixel of `N` samples, until `out` is full or the pixels end.
    #[allow(unsafe_code)]
    pub(super) fn take_component<const N: usize>(self, pixels: &[u8], component: usize, out: &mut [u8]) {
        match self {
            Self::Portable => take_component::<N>(pixels, component, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` returns this variant only if the processor has AVX2.
            Self::Avx2 => unsafe { avx2::take_component::<N>(pixels, component, out) },
        }
    }

    /// Computes the weighted sum of rows: `out[x]` is the sum of `window[n * stride + x] * weights[n]` in 1/64. The length of
    /// `out` is a multiple of 64, at most `stride`. The number of weights is even, with all their rows in `window`.
    #[allow(unsafe_code)]
    pub(super) fn vertical(self, window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
        match self {
            Self::Portable => vertical(window, stride, weights, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` returns this variant only if the processor has AVX2.
            Self::Avx2 => unsafe { avx2::vertical(window, stride, weights, out) },
        }
    }

    /// Computes weighted sums of neighbours in a row: `out[n]` is the sum of `row[first[n] + k] * weights[n][k]`, rounded and
    /// clamped. `row` has a whole group of samples from each first sample on.
    #[allow(unsafe_code)]
    pub(super) fn horizontal(self, row: &[i16], taps: &Taps, out: &mut [u8]) {
        match self {
            Self::Portable => horizontal(row, taps, 0, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` returns this variant only if the processor has AVX2.
            Self::Avx2 => unsafe { avx2::horizontal(row, taps, out) },
        }
    }
}

#[inline(always)]
fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(pixels.as_chunks::<N>().0) {
        *out = pixel[component];
    }
}

fn vertical(window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    const WIDTH: usize = 64;
    for (block, out) in out.chunks_exact_mut(WIDTH).enumerate() {
        let mut sums = [1i32 << (VERTICAL_SHIFT - 1); WIDTH];
        for (n, weight) in weights.iter().enumerate() {
            let row = &window[n * stride + block * WIDTH..][..WIDTH];
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(*sample) * i32::from(*weight);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = saturated(sum >> VERTICAL_SHIFT);
        }
    }
}

/// Computes the horizontal pass from target sample `from` on, without SIMD.
fn horizontal(row: &[i16], taps: &Taps, from: usize, out: &mut [u8]) {
    let weights = taps.weights.chunks_exact(taps.count);
    for ((out, first), weights) in out.iter_mut().zip(&taps.first).zip(weights).skip(from) {
        let row = &row[*first..][..taps.count];
        let products = row.iter().zip(weights).map(|(a, b)| i32::from(*a) * i32::from(*b));
        let sum = products.sum::<i32>() + (1 << (HORIZONTAL_SHIFT - 1));
        *out = u8::try_from((sum >> HORIZONTAL_SHIFT).clamp(0, 255)).unwrap_or(u8::MAX);
    }
}

fn saturated(value: i32) -> i16 {
    i16::try_from(value.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(i16::MAX)
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{HORIZONTAL_SHIFT, LANES, Taps, VERTICAL_SHIFT};

    const WIDTH: usize = 64;

    /// The compiler makes byte shuffles of the portable code, which the baseline of x86-64 lacks: 12 megapixels of RGB are
    /// resized in 23 ms instead of 35.
    #[target_feature(enable = "avx2")]
    pub(super) fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
        super::take_component::<N>(pixels, component, out);
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
                let (Some(upper), Some(lower)) = (samples(upper, block), samples(lower, block)) else {
                    break;
                };
                for (n, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_cvtepu8_epi16(bytemuck::must_cast(upper[n]));
                    let b = _mm256_cvtepu8_epi16(bytemuck::must_cast(lower[n]));
                    sums[0] =
                        _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weights));
                    sums[1] =
                        _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weights));
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

    #[target_feature(enable = "avx2")]
    pub(super) fn horizontal(row: &[i16], taps: &Taps, out: &mut [u8]) {
        match taps.count / LANES {
            1 => horizontal_of::<1>(row, taps, out),
            2 => horizontal_of::<2>(row, taps, out),
            3 => horizontal_of::<3>(row, taps, out),
            _ => super::horizontal(row, taps, 0, out),
        }
    }

    /// Computes the horizontal pass with `REGISTERS` registers of weights for each target sample. The number is known to the
    /// compiler, because a loop over it takes twice as long.
    #[target_feature(enable = "avx2")]
    fn horizontal_of<const REGISTERS: usize>(row: &[i16], taps: &Taps, out: &mut [u8]) {
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
                    let products = _mm256_madd_epi16(
                        bytemuck::must_cast(samples[at]),
                        bytemuck::must_cast(weights[n][at]),
                    );
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
            super::horizontal(row, taps, whole, out);
        }
    }
}
