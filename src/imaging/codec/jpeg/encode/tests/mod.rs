//! Compares the encoder with libjpeg-turbo: files must be equal byte for byte.

mod adaptive;
mod parts;

use proptest::prelude::*;
use turbojpeg::{Compressor, Subsamp, YuvImage};

use super::*;
use crate::imaging::recipe::Effort;

/// Planes that have exactly the size of the picture.
#[derive(Debug)]
struct Picture {
    planes: [Plane; 3],
    width: usize,
    height: usize,
}

impl Picture {
    /// Creates a picture. `sample` gets the component, column and row.
    fn new((width, height): (usize, usize), mut sample: impl FnMut(usize, usize, usize) -> u8) -> Self {
        let planes = [0, 1, 2].map(|component| {
            let divisor = if component == 0 { 1 } else { 2 };
            let (width, height) = (width.div_ceil(divisor), height.div_ceil(divisor));
            let places = (0..width * height).map(|at| (at % width, at / width));
            Plane { width, height, samples: places.map(|(x, y)| sample(component, x, y)).collect() }
        });
        Self { planes, width, height }
    }

    /// Encodes with libjpeg-turbo, which requires even sides.
    fn reference(&self, quality: u8) -> Vec<u8> {
        let (width, height) = (self.width.next_multiple_of(2), self.height.next_multiple_of(2));
        let [luma, blue, red] = &self.planes;
        let even = (0..width * height).map(|at| {
            let (x, y) = ((at % width).min(self.width - 1), (at / width).min(self.height - 1));
            luma.samples[y * self.width + x]
        });
        let pixels: Vec<u8> =
            even.chain(blue.samples.iter().copied()).chain(red.samples.iter().copied()).collect();
        let image = YuvImage {
            pixels: pixels.as_slice(),
            width: self.width,
            align: 1,
            height: self.height,
            subsamp: Subsamp::Sub2x2,
        };
        let mut encoder = Compressor::new().unwrap();
        encoder.set_quality(quality.into()).unwrap();
        encoder.set_optimize(true).unwrap();
        encoder.compress_yuv_to_vec(image).unwrap()
    }

    fn frame(&self, quality: u8) -> Frame<'_> {
        self.frame_of(standard(quality))
    }

    fn frame_of(&self, coding: Coding) -> Frame<'_> {
        Frame::new(self.planes.each_ref(), self.width, self.height, coding).unwrap()
    }

    /// Asserts that SIMD and portable code write the reference file.
    fn assert_equal(&self, quality: u8, name: &str) {
        let reference = self.reference(quality);
        let mut workspace = Workspace::default();
        // Old bytes in the buffers must not affect the file.
        workspace.give(vec![0xA5; symbols::SEGMENT]);
        for (way, file) in [
            ("fast", simd::run(&self.frame(quality), &mut workspace)),
            ("portable", simd::run_anywhere(&self.frame(quality), &mut workspace)),
        ] {
            let first = file.iter().zip(&reference).position(|(a, b)| a != b);
            let lengths = (file.len(), reference.len());
            let size = (self.width, self.height);
            assert!(file == reference, "{name} {size:?} q{quality} {way}: at {first:?}, lengths {lengths:?}");
        }
    }
}

fn standard(quality: u8) -> Coding {
    Coding { quality, effort: Effort::Standard }
}

/// Returns a generator of pseudo-random samples with a fixed seed.
fn noise() -> impl FnMut() -> u8 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }
}

/// Creates a smooth picture with some edges and grain.
fn photo_like(size: (usize, usize)) -> Picture {
    let mut noise = noise();
    Picture::new(size, |component, x, y| {
        let wave = ((x as f32) * 0.05).sin() * 60.0 + ((y as f32) * 0.03).cos() * 50.0;
        let edge = if (x / 37 + y / 53 + component) % 3 == 0 { 40.0 } else { 0.0 };
        let grain = if x > size.0 / 3 { f32::from(noise()) / 16.0 } else { 0.0 };
        #[allow(clippy::cast_possible_truncation)]
        let sample = (110.0 + wave + edge + grain) as u8;
        sample
    })
}

const SIZES: [(usize, usize); 14] = [
    (1, 1),
    (2, 1),
    (1, 2),
    (7, 9),
    (8, 8),
    (9, 8),
    (15, 17),
    (16, 16),
    (17, 15),
    (24, 40),
    (33, 31),
    (65, 3),
    (3, 65),
    (130, 97),
];

#[test]
fn photo_of_every_quality_is_equal() {
    let picture = photo_like((210, 130));
    for quality in 1..=100 {
        picture.assert_equal(quality, "photo");
    }
}

#[test]
fn picture_of_every_size_is_equal() {
    for size in SIZES {
        photo_like(size).assert_equal(80, "photo");
        let mut noise = noise();
        Picture::new(size, |_, _, _| noise()).assert_equal(95, "noise");
    }
    for width in 1..50 {
        photo_like((width, 51 - width)).assert_equal(75, "photo");
    }
}

#[test]
fn extreme_pictures_are_equal() {
    for quality in [1, 10, 50, 80, 95, 100] {
        for size in [(1, 1), (40, 24), (100, 75)] {
            let flat = |level| Picture::new(size, move |_, _, _| level);
            flat(0).assert_equal(quality, "black");
            flat(255).assert_equal(quality, "white");
            flat(128).assert_equal(quality, "grey");
            for side in [1, 2, 4, 8, 16] {
                let board = |_, x, y| if (x / side + y / side) % 2 == 0 { 0 } else { 255 };
                Picture::new(size, board).assert_equal(quality, "checkerboard");
                let bars = |_, x, _| if x / side % 2 == 0 { 0 } else { 255 };
                Picture::new(size, bars).assert_equal(quality, "bars");
                let stripes = |_, _, y| if y / side % 2 == 0 { 255 } else { 0 };
                Picture::new(size, stripes).assert_equal(quality, "stripes");
            }
        }
    }
}

#[test]
fn largest_steps_between_blocks_are_equal() {
    // The difference of DC levels and single coefficients have their largest values.
    for u in 0..8_u8 {
        for v in 0..8_u8 {
            let wave = |at: usize, frequency: u8| {
                (f64::from(frequency) * (2.0 * (at % 8) as f64 + 1.0) * std::f64::consts::PI / 16.0).cos()
            };
            let sample = |_, x, y| {
                let sign = if x / 8 % 2 == 0 { 1.0 } else { -1.0 };
                if sign * wave(x, u) * wave(y, v) > 0.0 { 255 } else { 0 }
            };
            Picture::new((48, 32), sample).assert_equal(100, "wave");
        }
    }
}

#[test]
fn many_segments_of_symbols_are_equal() {
    let mut noise = noise();
    let picture = Picture::new((400, 300), |_, _, _| noise());
    const { assert!(400 * 300 * 3 / 2 * 4 > 2 * symbols::SEGMENT) };
    picture.assert_equal(98, "noise");
}

#[test]
fn longest_sides_are_equal() {
    for size in [(MAX_SIDE, 1), (1, MAX_SIDE)] {
        photo_like(size).assert_equal(70, "line");
    }
}

#[test]
fn planes_beyond_the_picture_are_encoded() {
    let full = photo_like((48, 32));
    let frame = Frame::new(full.planes.each_ref(), 33, 17, standard(90)).unwrap();
    let ours = simd::run(&frame, &mut Workspace::default());
    // If the planes end at the picture, the encoder repeats its edge, which gives another file.
    let cut = Picture::new((33, 17), |component, x, y| {
        full.planes[component].samples[y * full.planes[component].width + x]
    });
    assert_ne!(ours, simd::run(&cut.frame(90), &mut Workspace::default()));
    assert_eq!(turbojpeg::read_header(&ours).unwrap().width, 33);
}

#[test]
fn rgb_of_every_size_is_equal() {
    let mut noise = noise();
    for (width, height) in SIZES.into_iter().chain((1..50).map(|width| (width, 51 - width))) {
        for mask in [0xFF, 0x07] {
            let pixels: Vec<u8> = (0..width * height * 3)
                .map(|at| (at % 200).to_le_bytes()[0] & !mask | noise() & mask)
                .collect();
            let image = turbojpeg::Image {
                pixels: pixels.as_slice(),
                width,
                pitch: width * 3,
                height,
                format: turbojpeg::PixelFormat::RGB,
            };
            let mut encoder = Compressor::new().unwrap();
            encoder.set_quality(85).unwrap();
            encoder.set_subsamp(Subsamp::Sub2x2).unwrap();
            encoder.set_optimize(true).unwrap();
            let reference = encoder.compress_to_vec(image).unwrap();
            let mut workspace = Workspace::default();
            let ours = encode_rgb(&pixels, width, height, standard(85), &mut workspace).unwrap();
            assert!(ours == reference, "{width} x {height}");
            let portable = rgb::planes(&pixels, width, height, &mut workspace);
            assert_eq!(portable, simd::planes(&pixels, width, height, &mut workspace));
        }
    }
}

#[test]
fn one_pass_gives_the_pixels_of_two_and_the_same_file_for_turned_planes() {
    let turned = |plane: &Plane| {
        let places = (0..plane.width * plane.height).map(|n| (n % plane.height, n / plane.height));
        let samples = places.map(|(y, x)| plane.samples[y * plane.width + x]).collect();
        Plane { width: plane.height, height: plane.width, samples }
    };
    let mut workspace = Workspace::default();
    for size in [(1, 1), (8, 40), (40, 8), (33, 17), (64, 48), (65, 31), (300, 203)] {
        let mut state = 7_u32;
        let noise = Picture::new(size, |_, _, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        for planes in [photo_like(size).planes, noise.planes] {
            let turned = planes.each_ref().map(turned);
            for (quality, effort) in [
                (86, Effort::Standard),
                (1, Effort::Standard),
                (100, Effort::Standard),
                (86, Effort::Adaptive),
            ] {
                let coding = Coding { quality, effort };
                let twice = encode_ycbcr(&planes, coding, &mut workspace).unwrap();
                let once = encode_once(&planes, false, coding, &mut workspace).unwrap();
                assert!(once == encode_once(&turned, true, coding, &mut workspace).unwrap(), "{size:?}");
                for (planes, is_turned) in [(&planes, false), (&turned, true)] {
                    let frame = Frame::new(planes.each_ref(), planes[0].width, planes[0].height, coding);
                    let mut frame = frame.unwrap();
                    frame.size = [size.0, size.1].map(|side| u16::try_from(side).unwrap());
                    assert!(once == simd::run_once_anywhere(&frame, is_turned, &mut workspace), "{size:?}");
                }
                let pixels = [&once, &twice]
                    .map(|file| turbojpeg::decompress(file, turbojpeg::PixelFormat::RGB).unwrap());
                assert!(pixels[0].pixels == pixels[1].pixels, "{size:?} {quality} {effort:?}");
            }
        }
    }
}

#[test]
fn wrong_sizes_are_refused() {
    assert_eq!(encode_rgb(&[0; 11], 2, 2, standard(80), &mut Workspace::default()), Err(ImageError::Corrupt));
    assert_eq!(encode_rgb(&[], 0, 0, standard(80), &mut Workspace::default()), Err(ImageError::Corrupt));
    let planes = photo_like((16, 16)).planes;
    let [luma, blue, red] = planes.each_ref();
    let encode =
        |planes, width, height| encode(planes, width, height, standard(80), &mut Workspace::default());
    assert!(encode([luma, blue, red], 16, 16).is_ok());
    for (width, height) in [(0, 16), (16, 0), (17, 16), (16, 17), (usize::MAX, 16)] {
        assert_eq!(encode([luma, blue, red], width, height), Err(ImageError::Corrupt));
    }
    let short = Plane { width: 16, height: 16, samples: vec![0; 255] };
    assert_eq!(encode([&short, blue, red], 16, 16), Err(ImageError::Corrupt));
    let long = Plane { width: MAX_SIDE + 1, height: 1, samples: vec![0; MAX_SIDE + 1] };
    assert_eq!(encode([&long, &long, &long], MAX_SIDE + 1, 1), Err(ImageError::Corrupt));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_picture_is_equal(
        width in 1_usize..70,
        height in 1_usize..70,
        quality in 1_u8..=100,
        spread in 0_u8..=255,
        samples in prop::collection::vec(any::<u8>(), 1..2000),
    ) {
        let mut samples = samples.iter().cycle();
        let mut level = 0_u8;
        let picture = Picture::new((width, height), |_, _, _| {
            let sample = samples.next().copied().unwrap_or_default();
            level = if spread == 255 { sample } else { level.wrapping_add(sample % (spread / 8 + 1)) };
            level
        });
        picture.assert_equal(quality, "anything");
    }
}
