//! Tests with files that would cost much memory or time: what is decoded, what is refused, and how often decoders check the budget.
#![allow(clippy::cast_possible_truncation, reason = "of bits and bytes")]

use std::cell::Cell;
use std::time::Duration;

use crate::imaging::{Encoded, Format, ImageError, Recipe, WorkBudget, Workspace, inspect};

const RECIPE: Recipe = Recipe {
    max_pixels: 1 << 22,
    timeout: Duration::from_secs(3600),
    processor_time: Duration::from_secs(3600),
    ..Recipe::TEST
};

/// Makes a photo of a file as the image pool does. Returns it with the memory that was declared for it beforehand.
fn make(format: Format, file: &[u8], is_abandoned: &dyn Fn() -> bool) -> (Result<Encoded, ImageError>, u64) {
    let budget = WorkBudget::new(&RECIPE, is_abandoned);
    match inspect(format, file, &RECIPE, &budget) {
        Ok(inspected) => {
            let memory = inspected.memory();
            let made = inspected.encode(&mut Workspace::default()).map_err(|failed| match failed {
                crate::imaging::EncodeError::Image(error) => error,
                crate::imaging::EncodeError::Fallback(_) => panic!("only JPEGs are decoded in two ways"),
            });
            (made, memory)
        }
        Err(error) => (Err(error), 0),
    }
}

/// Writes bits. The first bit of a byte is its lowest.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl BitWriter {
    fn put(&mut self, number: usize, count: usize) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((number >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    /// Writes a prefix code with one symbol (WebP lossless specification, section 6.2.1).
    fn single(&mut self, symbol: usize) {
        self.put(0b101, 3);
        self.put(symbol, 8);
    }

    /// Writes a prefix code with 256 symbols of eight bits each. These 53 bits require a table of 512 bytes.
    fn bytewise(&mut self) {
        self.put(0, 1);
        // A prefix code is sent as lengths, which have a prefix code of their own. It has twelve lengths of three bits here.
        // Only the last is not zero, that of the symbol "eight bits".
        self.put(8, 4);
        self.put(1 << 33, 36);
        self.put(1, 1);
        self.put(3, 3);
        self.put(254, 8);
    }

    /// Writes a group of five prefix codes. The four for colours have tables of 512 bytes each.
    fn group(&mut self) {
        (0..4).for_each(|_| self.bytewise());
        self.single(0);
    }

    /// Writes a symbol of a [`bytewise`](Self::bytewise) code.
    fn literal(&mut self, byte: usize) {
        self.put(usize::from((byte as u8).reverse_bits()), 8);
    }
}

fn webp(side: usize, stream: BitWriter) -> Vec<u8> {
    let mut header = BitWriter::default();
    header.put(0x2F, 8);
    header.put(side - 1, 14);
    header.put(side - 1, 14);
    header.put(0, 4);
    let data = [header.bytes, stream.bytes, vec![0; 8]].concat();
    let length = u32::try_from(data.len()).unwrap().to_le_bytes();
    [b"RIFF\0\0\0\0WEBPVP8L", &length[..], &data].concat()
}

/// Returns a picture of `side` x `side` pixels. Each block of 4 x 4 pixels uses the next number of `names` as its group of codes.
fn webp_of_groups(side: usize, names: &[usize]) -> Vec<u8> {
    let mut stream = BitWriter::default();
    // No transform, no colour cache, and a group of codes for each block of 4 x 4 pixels.
    stream.put(0b100, 3);
    stream.put(0, 3);
    stream.put(0, 1);
    stream.group();
    let blocks = side.div_ceil(4).pow(2);
    for name in names.iter().cycle().take(blocks) {
        stream.literal(name & 0xFF);
        stream.literal(name >> 8);
        stream.literal(0);
        stream.literal(0);
    }
    let groups = names.iter().take(blocks).max().unwrap() + 1;
    (0..groups).for_each(|_| stream.group());
    for pixel in 0..side * side {
        (0..4).for_each(|channel| stream.literal(pixel * channel));
    }
    webp(side, stream)
}

#[test]
fn webp_with_65536_groups_for_one_pixel_allocates_one_group() {
    let file = webp_of_groups(1, &[0xFFFF]);
    assert!(file.len() > 1 << 20, "all groups are there");
    let (made, memory) = make(Format::WebP, &file, &|| false);
    assert_eq!(made.map(|made| (made.width, made.height)), Ok((1, 1)));
    assert!(memory < 6 << 20, "{memory}");
}

#[test]
fn webp_that_uses_more_tables_than_allowed_is_refused() {
    let names: Vec<usize> = (0..16_500).collect();
    let (made, memory) = make(Format::WebP, &webp_of_groups(516, &names), &|| false);
    assert_eq!(made, Err(ImageError::TooMuchMemory));
    assert!(memory < 40 << 20, "stated for the tables that are allowed: {memory}");
}

#[test]
fn webp_that_uses_thousands_of_groups_is_decoded() {
    let names: Vec<usize> = (0..4096).collect();
    let (made, _) = make(Format::WebP, &webp_of_groups(256, &names), &|| false);
    assert!(made.is_ok(), "{made:?}");
}

/// Returns how often the budget is checked while `file` becomes a photo.
fn checks_of(format: Format, file: &[u8]) -> u32 {
    let checks = Cell::new(0);
    let (made, _) = make(format, file, &|| {
        checks.set(checks.get() + 1);
        false
    });
    assert!(made.is_ok(), "{made:?}");
    checks.get()
}

#[test]
fn webp_checks_the_budget_for_each_group_and_twice_for_each_row() {
    let few = checks_of(Format::WebP, &webp_of_groups(4, &[0]));
    let groups = checks_of(Format::WebP, &webp_of_groups(4, &[999]));
    assert!(groups >= few + 999, "{groups} checks for 1000 groups, {few} for one");
    let rows = checks_of(Format::WebP, &webp_of_groups(404, &[0]));
    assert!(rows >= few + 2 * 400, "{rows} checks for 404 rows, {few} for four");
}

/// Returns a PNG with the chunks `more` before its one chunk of image data.
fn png(side: u32, more: &[u8], data: &[u8]) -> Vec<u8> {
    let side = side.to_be_bytes();
    let header = chunk(b"IHDR", &[&side[..], &side, &[8, 0, 0, 0, 0]].concat());
    [b"\x89PNG\r\n\x1a\n", &header[..], more, &chunk(b"IDAT", data), &chunk(b"IEND", b"")].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&kind[..], data].concat();
    let crc = named.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    });
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], &named, &(!crc).to_be_bytes()].concat()
}

/// Returns a zlib stream of `raw` after `blocks` empty blocks of ten bits each, with the fixed codes.
fn zlib(raw: &[u8], blocks: usize) -> Vec<u8> {
    // Four blocks of ten bits fill five bytes.
    let empty = (0..4).fold(0u64, |bits, block| bits | 2 << (10 * block)).to_le_bytes();
    let length = u16::try_from(raw.len()).unwrap();
    let (a, b) = raw.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let mut stream = b"\x78\x01".to_vec();
    stream.extend(empty[..5].repeat(blocks / 5));
    stream.push(1);
    stream.extend([length, !length].iter().flat_map(|length| length.to_le_bytes()));
    stream.extend(raw);
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// Returns long files with pictures of one pixel. A decoder must check its budget several times in each.
fn long_files() -> Vec<(Format, &'static str, Vec<u8>)> {
    const LEN: usize = 600_000;
    let row = b"\0\x80";
    let gif = |blocks: &[u8]| {
        let head = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
        let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";
        [&head[..], blocks, frame].concat()
    };
    let bmp = {
        let mut head =
            b"BM\0\0\0\0\0\0\0\0\x3a\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x08\0\x01\0\0\0".to_vec();
        head.extend([0u8; 12]);
        head.extend(b"\x01\0\0\0\0\0\0\0\x80\x80\x80\0");
        [&head[..], &b"\0\x02\0\0".repeat(LEN / 4), b"\x01\0\0\x01"].concat()
    };
    let mut unused = BitWriter::default();
    unused.put(0b100, 3);
    unused.put(0, 4);
    [255, 0xFF].iter().for_each(|symbol| unused.single(*symbol));
    (0..3).for_each(|_| unused.single(0));
    (0..65_536).for_each(|_| (0..5).for_each(|_| unused.single(0)));
    vec![
        (Format::Png, "empty blocks", png(1, &[], &zlib(row, LEN))),
        (Format::Png, "tiny chunks", png(1, &chunk(b"teST", b"").repeat(LEN / 12), &zlib(row, 0))),
        (Format::WebP, "unused groups", webp(1, unused)),
        (
            Format::Gif,
            "comments",
            gif(&b"!\xfe\xff"
                .iter()
                .chain(&[7; 255])
                .chain(&[0])
                .copied()
                .collect::<Vec<_>>()
                .repeat(LEN / 259)),
        ),
        (Format::Bmp, "moves by nothing", bmp),
    ]
}

#[test]
fn disconnected_client_stops_each_decoder_at_any_point() {
    for (format, name, file) in long_files() {
        let asked = Cell::new(0u32);
        let count = || asked.set(asked.get() + 1);
        let (made, _) = make(format, &file, &|| {
            count();
            false
        });
        assert!(made.is_ok(), "{format:?} of {name}: {made:?}");
        let all = asked.get();
        assert!(all >= 10, "{format:?} of {name} asked {all} times");
        for last in 1..all.min(20) {
            asked.set(0);
            let (made, _) = make(format, &file, &|| {
                count();
                asked.get() > last
            });
            assert_eq!(made, Err(ImageError::Abandoned), "{format:?} of {name}");
            assert_eq!(asked.get(), last + 1, "{format:?} of {name} went on");
        }
    }
}

#[test]
fn png_with_complete_image_data_needs_no_end() {
    let whole = png(1, &[], &zlib(b"\0\x80", 0));
    let (expected, _) = make(Format::Png, &whole, &|| false);
    assert!(expected.is_ok());
    let pixels = &whole[..whole.len() - 12];
    for rest in [&b""[..], b"\0\0\0\0IE", &[0; 700], b"\xff\xff\xff\xffJUNKJUNKJUNK", b"\0\0\0\0IEND\0\0\0\0"]
    {
        let (made, _) = make(Format::Png, &[pixels, rest].concat(), &|| false);
        assert_eq!(made, expected, "{rest:?}");
    }
    for cut in 0..pixels.len() {
        let (made, _) = make(Format::Png, &pixels[..cut], &|| false);
        assert_eq!(made, Err(ImageError::Truncated), "cut at {cut}");
    }
}

#[test]
fn compressed_png_without_an_end_gives_its_last_rows() {
    for side in 1..60 {
        let picture =
            image::RgbImage::from_fn(side, side, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let file = file.into_inner();
        let (expected, _) = make(Format::Png, &file, &|| false);
        assert!(expected.is_ok(), "{side}: {expected:?}");
        let (made, _) = make(Format::Png, &file[..file.len() - 12], &|| false);
        assert_eq!(made, expected, "{side}");
    }
}

/// Returns the sRGB of one pixel of `colour` in a PNG with a chunk `cICP`.
fn colour_with(code_points: [u8; 4], colour: [u8; 3], profile: Option<&moxcms::ColorProfile>) -> [u8; 3] {
    let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
    let named = profile.map_or(Vec::new(), |profile| {
        chunk(b"iCCP", &[b"p\0\0", &zlib(&profile.encode().unwrap(), 0)[..]].concat())
    });
    let data = chunk(b"IDAT", &zlib(&[&[0][..], &colour].concat(), 0));
    let file = [b"\x89PNG\r\n\x1a\n", &header[..], &chunk(b"cICP", &code_points), &named, &data].concat();
    let made = make(Format::Png, &file, &|| false).0.unwrap();
    let image = turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap();
    [image.pixels[0], image.pixels[1], image.pixels[2]]
}

#[test]
fn code_points_of_a_png_override_its_profile() {
    let (p3, srgb) = (moxcms::ColorProfile::new_display_p3(), moxcms::ColorProfile::new_srgb());
    let close = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 4);
    let colour = [231, 60, 40];
    // These values come from the matrices of the standards.
    let converted = [250, 31, 14];
    for profile in [None, Some(&srgb)] {
        let made = colour_with([12, 13, 0, 1], colour, profile);
        assert!(close(made, converted), "{made:?}");
    }
    let made = colour_with([1, 13, 0, 1], colour, Some(&p3));
    assert!(close(made, colour), "{made:?}");
    // Code points of unknown primaries or of limited range are ignored: the profile decides.
    for points in [[2, 2, 0, 1], [1, 13, 0, 0]] {
        let made = colour_with(points, colour, Some(&p3));
        assert!(close(made, converted), "{points:?}: {made:?}");
    }
}

#[test]
fn apple_png_is_unsupported() {
    let file = [b"\x89PNG\r\n\x1a\n", &chunk(b"CgBI", &[0x50, 0, 0x20, 2])[..], &[0; 60]].concat();
    assert_eq!(make(Format::Png, &file, &|| false).0, Err(ImageError::Unsupported));
}
