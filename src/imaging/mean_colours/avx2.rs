//! Implements the steps for a block of pixels with AVX2: a register holds one number of 16 bits for each sample of chroma.

use std::arch::x86_64::*;

use super::numbers::{BITS, CHROMA_BITS, DITHER, HALF, LUMA_OFFSET, MOST_BEND, SMALL_RANGE, fix};
use super::{Block, Changed, Means, Slopes};

const SHIFT: i32 = BITS as i32;
const CHROMA_SHIFT: i32 = CHROMA_BITS as i32;

/// Does the same as the function of portable code. The order of the pixels is another one, which [`change`] knows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn means(block: &Block<'_>) -> (Means, [[u8; 4]; HALF]) {
    let (upper, lower) = (bytemuck::must_cast(*block.upper), bytemuck::must_cast(*block.lower));
    let one = _mm256_set1_epi8(1);
    let sum = _mm256_add_epi16(_mm256_maddubs_epi16(upper, one), _mm256_maddubs_epi16(lower, one));
    let luma = _mm256_srli_epi16::<2>(_mm256_add_epi16(sum, _mm256_set1_epi16(2)));
    let (most, least) = (_mm256_max_epu8(upper, lower), _mm256_min_epu8(upper, lower));
    let most = _mm256_max_epu8(most, _mm256_srli_epi16::<8>(most));
    let least = _mm256_min_epu8(least, _mm256_srli_epi16::<8>(least));
    let range = _mm256_and_si256(_mm256_sub_epi8(most, least), _mm256_set1_epi16(255));
    let [r, g, b] = unclamped(luma, chroma(*block.blue), chroma(*block.red));
    let (rg, ba) = (_mm256_packus_epi16(r, g), _mm256_packus_epi16(b, _mm256_set1_epi16(255)));
    let rg = _mm256_unpacklo_epi8(rg, _mm256_srli_si256::<8>(rg));
    let ba = _mm256_unpacklo_epi8(ba, _mm256_srli_si256::<8>(ba));
    // Pixels 0 to 3 and 8 to 11, then the others.
    let pixels = [_mm256_unpacklo_epi16(rg, ba), _mm256_unpackhi_epi16(rg, ba)];
    let [lumas, ranges] = bytes(luma, range);
    (Means { lumas, ranges }, bytemuck::must_cast(pixels))
}

/// Does the same as the function of portable code.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn change(block: &Block<'_>, means: &Means, pixels: &[[u8; 4]; HALF], slopes: &Slopes) -> Changed {
    let (u, v) = (chroma(*block.blue), chroma(*block.red));
    let mean = _mm256_cvtepu8_epi16(bytemuck::must_cast(means.lumas));
    let range = _mm256_cvtepu8_epi16(bytemuck::must_cast(means.ranges));
    let to = taken_apart(pixels);
    let from = unclamped(mean, u, v);
    let r = _mm256_slli_epi16::<SHIFT>(_mm256_sub_epi16(to[0], from[0]));
    let g = _mm256_slli_epi16::<SHIFT>(_mm256_sub_epi16(to[1], from[1]));
    let b = _mm256_slli_epi16::<SHIFT>(_mm256_sub_epi16(to[2], from[2]));
    let rg = _mm256_add_epi16(multiply(r, fix::LUMA[0]), multiply(g, fix::LUMA[1]));
    let luma = _mm256_add_epi16(rg, multiply(b, fix::LUMA[2]));
    let blue = multiply(_mm256_subs_epi16(b, luma), fix::BLUE);
    let red = multiply(_mm256_subs_epi16(r, luma), fix::RED);

    let changed = |row: [u8; 2 * HALF], dither: [i16; 2]| -> __m256i {
        let steps = dither.map(|dither| -> __m256i {
            _mm256_srai_epi16::<SHIFT>(_mm256_add_epi16(luma, _mm256_set1_epi16(dither)))
        });
        // Both pixels of a pair get a step of their own.
        let pairs = |[left, right]: [__m256i; 2]| -> __m256i {
            _mm256_unpacklo_epi8(_mm256_packus_epi16(left, left), _mm256_packus_epi16(right, right))
        };
        let down = steps.map(|step| _mm256_sub_epi16(_mm256_setzero_si256(), step));
        _mm256_subs_epu8(_mm256_adds_epu8(bytemuck::must_cast(row), pairs(steps)), pairs(down))
    };
    let upper = bytemuck::must_cast(changed(*block.upper, DITHER[0]));
    let lower = bytemuck::must_cast(changed(*block.lower, DITHER[1]));
    let sample = |chroma: __m256i, change: __m256i| -> __m256i {
        let chroma = _mm256_srai_epi16::<CHROMA_SHIFT>(chroma);
        _mm256_add_epi16(_mm256_add_epi16(chroma, _mm256_set1_epi16(128)), rounded(change))
    };
    let [new_blue, new_red] = bytes(sample(u, blue), sample(v, red));

    let bend = |change: __m256i, slopes: [i16; 2]| -> __m256i {
        let linear =
            _mm256_subs_epi16(_mm256_subs_epi16(change, multiply(u, slopes[0])), multiply(v, slopes[1]));
        _mm256_abs_epi16(linear)
    };
    let [luma_slopes, blue_slopes, red_slopes] = slopes.0;
    let bend = _mm256_max_epu16(
        _mm256_max_epu16(bend(luma, luma_slopes), bend(blue, blue_slopes)),
        bend(red, red_slopes),
    );
    let bend = _mm256_min_epu16(bend, _mm256_set1_epi16(MOST_BEND.cast_signed()));
    // The product loses four bits.
    let product = _mm256_mulhi_epu16(_mm256_slli_epi16::<4>(bend), _mm256_slli_epi16::<8>(range));
    let limit = _mm256_add_epi16(mean, _mm256_set1_epi16(LUMA_OFFSET.cast_signed()));
    let is_straight = _mm256_cmpgt_epi16(_mm256_slli_epi16::<{ SHIFT - 4 }>(limit), product);
    let least = _mm256_min_epi16(_mm256_min_epi16(to[0], to[1]), to[2]);
    let most = _mm256_max_epi16(_mm256_max_epi16(to[0], to[1]), to[2]);
    let room = _mm256_min_epi16(least, _mm256_sub_epi16(_mm256_set1_epi16(255), most));
    let is_small = _mm256_cmpgt_epi16(_mm256_set1_epi16(SMALL_RANGE.cast_signed() + 1), range);
    let is_inside = _mm256_or_si256(is_small, _mm256_cmpgt_epi16(_mm256_slli_epi16::<1>(room), range));
    let right = _mm256_movemask_epi8(_mm256_and_si256(is_straight, is_inside)).cast_unsigned();
    let wrong = !right & 0x5555_5555;
    Changed { upper, lower, blue: new_blue, red: new_red, wrong }
}

#[inline]
#[target_feature(enable = "avx2")]
fn chroma(samples: [u8; HALF]) -> __m256i {
    let samples = _mm_xor_si128(bytemuck::must_cast(samples), _mm_set1_epi8(-128));
    _mm256_slli_epi16::<CHROMA_SHIFT>(_mm256_cvtepi8_epi16(samples))
}

#[inline]
#[target_feature(enable = "avx2")]
fn multiply(a: __m256i, b: i16) -> __m256i {
    _mm256_mulhrs_epi16(a, _mm256_set1_epi16(b))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rounded(number: __m256i) -> __m256i {
    multiply(number, 1 << (15 - BITS))
}

#[inline]
#[target_feature(enable = "avx2")]
fn unclamped(luma: __m256i, blue: __m256i, red: __m256i) -> [__m256i; 3] {
    let luma = _mm256_slli_epi16::<SHIFT>(luma);
    let green = _mm256_add_epi16(multiply(blue, fix::GREEN_OF_BLUE), multiply(red, fix::GREEN_OF_RED));
    [
        rounded(_mm256_add_epi16(luma, multiply(red, fix::RED_OF_RED))),
        rounded(_mm256_add_epi16(luma, green)),
        rounded(_mm256_add_epi16(luma, multiply(blue, fix::BLUE_OF_BLUE))),
    ]
}

/// Returns red, green and blue of pixels in the order of [`means`].
#[inline]
#[target_feature(enable = "avx2")]
fn taken_apart(pixels: &[[u8; 4]; HALF]) -> [__m256i; 3] {
    let order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let [first, second]: [__m256i; 2] = bytemuck::must_cast(*pixels);
    let (first, second) = (_mm256_shuffle_epi8(first, order), _mm256_shuffle_epi8(second, order));
    let (rg, ba) = (_mm256_unpacklo_epi32(first, second), _mm256_unpackhi_epi32(first, second));
    let zero = _mm256_setzero_si256();
    [_mm256_unpacklo_epi8(rg, zero), _mm256_unpackhi_epi8(rg, zero), _mm256_unpacklo_epi8(ba, zero)]
}

/// Narrows two registers of numbers to bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(a: __m256i, b: __m256i) -> [[u8; HALF]; 2] {
    bytemuck::must_cast(_mm256_permute4x64_epi64::<0xD8>(_mm256_packus_epi16(a, b)))
}
