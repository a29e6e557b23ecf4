//! Broken and forged files: no panic, and no picture that libjpeg-turbo does not give without a warning.

use proptest::prelude::*;
use turbojpeg::raw;

use super::reference::{Recipe, encode};
use super::*;

fn file(restart: usize, quality: usize) -> Vec<u8> {
    let recipe = Recipe {
        subsampling: raw::TJSAMP_TJSAMP_420,
        quality,
        restart,
        optimise: quality > 90,
        progressive: false,
        colours: None,
    };
    encode(&picture(70, 50, 3), 70, 50, recipe)
}

/// Decodes at all divisors and asserts that each success equals libjpeg-turbo's result.
pub(super) fn assert_harmless(file: &[u8]) {
    for divisor in [1, 2, 4, 8] {
        let ours = decode(file, divisor);
        let portably = decode_portably(file, divisor);
        match (ours, portably) {
            (Some(Ok(ours)), Some(Ok(portably))) => {
                assert_eq!(ours.samples, portably.samples);
                assert_equal(&ours, file, divisor, "what was decoded");
            }
            (ours, portably) => {
                assert_eq!(ours.map(Result::err), portably.map(Result::err));
            }
        }
    }
}

pub(super) fn is_irregular(file: &[u8]) -> bool {
    decode(file, 1).is_none_or(|result| result.is_err())
}

#[test]
fn truncated_file_is_irregular() {
    for restart in [0, 3] {
        let file = file(restart, 85);
        let end = file.len() - 2;
        // The last byte may consist of padding.
        for length in 0..end - 1 {
            assert!(is_irregular(&file[..length]), "{length} of {}", file.len());
        }
        assert_decodes(&file[..end], "only the end is missing");
        assert_decodes(&file[..end + 1], "half an end");
    }
}

#[test]
fn what_follows_the_last_pixel_is_judged_without_second_decode() {
    for restart in [0, 3] {
        let file = file(restart, 85);
        let end = file.len() - 2;
        let comment = [0xFF, 0xFE, 0, 5, 0xFF, 0xD9, 7];
        let decodes = |name: &str, bytes: &[u8]| {
            assert_decodes(&[&file[..end], bytes, &file[end..]].concat(), name);
            assert_decodes(&[&file[..end], bytes].concat(), &format!("{name} and no end"));
        };
        decodes("the restart marker of an interval without MCUs", &[0xFF, 0xD0]);
        decodes("any number of restart markers", &[0xFF, 0xD7, 0xFF, 0xD7, 0xFF, 0xFF, 0xD0]);
        decodes("a marker without meaning", &[0xFF, 0x01]);
        decodes("fill bytes", &[0xFF; 9]);
        decodes("padding", &[0; 40]);
        decodes("garbage before the end", &[7; 40]);
        decodes("stuffed bytes before the end", &[0xFF, 0, 0xFF, 0, 9, 0xFF, 0xFF, 0]);
        decodes("a comment", &comment);
        decodes("a comment, then garbage", &[&comment[..], &[1, 2, 3]].concat());
        decodes("an application's segment", &[0xFF, 0xE5, 0, 2]);
        let is_left = |name: &str, bytes: &[u8]| {
            let file = [&file[..end], bytes, &file[end..]].concat();
            let reason = decode(&file, 1).unwrap().err();
            assert_eq!(reason, Some(RegularError::Fallback(FallbackReason::Trailer)), "{name}");
        };
        is_left("garbage before another marker", &[&[0; 9][..], &[0xFF, 0xD0]].concat());
        is_left("a stuffed byte before another marker", &[0xFF, 0, 0xFF, 0xD0]);
        is_left("a height after the scan", &[0xFF, 0xDC, 0, 4, 0, 50]);
        is_left("another scan", &[0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
        is_left("a second start", &[0xFF, 0xD8]);
        is_left("a table", &[0xFF, 0xDB, 0, 2]);
        is_left("a JFIF header", &[0xFF, 0xE0, 0, 2]);
        is_left("a reserved marker", &[0xFF, 0x02]);
        is_left("a segment that is cut off", &[0xFF, 0xFE, 0xFF]);
        is_left("a segment shorter than its length field", &[0xFF, 0xFE, 0, 1]);
    }
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut file = file(0, 85);
    file.extend_from_slice(&[0xFF, 0xD8, 0xFF, 0xE1, 1, 2, 3, 0xFF, 0xD9]);
    assert_decodes(&file, "bytes behind the end");
}

#[test]
fn irregular_files_are_irregular() {
    let plain = file(0, 85);
    let restarted = file(3, 85);
    let insert = |at: usize, bytes: &[u8]| [&plain[..at], bytes, &plain[at..]].concat();
    assert!(is_irregular(&insert(2, &[0])), "garbage between segments");
    assert!(is_irregular(&insert(2, &[0xFF, 0xD8])), "two starts");
    assert!(!is_irregular(&insert(2, &[0xFF, 0xFE, 0, 3, 7])), "a comment in front");
    let place = |file: &[u8], marker: u8| file.windows(2).position(|pair| pair == [0xFF, marker]).unwrap();
    for (marker, forged) in [(0xD1, 0xD2), (0xD1, 0xD0)] {
        let mut file = restarted.clone();
        let at = place(&file, marker) + 1;
        file[at] = forged;
        assert!(is_irregular(&file), "restart markers out of order");
    }
    let mut missing = restarted.clone();
    let at = place(&missing, 0xD0);
    missing.drain(at..at + 2);
    assert!(is_irregular(&missing), "a restart marker that is missing");
    let mut extra = restarted.clone();
    extra.insert(place(&extra, 0xD0), 7);
    assert!(is_irregular(&extra), "a byte in front of a restart marker");
    for (marker, offset, byte) in [(0xC0, 4, 12), (0xC0, 5, 0), (0xDA, 11, 5), (0xDA, 12, 1), (0xDA, 13, 1)] {
        let mut file = plain.clone();
        let at = place(&file, marker) + offset;
        file[at] = byte;
        if (marker, offset) == (0xC0, 5) {
            file[at + 1] = 0;
        }
        assert!(is_irregular(&file), "{marker:x} {offset}");
    }
    for marker in [0xC2, 0xC3, 0xC9] {
        let mut file = plain.clone();
        let at = place(&file, 0xC0) + 1;
        file[at] = marker;
        assert!(is_irregular(&file), "frame {marker:x}");
    }
    let mut extended = plain.clone();
    let at = place(&extended, 0xC0) + 1;
    extended[at] = 0xC1;
    assert_decodes(&extended, "an extended frame of 8 bits");
}

/// Returns the file with `padding` before each restart marker and before its end.
fn padded(file: &[u8], padding: &[u8]) -> Vec<u8> {
    let scan = file.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let mut padded = file[..scan].to_vec();
    for (at, byte) in file.iter().enumerate().skip(scan) {
        if *byte == 0xFF && matches!(file.get(at + 1), Some(0xD0..=0xD7 | 0xD9)) {
            padded.extend(padding);
        }
        padded.push(*byte);
    }
    padded
}

#[test]
fn padding_before_restart_markers_is_skipped() {
    let file = file(3, 85);
    let ones = [0xFF, 0].repeat(5);
    let filled = [0, 0, 0, 0xFF, 0xFF];
    for padding in [&[0][..], &[0; 2], &[0; 9], &[0; 20_000], &ones, &filled] {
        assert_decodes(&padded(&file, padding), &format!("{} bytes of padding", padding.len()));
    }
    for surprise in [&[0, 7][..], &[7, 0], &[0, 0xFF, 0], &[0xFF, 0, 0]] {
        assert!(is_irregular(&padded(&file, surprise)), "{surprise:x?}");
    }
    let mut misplaced = padded(&file, &[0, 0]);
    let at = misplaced.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    misplaced[at + 1] = 0xD2;
    assert!(is_irregular(&misplaced), "another restart marker than the next one");
}

#[test]
fn large_picture_without_data_ends_at_once() {
    let mut file = file(0, 85);
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    let start = std::time::Instant::now();
    assert_eq!(decode(&file, 1).unwrap().err(), Some(RegularError::Fallback(FallbackReason::Truncated)));
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn flipped_bits_are_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8), 1..4),
        restart in 0_usize..4,
        quality in prop::sample::select(vec![20, 60, 95, 100]),
    ) {
        let mut file = file(restart, quality);
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1_u8 << bit;
        }
        assert_harmless(&file);
    }

    #[test]
    fn forged_headers_are_harmless(at in 0_usize..700, byte: u8, restart in 0_usize..2) {
        let mut file = file(restart, 75);
        file[at] = byte;
        assert_harmless(&file);
    }

    #[test]
    fn random_data_after_a_good_header_is_harmless(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        let file = file(0, 75);
        let scan = file.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 14;
        assert_harmless(&[&file[..scan], &data, &[0xFF, 0xD9]].concat());
    }

    #[test]
    fn random_bytes_are_harmless(data in prop::collection::vec(any::<u8>(), 0..500)) {
        assert_harmless(&data);
        assert_harmless(&[&[0xFF, 0xD8, 0xFF], data.as_slice()].concat());
    }
}
