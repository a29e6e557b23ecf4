//! ThumbHash, perceptual hash and measures of a photo as it is stored.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};

use vintedbot_ingest::imaging::steps;

use crate::photos::phone_pixels;

/// The size of the picture, which is cut out of a photo.
const SIZE: (usize, usize) = (1600, 1200);

pub(crate) fn benches(criterion: &mut Criterion) {
    let image = phone_pixels(2);
    let (width, height) = (SIZE.0.min(image.width), SIZE.1.min(image.height));
    // Luma is the green channel. Chroma is made of red and blue.
    let channel = |at: usize, (width, height): (usize, usize), step: usize| -> Vec<u8> {
        let row = |y: usize| (0..width).map(move |x| 3 * (step * y * image.width + step * x) + at);
        (0..height).flat_map(row).map(|at| image.pixels[at]).collect()
    };
    let half = (width / 2, height / 2);
    let planes = [channel(1, (width, height), 1), channel(2, half, 2), channel(0, half, 2)];
    let mut group = criterion.benchmark_group("facts");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{width}x{height}"), |bencher| {
        let measure = |planes| steps::measure(black_box(planes), (width, height)).unwrap();
        bencher.iter_batched(|| planes.clone(), measure, BatchSize::LargeInput);
    });
    group.finish();
}
