//! Adds to many coefficients at once with AVX2.

use std::arch::x86_64::*;

use super::mask_tables;
use crate::imaging::codec::jpeg::decode::idct::Coefficients;

const BYTES: [[[u8; 2]; 16]; 4] = mask_tables::bytes();
const BITS: [[u16; 16]; 4] = mask_tables::bits();

/// Adds `unit` to the absolute values of the coefficients `grown`, none of which is zero.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn grow(block: &mut Coefficients, grown: u64, unit: i16) {
    let (mask, unit) = (_mm256_set1_epi64x(grown.cast_signed()), _mm256_set1_epi16(unit));
    let (rows, _) = block.as_chunks_mut::<16>();
    for ((row, bytes), bits) in rows.iter_mut().zip(&BYTES).zip(&BITS) {
        let (bytes, bits) = (bytemuck::must_cast(*bytes), bytemuck::must_cast(*bits));
        let is_grown = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_shuffle_epi8(mask, bytes), bits), bits);
        let before = bytemuck::must_cast(*row);
        let added = _mm256_sign_epi16(_mm256_and_si256(is_grown, unit), before);
        *row = bytemuck::must_cast(_mm256_add_epi16(before, added));
    }
}
