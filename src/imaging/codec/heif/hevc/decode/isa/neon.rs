//! Work on eight samples with NEON.

use std::arch::aarch64::*;

use super::Kernel;
use crate::imaging::codec::heif::hevc::decode::sample::Sample;

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn transpose8<S: Sample>(rows: [[S; 8]; 8]) -> [[S; 8]; 8] {
    if let Ok(rows) = bytemuck::try_cast(rows) {
        return bytemuck::cast(bytes8(rows));
    }
    bytemuck::cast(words8(bytemuck::cast(rows)))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mix8<S: Sample>(near: [S; 8], far: [S; 8], fraction: u8) -> [S; 8] {
    if let (Ok(near), Ok(far)) = (bytemuck::try_cast(near), bytemuck::try_cast(far)) {
        let sums = vmlal_u8(vmull_u8(near, vdup_n_u8(32 - fraction)), far, vdup_n_u8(fraction));
        return bytemuck::cast(vrshrn_n_u16::<5>(sums));
    }
    let (near, far): (uint16x8_t, uint16x8_t) = (bytemuck::cast(near), bytemuck::cast(far));
    let (near_weight, far_weight) = (u16::from(32 - fraction), u16::from(fraction));
    let low = vmull_n_u16(vget_low_u16(near), near_weight);
    let low = vmlal_n_u16(low, vget_low_u16(far), far_weight);
    let high = vmlal_high_n_u16(vmull_high_n_u16(near, near_weight), far, far_weight);
    bytemuck::cast(vrshrn_high_n_u32::<5>(vrshrn_n_u32::<5>(low), high))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add8<S: Sample>(samples: [S; 8], residuals: [i16; 8], most: i16) -> [S; 8] {
    let residuals = bytemuck::must_cast(residuals);
    if let Ok(bytes) = bytemuck::try_cast(samples) {
        let sums = vqaddq_s16(vreinterpretq_s16_u16(vmovl_u8(bytes)), residuals);
        return bytemuck::cast(vqmovun_s16(sums));
    }
    let sums = vqaddq_s16(bytemuck::cast(samples), residuals);
    bytemuck::cast(vmaxq_s16(vminq_s16(sums, vdupq_n_s16(most)), vdupq_n_s16(0)))
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes8(rows: [uint8x8_t; 8]) -> [uint8x16_t; 4] {
    // Interleaves rows that are four apart, then two, then one.
    let pair = |n: usize| vzip1q_u8(vcombine_u8(rows[n], rows[n]), vcombine_u8(rows[n + 4], rows[n + 4]));
    let [a, b, c, d] = [pair(0), pair(1), pair(2), pair(3)];
    let ([even0, even1], [odd0, odd1]) =
        ([vzip1q_u8(a, c), vzip2q_u8(a, c)], [vzip1q_u8(b, d), vzip2q_u8(b, d)]);
    [vzip1q_u8(even0, odd0), vzip2q_u8(even0, odd0), vzip1q_u8(even1, odd1), vzip2q_u8(even1, odd1)]
}

#[inline]
#[target_feature(enable = "neon")]
fn words8(rows: [uint16x8_t; 8]) -> [uint16x8_t; 8] {
    let step = |[a, b, c, d, e, f, g, h]: [uint16x8_t; 8]| {
        let [[a, b], [c, d], [e, f], [g, h]] = [(a, e), (b, f), (c, g), (d, h)]
            .map(|(upper, lower)| [vzip1q_u16(upper, lower), vzip2q_u16(upper, lower)]);
        [a, b, c, d, e, f, g, h]
    };
    step(step(step(rows)))
}

#[target_feature(enable = "neon")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
