//! Implements the steps for a block of pixels without SIMD, for every processor. AVX2 code gives the same samples.

use super::numbers::{BITS, CHROMA_BITS, DITHER, HALF, LUMA_OFFSET, MOST_BEND, SMALL_RANGE, fix};
use super::{Block, Changed, Means, Slopes};

/// Returns the means of a block, and its pixels with mean luma.
#[inline(always)]
pub(super) fn means(block: &Block<'_>) -> (Means, [[u8; 4]; HALF]) {
    let mut means = Means { lumas: [0; HALF], ranges: [0; HALF] };
    let mut pixels = [[255; 4]; HALF];
    let pairs = block.upper.as_chunks::<2>().0.iter().zip(block.lower.as_chunks::<2>().0);
    for (at, ([a, b], [c, d])) in pairs.enumerate() {
        let sum = u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d);
        means.lumas[at] = ((sum + 2) >> 2).to_le_bytes()[0];
        means.ranges[at] = a.max(b).max(c.max(d)) - a.min(b).min(c.min(d));
        let [r, g, b] = unclamped(means.lumas[at], chroma(block.blue[at]), chroma(block.red[at]))
            .map(|part| part.clamp(0, 255).to_le_bytes()[0]);
        pixels[at] = [r, g, b, 255];
    }
    (means, pixels)
}

/// Returns the block with the change that `pixels`, which are those of [`means`] after the conversion, show. For wrong ones of
/// four pixels see [`Changed::wrong`].
#[inline(always)]
pub(super) fn change(block: &Block<'_>, means: &Means, pixels: &[[u8; 4]; HALF], slopes: &Slopes) -> Changed {
    let (mut steps, mut is_wrong) = ([0; HALF], [false; HALF]);
    let mut new =
        Changed { upper: *block.upper, lower: *block.lower, blue: *block.blue, red: *block.red, wrong: 0 };
    let [luma_slopes, blue_slopes, red_slopes] = slopes.0;
    for (at, to) in pixels.iter().enumerate() {
        let (mean, range) = (u16::from(means.lumas[at]), u16::from(means.ranges[at]));
        let (u, v) = (chroma(block.blue[at]), chroma(block.red[at]));
        let [x, y, z] = unclamped(means.lumas[at], u, v);
        let to = [to[0], to[1], to[2]].map(i16::from);
        let [r, g, b] = [to[0] - x, to[1] - y, to[2] - z].map(|change| change << BITS);
        let luma = multiply(r, fix::LUMA[0]) + multiply(g, fix::LUMA[1]) + multiply(b, fix::LUMA[2]);
        let blue = multiply(b.saturating_sub(luma), fix::BLUE);
        let red = multiply(r.saturating_sub(luma), fix::RED);
        steps[at] = luma;
        new.blue[at] = byte(i16::from(block.blue[at]) + rounded(blue));
        new.red[at] = byte(i16::from(block.red[at]) + rounded(red));
        let bend = |change: i16, [a, b]: [i16; 2]| {
            change.saturating_sub(multiply(u, a)).saturating_sub(multiply(v, b)).unsigned_abs()
        };
        let bend = bend(luma, luma_slopes).max(bend(blue, blue_slopes)).max(bend(red, red_slopes));
        let product = u32::from(bend.min(MOST_BEND)) * u32::from(range);
        let is_bent = product >= u32::from(mean + LUMA_OFFSET) << BITS;
        let (least, most) = (to[0].min(to[1]).min(to[2]), to[0].max(to[1]).max(to[2]));
        let is_clipped = (range > SMALL_RANGE) & (2 * least.min(255 - most).unsigned_abs() <= range);
        is_wrong[at] = is_bent | is_clipped;
    }
    for (row, dither) in [&mut new.upper, &mut new.lower].into_iter().zip(DITHER) {
        for (pair, step) in row.as_chunks_mut::<2>().0.iter_mut().zip(steps) {
            for (sample, dither) in pair.iter_mut().zip(dither) {
                *sample = byte(i16::from(*sample) + ((step + dither) >> BITS));
            }
        }
    }
    new.wrong = (0..).zip(is_wrong).map(|(at, is_wrong)| u32::from(is_wrong) << (2 * at)).sum();
    new
}

/// Returns chroma without its offset, with [`CHROMA_BITS`] fractional bits.
fn chroma(sample: u8) -> i16 {
    (i16::from(sample) - 128) << CHROMA_BITS
}

/// Multiplies by a number with 15 fractional bits, and rounds.
fn multiply(a: i16, b: i16) -> i16 {
    // It fits, because `b` is above -32,768.
    let [low, high, ..] = ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15).to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// Rounds a number with [`BITS`] fractional bits.
fn rounded(number: i16) -> i16 {
    multiply(number, 1 << (15 - BITS))
}

fn byte(number: i16) -> u8 {
    number.clamp(0, 255).to_le_bytes()[0]
}

/// Returns red, green and blue of this luma and [`chroma`]: less than 0 or more than 255 for colours outside of RGB.
fn unclamped(luma: u8, blue: i16, red: i16) -> [i16; 3] {
    let luma = i16::from(luma) << BITS;
    [
        rounded(luma + multiply(red, fix::RED_OF_RED)),
        rounded(luma + multiply(blue, fix::GREEN_OF_BLUE) + multiply(red, fix::GREEN_OF_RED)),
        rounded(luma + multiply(blue, fix::BLUE_OF_BLUE)),
    ]
}
