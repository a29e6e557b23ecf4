//! The luma filter with NEON: a register holds a row of eight samples in 16 bits, which suffice for sums of eight samples of
//! twelve bits.

use std::arch::aarch64::*;

use super::luma::{Limits, keep_exempt};
use crate::imaging::codec::heif::hevc::decode::sample::Sample;

#[inline]
#[target_feature(enable = "neon")]
fn widen<S: Sample>(row: [S; 8]) -> int16x8_t {
    match bytemuck::try_cast::<[S; 8], uint8x8_t>(row) {
        Ok(bytes) => vreinterpretq_s16_u16(vmovl_u8(bytes)),
        Err(_) => bytemuck::cast(row),
    }
}

/// Narrows numbers of at least 0.
#[inline]
#[target_feature(enable = "neon")]
fn narrow<S: Sample>(row: int16x8_t) -> [S; 8] {
    bytemuck::try_cast::<uint8x8_t, [S; 8]>(vqmovun_s16(row)).unwrap_or_else(|_| bytemuck::cast(row))
}

#[inline]
#[target_feature(enable = "neon")]
fn lanes(halves: [i32; 2]) -> int16x8_t {
    let [low, high] = halves.map(|limit| vdup_n_s16(limit as i16));
    vcombine_s16(low, high)
}

#[inline]
#[target_feature(enable = "neon")]
fn clamp(value: int16x8_t, least: int16x8_t, most: int16x8_t) -> int16x8_t {
    vmaxq_s16(vminq_s16(value, most), least)
}

/// Does what [`super::filter_edge`] does.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn filter_edge<S: Sample>(rows: &mut [[S; 8]; 8], limits: &Limits) {
    let old = *rows;
    let [p3, p2, p1, p0, q0, q1, q2, q3] = old.map(|row| widen(row));
    let add = |a, b| vaddq_s16(a, b);
    let sub = |a, b| vsubq_s16(a, b);
    let zero = vdupq_n_s16(0);
    let top = vdupq_n_s16(limits.most as i16);
    let strong = lanes(limits.strong);
    let mut new = [p2, p1, p0, q0, q1, q2];
    if limits.near != [0; 2] {
        let near = lanes(limits.near);
        let (inner, outer) = (sub(q0, p0), sub(q1, p1));
        // Does not fit 16 bits.
        let low = vmlsl_n_s16(vmull_n_s16(vget_low_s16(inner), 9), vget_low_s16(outer), 3);
        let high = vmlsl_high_n_s16(vmull_high_n_s16(inner, 9), outer, 3);
        let delta = vrshrn_high_n_s32::<4>(vrshrn_n_s32::<4>(low), high);
        let is_small = vreinterpretq_s16_u16(vcgtq_s16(vmulq_n_s16(near, 10), vabsq_s16(delta)));
        let delta = vandq_s16(clamp(delta, vnegq_s16(near), near), is_small);
        let beside = |far, middle, near, delta, limit| {
            let limit = vandq_s16(limit, is_small);
            let change = vhaddq_s16(sub(vrhaddq_s16(far, near), middle), delta);
            clamp(add(middle, clamp(change, vnegq_s16(limit), limit)), zero, top)
        };
        new[1] = beside(p2, p1, p0, delta, lanes(limits.before));
        new[2] = clamp(add(p0, delta), zero, top);
        new[3] = clamp(sub(q0, delta), zero, top);
        new[4] = beside(q2, q1, q0, vnegq_s16(delta), lanes(limits.after));
    }
    if limits.strong != [0; 2] {
        let is_strong = vcgtq_s16(strong, zero);
        let pick = |new, of_strong, old| {
            let of_strong = clamp(clamp(of_strong, sub(old, strong), add(old, strong)), zero, top);
            vbslq_s16(is_strong, of_strong, new)
        };
        let middle = add(p0, q0);
        let before = add(add(p2, p1), middle);
        let after = add(add(q2, q1), middle);
        let twice = |a| add(a, a);
        new[0] = pick(new[0], vrshrq_n_s16::<3>(add(before, twice(add(p3, p2)))), p2);
        new[1] = pick(new[1], vrshrq_n_s16::<2>(before), p1);
        new[2] = pick(new[2], vrshrq_n_s16::<3>(add(add(before, add(p1, middle)), q1)), p0);
        new[3] = pick(new[3], vrshrq_n_s16::<3>(add(add(after, add(q1, middle)), p1)), q0);
        new[4] = pick(new[4], vrshrq_n_s16::<2>(after), q1);
        new[5] = pick(new[5], vrshrq_n_s16::<3>(add(after, twice(add(q3, q2)))), q2);
    }
    for (row, new) in rows[1..7].iter_mut().zip(new) {
        *row = narrow(new);
    }
    keep_exempt(rows, &old, limits.changes);
}
