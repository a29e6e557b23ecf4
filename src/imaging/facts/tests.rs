use proptest::prelude::*;

use super::*;
use crate::model::{PerceptualHash, ThumbHash};

fn plane(width: usize, height: usize, sample: impl Fn(usize, usize) -> u8) -> Plane {
    let samples = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Plane { width, height, samples: samples.map(|(x, y)| sample(x, y)).collect() }
}

/// Returns the facts of a grey picture.
fn of_luma(luma: &Plane) -> PhotoFacts {
    let chroma = plane(luma.width.div_ceil(2), luma.height.div_ceil(2), |_, _| 128);
    of([luma, &chroma, &chroma]).unwrap()
}

/// A picture with edges and slopes, as a photo has, that `seed` decides.
fn scene(width: usize, height: usize, seed: usize) -> Plane {
    let (across, down) = (width as f64, height as f64);
    plane(width, height, |x, y| {
        let (x, y, seed) = (x as f64 / across, y as f64 / down, seed as f64);
        let waves = (7.0 * x * (1.0 + seed) + 3.0 * y).sin() + (5.0 * y + seed * x * 4.0).cos();
        let edge = if (x - 0.3 - 0.1 * seed).hypot(y - 0.5) < 0.25 { 60.0 } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
        let luma = (90.0 + 40.0 * waves + edge).clamp(0.0, 255.0) as u8;
        luma
    })
}

/// Means of squares of pixels, as a smaller copy has them.
fn shrunk(luma: &Plane, by: usize) -> Plane {
    plane(luma.width / by, luma.height / by, |x, y| {
        let rows = (y * by..(y + 1) * by).flat_map(|y| &luma.samples[y * luma.width + x * by..][..by]);
        let sum: usize = rows.map(|sample| usize::from(*sample)).sum();
        u8::try_from(sum / (by * by)).unwrap()
    })
}

/// As `make_vectors.mjs`.
fn picture(width: usize, height: usize, seed: usize) -> Vec<[i32; 3]> {
    let pixel = |x: usize, y: usize| {
        let red = x * x * seed / width + 3 * y + x * y;
        let green = y * y * (seed + 2) / height + x + 31 * seed;
        let blue = (x * y + 7 * seed) >> 3;
        [red, green, blue].map(|sample| i32::from(sample.to_le_bytes()[0]))
    };
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect()
}

#[test]
fn thumbhash_is_that_of_the_reference_implementation() {
    let vectors = include_str!("../../../tests/fixtures/thumbhash/vectors.txt");
    for line in vectors.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [width, height, seed] = [0, 1, 2].map(|at| fields[at].parse::<usize>().unwrap());
        let pixels = picture(width, height, seed);
        let ours = thumbhash::of(pixels.into_iter(), (width, height)).unwrap();
        assert_eq!(ours.to_string(), fields[3], "{line}");
    }
    assert_eq!(vectors.lines().count(), 30);
}

/// The mean red, green and blue that a ThumbHash has, from 0 to 255.
fn mean_colour(hash: &ThumbHash) -> [f64; 3] {
    let [a, b, c, ..] = *hash.as_bytes() else { panic!("{hash}") };
    let head = u32::from_le_bytes([a, b, c, 0]);
    let part = |at: u32| f64::from(head >> at & 63);
    let (l, p, q) = (part(0) / 63.0, part(6) / 31.5 - 1.0, part(12) / 31.5 - 1.0);
    let blue = l - 2.0 / 3.0 * p;
    let red = (3.0 * l - blue + q) / 2.0;
    [red, red - q, blue].map(|sample| 255.0 * sample)
}

#[test]
fn flat_picture_has_its_brightness_and_nothing_else() {
    for (shade, dark, light) in [(0, 10_000, 0), (3, 10_000, 0), (4, 0, 0), (251, 0, 0), (252, 0, 10_000)] {
        for (width, height) in [(1600, 1200), (300, 7), (3, 3), (1, 1), (1, 9000)] {
            let facts = of_luma(&plane(width, height, |_, _| shade));
            let known = (facts.sharpness, facts.brightness, facts.dark, facts.light);
            assert_eq!(known, (0, u16::from(shade) * 100, dark, light), "{width} x {height}");
            assert_eq!(facts.perceptual_hash, PerceptualHash::from_bits(0));
            let colour = mean_colour(&facts.thumbhash);
            assert!(colour.iter().all(|part| (part - f64::from(shade)).abs() < 6.0), "{shade} {colour:?}");
        }
    }
}

#[test]
fn chessboard_has_the_largest_sharpness() {
    let facts = of_luma(&plane(1602, 34, |x, y| if (x + y) % 2 == 0 { 0 } else { 255 }));
    // Each Laplacian is 1,020 or its negative, and there are as many of both.
    let known = (facts.sharpness, facts.brightness, facts.dark, facts.light);
    assert_eq!(known, (104_040_000, 12_750, 5_000, 5_000));
}

#[test]
fn blurred_picture_is_less_sharp() {
    let sharp = scene(640, 480, 1);
    let at = |x: usize, y: usize| u32::from(sharp.samples[y.min(479) * 640 + x.min(639)]);
    let blurred = plane(640, 480, |x, y| {
        let sum: u32 = (0..9).map(|n| at((x + n % 3).saturating_sub(1), (y + n / 3).saturating_sub(1))).sum();
        u8::try_from(sum / 9).unwrap()
    });
    let [sharp, blurred] = [&sharp, &blurred].map(of_luma);
    assert!(2 * blurred.sharpness < sharp.sharpness, "{sharp:?} {blurred:?}");
    assert!(blurred.perceptual_hash.distance(sharp.perceptual_hash) <= 2);
    assert!(blurred.brightness.abs_diff(sharp.brightness) < 100);
}

/// Computes the perceptual hash of a picture of at most 100 pixels frequency by frequency.
fn hashed_slowly(luma: &Plane) -> PerceptualHash {
    let wave = |frequency: usize, at: usize, length: usize| {
        (std::f64::consts::PI * frequency as f64 * (at as f64 + 0.5) / length as f64).cos()
    };
    let strength = |down: usize, across: usize| -> f64 {
        let samples = luma.samples.iter().enumerate().map(|(at, sample)| {
            let (x, y) = (at % luma.width, at / luma.width);
            f64::from(*sample) * wave(across, x, luma.width) * wave(down, y, luma.height)
        });
        samples.sum()
    };
    let all: Vec<f64> = (0..64).map(|bit| strength(1 + bit / 8, 1 + bit % 8)).collect();
    let is_above = |value: f64| all.iter().filter(|other| **other < value).count() >= 32;
    PerceptualHash::from_bits(all.iter().fold(0, |bits, value| bits << 1 | u64::from(is_above(*value))))
}

#[test]
fn perceptual_hash_compares_the_low_frequencies_with_their_median() {
    for (width, height, seed) in [(64, 48, 1), (100, 75, 2), (31, 90, 3)] {
        let luma = scene(width, height, seed);
        assert_eq!(of_luma(&luma).perceptual_hash, hashed_slowly(&luma), "{width} x {height}");
    }
}

#[test]
fn perceptual_hashes_of_copies_are_near_and_of_other_pictures_far() {
    let of_seed: Vec<_> = (0..5).map(|seed| of_luma(&scene(1200, 900, seed)).perceptual_hash).collect();
    for (seed, hash) in of_seed.iter().enumerate() {
        let copy = of_luma(&shrunk(&scene(1200, 900, seed), 3)).perceptual_hash;
        assert!(hash.distance(copy) <= 4, "{seed}: {hash} {copy}");
        for other in &of_seed[..seed] {
            assert!(hash.distance(*other) >= 12, "{seed}: {hash} {other}");
        }
    }
}

#[test]
fn chroma_beyond_the_picture_does_not_count() {
    let luma = scene(61, 40, 2);
    let chroma = |width: usize| {
        let sample = |x: usize, y: usize| if x < 31 { u8::try_from(60 + 2 * x + y).unwrap() } else { 0 };
        plane(width, 20, sample)
    };
    let [exact, wider] = [chroma(31), chroma(32)];
    let facts = of([&luma, &exact, &exact]);
    assert!(facts.is_some());
    assert_eq!(of([&luma, &wider, &wider]), facts);
}

#[test]
fn planes_that_are_too_small_have_no_facts() {
    let (luma, chroma, less) = (plane(8, 8, |_, _| 1), plane(4, 4, |_, _| 1), plane(4, 3, |_, _| 1));
    assert!(of([&luma, &chroma, &chroma]).is_some());
    assert_eq!(of([&luma, &chroma, &less]), None);
    assert_eq!(of([&luma, &less, &chroma]), None);
    assert_eq!(of([&Plane::default(), &chroma, &chroma]), None);
    let short = Plane { samples: vec![1; 63], ..luma };
    assert_eq!(of([&short, &chroma, &chroma]), None);
}

/// Computes sharpness, brightness and clipping pixel by pixel.
fn measured_slowly(luma: &Plane) -> [f64; 4] {
    let at = |x: usize, y: usize| f64::from(luma.samples[y * luma.width + x]);
    let mut laplacians = Vec::new();
    for y in 1..luma.height.saturating_sub(1) {
        for x in 1..luma.width.saturating_sub(1) {
            laplacians.push(4.0 * at(x, y) - at(x - 1, y) - at(x + 1, y) - at(x, y - 1) - at(x, y + 1));
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / (values.len() as f64).max(1.0);
    let middle = mean(&laplacians);
    let squares: Vec<f64> = laplacians.iter().map(|value| (value - middle).powi(2)).collect();
    let samples: Vec<f64> = luma.samples.iter().map(|sample| f64::from(*sample)).collect();
    let share = |is_counted: fn(f64) -> bool| {
        let counted = samples.iter().filter(|sample| is_counted(**sample)).count();
        counted as f64 / samples.len() as f64
    };
    [mean(&squares), mean(&samples), share(|sample| sample <= 3.0), share(|sample| sample >= 252.0)]
}

proptest! {
    #[test]
    fn measures_are_those_of_their_definitions(
        (width, height) in prop_oneof![(1_usize..70, 1_usize..40), (1000_usize..1100, 1_usize..6)],
        samples in prop::collection::vec(prop_oneof![any::<u8>(), 0..=4_u8, 251..=255_u8], 1..300),
    ) {
        let luma = plane(width, height, |x, y| samples[(y * width + x) % samples.len()]);
        let facts = of_luma(&luma);
        let [sharpness, brightness, dark, light] = measured_slowly(&luma);
        let is_near = |known: f64, value: f64| (known - value).abs() <= 0.5 + 1e-6;
        prop_assert!((f64::from(facts.sharpness) - 100.0 * sharpness).abs() <= 1.0 + 1e-6, "{facts:?}");
        prop_assert!(is_near(facts.brightness.into(), 100.0 * brightness), "{facts:?}");
        prop_assert!(is_near(facts.dark.into(), 10_000.0 * dark), "{facts:?}");
        prop_assert!(is_near(facts.light.into(), 10_000.0 * light), "{facts:?}");
    }

    #[test]
    fn portable_code_gives_the_facts_of_avx2(
        (width, height) in (1_usize..300, 1_usize..60),
        samples in prop::collection::vec(any::<u8>(), 3..500),
    ) {
        let filled = |width, height, skip: usize| {
            plane(width, height, |x, y| samples[(y * width + x + skip) % samples.len()])
        };
        let (across, down) = (width.div_ceil(2), height.div_ceil(2));
        let planes = [filled(width, height, 0), filled(across, down, 1), filled(across, down, 2)];
        prop_assert_eq!(of(planes.each_ref()), of_anywhere(planes.each_ref()));
    }

    #[test]
    fn thumbhash_has_the_mean_colour(
        (luma, blue, red) in (105_u8..=150, 84_u8..=171, 84_u8..=171),
        (width, height) in (4_usize..220, 4_usize..220),
    ) {
        // A pattern around a colour, none of which is clipped.
        let luma_plane = plane(width, height, |x, y| if (x / 2 + y / 2) % 2 == 0 { luma - 20 } else { luma + 20 });
        let flat = |chroma: u8| plane(width.div_ceil(2), height.div_ceil(2), |_, _| chroma);
        let facts = of([&luma_plane, &flat(blue), &flat(red)]).unwrap();
        let mean = luma_plane.samples.iter().map(|sample| f64::from(*sample)).sum::<f64>()
            / luma_plane.samples.len() as f64;
        let shift = mean - f64::from(luma);
        let expected = parts_of_chroma(blue, red).map(|part| f64::from(with_luma(luma, part)) + shift);
        let found = mean_colour(&facts.thumbhash);
        // Steps of luma are 4, and those of both differences 16 and 8.
        for (found, expected) in found.iter().zip(expected) {
            prop_assert!((found - expected).abs() < 11.0, "{found} is not {expected}");
        }
    }
}
