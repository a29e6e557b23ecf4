//! Lanczos3 resizing from a phone photo to the stored size.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};
use fast_image_resize as fir;
use image::RgbImage;
use image::imageops::FilterType;

use vintedbot_ingest::imaging::{Workspace, steps};

use crate::photos::{Rgb, phone_pixels};
use crate::shared::recipe;

/// Rows that a decoder gives at a time.
const ROWS: usize = 16;

/// Resizes a picture to a width and height and returns the pixels.
type Resizer = fn(&Rgb, u32, u32) -> Vec<u8>;

/// Resizers, by the last part of their benchmark ids. The plane is the first third of the pixel data: its values do not matter.
const RESIZERS: [(&str, Resizer); 6] = [
    ("ours_plane_by_rows", |source, _, _| ours(source, 1, Some(ROWS))),
    ("fast_image_resize_plane", |source, width, height| {
        fast_image_resize(source, fir::PixelType::U8, width, height)
    }),
    ("ours_rgb_by_rows", |source, _, _| ours(source, 3, Some(ROWS))),
    ("ours_rgb_whole", |source, _, _| ours(source, 3, None)),
    ("fast_image_resize_rgb", |source, width, height| {
        fast_image_resize(source, fir::PixelType::U8x3, width, height)
    }),
    ("image_rgb", image_rgb),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let source = phone_pixels(1);
    let longer = source.width.max(source.height);
    let target = |side: usize| u32::try_from(side * recipe().max_dim as usize / longer).unwrap();
    let (width, height) = (target(source.width), target(source.height));
    let mut group = criterion.benchmark_group("resize");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(1));
    for (name, resize) in RESIZERS {
        group.bench_function(format!("12mp/{name}"), |bencher| {
            bencher.iter(|| resize(black_box(&source), width, height));
        });
    }
    group.finish();
}

/// The pipeline's resizing, which returns planes.
fn ours(source: &Rgb, samples: usize, rows: Option<usize>) -> Vec<u8> {
    let size = (side(source.width), side(source.height));
    let pixels = &source.pixels[..source.width * source.height * samples];
    steps::resize(pixels, size, rows, &recipe(), &mut Workspace::default()).unwrap()
}

fn side(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// fast_image_resize, with SIMD, all samples of a pixel at once.
fn fast_image_resize(source: &Rgb, pixels: fir::PixelType, width: u32, height: u32) -> Vec<u8> {
    let samples = &source.pixels[..source.width * source.height * pixels.size()];
    let image = fir::images::ImageRef::new(side(source.width), side(source.height), samples, pixels).unwrap();
    let mut small = fir::images::Image::new(width, height, pixels);
    let lanczos3 = fir::ResizeAlg::Convolution(fir::FilterType::Lanczos3);
    fir::Resizer::new().resize(&image, &mut small, &fir::ResizeOptions::new().resize_alg(lanczos3)).unwrap();
    small.into_vec()
}

/// The resizer of the `image` crate.
fn image_rgb(source: &Rgb, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_raw(side(source.width), side(source.height), source.pixels.clone()).unwrap();
    image::imageops::resize(&image, width, height, FilterType::Lanczos3).into_raw()
}
