//! JPEG decoding (entropy decoding, IDCT and colour conversion) from a file in memory to pixels.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};

use crate::photos::{Photo, jpegs};

/// Decodes a file and returns the number of decoded bytes.
type Decoder = fn(&[u8]) -> usize;

/// Decoders, by the last part of their benchmark ids.
const DECODERS: [(&str, Decoder); 3] =
    [("ours_planes", ours_planes), ("turbojpeg_rgb", turbojpeg_rgb), ("image_rgb", image_rgb)];

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jpeg_decode");
    group.sampling_mode(SamplingMode::Flat);
    for Photo { id, bytes } in jpegs().iter().filter(|photo| photo.id.starts_with("12mp")) {
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: bytes.len() as u64 });
        for (name, decode) in DECODERS {
            group.bench_function(format!("{id}/{name}"), |bencher| bencher.iter(|| decode(black_box(bytes))));
        }
    }
    group.finish();
}

/// Our decoder, to planes, band by band. Returns 0 for a file that it leaves to libjpeg-turbo, such as a progressive
/// one.
fn ours_planes(bytes: &[u8]) -> usize {
    vintedbot_ingest::imaging::steps::decode(bytes).unwrap_or(0)
}

/// libjpeg-turbo, to RGB at full size.
fn turbojpeg_rgb(bytes: &[u8]) -> usize {
    black_box(turbojpeg::decompress(bytes, turbojpeg::PixelFormat::RGB).unwrap()).pixels.len()
}

/// zune-jpeg, which the `image` crate uses.
fn image_rgb(bytes: &[u8]) -> usize {
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg).unwrap();
    black_box(picture).as_bytes().len()
}
