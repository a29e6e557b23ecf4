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
        assert!((f64::from(*slope) / f64::from(1 << SLOPE_BITS) - expected).abs() < 0.05, "{slopes:?}");
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
        let [luma_most, chroma_most @ ..] = differences(&both(&areas));
        // Dithering adds up to a level to luma.
        assert!(luma_most <= 3 && chroma_most.iter().all(|most| *most <= 2), "{luma}");
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

#[test]
fn fraction_of_a_change_of_luma_is_spread_over_the_four_pixels() {
    let block = Block {
        upper: &mut [100; BLOCK],
        lower: &mut [100; BLOCK],
        blue: &mut [128; HALF],
        red: &mut [128; HALF],
    };
    let (means, pixels) = portable::means(&block);
    // 0.299, 0.587 and 1 of a level, as quarters.
    for (change, quarters) in [([1, 0, 0], 1), ([0, 1, 0], 2), ([1, 1, 1], 4)] {
        let pixels = pixels.map(|[r, g, b, a]| [r + change[0], g + change[1], b + change[2], a]);
        let new = portable::change(&block, &means, &pixels, &Slopes([[0; 2]; 3]));
        let sum: u32 = [&new.upper[..2], &new.lower[..2]].concat().iter().map(|luma| u32::from(*luma)).sum();
        assert_eq!(sum, 400 + quarters, "{change:?}");
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

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn portable_code_changes_arbitrary_blocks_as_avx2_does(
        [mut upper, mut lower]: [[u8; BLOCK]; 2],
        [mut blue, mut red]: [[u8; HALF]; 2],
        pixels: [[u8; 4]; HALF],
        slopes: [[i16; 2]; 3],
    ) {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return Ok(());
        }
        let block = Block { upper: &mut upper, lower: &mut lower, blue: &mut blue, red: &mut red };
        let slopes = Slopes(slopes.map(|pair| pair.map(|slope| slope.max(-i16::MAX))));
        // The order in which the pixels of AVX2 code are.
        let order = |pixels: [[u8; 4]; HALF]| -> [[u8; 4]; HALF] {
            std::array::from_fn(|at| pixels[[0, 2, 1, 3][at / 4] * 4 + at % 4])
        };
        let (means, made) = portable::means(&block);
        let expected = portable::change(&block, &means, &pixels, &slopes);
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the first lines checked that the processor has AVX2.
        let (fast, change) = unsafe { (avx2::means(&block), avx2::change(&block, &means, &order(pixels), &slopes)) };
        prop_assert_eq!(fast, (means, order(made)));
        prop_assert_eq!(change, expected);
    }
}
