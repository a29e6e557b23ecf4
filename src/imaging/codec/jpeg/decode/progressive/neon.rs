//! Adds to many coefficients at once with NEON.

use std::arch::aarch64::*;

use super::mask_tables;
use crate::imaging::codec::jpeg::decode::idct::Coefficients;

const BYTES: [[[u8; 2]; 8]; 8] = mask_tables::bytes();
const BITS: [[u16; 8]; 8] = mask_tables::bits();

/// Most coefficients that are faster one by one, which takes 19 instructions each; all at once take 138.
const FEW: u32 = 4;

/// Adds `unit` to the absolute values of the coefficients `grown`, none of which is zero.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn grow(block: &mut Coefficients, grown: u64, unit: i16) {
    if grown.count_ones() <= FEW {
        super::grow(block, grown, unit);
        return;
    }
    let mask = vreinterpretq_u8_u64(vdupq_n_u64(grown));
    let unit = vdupq_n_s16(unit);
    let (rows, _) = block.as_chunks_mut::<8>();
    for ((row, bytes), bits) in rows.iter_mut().zip(&BYTES).zip(&BITS) {
        let spread = vreinterpretq_u16_u8(vqtbl1q_u8(mask, bytemuck::must_cast(*bytes)));
        let is_grown = vreinterpretq_s16_u16(vtstq_u16(spread, bytemuck::must_cast(*bits)));
        let before: int16x8_t = bytemuck::must_cast(*row);
        let sign = vshrq_n_s16::<15>(before);
        let added = vsubq_s16(veorq_s16(unit, sign), sign);
        *row = bytemuck::must_cast(vaddq_s16(before, vandq_s16(is_grown, added)));
    }
}
