//! The whole pipeline, from a file in memory to the file to be stored: bytes and images per second, by format.
//!
//! Compared, under the same id with `/image` appended, with a simple implementation over the `image` crate alone. It
//! neither converts colours nor detects truncated data, so it does less work.

use std::hint::black_box;
use std::io::Cursor;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use vintedbot_ingest::imaging::{self, Recipe, RenditionSizes, Workspace};
use vintedbot_ingest::ingest::sniff::sniff;

use crate::photos::{Photo, derived, jpegs, phone_pixels};
use crate::shared::{corpus, recipe};

pub(crate) fn benches(criterion: &mut Criterion) {
    let recipe = recipe();
    let mut group = criterion.benchmark_group("pipeline");
    group.sampling_mode(SamplingMode::Flat);
    for Photo { id, bytes } in all() {
        let Some(format) = sniff(&bytes).format else {
            eprintln!("benches: no decoder for {id}");
            continue;
        };
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: bytes.len() as u64 });
        group.bench_function(&id, |bencher| {
            let mut workspace = Workspace::default();
            bencher.iter(|| {
                let made = imaging::make_and_measure(
                    format,
                    &bytes,
                    &recipe,
                    &RenditionSizes::default(),
                    &mut workspace,
                );
                black_box(made.unwrap_or_else(|error| panic!("{id} is refused: {error}")))
            });
        });
        if image::guess_format(&bytes).is_ok_and(|format| format.reading_enabled()) {
            let peer = || black_box(with_image_crate(&bytes).unwrap());
            group.bench_function(format!("{id}/image"), |bencher| bencher.iter(peer));
        }
    }
    renditions(&mut group, &recipe);
    eager_renditions(&mut group, &recipe);
    group.finish();
}

/// Photos with the smaller copies that are made from their planes.
fn eager_renditions(group: &mut BenchmarkGroup<'_, WallTime>, recipe: &Recipe) {
    let sizes = RenditionSizes::new(vec![320, 640, 1080]).unwrap();
    let mut workspace = Workspace::default();
    for Photo { id, bytes } in jpegs() {
        let format = sniff(bytes).format.unwrap();
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: bytes.len() as u64 });
        group.bench_function(format!("eager/{id}"), |bencher| {
            bencher.iter(|| {
                let made = imaging::make_and_measure(format, bytes, recipe, &sizes, &mut workspace);
                black_box(made.unwrap())
            });
        });
    }
}

/// The smaller copies of a stored photo, as their first requests make them.
fn renditions(group: &mut BenchmarkGroup<'_, WallTime>, recipe: &Recipe) {
    let Photo { id, bytes } = &jpegs()[0];
    let mut workspace = Workspace::default();
    let format = sniff(bytes).format.unwrap();
    let stored = imaging::make(format, bytes, recipe, &mut workspace).unwrap().bytes;
    for side in [320, 640, 1080] {
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: stored.len() as u64 });
        group.bench_function(format!("rendition/{side}/{id}"), |bencher| {
            let recipe = Recipe { max_dim: side, ..*recipe };
            bencher.iter(|| black_box(imaging::make(format, &stored, &recipe, &mut workspace).unwrap()));
        });
    }
}

/// All JPEGs, the phone photo with a quarter of its pixels in other formats, HEIC and lossy WebP from the corpus, what
/// `make compare` made, and the files of the directory that `VINTEDBOT_BENCH_FILES` names.
fn all() -> Vec<Photo> {
    let jpegs =
        jpegs().iter().map(|Photo { id, bytes }| Photo { id: format!("jpeg/{id}"), bytes: bytes.clone() });
    let pixels = phone_pixels(2);
    let (width, height) = (u32::try_from(pixels.width).unwrap(), u32::try_from(pixels.height).unwrap());
    let picture = DynamicImage::from(RgbImage::from_raw(width, height, pixels.pixels).unwrap());
    let written = |(name, format): (&str, ImageFormat)| {
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        Photo { id: format!("{name}/3mp/rgb"), bytes }
    };
    let others = [
        ("png", ImageFormat::Png),
        ("webp", ImageFormat::WebP),
        ("gif", ImageFormat::Gif),
        ("bmp", ImageFormat::Bmp),
        ("tiff", ImageFormat::Tiff),
    ];
    let of_corpus = [
        ("heic/5mp/phone", "formats/heic/xiaomi.heic"),
        ("webp/lossy/flower", "formats/webp/flower2.webp"),
        ("webp/lossy/alpha", "formats/webp/alpha_5.webp"),
    ];
    let of_corpus = of_corpus.into_iter().filter_map(|(id, path)| {
        let bytes = corpus().and_then(|dir| std::fs::read(dir.join(path)).ok())?;
        Some(Photo { id: id.into(), bytes })
    });
    jpegs.chain(others.map(written)).chain(of_corpus).chain(derived()).chain(named_files()).collect()
}

/// Returns the files of the directory `VINTEDBOT_BENCH_FILES`, with their names in their IDs.
fn named_files() -> Vec<Photo> {
    let Some(directory) = std::env::var_os("VINTEDBOT_BENCH_FILES") else { return Vec::new() };
    let files = std::fs::read_dir(&directory).expect("VINTEDBOT_BENCH_FILES is a directory");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let photo = |path: &std::path::PathBuf| Photo {
        id: format!("file/{}", path.file_name().unwrap().to_string_lossy()),
        bytes: std::fs::read(path).unwrap(),
    };
    paths.iter().map(photo).collect()
}

fn with_image_crate(bytes: &[u8]) -> Option<Vec<u8>> {
    let recipe = recipe();
    let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    let full = DynamicImage::from_decoder(decoder).ok()?;
    let mut small =
        DynamicImage::from(full.resize(recipe.max_dim, recipe.max_dim, FilterType::Lanczos3).to_rgb8());
    small.apply_orientation(orientation);
    let mut file = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut file, recipe.quality)).ok()?;
    Some(file)
}
