//! Tests with files that are built byte by byte. `tests/clients/tiff_files.py` compares more kinds with libtiff.

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::group4::Group4;
use super::{Picture, Tiff};
use crate::imaging::codec::jpeg;
use crate::imaging::{
    Coding, Effort, EncodeError, Encoded, Format, ImageError, Recipe, WorkBudget, Workspace, inspect,
};

const SHORT: u16 = 3;
const LONG: u16 = 4;

const RECIPE: Recipe = Recipe {
    quality: 95,
    max_pixels: 120_000_000,
    timeout: Duration::from_secs(3600),
    processor_time: Duration::from_secs(3600),
    ..Recipe::TEST
};

type Tag = (u16, u16, Vec<u32>);

/// A little-endian file: header, `data`, a directory of `tags`, and further directories.
struct File {
    data: Vec<u8>,
    /// Offsets within `data`, and lengths.
    extents: Vec<(u32, u32)>,
    tags: Vec<Tag>,
    /// Directories that the first one refers to as SubIFDs.
    within: Vec<Vec<Tag>>,
}

impl File {
    /// Creates a file with `samples` of 8 bits a pixel: 1 is grey, 3 are RGB, 4 have alpha.
    fn of(width: u32, height: u32, samples: u32) -> Self {
        let photometric = if samples < 3 { 1 } else { 2 };
        let bits = vec![8; samples as usize];
        let tags =
            [(256, LONG, width), (257, LONG, height), (262, SHORT, photometric), (277, SHORT, samples)];
        let tags = tags.map(|(tag, kind, value)| (tag, kind, vec![value]));
        Self { data: Vec::new(), extents: Vec::new(), tags: tags.into(), within: Vec::new() }
            .with(258, SHORT, &bits)
    }

    fn with(mut self, tag: u16, kind: u16, values: &[u32]) -> Self {
        self.tags.retain(|(old, ..)| *old != tag);
        self.tags.push((tag, kind, values.to_vec()));
        self
    }

    fn chunk(mut self, data: &[u8]) -> Self {
        self.extents.push((len(&self.data), len(data)));
        self.data.extend(data);
        self
    }

    /// Adds `count` chunks that refer to the same bytes of the file.
    fn shared(mut self, data: &[u8], count: usize) -> Self {
        self = self.chunk(data);
        self.extents = vec![self.extents[0]; count];
        self
    }

    fn tiled(self, side: u32) -> Self {
        self.with(322, LONG, &[side]).with(323, LONG, &[side])
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = [b"II*\0\0\0\0\0", self.data.as_slice()].concat();
        let within = self.within.iter().map(|tags| directory(&mut file, tags)).collect::<Vec<_>>();
        let is_tiled = self.tags.iter().any(|(tag, ..)| *tag == 322);
        let (offsets, lengths): (Vec<u32>, Vec<u32>) =
            self.extents.iter().map(|(offset, length)| (8 + offset, *length)).unzip();
        let mut tags = self.tags.clone();
        tags.push((if is_tiled { 324 } else { 273 }, LONG, offsets));
        tags.push((if is_tiled { 325 } else { 279 }, LONG, lengths));
        if !within.is_empty() {
            tags.push((330, LONG, within));
        }
        let first = directory(&mut file, &tags);
        file[4..8].copy_from_slice(&first.to_le_bytes());
        file
    }
}

/// Appends a directory after its values, and returns its offset.
fn directory(file: &mut Vec<u8>, tags: &[Tag]) -> u32 {
    let mut entries = u16::try_from(tags.len()).unwrap().to_le_bytes().to_vec();
    let mut tags = tags.to_vec();
    tags.sort();
    for (tag, kind, values) in tags {
        let mut value: Vec<u8> = Vec::new();
        for number in &values {
            value.extend(&number.to_le_bytes()[..if kind == SHORT { 2 } else { 4 }]);
        }
        entries.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        entries.extend(u32::try_from(values.len()).unwrap().to_le_bytes());
        if value.len() <= 4 {
            value.resize(4, 0);
            entries.extend(value);
        } else {
            entries.extend(len(file).to_le_bytes());
            file.extend(value);
        }
    }
    let at = len(file);
    file.extend(entries);
    file.extend([0; 4]);
    at
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn make(file: &[u8]) -> Result<Encoded, ImageError> {
    crate::imaging::make(Format::Tiff, file, &RECIPE, &mut Workspace::default())
}

fn pixel(made: &Encoded, x: usize, y: usize) -> [u8; 3] {
    let image = turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap();
    *image.pixels[y * image.pitch + 3 * x..].first_chunk().unwrap()
}

fn assert_pixel(made: &Encoded, (x, y): (usize, usize), expected: [u8; 3]) {
    let got = pixel(made, x, y);
    assert!(
        got.iter().zip(expected).all(|(got, expected)| got.abs_diff(expected) <= 4),
        "{got:?} {expected:?}"
    );
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzw(bytes: &[u8]) -> Vec<u8> {
    weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(bytes).unwrap()
}

fn grey_jpeg(side: usize) -> Vec<u8> {
    let pixels = vec![77; side * side];
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width: side,
        pitch: side,
        height: side,
        format: turbojpeg::PixelFormat::GRAY,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::Gray).unwrap().to_vec()
}

/// Returns a grey JPEG of 64 x 64 pixels.
fn progressive_jpeg() -> Vec<u8> {
    let mut encoder = turbojpeg::Compressor::new().unwrap();
    encoder.set_progressive(true).unwrap();
    encoder.set_subsamp(turbojpeg::Subsamp::Gray).unwrap();
    let format = turbojpeg::PixelFormat::GRAY;
    let image = turbojpeg::Image { pixels: &[77; 64 * 64][..], width: 64, pitch: 64, height: 64, format };
    encoder.compress_to_vec(image).unwrap()
}

const TILE: [u8; 16 * 16] = [77; 16 * 16];

/// Returns, by compression, tiles of 16 x 16 grey pixels with about 100 kB that decompress to nothing.
fn costly_tiles() -> [(u32, Vec<u8>); 3] {
    let mut stored_blocks = deflated(&TILE);
    stored_blocks.splice(2..2, b"\0\0\0\xff\xff".repeat(20_000));
    // The code that clears the table has nine bits. Eight of them fill nine bytes.
    let clear_codes: Vec<u8> = (0..72)
        .collect::<Vec<u32>>()
        .chunks(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(bit % 9 == 0)))
        .collect();
    let clears = [clear_codes.repeat(11_000), lzw(&TILE)].concat();
    let mut filled = grey_jpeg(16);
    let end = filled.len() - 2;
    filled.splice(end..end, vec![0; 100_000]);
    [(8, stored_blocks), (5, clears), (7, filled)]
}

#[test]
fn tiles_that_share_costly_data_are_refused_before_decoding() {
    for (compression, data) in costly_tiles() {
        let file = |across: u32| {
            let tile = File::of(16 * across, 16, 1).tiled(16).with(259, SHORT, &[compression]);
            tile.shared(&data, across as usize).bytes()
        };
        let few = make(&file(4)).unwrap_or_else(|error| panic!("{compression} {error}"));
        assert_pixel(&few, (20, 8), [77; 3]);
        let checks = Cell::new(0);
        let counted = || {
            checks.set(checks.get() + 1);
            false
        };
        let file = file(5000);
        let budget = WorkBudget::new(&RECIPE, &counted);
        let inspected = inspect(Format::Tiff, &file, &RECIPE, &budget).unwrap();
        let result = inspected.encode(&mut Workspace::default());
        assert!(matches!(result, Err(EncodeError::Image(ImageError::Corrupt))), "{compression}");
        assert!(checks.get() < 100, "{compression}: {} checks", checks.get());
    }
}

#[test]
fn tiles_that_overlap_many_times_are_refused() {
    let mut file = File::of(1024, 1024, 1).tiled(16).chunk(&[7; 4096 + 256]);
    file.extents = (0..4096).map(|offset| (offset, 256)).collect();
    assert_eq!(make(&file.bytes()), Err(ImageError::Corrupt));
}

#[test]
fn strips_of_one_byte_are_read() {
    const ROWS: u32 = 100_000;
    let file = File::of(8, ROWS, 1).with(258, SHORT, &[1]).with(278, LONG, &[1]);
    let made = make(&file.shared(&[0xFF], ROWS as usize).bytes()).unwrap();
    assert_eq!((made.width, made.height), (1, 64));
    assert_pixel(&made, (0, 32), [255; 3]);
}

#[test]
fn disconnected_client_stops_the_decode_within_a_strip() {
    let [(compression, data), ..] = costly_tiles();
    let file = File::of(16, 16, 1).with(259, SHORT, &[compression]).chunk(&data).bytes();
    for after in 0..5 {
        let left = Cell::new(after);
        let is_abandoned = || left.replace(left.get() - 1) <= 0;
        let budget = WorkBudget::new(&RECIPE, &is_abandoned);
        let result = inspect(Format::Tiff, &file, &RECIPE, &budget)
            .map_err(EncodeError::Image)
            .and_then(|inspected| inspected.encode(&mut Workspace::default()));
        assert!(matches!(result, Err(EncodeError::Image(ImageError::Abandoned))), "after {after} checks");
    }
}

/// Returns how often the budget is checked while `file` becomes a photo.
fn checks_of(file: &[u8]) -> u32 {
    let checks = Cell::new(0);
    let is_abandoned = || {
        checks.set(checks.get() + 1);
        false
    };
    let budget = WorkBudget::new(&RECIPE, &is_abandoned);
    let inspected = inspect(Format::Tiff, file, &RECIPE, &budget).unwrap();
    inspected.encode(&mut Workspace::default()).unwrap();
    checks.get()
}

#[test]
fn budget_is_checked_for_each_piece_of_data_and_of_rows() {
    let mut stored_blocks = deflated(&TILE);
    stored_blocks.splice(2..2, b"\0\0\0\xff\xff".repeat(400_000));
    let long = File::of(16, 16, 1).with(259, SHORT, &[8]).chunk(&stored_blocks);
    assert!(checks_of(&long.bytes()) >= 30, "30 pieces of 64 KiB to read");
    let data = deflated(&vec![77; 1 << 22]);
    let wide = File::of(1 << 14, 1 << 11, 1).tiled(1 << 11).with(259, SHORT, &[8]).shared(&data, 8);
    assert!(checks_of(&wide.bytes()) >= 512, "512 pieces of 64 KiB of pixels");
}

#[test]
fn hidden_pixels_of_tiles_are_counted() {
    let recipe = Recipe { max_pixels: 10_000, ..RECIPE };
    let made = |file: File| {
        crate::imaging::make(Format::Tiff, &file.bytes(), &recipe, &mut Workspace::default()).map(drop)
    };
    let data = deflated(&[77; 256 * 256]);
    let wide = |height: u32| {
        let tiles = File::of(4, height, 1).tiled(256).with(259, SHORT, &[8]);
        tiles.shared(&data, height.div_ceil(256) as usize)
    };
    assert_eq!(made(wide(100)), Ok(()));
    assert_eq!(made(wide(200)), Err(ImageError::Corrupt), "256 x 200 pixels for 4 x 200");
    let jpeg = grey_jpeg(64);
    let high = |across: u32| {
        let tiles = File::of(64 * across, 1, 1).tiled(64).with(259, SHORT, &[7]);
        tiles.shared(&jpeg, across as usize)
    };
    assert_eq!(made(high(5)), Ok(()));
    assert_eq!(made(high(20)), Err(ImageError::Corrupt), "20 x 64 x 64 pixels for 20 x 64 x 1");
}

#[test]
fn packed_run_beyond_its_strip_ends_with_the_strip() {
    let strip = |value: u8| [129, value].repeat(8);
    let file = File::of(60, 32, 1).with(259, SHORT, &[32773]).with(278, LONG, &[16]);
    let made = make(&file.chunk(&strip(7)).chunk(&strip(200)).bytes()).unwrap();
    assert_pixel(&made, (5, 15), [7; 3]);
    assert_pixel(&made, (5, 16), [200; 3]);
}

#[test]
fn strip_beyond_the_end_of_the_file_is_read_to_the_end() {
    let mut file = File::of(16, 16, 1).chunk(&TILE);
    file.extents[0].1 = u32::MAX;
    assert!(make(&file.bytes()).is_ok());
}

#[test]
fn photo_after_its_deadline_is_refused_in_the_header() {
    let file = File::of(16, 16, 1).chunk(&TILE).bytes();
    let recipe = Recipe { timeout: Duration::ZERO, ..RECIPE };
    let budget = WorkBudget::new(&recipe, &|| false);
    assert_eq!(inspect(Format::Tiff, &file, &recipe, &budget).unwrap_err(), ImageError::TooSlow);
}

#[test]
fn memory_is_declared_before_it_is_allocated() {
    let memory = |file: &File| {
        let (budget, file) = (WorkBudget::new(&RECIPE, &|| false), file.bytes());
        Tiff::open(&budget.input(&file), &RECIPE).map(|tiff| tiff.memory())
    };
    for compression in [1, 5, 8, 32773] {
        let strip = File::of(10_000, 12_000, 3).with(259, SHORT, &[compression]).chunk(&[0; 100]);
        assert!(memory(&strip).unwrap() < 2 << 20, "a strip is read in rows: {compression}");
    }
    let tile = |side| File::of(1, 1, 1).tiled(side).with(259, SHORT, &[7]).chunk(&grey_jpeg(16));
    assert!(memory(&tile(4096)).unwrap() > 4096 * 4096);
    assert_eq!(memory(&tile(60_000)), Err(ImageError::TooMuchMemory));
    let wide = File::of(1, 1, 3).tiled(u32::MAX).chunk(&[0; 100]);
    assert_eq!(memory(&wide), Err(ImageError::TooMuchMemory));
}

#[test]
fn further_samples_are_dropped_after_differences_are_undone() {
    // Each sample grows by its own step from pixel to pixel.
    let steps = [3u8, 0, 1, 50];
    let row: Vec<u8> = [[10, 200, 30, 7], steps].concat().into_iter().chain(steps.repeat(30)).collect();
    let data = deflated(&row.repeat(16));
    let file = File::of(32, 16, 4).with(259, SHORT, &[8]).with(317, SHORT, &[2]).with(338, SHORT, &[0]);
    let made = make(&file.chunk(&data).bytes()).unwrap();
    assert_pixel(&made, (0, 8), [10, 200, 30]);
    assert_pixel(&made, (31, 8), [10 + 31 * 3, 200, 30 + 31]);
}

#[test]
fn planes_in_tiles_beyond_the_edge_are_read() {
    let mut file = File::of(45, 30, 3).tiled(16).with(284, SHORT, &[2]);
    for plane in [200, 100, 50] {
        for tile in 0..6 {
            file = file.chunk(&[plane + 4 * tile; 256]);
        }
    }
    let made = make(&file.bytes()).unwrap();
    for (at, tile) in [((3, 3), 0), ((42, 3), 2), ((42, 27), 5)] {
        assert_pixel(&made, at, [200 + 4 * tile, 100 + 4 * tile, 50 + 4 * tile]);
    }
}

#[test]
fn pixels_at_the_offset_of_the_cr2_mark_are_read() {
    let pixels: Vec<u8> = b"CR\x02\0".iter().copied().cycle().take(16 * 16).collect();
    assert!(make(&File::of(16, 16, 1).chunk(&pixels).bytes()).is_ok());
}

#[test]
fn strip_with_fewer_rows_than_declared_is_truncated() {
    let pixels = vec![9; 64 * 64];
    let literal: Vec<u8> = pixels.chunks(64).flat_map(|row| [&[63][..], row].concat()).collect();
    let whole = [(1, pixels.clone()), (5, lzw(&pixels)), (8, deflated(&pixels)), (32773, literal)];
    for (compression, data) in whole {
        let file = |data: &[u8]| File::of(64, 64, 1).with(259, SHORT, &[compression]).chunk(data).bytes();
        assert!(make(&file(&data)).is_ok(), "{compression}");
        for missing in [8, data.len() / 2, data.len()] {
            let result = make(&file(&data[..data.len() - missing]));
            assert_eq!(result, Err(ImageError::Truncated), "{compression} without {missing} bytes");
        }
        let short = File::of(64, 65, 1).with(259, SHORT, &[compression]).chunk(&data).bytes();
        assert_eq!(make(&short), Err(ImageError::Truncated), "{compression}");
        let half = File::of(64, 64, 1).with(259, SHORT, &[compression]).with(278, LONG, &[32]).chunk(&data);
        assert_eq!(make(&half.bytes()), Err(ImageError::Truncated), "{compression} without its second strip");
    }
    let jpeg = |side, height| File::of(side, height, 1).with(259, SHORT, &[7]).chunk(&grey_jpeg(64)).bytes();
    assert!(make(&jpeg(64, 64)).is_ok());
    assert_eq!(make(&jpeg(64, 65)), Err(ImageError::Truncated));
    assert_eq!(make(&jpeg(65, 64)), Err(ImageError::Corrupt));
    assert_eq!(make(&jpeg(64, 32)), Err(ImageError::Corrupt), "more rows than memory was stated for");
}

#[test]
fn jpeg_without_its_end_is_truncated() {
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|n| (n * 31 % 251) as u8).collect();
    let coding = Coding { quality: 90, effort: Effort::Standard };
    let whole = jpeg::encode_rgb(&pixels, 64, 64, coding, &mut Workspace::default()).unwrap();
    let file =
        |data: &[u8]| File::of(64, 64, 3).with(259, SHORT, &[7]).with(262, SHORT, &[6]).chunk(data).bytes();
    assert!(make(&file(&whole)).is_ok());
    let cut = whole.len() - 500;
    assert_eq!(make(&file(&whole[..cut])), Err(ImageError::Truncated));
    assert_eq!(make(&file(&[&whole[..cut], &[0xFF, 0xD9]].concat())), Err(ImageError::Truncated));
}

#[test]
fn unsupported_variant_is_refused_as_unsupported() {
    let file = || File::of(16, 16, 1).chunk(&TILE);
    assert!(make(&file().bytes()).is_ok());
    let variants = [
        ("old JPEG", file().with(259, SHORT, &[6])),
        ("ZSTD", file().with(259, SHORT, &[50_000])),
        ("floating point", file().with(258, SHORT, &[32]).with(339, SHORT, &[3])),
        ("signed", file().with(339, SHORT, &[2])),
        ("12 bits", file().with(258, SHORT, &[12])),
        ("floating-point predictor", file().with(259, SHORT, &[8]).with(317, SHORT, &[3])),
        ("CIE L*a*b*", File::of(16, 16, 3).with(262, SHORT, &[8]).chunk(&TILE.repeat(3))),
        ("luma and chroma without JPEG", File::of(16, 16, 3).with(262, SHORT, &[6]).chunk(&TILE.repeat(3))),
        ("uneven samples", File::of(16, 16, 3).with(258, SHORT, &[5, 6, 5]).chunk(&TILE.repeat(3))),
        ("reduced first page", file().with(254, LONG, &[1])),
        ("reduced first page, old tag", file().with(255, SHORT, &[2])),
        ("mask", file().with(262, SHORT, &[4])),
        ("progressive JPEG", File::of(64, 64, 1).with(259, SHORT, &[7]).chunk(&progressive_jpeg())),
    ];
    for (name, variant) in variants {
        assert_eq!(make(&variant.bytes()), Err(ImageError::Unsupported), "{name}");
    }
    let big = [b"II+\0\x08\0\0\0".as_slice(), &[0; 64]].concat();
    assert_eq!(make(&big), Err(ImageError::Unsupported));
}

fn smaller_or_larger(width: u32, tags: &[Tag]) -> Vec<Tag> {
    let size = [(256, LONG, vec![width]), (257, LONG, vec![width])];
    size.into_iter().chain(tags.iter().cloned()).collect()
}

#[test]
fn camera_raw_is_refused_as_raw() {
    let thumbnail = || File::of(16, 16, 1).chunk(&TILE);
    let make_tag = (271, 2, vec![0x4e49_4b4f]);
    let within = |mut file: File, tags: &[Tag], width| {
        file.within = vec![smaller_or_larger(width, tags)];
        file
    };
    let sensor = [(262, SHORT, vec![32803])];
    let nef = within(thumbnail().with(254, LONG, &[1]), &sensor, 4000);
    let by_maker = File { tags: [thumbnail().tags, vec![make_tag.clone()]].concat(), ..thumbnail() };
    let cases = [
        ("sensor data within", nef),
        ("sensor data within, nothing else", within(thumbnail(), &sensor, 8)),
        ("DNG", thumbnail().with(50706, LONG, &[4])),
        ("sensor data", thumbnail().with(262, SHORT, &[32803])),
        ("linear sensor data", thumbnail().with(262, SHORT, &[34892])),
        ("Nikon's compression", within(thumbnail(), &[(259, SHORT, vec![34713])], 8)),
        (
            "reduced page of a camera",
            File { tags: [by_maker.tags.clone(), vec![(254, LONG, vec![1])]].concat(), ..thumbnail() },
        ),
        ("larger page within, of a camera", within(by_maker, &[], 4000)),
    ];
    for (name, file) in cases {
        assert_eq!(make(&file.bytes()), Err(ImageError::CameraRaw), "{name}");
    }
    for header in [b"IIRO", b"IIRS", b"MMOR", b"IIU\0"] {
        assert_eq!(make(&[&header[..], &[8, 0, 0, 0, 0, 0]].concat()), Err(ImageError::CameraRaw));
    }
    let mut next = thumbnail().bytes();
    let page = directory(&mut next, &smaller_or_larger(4000, &sensor));
    let ifd0 = u32::from_le_bytes(next[4..8].try_into().unwrap()) as usize;
    let link = ifd0 + 2 + 12 * usize::from(next[ifd0]);
    next[link..link + 4].copy_from_slice(&page.to_le_bytes());
    assert_eq!(make(&next), Err(ImageError::CameraRaw), "sensor data in a later page");
    next[link..link + 4].copy_from_slice(&u32::try_from(ifd0).unwrap().to_le_bytes());
    assert!(make(&next).is_ok(), "a loop of pages has one page");
    let after = |count: usize| {
        let mut file = thumbnail();
        file.within = vec![smaller_or_larger(8, &[]); count];
        file.within.push(smaller_or_larger(8, &sensor));
        make(&file.bytes()).map(drop)
    };
    assert_eq!((after(7), after(8)), (Err(ImageError::CameraRaw), Ok(())), "eight pages within are searched");
    let pyramid = within(thumbnail(), &[(254, LONG, vec![1])], 8);
    assert!(make(&pyramid.bytes()).is_ok(), "the first page is the full one");
}

/// The code is a white and a black run of no pixels, repeated.
#[test]
fn group_4_code_that_moves_nothing_is_corrupt() {
    let bits = "001001101010000110111".repeat(8);
    let bytes = bits.as_bytes().chunks(8);
    let codes: Vec<u8> =
        bytes.map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'))).collect();
    let mut taken = 0;
    let data = codes.into_iter().cycle().take(100_000).inspect(|_| taken += 1).map(Ok);
    let mut decoder = Group4::new(data, 8).unwrap();
    assert_eq!(decoder.read(&mut [0]), Err(ImageError::Corrupt));
    drop(decoder);
    assert!(taken < 16, "{taken} bytes were read");
}

#[test]
fn huge_shared_tables_are_refused() {
    let tables = b"\xff\xdb\0\x43".iter().copied().chain([1; 65]).collect::<Vec<u8>>().repeat(2000);
    let bytes: Vec<u32> = [b"\xff\xd8\0\0", tables.as_slice()]
        .concat()
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let file = File::of(16, 16, 1).with(259, SHORT, &[7]).with(347, 7, &bytes).chunk(&grey_jpeg(16));
    let mut file = file.bytes();
    // The builder counts words.
    let entry = file.windows(4).rposition(|tag| tag == [0x5B, 0x01, 7, 0]).unwrap();
    file[entry + 4..entry + 8].copy_from_slice(&(4 * u32::try_from(bytes.len()).unwrap()).to_le_bytes());
    assert_eq!(make(&file), Err(ImageError::Corrupt));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn group_4_rows_round_trip(width in 1u16..200, rows in prop::collection::vec(any::<[u64; 4]>(), 1..20)) {
        let is_black = |row: &[u64; 4], x: u16| row[usize::from(x / 64)] & row[0] >> (x % 64) & 1 == 1;
        let mut encoder = fax::encoder::Encoder::new(fax::VecWriter::new());
        for row in &rows {
            let colour = |x| if is_black(row, x) { fax::Color::Black } else { fax::Color::White };
            encoder.encode_line((0..width).map(colour), width).unwrap();
        }
        let data = encoder.finish().unwrap().finish();
        let mut decoder = Group4::new(data.into_iter().chain([0, 0]).map(Ok), width.into()).unwrap();
        for row in &rows {
            let mut read = vec![0; usize::from(width).div_ceil(8)];
            decoder.read(&mut read).unwrap();
            for x in 0..width {
                let bit = read[usize::from(x / 8)] >> (7 - x % 8) & 1 == 1;
                prop_assert_eq!(bit, is_black(row, x), "{}", x);
            }
        }
    }

    /// Each code moves the row forward, so a row ends after as many bits as its pixels can need.
    #[test]
    fn group_4_row_of_any_bytes_ends(width in 1u32..500, byte: u8, bytes: Vec<u8>) {
        let taken = Cell::new(0u32);
        let endless = bytes.into_iter().chain(std::iter::repeat(byte)).map(|byte| {
            taken.set(taken.get() + 1);
            Ok(byte)
        });
        let mut decoder = Group4::new(endless, width).unwrap();
        let mut row = vec![0; width.div_ceil(8) as usize];
        let _ = decoder.read(&mut row);
        prop_assert!(taken.get() < 16 + 8 * width);
    }

    #[test]
    fn changed_file_does_not_panic(
        kind in 0usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_in_directory: bool,
    ) {
        let file = || File::of(20, 20, 3).with(278, LONG, &[9]);
        let row = [1, 2, 3].repeat(20);
        let data = row.repeat(20);
        let file = match kind {
            0 => file().chunk(&data[..540]).chunk(&data[..540]).chunk(&data[..120]),
            1 => file().with(259, SHORT, &[8]).chunk(&deflated(&data)),
            2 => file().with(259, SHORT, &[5]).with(317, SHORT, &[2]).chunk(&lzw(&data)),
            3 => File::of(20, 20, 1).tiled(16).with(259, SHORT, &[7]).shared(&grey_jpeg(16), 4),
            4 => file().tiled(16).with(284, SHORT, &[2]).shared(&TILE, 12),
            _ => File::of(20, 20, 1).with(258, SHORT, &[1]).with(259, SHORT, &[4]).chunk(&data),
        };
        let directory = 8 + file.data.len();
        let mut bytes = file.bytes();
        for (at, value) in changes {
            let from = if is_in_directory { directory } else { 0 };
            let rest = bytes.len() - from;
            bytes[from + at.index(rest)] = value;
        }
        let recipe = Recipe { max_pixels: 1 << 20, memory: 16 << 20, ..RECIPE };
        let _ = crate::imaging::make(Format::Tiff, &bytes, &recipe, &mut Workspace::default());
    }
}
