//! Changes the colours of 4:2:0 planes by converting one pixel for each sample of chroma: the mean of the four pixels that share it.
//!
//! Where a profile leaves greys alone, as Display P3 does, the change of luma and chroma depends on chroma, and little on luma. So
//! the change of the mean serves all four pixels. It has smaller errors than four conversions, each of which rounds to 8 bits
//! twice, unless the pixels differ much in luma and are so saturated that the change is not linear, or that colours are clipped.
//! Such pixels, some per cent of a photo, are found by their mean and converted one by one.

use super::blocks::{BLOCK, PIXEL, Pixel, block, put};
use super::plane::Plane;
use super::workspace::Workspace;
use super::ycbcr::{
    BLUE, Factors, LUMA, RED, parts_of_chroma, unclamped, weigh, weigh_difference, with_luma,
};

const HALF: usize = BLOCK / 2;
/// Fractional bits of slopes.
const SLOPE_BITS: u32 = 16;
/// Largest range of luma of four pixels for which clipping does not matter.
const SMALL_RANGE: i32 = 8;
/// The change is linear in chroma; the rest is proportional to chroma squared and to the inverse of luma plus this offset, which
/// the linear part of the sRGB curve causes.
const LUMA_OFFSET: i32 = 14;

/// The change of luma, blue and red chroma for each unit of blue and of red chroma near grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slopes([[i32; 2]; 3]);

impl Slopes {
    /// Measures the slopes of `convert`, which writes new pixels of four bytes. Returns `None` if it changes greys.
    pub(super) fn measure(convert: impl Fn(&[u8], &mut [u8])) -> Option<Self> {
        let greys: Vec<Pixel> = (0..=255).map(|grey| [grey, grey, grey, 255]).collect();
        let mut made = greys.clone();
        convert(greys.as_flattened(), made.as_flattened_mut());
        let is_grey = |(from, to): (&Pixel, &Pixel)| from.iter().zip(to).all(|(a, b)| a.abs_diff(*b) <= 1);
        if !greys.iter().zip(&made).all(is_grey) {
            return None;
        }
        let mut slopes = [[0; 2]; 3];
        // The square of chroma has the same effect on both sides of grey, and cancels out.
        let steps = [-24_i16, -12, 12, 24];
        for axis in 0..2 {
            let (mut sums, mut squares) = ([0_i64; 3], 0);
            for (luma, step) in [96, 128, 160].into_iter().flat_map(|luma| steps.map(|step| (luma, step))) {
                let mut chroma = [128_u8; 2];
                chroma[axis] = chroma[axis].saturating_add_signed(step.to_le_bytes()[0].cast_signed());
                let from = pixel(luma, parts_of_chroma(chroma[0], chroma[1]));
                let mut to = from;
                convert(&from, &mut to);
                let change = [0, 1, 2].map(|at| i32::from(to[at]) - i32::from(from[at]));
                for (sum, factors) in sums.iter_mut().zip([LUMA, BLUE, RED]) {
                    *sum += i64::from(weigh_difference(change, factors)) * i64::from(step);
                }
                squares += i64::from(step).pow(2);
            }
            for (slope, sum) in slopes.iter_mut().zip(sums) {
                slope[axis] = i32::try_from(sum / squares).ok()?;
            }
        }
        Some(Self(slopes))
    }
}

/// Buffers for two rows.
struct Rows {
    /// The mean luma of four pixels, and the range of their luma.
    means: Vec<u8>,
    ranges: Vec<u8>,
    /// The pixels with mean luma, before and after the conversion.
    from: Vec<u8>,
    to: Vec<u8>,
    /// Pixels that are converted one by one, four for each sample of chroma in `places`, before and after the conversion.
    single: Vec<u8>,
    converted: Vec<u8>,
    places: Vec<usize>,
}

/// Passes pixels of `planes` (luma, blue and red chroma) to `convert`, which writes new ones. Chroma has half the width and height
/// of luma, rounded up. `slopes` are those of `convert`.
#[inline(always)]
pub(super) fn convert(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: &Slopes,
    workspace: &mut Workspace,
) {
    let [luma, blue, red] = planes;
    let (width, half) = (luma.width, luma.width.div_ceil(2));
    if width == 0 || [blue.width, red.width] != [half; 2] {
        return;
    }
    let padded = half.next_multiple_of(HALF);
    let mut rows = Rows {
        means: workspace.take(padded),
        ranges: workspace.take(padded),
        from: workspace.take(padded * PIXEL),
        to: workspace.take(padded * PIXEL),
        single: workspace.take(4 * padded * PIXEL),
        converted: workspace.take(4 * padded * PIXEL),
        places: Vec::new(),
    };
    let chroma = blue.samples.chunks_exact_mut(half).zip(red.samples.chunks_exact_mut(half));
    for (luma, (blue, red)) in luma.samples.chunks_mut(2 * width).zip(chroma) {
        let (upper, lower) = luma.split_at_mut(width);
        // The row below the last one of an odd number repeats it.
        let below: &[u8] = if lower.is_empty() { upper } else { lower };
        rows.take_means([upper, below], blue, red);
        convert(&rows.from, &mut rows.to);
        rows.places.clear();
        rows.change([&mut *upper, &mut *lower], blue, red, slopes);
        if !rows.places.is_empty() {
            let used = 4 * PIXEL * rows.places.len();
            let converted = rows.converted.get_mut(..used).unwrap_or_default();
            convert(rows.single.get(..used).unwrap_or_default(), converted);
            rows.put_singles([upper, lower], blue, red);
        }
    }
    let Rows { means, ranges, from, to, single, converted, .. } = rows;
    [means, ranges, from, to, single, converted].into_iter().for_each(|buffer| workspace.give(buffer));
}

impl Rows {
    /// Makes the pixels with mean luma.
    #[inline(always)]
    fn take_means(&mut self, lumas: [&[u8]; 2], blue: &[u8], red: &[u8]) {
        let [upper, lower] = lumas;
        let means = self.means.as_chunks_mut::<HALF>().0.iter_mut();
        let ranges = self.ranges.as_chunks_mut::<HALF>().0.iter_mut();
        let pixels = self.from.as_chunks_mut::<PIXEL>().0.as_chunks_mut::<HALF>().0.iter_mut();
        for (n, ((means, ranges), pixels)) in means.zip(ranges).zip(pixels).enumerate() {
            let upper: [u8; BLOCK] = block(upper, n * BLOCK);
            let lower: [u8; BLOCK] = block(lower, n * BLOCK);
            let blue: [u8; HALF] = block(blue, n * HALF);
            let red: [u8; HALF] = block(red, n * HALF);
            for at in 0..HALF {
                let (a, b, c, d) = (upper[2 * at], upper[2 * at + 1], lower[2 * at], lower[2 * at + 1]);
                let sum = u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d);
                means[at] = ((sum + 2) >> 2).to_le_bytes()[0];
                ranges[at] = a.max(b).max(c.max(d)) - a.min(b).min(c.min(d));
            }
            for at in 0..HALF {
                pixels[at] = pixel(means[at], parts_of_chroma(blue[at], red[at]));
            }
        }
    }

    /// Adds the change of the mean to the samples. Copies the pixels for which it would be wrong to `single`.
    #[inline(always)]
    fn change(&mut self, lumas: [&mut [u8]; 2], blue: &mut [u8], red: &mut [u8], slopes: &Slopes) {
        let [upper, lower] = lumas;
        let half = blue.len();
        let means = self.means.as_chunks::<HALF>().0.iter();
        let ranges = self.ranges.as_chunks::<HALF>().0.iter();
        let pixels = self.to.as_chunks::<PIXEL>().0.as_chunks::<HALF>().0.iter();
        for (n, ((means, ranges), pixels)) in means.zip(ranges).zip(pixels).enumerate() {
            let blues: [u8; HALF] = block(blue, n * HALF);
            let reds: [u8; HALF] = block(red, n * HALF);
            let (mut luma_changes, mut new_blues, mut new_reds) = ([0; HALF], [0; HALF], [0; HALF]);
            let mut is_wrong = [0_i32; HALF];
            for at in 0..HALF {
                let (mean, range) = (i32::from(means[at]), i32::from(ranges[at]));
                let to = i32::from_le_bytes(pixels[at]);
                let [r, g, b] = [to & 255, to >> 8 & 255, to >> 16 & 255];
                // The colour before rounding errors and clipping of this pixel.
                let parts = parts_of_chroma(blues[at], reds[at]);
                let (x, y, z) = (
                    unclamped(means[at], parts[0]),
                    unclamped(means[at], parts[1]),
                    unclamped(means[at], parts[2]),
                );
                let change = [r - x, g - y, b - z];
                let (luma, blue, red) = (
                    weigh_difference(change, LUMA),
                    weigh_difference(change, BLUE),
                    weigh_difference(change, RED),
                );
                luma_changes[at] = rounded(luma);
                let (u, v) = (i32::from(blues[at]) - 128, i32::from(reds[at]) - 128);
                new_blues[at] = (u + 128 + rounded(blue)).clamp(0, 255).to_le_bytes()[0];
                new_reds[at] = (v + 128 + rounded(red)).clamp(0, 255).to_le_bytes()[0];
                let [a, b_, c] = slopes.0;
                let bend = (luma - u * a[0] - v * a[1])
                    .abs()
                    .max((blue - u * b_[0] - v * b_[1]).abs())
                    .max((red - u * c[0] - v * c[1]).abs());
                let is_bent = (bend >> 8) * range > (mean + LUMA_OFFSET) << (SLOPE_BITS - 8);
                let is_clipped = range > SMALL_RANGE
                    && (2 * r.min(g).min(b) <= range || 2 * (255 - r.max(g).max(b)) <= range);
                is_wrong[at] = i32::from(is_bent | is_clipped);
            }
            if is_wrong.iter().sum::<i32>() > 0 {
                let wrong = (0..HALF.min(half - n * HALF)).filter(|at| is_wrong[*at] != 0);
                for at in wrong.map(|at| n * HALF + at) {
                    let parts = parts_of_chroma(blue[at], red[at]);
                    let lower: &[u8] = if lower.is_empty() { upper } else { lower };
                    let next = (2 * at + 1).min(upper.len() - 1);
                    let four = [upper[2 * at], upper[next], lower[2 * at], lower[next]];
                    let start = 4 * PIXEL * self.places.len();
                    if let Some(room) = self.single.get_mut(start..start + 4 * PIXEL) {
                        room.copy_from_slice(four.map(|luma| pixel(luma, parts)).as_flattened());
                        self.places.push(at);
                    }
                }
            }
            for row in [&mut *upper, &mut *lower] {
                let mut samples: [u8; BLOCK] =
                    if row.is_empty() { [0; BLOCK] } else { block(row, n * BLOCK) };
                for (at, sample) in samples.iter_mut().enumerate() {
                    *sample = (i32::from(*sample) + luma_changes[at / 2]).clamp(0, 255).to_le_bytes()[0];
                }
                put(row, n * BLOCK, samples);
            }
            put(blue, n * HALF, new_blues);
            put(red, n * HALF, new_reds);
        }
    }

    /// Computes the samples of the pixels that were converted one by one. A row without samples is not written.
    #[inline(always)]
    fn put_singles(&self, lumas: [&mut [u8]; 2], blue: &mut [u8], red: &mut [u8]) {
        let [upper, lower] = lumas;
        let pixels = self.converted.as_chunks::<PIXEL>().0.as_chunks::<4>().0;
        for (at, pixels) in self.places.iter().zip(pixels) {
            let rgb = pixels.map(|[r, g, b, _]| [r, g, b].map(i32::from));
            let luma = rgb.map(|rgb| weigh(rgb, LUMA).to_le_bytes()[0]);
            for (row, luma) in [(&mut *upper, [luma[0], luma[1]]), (&mut *lower, [luma[2], luma[3]])] {
                let row = row.get_mut(2 * at..).unwrap_or_default();
                row.iter_mut().zip(luma).for_each(|(to, luma)| *to = luma);
            }
            // Halves are rounded down and up alternately, as for pixels that all are converted.
            let round = 1 + i32::from(at % 2 == 1);
            let mean = |factors: Factors| {
                let sum: i32 = rgb.iter().map(|rgb| weigh(*rgb, factors)).sum();
                ((sum + round) >> 2).to_le_bytes()[0]
            };
            if let (Some(blue), Some(red)) = (blue.get_mut(*at), red.get_mut(*at)) {
                (*blue, *red) = (mean(BLUE), mean(RED));
            }
        }
    }
}

/// Returns the pixel with this luma.
#[inline(always)]
fn pixel(luma: u8, [r, g, b]: [i32; 3]) -> Pixel {
    let (r, g, b) = (with_luma(luma, r), with_luma(luma, g), with_luma(luma, b));
    (r | g << 8 | b << 16 | 255 << 24).to_le_bytes()
}

/// Rounds a number with [`SLOPE_BITS`] fractional bits.
#[inline(always)]
fn rounded(change: i32) -> i32 {
    (change + (1 << (SLOPE_BITS - 1))) >> SLOPE_BITS
}

#[cfg(test)]
mod tests {
    use moxcms::{ColorProfile, Layout, TransformOptions};
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::strips;

    /// Returns the conversion of pixels with four bytes from this profile to sRGB.
    fn from_profile(profile: &ColorProfile) -> impl Fn(&[u8], &mut [u8]) + use<> {
        let options = TransformOptions::default();
        let to = ColorProfile::new_srgb();
        let transform = profile.create_transform_8bit(Layout::Rgba, &to, Layout::Rgba, options).unwrap();
        move |from, to| transform.transform(from, to).unwrap()
    }

    fn plane(width: usize, height: usize, sample: impl Fn(usize, usize) -> u8) -> Plane {
        let samples = (0..width * height).map(|at| sample(at % width, at / width)).collect();
        Plane { width, height, samples }
    }

    /// Returns the planes converted from Display P3 by the mean, and pixel by pixel.
    fn both(planes: &[Plane; 3]) -> [[Plane; 3]; 2] {
        let convert = from_profile(&ColorProfile::new_display_p3());
        let slopes = Slopes::measure(&convert).unwrap();
        [Some(&slopes), None].map(|slopes| {
            let mut planes = planes.clone();
            strips::convert(&mut planes, &convert, slopes, &mut Workspace::default());
            planes
        })
    }

    /// Returns the largest difference of luma, and of chroma.
    fn differences([a, b]: &[[Plane; 3]; 2]) -> [u8; 3] {
        [0, 1, 2].map(|at| {
            let pairs = a[at].samples.iter().zip(&b[at].samples);
            pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or_default()
        })
    }

    #[test]
    fn only_a_conversion_that_leaves_greys_alone_has_slopes() {
        let Slopes(slopes) = Slopes::measure(from_profile(&ColorProfile::new_display_p3())).unwrap();
        // The matrix between luma and chroma of the two colour spaces, computed from their standards, minus 1. That is the
        // derivative at grey; at the colours that are measured the change is up to 0.04 steeper.
        let expected = [[0.038, 0.093], [0.092, -0.037], [0.028, 0.273]];
        for (slope, expected) in slopes.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((f64::from(*slope) / 65_536.0 - expected).abs() < 0.05, "{slopes:?}");
        }
        assert_eq!(Slopes::measure(from_profile(&ColorProfile::new_pro_photo_rgb())), None);
    }

    #[test]
    fn even_areas_of_every_colour_change_as_pixel_by_pixel() {
        for luma in (0..=255).step_by(15) {
            let areas = [
                plane(128, 128, |_, _| luma),
                plane(64, 64, |x, _| u8::try_from(4 * x).unwrap()),
                plane(64, 64, |_, y| u8::try_from(4 * y).unwrap()),
            ];
            assert!(differences(&both(&areas)).iter().all(|most| *most <= 2), "{luma}");
        }
    }

    #[test]
    fn edges_in_saturated_colours_change_as_pixel_by_pixel() {
        for step in [4, 20, 60, 120] {
            let areas = [
                plane(128, 128, |x, y| {
                    60 + u8::try_from(x).unwrap() / 2 + if (x ^ y) & 1 == 1 { step } else { 0 }
                }),
                plane(64, 64, |x, y| u8::try_from(40 + 2 * x + y / 4).unwrap()),
                plane(64, 64, |x, y| u8::try_from(40 + 2 * y + x / 4).unwrap()),
            ];
            let most = differences(&both(&areas));
            assert!(most.iter().all(|most| *most <= 4), "{step}: {most:?}");
        }
    }

    proptest! {
        #[test]
        fn portable_code_gives_the_samples_of_avx2(
            (width, height) in (1usize..100, 1usize..6),
            samples in prop::collection::vec(any::<u8>(), 3..300),
        ) {
            let sample = |x: usize, y: usize| samples[(x + y * 97) % samples.len()];
            let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
            let mut fast = [
                plane(width, height, sample),
                plane(half_width, half_height, |x, y| sample(x + 1, y)),
                plane(half_width, half_height, |x, y| sample(x + 2, y)),
            ];
            let mut portable = fast.clone();
            let p3 = from_profile(&ColorProfile::new_display_p3());
            let slopes = Slopes::measure(&p3).unwrap();
            strips::convert(&mut fast, &p3, Some(&slopes), &mut Workspace::default());
            convert(&mut portable, &p3, &slopes, &mut Workspace::default());
            prop_assert_eq!(fast, portable);
        }
    }
}
