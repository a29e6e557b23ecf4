//! The kernels with NEON.

use std::arch::aarch64::*;

use super::portable::{self, HORIZONTAL_SHIFT, VERTICAL_SHIFT};
use crate::imaging::scale::taps::{LANES, Taps};

const WIDTH: usize = 64;

/// The compiler makes loads that take pixels apart of the portable code. Where it is inlined, it loads single bytes instead: 34
/// instructions for 16 samples of RGB instead of 11.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
    portable::take_component::<N>(pixels, component, out);
}

#[target_feature(enable = "neon")]
pub(super) fn vertical(window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    for (block, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        // Each sum of 16 samples is in four registers. The last shift rounds.
        let mut sums = [[vdupq_n_s32(0); 4]; WIDTH / 16];
        for (n, weight) in weights.iter().enumerate() {
            let row = window[n * stride + block * WIDTH..][..WIDTH].as_chunks::<16>().0;
            for (sums, samples) in sums.iter_mut().zip(row) {
                let samples: uint8x16_t = bytemuck::must_cast(*samples);
                let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(samples)));
                let high = vreinterpretq_s16_u16(vmovl_high_u8(samples));
                sums[0] = vmlal_n_s16(sums[0], vget_low_s16(low), *weight);
                sums[1] = vmlal_high_n_s16(sums[1], low, *weight);
                sums[2] = vmlal_n_s16(sums[2], vget_low_s16(high), *weight);
                sums[3] = vmlal_high_n_s16(sums[3], high, *weight);
            }
        }
        const SHIFT: i32 = VERTICAL_SHIFT as i32;
        let narrow = |low, high| vqrshrn_high_n_s32::<SHIFT>(vqrshrn_n_s32::<SHIFT>(low), high);
        for (out, [a, b, c, d]) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            *out = bytemuck::must_cast([narrow(a, b), narrow(c, d)]);
        }
    }
}

/// Computes the horizontal pass with `GROUPS` groups of weights for each target sample.
#[target_feature(enable = "neon")]
pub(super) fn horizontal<const GROUPS: usize>(row: &[i16], taps: &Taps, out: &mut [u8]) {
    const TARGETS: usize = 8;
    let (groups, rest) = out.as_chunks_mut::<TARGETS>();
    let whole = groups.len() * TARGETS;
    let firsts = taps.first.as_chunks::<TARGETS>().0;
    let weights = taps.weights.as_chunks::<LANES>().0.as_chunks::<GROUPS>().0.as_chunks::<TARGETS>().0;
    for ((out, first), weights) in groups.iter_mut().zip(firsts).zip(weights) {
        let mut sums = [vdupq_n_s32(0); TARGETS];
        for n in 0..TARGETS {
            let Some(samples) = row.get(first[n]..) else { return };
            let Some(samples) = samples.as_chunks::<LANES>().0.first_chunk::<GROUPS>() else { return };
            for (samples, weights) in samples.iter().zip(&weights[n]) {
                let samples: [int16x8_t; 2] = bytemuck::must_cast(*samples);
                let weights: [int16x8_t; 2] = bytemuck::must_cast(*weights);
                for (a, b) in samples.into_iter().zip(weights) {
                    sums[n] = vmlal_high_s16(vmlal_s16(sums[n], vget_low_s16(a), vget_low_s16(b)), a, b);
                }
            }
        }
        // Adds eight times four partial sums to eight sums in order.
        let [a, b, c, d] = [0, 2, 4, 6].map(|n| vpaddq_s32(sums[n], sums[n + 1]));
        // In two steps, because no shift narrows by more than 16 bits. The second one rounds.
        let upper = |sums| vshrn_n_s32::<16>(sums);
        let words = vcombine_s16(upper(vpaddq_s32(a, b)), upper(vpaddq_s32(c, d)));
        *out = bytemuck::must_cast(vqrshrun_n_s16::<{ HORIZONTAL_SHIFT as i32 - 16 }>(words));
    }
    if !rest.is_empty() {
        portable::horizontal(row, taps, whole, out);
    }
}
