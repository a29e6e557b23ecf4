//! JPEG encoding of a small picture at quality 80.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use vintedbot_ingest::imaging::{Coding, Effort, Workspace, steps};

use crate::photos::{Rgb, phone_pixels};
use crate::shared::recipe;

/// Encodes a picture as JPEG.
type Encoder = fn(&Rgb) -> Vec<u8>;

/// Encoders, by the last part of their benchmark ids.
const ENCODERS: [(&str, Encoder); 5] = [
    ("ours_planes_optimised", |image| ours_planes(image, Effort::Standard)),
    ("ours_planes_adaptive", |image| ours_planes(image, Effort::Adaptive)),
    ("turbojpeg_rgb", |image| turbojpeg_rgb(image, false)),
    ("turbojpeg_rgb_optimised", |image| turbojpeg_rgb(image, true)),
    ("image_rgb", image_rgb),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let image = phone_pixels(2);
    let mut group = criterion.benchmark_group("encode");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: image.pixels.len() as u64 });
    for (name, encode) in ENCODERS {
        group.bench_function(format!("3mp/{name}"), |bencher| bencher.iter(|| encode(black_box(&image))));
    }
    group.finish();
}

/// Our encoder, from planes, as the pipeline has them; the conversion to planes is not measured. Luma is the green
/// channel; chroma are a quarter of red and of blue.
fn ours_planes(image: &Rgb, effort: Effort) -> Vec<u8> {
    let channel = |at: usize| image.pixels.iter().skip(at).step_by(3).copied();
    let (width, height) = (image.width, image.height);
    let chroma = |at| channel(at).take(width.div_ceil(2) * height.div_ceil(2)).collect();
    let planes = [channel(1).collect(), chroma(2), chroma(0)];
    steps::encode(planes, (width, height), Coding { effort, ..recipe().coding() }, &mut Workspace::default())
        .unwrap()
}

/// libjpeg-turbo, from RGB to 4:2:0, with standard or optimised Huffman tables.
fn turbojpeg_rgb(image: &Rgb, optimised: bool) -> Vec<u8> {
    let mut encoder = turbojpeg::Compressor::new().unwrap();
    encoder.set_quality(i32::from(recipe().quality)).unwrap();
    encoder.set_subsamp(turbojpeg::Subsamp::Sub2x2).unwrap();
    encoder.set_optimize(optimised).unwrap();
    let Rgb { width, height, ref pixels } = *image;
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: pixels.as_slice(), width, pitch: width * 3, height, format };
    encoder.compress_to_vec(image).unwrap()
}

/// The encoder of the `image` crate, which keeps chroma at full size (4:4:4).
fn image_rgb(image: &Rgb) -> Vec<u8> {
    let (width, height) = (u32::try_from(image.width).unwrap(), u32::try_from(image.height).unwrap());
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, recipe().quality)
        .encode(&image.pixels, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    file
}
