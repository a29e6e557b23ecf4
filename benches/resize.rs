//! Lanczos3 resizing from a phone photo to the stored size.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};
use fast_image_resize as fir;
use image::RgbImage;
use image::imageops::FilterType;

use vintedbot_ingest::imaging::{Workspace, steps};

use crate::photos::{Rgb, phone_pixels};
use crate::shared::recipe;

/// Resizes a picture to a width and height and returns the pixels.
type Resizer = fn(&Rgb, u32, u32) -> Vec<u8>;

/// Resizers, by the last part of their benchmark ids.
const RESIZERS: [(&str, Resizer); 3] = [
    ("ours_planes", ours_planes),
    ("fast_image_resize_rgb", fast_image_resize_rgb),
    ("image_rgb", image_rgb),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let source = phone_pixels(1);
    let longer = source.width.max(source.height);
    let target = |side: usize| u32::try_from(side * recipe().max_dim as usize / longer).unwrap();
    let (width, height) = (target(source.width), target(source.height));
    let mut group = criterion.benchmark_group("resize");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: source.pixels.len() as u64 });
    for (name, resize) in RESIZERS {
        group.bench_function(format!("12mp/{name}"), |bencher| {
            bencher.iter(|| resize(black_box(&source), width, height));
        });
    }
    group.finish();
}

/// Our resizer, plane by plane. The samples are the first third of the pixel data, three times: their values do not
/// matter.
fn ours_planes(source: &Rgb, width: u32, height: u32) -> Vec<u8> {
    let size = (side(source.width), side(source.height));
    let plane = &source.pixels[..source.width * source.height];
    let mut workspace = Workspace::default();
    let mut small = Vec::with_capacity(3 * width as usize * height as usize);
    for _ in 0..3 {
        small.extend_from_slice(&steps::resize(plane, size, width.max(height), &mut workspace).unwrap());
    }
    small
}

fn side(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// fast_image_resize, with SIMD, three channels at once.
fn fast_image_resize_rgb(source: &Rgb, width: u32, height: u32) -> Vec<u8> {
    let pixels = fir::PixelType::U8x3;
    let image =
        fir::images::ImageRef::new(side(source.width), side(source.height), &source.pixels, pixels).unwrap();
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
