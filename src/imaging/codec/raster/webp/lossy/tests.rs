//! Compares the decoder with that of the `image-webp` crate, and its vector code with portable code.

use std::cell::Cell;
use std::io::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::reference::{agree, decode};
use crate::imaging::codec::raster::webp::WebP;
use crate::imaging::error::ImageError;
use crate::imaging::{Recipe, WorkBudget};

const RECIPE: Recipe = Recipe {
    max_pixels: 1 << 26,
    timeout: Duration::from_secs(3600),
    processor_time: Duration::from_secs(3600),
    ..Recipe::TEST
};

/// Returns a key frame of this size (RFC 6386, section 9.1).
fn frame((width, height): (u16, u16), first: &[u8], rest: &[u8]) -> Vec<u8> {
    let shown = 0x10;
    let tag = u32::try_from(first.len()).unwrap() << 5 | shown;
    let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [&tag.to_le_bytes()[..3], b"\x9d\x01\x2a", &sides, first, rest].concat()
}

/// Returns what comes after the first partition: lengths, and partitions of these bytes.
fn partitions(parts: &[&[u8]]) -> Vec<u8> {
    let lengths = parts[..parts.len() - 1].iter().flat_map(|part| {
        let [a, b, c, _] = u32::try_from(part.len()).unwrap().to_le_bytes();
        [a, b, c]
    });
    lengths.chain(parts.concat()).collect()
}

#[test]
fn truncated_stream_is_refused() {
    let rest_len = 20_000;
    let (stream, whole) = (1..100)
        .find_map(|seed: u32| {
            let mut noise = seed;
            let mut byte = || {
                noise = noise.wrapping_mul(0x9E37_79B1) ^ noise >> 15;
                noise.to_be_bytes()[0]
            };
            let first: Vec<u8> = [0].into_iter().chain((0..400).map(|_| byte())).collect();
            let rest: Vec<u8> = (0..rest_len).map(|_| byte()).collect();
            let stream = frame((64, 64), &first, &rest);
            // Many heads of noise name partitions that are longer than the stream.
            decode(&stream, 64, 64, false).ok().map(|whole| (stream, whole))
        })
        .unwrap();
    let start = stream.len() - rest_len;
    let used = (0..rest_len).rev().find(|len| {
        let cut = &stream[..start + len];
        decode(cut, 64, 64, false).is_err_and(|error| error == ImageError::Truncated)
    });
    let used = used.unwrap();
    assert!(used > 100, "{used}");
    for cut in (0..used).step_by(7) {
        let cut = &stream[..start + cut];
        assert_eq!(decode(cut, 64, 64, false).err(), Some(ImageError::Truncated));
    }
    // The decoder notices the end of a stream up to a byte late.
    assert!(decode(&stream[..start + used + 2], 64, 64, false) == Ok(whole));
}

#[test]
fn reserved_colour_space_is_corrupt() {
    let stream = frame((16, 16), &[0x80; 400], &[0; 400]);
    assert_eq!(decode(&stream, 16, 16, false).err(), Some(ImageError::Corrupt));
}

#[test]
fn partition_that_no_encoder_writes_is_corrupt() {
    let mut rest = vec![0; 400];
    let first = [&[0; 40][..], &[7; 400]].concat();
    assert!(decode(&frame((16, 16), &first, &rest), 16, 16, false).is_ok());
    rest[0] = 255;
    assert_eq!(decode(&frame((16, 16), &first, &rest), 16, 16, false).err(), Some(ImageError::Corrupt));
}

#[test]
fn lossy_pictures_of_the_corpus_are_those_of_the_reference() {
    let Some(corpus) = std::env::var_os("VINTEDBOT_CORPUS") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: VINTEDBOT_CORPUS does not name the corpus");
        return;
    };
    let mut pictures = 0;
    let mut directories = vec![std::path::PathBuf::from(corpus)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "webp") {
                let file = std::fs::read(path).unwrap();
                let budget = WorkBudget::new(&RECIPE, &|| false);
                let Ok(picture) = WebP::open(&budget.input(&file), &RECIPE) else { continue };
                pictures += usize::from(picture.assert_decoders_agree());
            }
        }
    }
    assert!(pictures > 3, "{pictures}");
}

/// Any bits decode to valid symbols, and random bits produce each symbol with the probability that the stream assigns to it.
#[test]
fn random_streams_give_the_samples_of_the_reference() {
    let accepted = Cell::new(0);
    let header = prop::collection::vec(any::<u8>(), 40);
    let (first, rest) =
        (prop::collection::vec(any::<u8>(), 0..1500), prop::collection::vec(any::<u8>(), 0..30_000));
    let config = ProptestConfig { cases: 400, ..ProptestConfig::default() };
    proptest!(config, |(size in (1u16..70, 1u16..70), header in header, first in first, rest in rest)| {
        let mut first = [header, first].concat();
        // The first bit is that of a reserved colour space.
        first[0] &= 0x7F;
        for count in [1, 2, 4, 8] {
            let mut parts: Vec<&[u8]> = rest.chunks(rest.len().div_ceil(count).max(1)).collect();
            parts.resize(count, &[]);
            let stream = frame(size, &first, &partitions(&parts));
            accepted.set(accepted.get() + usize::from(agree(&stream, size.0.into(), size.1.into())));
        }
    });
    // Most are refused: their heads name other numbers of partitions, and so lengths that the stream does not have.
    assert!(accepted.get() >= 50, "{}", accepted.get());
}
