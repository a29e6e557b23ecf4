//! The photos to measure: from the corpus, or a generated one if there is no corpus.
//!
//! stderr reports which, because their figures cannot be compared.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::shared::corpus;

/// A photo and the last part of its benchmark ids.
#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
}

/// RGB pixels, three bytes each, rows without padding.
#[derive(Debug, Clone)]
pub(crate) struct Rgb {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

/// Ids of the JPEGs and their files in the corpus. `o6` is the EXIF orientation, `p3` a Display P3 profile.
const JPEGS: [(&str, &str); 6] = [
    ("12mp/p3_o6", "photos/synthetic_iphone_12mp_P3_o6_gps.jpg"),
    ("12mp/detailed", "photos/huawei_nexus6p_gps.jpg"),
    ("12mp/progressive_422", "photos/debian_sunset_12mp_ccby.jpg"),
    ("8mp/grey", "photos/apple_iphone5_grey_rst_gps.jpg"),
    ("33mp/440", "photos/baseline_33mp_440.jpg"),
    ("48mp/p3_o6", "photos/synthetic_iphone_48mp_P3_o6_gps.jpg"),
];

static JPEG_PHOTOS: LazyLock<Vec<Photo>> = LazyLock::new(|| {
    let Some(dir) = corpus() else {
        eprintln!("benches: NO CORPUS (set VINTEDBOT_CORPUS to one): using a generated photo");
        let bytes = encode(&generated(4032, 3024), turbojpeg::Subsamp::Sub2x2);
        return vec![Photo { id: "12mp/generated".into(), bytes }];
    };
    eprintln!("benches: using photos of the corpus");
    let read = |(id, path): (&str, &str)| {
        let bytes =
            std::fs::read(dir.join(path)).inspect_err(|error| eprintln!("benches: NO {path}: {error}"));
        Some(Photo { id: id.into(), bytes: bytes.ok()? })
    };
    JPEGS.into_iter().filter_map(read).collect()
});

/// Returns all JPEGs. Their ids start with their size.
pub(crate) fn jpegs() -> &'static [Photo] {
    &JPEG_PHOTOS
}

/// Returns the photos that `make compare` made: a directory for each format, and files such as `derived_12mp_422.1234abcd.jpg`.
pub(crate) fn derived() -> Vec<Photo> {
    let files = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths
    };
    let dirs = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare"));
    if dirs.is_empty() {
        eprintln!(
            "benches: NO target/compare: VINTEDBOT_COMPARE_ROUNDS=0 make compare adds photos of all formats"
        );
    }
    let mut photos = Vec::new();
    for (dir, path) in dirs.iter().flat_map(|dir| files(dir).into_iter().map(move |path| (dir, path))) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (format, file) = (name(dir), name(&path));
        let Some((file, _)) = file.split_once('.') else { continue };
        let file = file.trim_start_matches("derived_");
        let (size, rest) = file.split_once('_').unwrap_or((file, "photo"));
        let id = match &*format {
            "p3" | "progressive" => format!("jpeg/{size}/{format}_{rest}"),
            _ => format!("{format}/{size}/{rest}"),
        };
        photos.extend(std::fs::read(&path).ok().map(|bytes| Photo { id, bytes }));
    }
    photos
}

/// Returns a typical photo of a phone: 12 MP, 4:2:0.
pub(crate) fn phone() -> &'static Photo {
    &JPEG_PHOTOS[0]
}

/// Returns the pixels of the phone photo, not rotated, with both sides divided by 1, 2, 4 or 8.
pub(crate) fn phone_pixels(divisor: usize) -> Rgb {
    let mut decoder = turbojpeg::Decompressor::new().unwrap();
    let header = decoder.read_header(&phone().bytes).unwrap();
    decoder.set_scaling_factor(turbojpeg::ScalingFactor::new(1, divisor)).unwrap();
    let (width, height) = (header.width.div_ceil(divisor), header.height.div_ceil(divisor));
    let mut pixels = vec![0; width * height * 3];
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: pixels.as_mut_slice(), width, pitch: width * 3, height, format };
    decoder.decompress(&phone().bytes, image).unwrap();
    Rgb { width, height, pixels }
}

/// Encodes a JPEG of quality 92, similar to phones.
pub(crate) fn encode(image: &Rgb, subsampling: turbojpeg::Subsamp) -> Vec<u8> {
    let Rgb { width, height, .. } = *image;
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: image.pixels.as_slice(), width, pitch: width * 3, height, format };
    turbojpeg::compress(image, 92, subsampling).unwrap().to_vec()
}

/// Generates soft shapes of many sizes with fine grain, which are about as hard to decode as a photo.
fn generated(width: usize, height: usize) -> Rgb {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let shapes: u32 = [8, 6, 4, 2].map(|octave| noise(x, y, octave) << octave).iter().sum();
            let grain = noise(x, y, 0) >> 4;
            // The weights of the shapes add up to 340/256 of a byte.
            let level = shapes * 220 / (340 * 255) + grain;
            for channel in [0, 1, 2] {
                let tint = noise(x, y, 7 + channel) >> 3;
                pixels.push(u8::try_from((level + tint).min(255)).unwrap());
            }
        }
    }
    Rgb { width, height, pixels }
}

/// Random values 0..=255 on a grid of 2^`octave` pixels, with linear interpolation.
fn noise(x: usize, y: usize, octave: usize) -> u32 {
    let cell = 1 << octave;
    let at = |x: usize, y: usize| {
        let mixed = (x as u64 * 0x9E37_79B9 + y as u64 * 0x85EB_CA6B + octave as u64) * 0xC2B2_AE3D_27D4_EB4F;
        u32::from(mixed.to_be_bytes()[1])
    };
    let (left, top) = (x >> octave, y >> octave);
    let mix = |a: u32, b: u32, part: usize| {
        (a * u32::try_from(cell - part).unwrap() + b * u32::try_from(part).unwrap()) >> octave
    };
    let row = |y: usize| mix(at(left, y), at(left + 1, y), x % cell);
    mix(row(top), row(top + 1), y % cell)
}
