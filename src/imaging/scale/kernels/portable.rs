//! The kernels for every processor.

use crate::imaging::scale::taps::{Taps, WEIGHT_BITS};

/// Fractional bits of a sample between the passes.
const BETWEEN_BITS: u32 = 6;
pub(super) const VERTICAL_SHIFT: u32 = WEIGHT_BITS - BETWEEN_BITS;
pub(super) const HORIZONTAL_SHIFT: u32 = WEIGHT_BITS + BETWEEN_BITS;

#[inline(always)]
pub(super) fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(pixels.as_chunks::<N>().0) {
        *out = pixel[component];
    }
}

pub(super) fn vertical(window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
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
pub(super) fn horizontal(row: &[i16], taps: &Taps, from: usize, out: &mut [u8]) {
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
