#![allow(clippy::cast_possible_truncation)]

use std::time::Duration;

use fast_image_resize as fir;
use proptest::prelude::*;

use super::*;
use crate::imaging::error::ImageError;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::WorkBudget;

fn noise(width: usize, height: usize) -> Vec<u8> {
    let mut state = 12_345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..width * height).map(|_| next()).collect()
}

fn whole(source: usize, target: usize) -> Axis {
    Axis { source, target, start: 0.0, step: source as f64 / target as f64 }
}

fn scaled(samples: &[u8], columns: &Axis, rows: &Axis, band: usize, kernels: Kernels) -> Plane {
    let mut workspace = Workspace::default();
    let mut scaler = Scaler::new(columns, rows, None, &mut workspace);
    scaler.kernels = kernels;
    for band in samples.chunks(band * columns.source) {
        let count = band.len() / columns.source;
        let (buffer, stride) = scaler.row_buffer(count);
        // Decoders write beyond the last sample.
        buffer.fill(0xAA);
        for (to, from) in buffer.chunks_exact_mut(stride).zip(band.chunks_exact(columns.source)) {
            to[..columns.source].copy_from_slice(from);
        }
        scaler.filled(count);
    }
    scaler.finish(&mut workspace).unwrap()
}

/// Returns the mean square and the largest difference between two pictures.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let pairs = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (pairs().map(|d| f64::from(d).powi(2)).sum::<f64>() / a.len() as f64, pairs().max().unwrap_or(0))
}

#[test]
fn result_equals_fast_image_resize_within_rounding() {
    for (from, to) in
        [((403, 302), (160, 120)), ((300, 1000), (96, 320)), ((161, 120), (160, 119)), ((9, 9), (1, 2))]
    {
        // The samples are neither black nor white, because fast_image_resize clamps between its passes.
        let samples: Vec<u8> = noise(from.0, from.1).iter().map(|sample| 64 + sample / 2).collect();
        let ours = scaled(&samples, &whole(from.0, to.0), &whole(from.1, to.1), 16, Kernels::detect());
        let source =
            fir::images::ImageRef::new(from.0 as u32, from.1 as u32, &samples, fir::PixelType::U8).unwrap();
        let mut theirs = fir::images::Image::new(to.0 as u32, to.1 as u32, fir::PixelType::U8);
        let lanczos = fir::ResizeAlg::Convolution(fir::FilterType::Lanczos3);
        fir::Resizer::new()
            .resize(&source, &mut theirs, &fir::ResizeOptions::new().resize_alg(lanczos))
            .unwrap();
        let (mean_square, most) = difference(&ours.samples, theirs.buffer());
        assert!(mean_square < 0.3 && most <= 2, "{from:?} to {to:?}: {mean_square} {most}");
    }
}

#[test]
fn resize_to_the_same_size_is_a_copy() {
    let samples = noise(77, 31);
    assert_eq!(scaled(&samples, &whole(77, 77), &whole(31, 31), 8, Kernels::detect()).samples, samples);
}

#[test]
fn half_a_sample_at_the_edge_is_not_stretched() {
    // Five pixels have three chroma samples, and the last is half outside. A ramp keeps its slope.
    let ramp: Vec<u8> = (0..51).map(|n| n * 4).collect();
    let axis = Axis { source: 51, target: 25, start: 0.0, step: 2.02 };
    let made = scaled(&ramp, &axis, &whole(1, 1), 1, Kernels::detect());
    for (n, sample) in made.samples.iter().enumerate().skip(3).take(19) {
        let expected = ((n as f64 + 0.5) * 2.02 - 0.5) * 4.0;
        assert!((f64::from(*sample) - expected).abs() < 1.0, "{n}: {sample} {expected}");
    }
}

#[test]
fn missing_rows_give_no_plane() {
    let mut workspace = Workspace::default();
    let mut scaler = Scaler::new(&whole(10, 5), &whole(10, 5), None, &mut workspace);
    scaler.row_buffer(9);
    scaler.filled(9);
    assert_eq!(scaler.finish(&mut workspace), None);
}

/// Resizes interleaved pixels of `N` samples at once, and by rows.
fn whole_and_by_rows<const N: usize>(
    pixels: &[u8],
    from: (usize, usize),
    to: (usize, usize),
) -> [Vec<Plane>; 2] {
    let mut workspace = Workspace::default();
    let scalers = || -> Vec<Scaler> {
        let (columns, rows) = (whole(from.0, to.0), whole(from.1, to.1));
        (0..N).map(|_| Scaler::new(&columns, &rows, None, &mut Workspace::default())).collect()
    };
    let (mut at_once, mut by_rows) = (scalers(), scalers());
    whole::resize::<N>(&mut at_once, pixels, &budget(TIMEOUT), &mut workspace).unwrap();
    for (component, scaler) in by_rows.iter_mut().enumerate() {
        for rows in pixels.chunks(13 * N * from.0) {
            scaler.push_component::<N>(rows, component, rows.len() / (N * from.0));
        }
    }
    [at_once, by_rows].map(|scalers| {
        scalers.into_iter().map(|scaler| scaler.finish(&mut Workspace::default()).unwrap()).collect()
    })
}

const TIMEOUT: Duration = Duration::from_secs(3600);

fn budget(timeout: Duration) -> WorkBudget<'static> {
    let recipe = Recipe {
        max_dim: 1600,
        max_pixels: 1 << 24,
        memory: 1 << 30,
        timeout,
        processor_time: TIMEOUT,
        ..Recipe::TEST
    };
    WorkBudget::new(&recipe, &|| false)
}

#[test]
fn pixels_resized_at_once_equal_rows_within_rounding() {
    // The last size has more than one band.
    for (from, to) in [((403, 302), (160, 120)), ((300, 1000), (96, 1000)), ((2500, 2000), (320, 256))] {
        let pixels: Vec<u8> = noise(4 * from.0, from.1).iter().map(|sample| 64 + sample / 2).collect();
        let [three, by_rows] = whole_and_by_rows::<3>(&pixels[..3 * from.0 * from.1], from, to);
        let [four, four_by_rows] = whole_and_by_rows::<4>(&pixels, from, to);
        let pairs = three.iter().zip(&by_rows).chain(four.iter().zip(&four_by_rows));
        for (at_once, by_rows) in pairs {
            let (mean_square, most) = difference(&at_once.samples, &by_rows.samples);
            assert!(mean_square < 0.3 && most <= 2, "{from:?} to {to:?}: {mean_square} {most}");
        }
    }
}

#[test]
fn whole_picture_of_too_few_pixels_or_too_late_is_refused() {
    let mut workspace = Workspace::default();
    let mut resize = |pixels: usize, timeout| {
        let mut scalers: Vec<Scaler> =
            (0..3).map(|_| Scaler::new(&whole(90, 30), &whole(60, 20), None, &mut workspace)).collect();
        whole::resize::<3>(&mut scalers, &vec![9; 3 * pixels], &budget(timeout), &mut Workspace::default())
    };
    assert_eq!(resize(90 * 60, TIMEOUT), Ok(()));
    assert_eq!(resize(90 * 60 - 1, TIMEOUT), Err(ImageError::Truncated));
    assert_eq!(resize(90 * 60, Duration::ZERO), Err(ImageError::TooSlow));
}

#[test]
fn copies_and_very_long_pictures_are_resized_by_rows() {
    let is_faster = |columns: Axis, rows: Axis| {
        whole::is_faster(&Scaler::new(&columns, &rows, None, &mut Workspace::default()))
    };
    assert!(is_faster(whole(90, 30), whole(60, 20)));
    assert!(is_faster(whole(90, 90), whole(60, 20)));
    assert!(!is_faster(whole(90, 90), whole(60, 60)));
    assert!(!is_faster(whole((1 << 16) + 1, 30), whole(2, 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn band_size_and_instructions_do_not_change_the_result(
        (width, height) in (1usize..200, 1usize..200),
        (to_width, to_height) in (1usize..120, 1usize..120),
        band in 1usize..70,
        start in -1.0f64..0.5,
    ) {
        let samples = noise(width, height);
        let mut columns = whole(width, to_width);
        let rows = whole(height, to_height);
        columns.start = start;
        let reference = scaled(&samples, &columns, &rows, height, Kernels::Portable);
        prop_assert_eq!(&scaled(&samples, &columns, &rows, band, Kernels::detect()), &reference);
        prop_assert_eq!(&scaled(&samples, &columns, &rows, 1, Kernels::Portable), &reference);
    }

    #[test]
    fn flat_picture_resized_at_once_stays_flat(
        (width, height) in (1usize..300, 1usize..300),
        (to_width, to_height) in (1usize..100, 1usize..100),
        value: u8,
    ) {
        let to = (to_width.min(width), to_height.min(height));
        let [at_once, _] = whole_and_by_rows::<3>(&vec![value; 3 * width * height], (width, height), to);
        let mut samples = at_once.iter().flat_map(|plane| &plane.samples);
        prop_assert!(samples.all(|sample| *sample == value));
    }

    #[test]
    fn flat_plane_is_resized_to_a_flat_plane(width in 1usize..300, to in 1usize..100, value: u8, start in -2.0f64..2.0) {
        let mut columns = whole(width, to);
        columns.start = start;
        let made = scaled(&vec![value; width * 3], &columns, &whole(3, 2), 2, Kernels::detect());
        prop_assert!(made.samples.iter().all(|sample| *sample == value));
    }
}

fn plane(width: usize, height: usize, samples: Vec<u8>) -> Plane {
    Plane { width, height, samples }
}

/// The exact result of the cubic filter, with other code and in floating point.
fn cubic(samples: &[u8], (columns, rows): (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let image =
        fir::images::Image::from_vec_u8(columns as u32, rows as u32, samples.to_vec(), fir::PixelType::U8);
    let mut result = fir::images::Image::new(to.0 as u32, to.1 as u32, fir::PixelType::U8);
    let filter = fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom);
    fir::Resizer::new()
        .resize(&image.unwrap(), &mut result, &fir::ResizeOptions::new().resize_alg(filter))
        .unwrap();
    result.into_vec()
}

#[test]
fn shrunk_plane_is_turned_and_near_the_exact_result() {
    for (from, to) in
        [((400, 300), (270, 203)), ((133, 77), (64, 37)), ((64, 640), (40, 400)), ((50, 9), (5, 1))]
    {
        // A smooth picture with some noise.
        let noise = noise(from.0, from.1);
        let samples: Vec<u8> = (0..from.0 * from.1)
            .map(|n| (n % from.0 * 150 / from.0 + n / from.0 * 60 / from.1) as u8 + noise[n] / 6)
            .collect();
        let half = (from.0.div_ceil(2), from.1.div_ceil(2));
        let chroma = || plane(half.0, half.1, vec![99; half.0 * half.1]);
        let planes = [plane(from.0, from.1, samples.clone()), chroma(), chroma()];
        let [luma, blue, _] = shrink::shrink(&planes, from, to, &mut Workspace::default());
        assert_eq!((luma.width, luma.height), (to.1, to.0));
        assert_eq!((blue.width, blue.height), (to.1.div_ceil(2), to.0.div_ceil(2)));
        assert!(blue.samples.iter().all(|sample| *sample == 99));
        let exact = cubic(&samples, from, to);
        let upright: Vec<u8> = (0..to.0 * to.1).map(|n| luma.samples[n % to.0 * to.1 + n / to.0]).collect();
        let (mean, most) = difference(&upright, &exact);
        // Weights have six bits, which matters most where there are many.
        assert!(mean < 1.5 && most <= 4, "{from:?} {to:?}: {mean} {most}");
    }
}

proptest! {
    #[test]
    fn instructions_do_not_change_weighed_rows(width in 1usize..300, rows in 1usize..20, sharp in 0i8..9) {
        let samples = noise(width + 3, rows);
        let mut weights = vec![0; rows];
        weights[rows / 2] = 64 + if rows > 2 { 2 * sharp - 16 } else { 0 }.min(0);
        if rows > 2 {
            (weights[0], weights[rows - 1]) = (-sharp, 16 - sharp);
        }
        let made = [Kernels::Portable, Kernels::detect()].map(|kernels| {
            let mut out = vec![0; width];
            kernels.weigh_rows(&samples, width + 3, &weights, &mut out);
            out
        });
        prop_assert_eq!(&made[0], &made[1]);
    }

    #[test]
    fn turned_samples_are_columns(width in 1usize..100, height in 1usize..100) {
        let samples = noise(width, height);
        for kernels in [Kernels::Portable, Kernels::detect()] {
            let mut turned = vec![0; samples.len()];
            kernels.turn(&samples, width, &mut turned);
            let place = |n: usize| turned[n % width * height + n / width];
            prop_assert!(samples.iter().enumerate().all(|(n, sample)| place(n) == *sample));
        }
    }
}
