//! Changes the colours of 4:2:0 planes in place: two rows at a time become RGB pixels, are converted, and become luma and chroma
//! again. So the pixels stay in the processor's caches, and no picture of pixels is needed. If it can, it converts one pixel for
//! each sample of chroma: see [`mean_colours`].
//!
//! With AVX2 if the processor has it. Portable and AVX2 code give equal results.

use super::blocks::{BLOCK, PIXEL, Pixel, block, put};
use super::mean_colours::{self, Slopes};
use super::plane::Plane;
use super::workspace::Workspace;
use super::ycbcr::{BLUE, LUMA, RED, parts_of_chroma, weigh, with_luma};

/// Passes pixels of `planes` (luma, blue and red chroma) to `convert`, which writes new ones. Chroma has half the width and height
/// of luma, rounded up. With the slopes of `convert`, which only a conversion that leaves greys alone has, it passes fewer pixels.
pub(super) fn convert(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: Option<&Slopes>,
    workspace: &mut Workspace,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the line above checked that the processor has all features that the function is compiled for.
        return unsafe { convert_avx2(planes, convert, slopes, workspace) };
    }
    convert_anywhere(planes, convert, slopes, workspace);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: Option<&Slopes>,
    workspace: &mut Workspace,
) {
    match slopes {
        Some(slopes) => mean_colours::convert_avx2(planes, convert, slopes, workspace),
        None => convert_all(planes, convert, workspace),
    }
}

#[inline(always)]
fn convert_anywhere(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: Option<&Slopes>,
    workspace: &mut Workspace,
) {
    match slopes {
        Some(slopes) => mean_colours::convert(planes, convert, slopes, workspace),
        None => convert_all(planes, convert, workspace),
    }
}

/// Converts all pixels, two rows at a time.
#[inline(always)]
fn convert_all(planes: &mut [Plane; 3], convert: impl Fn(&[u8], &mut [u8]), workspace: &mut Workspace) {
    let [luma, blue, red] = planes;
    let (width, half) = (luma.width, luma.width.div_ceil(2));
    if width == 0 || [blue.width, red.width] != [half; 2] {
        return;
    }
    let row = width.next_multiple_of(BLOCK);
    let [mut from, mut to] = [(); 2].map(|()| workspace.take(2 * row * PIXEL));
    let chroma = blue.samples.chunks_exact_mut(half).zip(red.samples.chunks_exact_mut(half));
    for (luma, (blue, red)) in luma.samples.chunks_mut(2 * width).zip(chroma) {
        let (upper, lower) = luma.split_at_mut(width);
        // The row below the last one of an odd number repeats it, for its chroma.
        let below: &[u8] = if lower.is_empty() { upper } else { lower };
        let (pixels, _) = from.as_chunks_mut::<PIXEL>();
        let (upper_pixels, lower_pixels) = pixels.split_at_mut(row);
        make_pixels(upper, blue, red, upper_pixels);
        make_pixels(below, blue, red, lower_pixels);
        convert(&from, &mut to);
        let (pixels, _) = to.as_chunks::<PIXEL>();
        take_samples(pixels.split_at(row), [upper, lower], blue, red);
    }
    [from, to].into_iter().for_each(|buffer| workspace.give(buffer));
}

/// Makes the pixels of a row. Two pixels share a sample of chroma.
#[inline(always)]
fn make_pixels(luma: &[u8], blue: &[u8], red: &[u8], pixels: &mut [Pixel]) {
    for (n, pixels) in pixels.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let luma: [u8; BLOCK] = block(luma, n * BLOCK);
        let blue: [u8; BLOCK / 2] = block(blue, n * BLOCK / 2);
        let red: [u8; BLOCK / 2] = block(red, n * BLOCK / 2);
        let (mut r, mut g, mut b) = ([0; BLOCK / 2], [0; BLOCK / 2], [0; BLOCK / 2]);
        for (at, (blue, red)) in blue.into_iter().zip(red).enumerate() {
            [r[at], g[at], b[at]] = parts_of_chroma(blue, red);
        }
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let with = |part| with_luma(luma[at], part);
            let (r, g, b) = (with(r[at / 2]), with(g[at / 2]), with(b[at / 2]));
            *pixel = (r | g << 8 | b << 16 | 255 << 24).to_le_bytes();
        }
    }
}

/// Computes the samples of two rows of pixels. Chroma is the mean of four; halves are rounded down and up alternately. A row
/// without samples is not written.
#[inline(always)]
fn take_samples(pixels: (&[Pixel], &[Pixel]), lumas: [&mut [u8]; 2], blue: &mut [u8], red: &mut [u8]) {
    let [upper_luma, lower_luma] = lumas;
    let rows = pixels.0.as_chunks::<BLOCK>().0.iter().zip(pixels.1.as_chunks::<BLOCK>().0);
    for (n, (upper, lower)) in rows.enumerate() {
        let (mut blues, mut reds) = ([0; BLOCK], [0; BLOCK]);
        for (pixels, row) in [(upper, &mut *upper_luma), (lower, &mut *lower_luma)] {
            let mut luma = [0; BLOCK];
            for (at, pixel) in pixels.iter().enumerate() {
                let pixel = i32::from_le_bytes(*pixel);
                let rgb = [pixel & 255, pixel >> 8 & 255, pixel >> 16 & 255];
                luma[at] = weigh(rgb, LUMA).to_le_bytes()[0];
                blues[at] += weigh(rgb, BLUE);
                reds[at] += weigh(rgb, RED);
            }
            put(row, n * BLOCK, luma);
        }
        let means = [mean(&blues), mean(&reds)];
        put(blue, n * BLOCK / 2, means[0]);
        put(red, n * BLOCK / 2, means[1]);
    }
}

/// Computes the mean of each four pixels from sums of two.
#[inline(always)]
fn mean(sums: &[i32; BLOCK]) -> [u8; BLOCK / 2] {
    let mut means = [0; BLOCK / 2];
    for (at, mean) in means.iter_mut().enumerate() {
        let round = 1 + i32::from(at % 2 == 1);
        *mean = ((sums[2 * at] + sums[2 * at + 1] + round) >> 2).to_le_bytes()[0];
    }
    means
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plane(width: usize, height: usize, samples: &[u8]) -> Plane {
        let samples = samples.iter().copied().cycle().take(width * height).collect();
        Plane { width, height, samples }
    }

    fn picture(width: usize, height: usize, samples: &[u8]) -> [Plane; 3] {
        let half = |skip: usize| plane(width.div_ceil(2), height.div_ceil(2), &samples[skip..]);
        [plane(width, height, samples), half(1), half(2)]
    }

    #[test]
    fn pixels_are_those_of_jfif_and_come_back() {
        let seen = std::cell::RefCell::new(Vec::new());
        let mut planes = [plane(3, 3, &[76]), plane(2, 2, &[85]), plane(2, 2, &[255])];
        let unchanged = planes.clone();
        let note = |from: &[u8], to: &mut [u8]| {
            seen.borrow_mut().extend_from_slice(&from[..4]);
            to.copy_from_slice(from);
        };
        convert(&mut planes, note, None, &mut Workspace::default());
        assert_eq!(*seen.borrow(), [254, 0, 0, 255].repeat(2));
        for (plane, unchanged) in planes.iter().zip(&unchanged) {
            assert!(
                plane.samples.iter().zip(&unchanged.samples).all(|(a, b)| a.abs_diff(*b) <= 1),
                "{plane:?}"
            );
        }
    }

    #[test]
    fn last_row_and_column_of_an_odd_picture_count_twice() {
        let mut planes = [plane(3, 3, &[100]), plane(2, 2, &[128]), plane(2, 2, &[128])];
        // Red grows by 40 in the last pixel only, whose chroma is of no other pixel.
        let redden = |from: &[u8], to: &mut [u8]| {
            to.copy_from_slice(from);
            let (rows, _) = to.as_chunks_mut::<PIXEL>();
            let width = rows.len() / 2;
            for pixel in rows.iter_mut().enumerate().filter(|(at, _)| at % width >= 2).map(|(_, pixel)| pixel)
            {
                pixel[0] += 40;
            }
        };
        convert(&mut planes, redden, None, &mut Workspace::default());
        assert_eq!(planes[0].samples, [100, 100, 112, 100, 100, 112, 100, 100, 112]);
        assert_eq!(planes[2].samples, [128, 148, 128, 148]);
    }

    proptest! {
        #[test]
        fn portable_code_gives_the_samples_of_avx2(
            (width, height) in (1usize..100, 1usize..6),
            samples in prop::collection::vec(any::<u8>(), 3..300),
            mask: [u8; 4],
        ) {
            let mut fast = picture(width, height, &samples);
            let mut portable = fast.clone();
            let change = |from: &[u8], to: &mut [u8]| {
                to.iter_mut().zip(from).zip(mask.iter().cycle()).for_each(|((to, from), mask)| *to = from ^ mask);
            };
            convert(&mut fast, change, None, &mut Workspace::default());
            convert_anywhere(&mut portable, change, None, &mut Workspace::default());
            prop_assert_eq!(fast, portable);
        }
    }
}
