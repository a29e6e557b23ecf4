//! Progressive files: those of libjpeg-turbo, and those of the encoder in [`script`](super::script).

use proptest::prelude::*;
use turbojpeg::raw;

use super::hostile::{assert_harmless, is_irregular};
use super::reference::{Recipe, encode};
use super::script::{Coefficients, Script, segment};
use super::*;

fn file(
    subsampling: raw::TJSAMP,
    (width, height): (usize, usize),
    quality: usize,
    restart: usize,
) -> Vec<u8> {
    let recipe = Recipe { subsampling, quality, restart, optimise: true, progressive: true, colours: None };
    encode(&picture(width, height, 3), width, height, recipe)
}

#[test]
fn every_sampling_and_size_is_equal() {
    for subsampling in SAMPLINGS {
        for size in SIZES {
            for restart in [0, 1, 3, 50] {
                let file = file(subsampling, size, 90, restart);
                assert_decodes(&file, &format!("{size:?}, sampling {subsampling}, restart {restart}"));
            }
        }
    }
}

#[test]
fn all_qualities_are_equal() {
    for quality in [1, 5, 30, 75, 95, 98, 100] {
        for subsampling in [raw::TJSAMP_TJSAMP_420, raw::TJSAMP_TJSAMP_444] {
            assert_decodes(&file(subsampling, (150, 110), quality, 0), &format!("quality {quality}"));
        }
    }
}

/// Returns a script that sends each band of each component from the bit `low` on.
fn script(components: usize, interleaved: bool, low: u32, cuts: &[usize]) -> Vec<Script> {
    let mut scans = Vec::new();
    let groups: Vec<Vec<usize>> = if interleaved {
        vec![(0..components).collect()]
    } else {
        (0..components).map(|one| vec![one]).collect()
    };
    let mut bands: Vec<(usize, usize)> = Vec::new();
    let mut first = 1;
    for cut in cuts {
        if (first..63).contains(cut) {
            bands.push((first, *cut));
            first = cut + 1;
        }
    }
    bands.push((first, 63));
    for bit in (0..=low).rev() {
        let refines = bit < low;
        for group in &groups {
            scans.push(Script { components: group.clone(), band: (0, 0), low: bit, refines });
        }
        // The bands of one bit in turns, from another end each time.
        for component in 0..components {
            for at in 0..bands.len() {
                let band = bands[if bit % 2 == 0 { at } else { bands.len() - 1 - at }];
                scans.push(Script { components: vec![component], band, low: bit, refines });
            }
        }
    }
    scans
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_script_is_equal(
        (width, height) in (1_usize..90, 1_usize..60),
        sampling in 0_usize..6,
        (seed, density) in (any::<u32>(), prop::sample::select(vec![0_u32, 3, 20, 90, 256])),
        restart in prop::sample::select(vec![0_usize, 0, 1, 5, 40]),
        interleaved: bool,
        low in 0_u32..4,
        mut cuts in prop::collection::vec(1_usize..63, 0..5),
    ) {
        cuts.sort_unstable();
        let factors = match sampling {
            0 => vec![(1, 1)],
            1 => vec![(1, 1); 3],
            2 => vec![(2, 1), (1, 1), (1, 1)],
            3 => vec![(1, 2), (1, 1), (1, 1)],
            _ => vec![(2, 2), (1, 1), (1, 1)],
        };
        let script = script(factors.len(), interleaved, low, &cuts);
        let picture = Coefficients { width, height, factors, seed, density, restart };
        let file = picture.encode(&script);
        if script.len() <= 100 {
            assert_decodes(&file, &format!("{picture:?} {script:?}"));
        }
    }
}

/// A picture with one block a component in an MCU, and the scans of most encoders.
fn plain() -> (Coefficients, Vec<Script>) {
    let factors = vec![(1, 1); 3];
    let picture = Coefficients { width: 70, height: 50, factors, seed: 7, density: 90, restart: 0 };
    (picture, script(3, true, 1, &[5]))
}

fn reason(file: &[u8]) -> Option<FallbackReason> {
    match decode(file, 1)? {
        Err(RegularError::Fallback(reason)) => Some(reason),
        result => panic!("{:?}", result.map(|_| ())),
    }
}

#[test]
fn scans_that_do_not_send_every_bit_once_are_irregular() {
    let (picture, scans) = plain();
    assert_decodes(&picture.encode(&scans), "every bit once");
    for missing in 0..scans.len() {
        let mut scans = scans.clone();
        scans.remove(missing);
        assert!(Regular::open(&picture.encode(&scans)).is_none(), "scan {missing} is missing");
    }
    for repeated in 0..scans.len() - 1 {
        let mut scans = scans.clone();
        scans.insert(repeated, scans[repeated].clone());
        assert!(Regular::open(&picture.encode(&scans)).is_none(), "scan {repeated} comes twice");
    }
    let mut late = scans.clone();
    late.rotate_left(1);
    assert!(Regular::open(&picture.encode(&late)).is_none(), "AC before DC");
    let mut mixed = scans.clone();
    mixed[1].components = vec![0, 1];
    assert!(Regular::open(&picture.encode(&mixed)).is_none(), "AC of two components");
    let mut turned = scans.clone();
    turned[0].components = vec![1, 0, 2];
    assert!(Regular::open(&picture.encode(&turned)).is_none(), "components in another order");
    let mut wide = scans.clone();
    wide[0].band = (0, 5);
    assert!(Regular::open(&picture.encode(&wide)).is_none(), "DC and AC in one scan");
    let repeated = [scans.clone(), scans].concat();
    assert_eq!(reason(&picture.encode(&repeated)), None, "scans after all bits");
}

#[test]
fn more_scans_than_libjpeg_turbo_may_decode_are_irregular() {
    let picture = Coefficients { factors: vec![(1, 1)], ..plain().0 };
    let cuts = |count: usize| (1..count).collect::<Vec<_>>();
    // 14 bits of DC and of each band.
    assert_eq!(script(1, false, 3, &cuts(24)).len(), 100);
    assert_decodes(&picture.encode(&script(1, false, 3, &cuts(24))), "100 scans");
    assert!(Regular::open(&picture.encode(&script(1, false, 3, &cuts(25)))).is_none(), "104 scans");
}

#[test]
fn segments_between_scans_are_those_that_libjpeg_turbo_reads_alike() {
    let (picture, scans) = plain();
    let file = picture.encode(&scans);
    let second = file.windows(2).enumerate().filter(|(_, pair)| *pair == [0xFF, 0xDA]).nth(1).unwrap().0;
    let insert = |bytes: &[u8]| [&file[..second], bytes, &file[second..]].concat();
    assert_decodes(&insert(&segment(0xFE, b"comment")), "a comment");
    assert_decodes(&insert(&segment(0xE5, b"segment")), "an application's segment");
    assert_decodes(&insert(&[0xFF, 0xFF]), "fill bytes");
    assert_decodes(&insert(&segment(0xDD, &[0, 9])[..0]), "nothing");
    for (name, bytes) in [
        ("factors", segment(0xDB, &[&[0][..], &[2; 64]].concat())),
        ("a JFIF header", segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")),
        ("Adobe's segment", segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
        ("a height", segment(0xDC, &[0, 50])),
        ("a second frame", segment(0xC2, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0])),
        ("the end", vec![0xFF, 0xD9]),
        ("a restart marker", vec![0xFF, 0xD0]),
        ("garbage", vec![7]),
    ] {
        assert!(Regular::open(&insert(&bytes)).is_none(), "{name}");
    }
}

#[test]
fn data_that_a_scan_does_not_need_is_irregular_except_before_the_end() {
    let (picture, scans) = plain();
    let file = picture.encode(&scans);
    let second = file.windows(2).enumerate().filter(|(_, pair)| *pair == [0xFF, 0xC4]).nth(1).unwrap().0;
    let longer = [&file[..second], &[7, 7], &file[second..]].concat();
    assert_eq!(reason(&longer), Some(FallbackReason::Trailer));
    let end = file.len() - 2;
    assert_decodes(&[&file[..end], &[7, 7], &file[end..]].concat(), "bytes before the end");
    assert_decodes(&[&file[..end], &[0xFF, 0xD0], &file[end..]].concat(), "a restart marker before the end");
    for tail in [[0xFF, 0xD0, 7, 7, 0xFF, 0xD1].as_slice(), &[7, 7, 0xFF, 0xD0]] {
        let damaged = [&file[..end], tail, &file[end..]].concat();
        assert_eq!(reason(&damaged), Some(FallbackReason::Trailer), "bytes before a restart marker");
    }
}

#[test]
fn truncated_progressive_file_is_irregular() {
    let (picture, scans) = plain();
    let file = picture.encode(&scans);
    let end = file.len() - 2;
    for length in 0..end - 1 {
        assert!(is_irregular(&file[..length]), "{length} of {}", file.len());
        let filled = [&file[..length], &[0; 300]].concat();
        assert!(is_irregular(&filled), "{length} of {} and zeros", file.len());
    }
    assert_decodes(&file[..end], "only the end is missing");
    let filled = [&file[..end], &[0; 2]].concat();
    assert!(is_irregular(&filled), "zeros could be the rest of a scan");
}

#[test]
fn coefficients_beyond_8_bits_are_out_of_range() {
    let (picture, scans) = plain();
    let mut file = picture.encode(&scans);
    let factors = file.windows(2).position(|pair| pair == [0xFF, 0xDB]).unwrap() + 5;
    file[factors] = 255;
    assert_eq!(reason(&file), Some(FallbackReason::Range), "DC");
    file[factors] = 1;
    file[factors + 1..factors + 64].fill(255);
    for decode in [decode, decode_portably] {
        for divisor in [1, 2, 4] {
            let result = decode(&file, divisor).unwrap();
            assert_eq!(result.err(), Some(FallbackReason::Range.into()), "AC at {divisor}");
        }
    }
}

#[test]
fn memory_is_that_of_a_row_of_blocks() {
    let script = script(3, true, 1, &[5]);
    let factors = vec![(1, 1); 3];
    let mut file =
        Coefficients { width: 8, height: 8, factors, seed: 1, density: 0, restart: 0 }.encode(&script);
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC2]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[0x12, 0x40, 0x1B, 0x60]);
    let large = Regular::open(&file).unwrap();
    assert_eq!(large.size(), (7008, 4672));
    assert!(large.memory() < 2 << 20, "{}", large.memory());
}

#[test]
fn error_of_the_sink_ends_a_progressive_decode() {
    let file = file(raw::TJSAMP_TJSAMP_420, (100, 100), 90, 0);
    let file = Regular::open(&file).unwrap();
    let mut bands = Collected { stop_after: Some(4), ..Collected::for_file(&file, 1) };
    assert_eq!(file.decode(1, &mut bands), Err(RegularError::Stopped(ImageError::TooSlow)));
    assert_eq!(bands.rows, [32, 16, 8, 0]);
}

proptest! {
    #[test]
    fn flipped_bits_of_progressive_files_are_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8), 1..4),
        restart in prop::sample::select(vec![0_usize, 0, 3]),
        seed: u32,
        density in prop::sample::select(vec![3_u32, 90]),
    ) {
        let factors = vec![(2, 2), (1, 1), (1, 1)];
        let picture = Coefficients { width: 70, height: 50, factors, seed, density, restart };
        let mut file = picture.encode(&script(3, true, 1, &[5]));
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1_u8 << bit;
        }
        assert_harmless(&file);
    }

    #[test]
    fn random_data_of_a_progressive_scan_is_harmless(
        data in prop::collection::vec(any::<u8>(), 0..400),
        scan in 0_usize..9,
    ) {
        let (picture, scans) = plain();
        let file = picture.encode(&scans);
        let starts: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(&[0xFF, 0xDA])).collect();
        let start = starts[scan % starts.len()];
        let start = start + 2 + usize::from(file[start + 3]);
        let end = file.len().min(start + data.len());
        assert_harmless(&[&file[..start], &data, &file[end..]].concat());
        assert_harmless(&[&file[..start], &data, &file[start..]].concat());
    }
}
