//! Tests files that only libjpeg-turbo decodes: which are complete, what they mean, and what they may cost.

use std::time::{Duration, Instant};

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::survey::Survey;
use crate::imaging::work_budget::processor_time;
use crate::imaging::{Encoded, Format, ImageError, Recipe, WorkBudget, Workspace, make};

const RECIPE: Recipe = Recipe {
    max_dim: 160,
    quality: 90,
    max_pixels: 120_000_000,
    memory: 208 << 20,
    processor_time: Duration::from_secs(5),
    ..Recipe::TEST
};

fn made(file: &[u8]) -> Result<Encoded, ImageError> {
    make(Format::Jpeg, file, &RECIPE, &mut Workspace::default())
}

fn survey(file: &[u8]) -> Survey {
    Survey::new(file, &WorkBudget::new(&RECIPE, &|| false)).unwrap()
}

/// Encodes ramps with some texture, with `N` samples a pixel.
fn encoded<const N: usize>(format: PixelFormat, set: impl Fn(&mut Compressor)) -> Vec<u8> {
    let (width, height) = (150, 110);
    let mut pixels = Vec::new();
    for (y, x, channel) in
        (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..N).map(move |channel| (y, x, channel))))
    {
        pixels.push(u8::try_from((x + y * (channel + 1) + (x * 7 + y * 13) % 17) % 256).unwrap());
    }
    let mut encoder = Compressor::new().unwrap();
    encoder.set_quality(90).unwrap();
    encoder.set_subsamp(Subsamp::Sub2x2).unwrap();
    set(&mut encoder);
    encoder
        .compress_to_vec(Image { pixels: pixels.as_slice(), width, pitch: N * width, height, format })
        .unwrap()
}

fn progressive() -> Vec<u8> {
    encoded::<3>(PixelFormat::RGB, |encoder| encoder.set_progressive(true).unwrap())
}

fn places(file: &[u8], marker: u8) -> Vec<usize> {
    file.windows(2).enumerate().filter(|(_, pair)| *pair == [0xFF, marker]).map(|(at, _)| at).collect()
}

#[test]
fn progressive_jpeg_with_complete_scans_needs_no_end() {
    let whole = progressive();
    let clean = made(&whole).unwrap();
    let open = &whole[..whole.len() - 2];
    assert!(survey(open).is_complete && !survey(open).has_end);
    assert_eq!(made(open).as_ref(), Ok(&clean));
    let filled = [open, &[0; 500]].concat();
    assert_eq!(made(&filled), Err(ImageError::Truncated), "zeros could be the rest of a scan");
    assert_eq!(made(&[open, &[0xFF]].concat()).as_ref(), Ok(&clean), "half an end");
}

#[test]
fn progressive_jpeg_cut_before_its_last_bits_is_truncated() {
    let whole = progressive();
    let clean = made(&whole).unwrap();
    let end = whole.len() - 2;
    let last_scan = *places(&whole, 0xDA).last().unwrap();
    let mut refused = 0;
    for cut in (0..end).rev().step_by(3) {
        for filling in [0, 3, 500] {
            match made(&[&whole[..cut], &vec![0; filling]].concat()) {
                Ok(made) => assert!(made == clean && cut + 4 > end, "cut at {cut} of {end}"),
                Err(_) => refused += 1,
            }
        }
        assert!(cut > last_scan || !survey(&whole[..cut]).is_complete);
    }
    assert!(refused > 100);
}

#[test]
fn sequential_jpeg_without_end_and_a_scan_is_truncated() {
    let colour = encoded::<3>(PixelFormat::RGB, |encoder| encoder.set_arithmetic(true).unwrap());
    let open = &colour[..colour.len() - 2];
    assert_eq!(made(open), made(&colour));
    let mut other = colour.clone();
    let scan = places(&colour, 0xDA)[0];
    // The scan declares only the first component.
    other.splice(scan..scan + 14, *b"\xff\xda\0\x08\x01\x01\0\0\x3f\0");
    assert!(!survey(&other).is_complete);
    assert_eq!(made(&other[..other.len() - 2]), Err(ImageError::Truncated));
}

#[test]
fn lossless_jpeg_of_grey_or_colour_is_decoded() {
    let grey = encoded::<1>(PixelFormat::GRAY, |encoder| {
        encoder.set_lossless(true).unwrap();
        encoder.set_subsamp(Subsamp::Gray).unwrap();
    });
    assert_eq!(places(&grey, 0xC3).len(), 1);
    let expected = turbojpeg::decompress(&grey, PixelFormat::GRAY).unwrap();
    let output = turbojpeg::decompress(&made(&grey).unwrap().bytes, PixelFormat::GRAY).unwrap();
    assert_eq!((output.width, output.height), (expected.width, expected.height));
    let far = output.pixels.iter().zip(&expected.pixels).filter(|(a, b)| a.abs_diff(**b) > 24).count();
    assert!(far < 20, "{far} of {} pixels", output.pixels.len());
    let colour = encoded::<3>(PixelFormat::RGB, |encoder| {
        encoder.set_lossless(true).unwrap();
        encoder.set_subsamp(Subsamp::None).unwrap();
    });
    assert!(made(&colour).is_ok());
    for file in [grey, colour] {
        assert_eq!(made(&file[..file.len() / 2]), Err(ImageError::Truncated));
        assert!(survey(&file).coefficients > 0 && survey(&file).is_complete);
    }
}

#[test]
fn unknown_adobe_transform_is_read_as_the_decoder_does() {
    let file = progressive();
    let clean = made(&file).unwrap();
    for transform in [1, 2, 3, 255] {
        let adobe = [&b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"[..], &[transform]].concat();
        // Replaces the JFIF segment, which would override Adobe's.
        let marked = [&file[..2], &adobe, &file[20..]].concat();
        assert_eq!(made(&marked).as_ref(), Ok(&clean), "{transform}");
    }
}

fn segment(marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker], &length[..], payload].concat()
}

/// Returns a grey JPEG of `side` x `side` pixels up to its first scan.
fn start(frame: u8, side: u16) -> Vec<u8> {
    let mut file = b"\xff\xd8".to_vec();
    file.extend(segment(0xDB, &[&[0][..], &[1; 64]].concat()));
    file.extend(segment(
        frame,
        &[&[8][..], &side.to_be_bytes(), &side.to_be_bytes(), &[1, 1, 0x11, 0]].concat(),
    ));
    // A code of one bit for 0, and codes of four bits for runs of up to 2^14 empty blocks.
    file.extend(segment(0xC4, &[&[0, 1][..], &[0; 15], &[0]].concat()));
    let runs: Vec<u8> = (0..15).map(|run| run << 4).collect();
    file.extend(segment(0xC4, &[&[0x10, 0, 0, 0, 15][..], &[0; 12], &runs].concat()));
    file
}

fn scan(first: u8, last: u8, bits: u8) -> Vec<u8> {
    segment(0xDA, &[1, 1, 0, first, last, bits])
}

/// Returns a progressive JPEG with `scans` refinements of all coefficients, each of them a few bytes.
fn refinements(side: u16, scans: usize) -> Vec<u8> {
    let mut file = start(0xC2, side);
    file.extend(scan(0, 0, 1));
    let blocks = usize::from(side).div_ceil(8).pow(2);
    file.extend(vec![0; blocks / 8 + 1]);
    for _ in 0..scans {
        file.extend(scan(1, 63, 0x10));
        // Each run: 1110 and 14 bits, of 2^14 + 2^14 - 1 blocks.
        let bits = "111011111111111111".repeat(blocks.div_ceil((1 << 15) - 1));
        let bytes = bits
            .as_bytes()
            .chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')) << (8 - bits.len()));
        for byte in bytes {
            file.push(byte);
            file.extend((byte == 0xFF).then_some(0));
        }
    }
    file.extend(b"\xff\xd9");
    file
}

#[test]
fn scans_that_cost_too_much_are_refused_before_they_are_decoded() {
    let arithmetic = [&start(0xC9, 9000), &scan(0, 63, 0)[..], &[0; 100], b"\xff\xd9"].concat();
    let split =
        [start(0xC9, 7000), [scan(0, 63, 0), vec![0; 9]].concat().repeat(9), b"\xff\xd9".to_vec()].concat();
    let interval = segment(0xDD, &[0, 1]);
    let restarts = [start(0xC0, 9000), interval, scan(0, 63, 0).repeat(12), b"\xff\xd9".to_vec()].concat();
    for (name, file) in [
        ("refinements", refinements(9000, 90)),
        ("more scans than any encoder writes", refinements(64, 100)),
        ("arithmetic codes", arithmetic),
        ("arithmetic codes in several scans", split),
        ("restarts that are missing", restarts),
    ] {
        assert!(file.len() < 1 << 20, "{name}");
        let started = Instant::now();
        assert_eq!(made(&file), Err(ImageError::TooSlow), "{name}");
        assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn expensive_scans_decode_within_the_surveyed_time() {
    for file in [refinements(2000, 60), refinements(2000, 0), progressive()] {
        let survey = survey(&file);
        let limits = super::Limits { scans: 100, pixels: 1 << 27, memory: 208 << 20 };
        // Other programs on the machine make a run slower, not faster, and may do so for seconds.
        let mut used = (0..20).map(|_| {
            let started = processor_time();
            let _ = super::ffi::decode(&file, 1, &limits, &mut Workspace::default());
            processor_time() - started
        });
        assert!(used.any(|used| used < survey.longest), "not once within {:?}", survey.longest);
    }
}

#[test]
fn survey_of_many_segments_stops_when_the_client_disconnects() {
    let many = [&b"\xff\xd8"[..], &b"\xff\xfe\0\x02".repeat(1 << 15)].concat();
    let result = Survey::new(&many, &WorkBudget::new(&RECIPE, &|| true));
    assert_eq!(result.unwrap_err(), ImageError::Abandoned);
}

#[test]
fn second_decode_is_refused_if_the_first_used_the_budget() {
    let recipe = Recipe { processor_time: Duration::from_millis(100), ..RECIPE };
    let longest = Duration::from_millis(45);
    let budget = WorkBudget::new(&recipe, &|| false);
    assert_eq!(budget.admit(longest), Ok(()));
    let start = processor_time();
    while processor_time() - start < Duration::from_millis(60) {}
    assert_eq!(budget.admit(longest), Err(ImageError::TooSlow));
    let gone = WorkBudget::new(&recipe, &|| true);
    assert_eq!(gone.admit(Duration::ZERO), Err(ImageError::Abandoned));
}

#[test]
fn coefficients_that_do_not_fit_the_memory_are_refused() {
    let file = refinements(10_800, 1);
    assert!(survey(&file).coefficients > RECIPE.memory);
    assert_eq!(made(&file), Err(ImageError::TooMuchMemory));
}

#[test]
fn many_segments_cost_little_and_change_nothing() {
    let file = progressive();
    let clean = made(&file).unwrap();
    for segment in
        [&b"\xff\xfe\0\x02"[..], b"\xff\xe2\0\x02", b"\xff\xe2\0\x10ICC_PROFILE\0\x01\x01", b"\xff"]
    {
        let many = [&file[..2], &segment.repeat((2 << 20) / segment.len()), &file[2..]].concat();
        let started = Instant::now();
        assert_eq!(made(&many).as_ref(), Ok(&clean), "{segment:x?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{segment:x?}: {:?}", started.elapsed());
    }
}
