//! What [`Effort::Adaptive`] may change, and that decoders read it.

use super::super::adaptive::DeadZone;
use super::super::fdct::{Blocks, PLACES, Samples, portable};
use super::*;
use crate::imaging::steps;

fn adaptive(quality: u8) -> Coding {
    Coding { quality, effort: Effort::Adaptive }
}

/// Encodes with SIMD and with portable code, which must give the same file.
fn encoded(picture: &Picture, quality: u8) -> Vec<u8> {
    let mut workspace = Workspace::default();
    let frame = picture.frame_of(adaptive(quality));
    let file = simd::run(&frame, &mut workspace);
    assert!(file == simd::run_anywhere(&frame, &mut workspace), "{:?}", (picture.width, picture.height));
    file
}

/// Returns the mean difference of luma between the picture and the decoded file.
fn difference(picture: &Picture, file: &[u8]) -> f64 {
    let decoded = turbojpeg::decompress(file, turbojpeg::PixelFormat::GRAY).unwrap();
    assert_eq!((decoded.width, decoded.height), (picture.width, picture.height));
    let rows = decoded.pixels.chunks(decoded.pitch).map(|row| &row[..picture.width]);
    let samples = rows.flatten().zip(&picture.planes[0].samples);
    let sum: u32 = samples.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    f64::from(sum) / picture.planes[0].samples.len() as f64
}

#[test]
fn largest_dead_zone_is_smaller_than_a_step() {
    for zone in [DeadZone::LUMA, DeadZone::CHROMA] {
        let parts: Vec<_> = (0..=u16::MAX).map(|detail| zone.part(detail)).collect();
        assert!(parts.is_sorted() && parts[0] >= 1 << 15, "rounding drops half a step anyway");
        assert!(parts[65_535] < 52_429, "four fifths");
    }
}

#[test]
fn photo_takes_fewer_bytes_and_stays_close() {
    let picture = photo_like((400, 300));
    for quality in [40, 60, 80, 90] {
        let (small, usual) = (encoded(&picture, quality), picture.reference(quality));
        // Photos lose a sixth. Grain and edges without texture, as here, lose less.
        assert!(small.len() * 100 < usual.len() * 98, "q{quality}: {} of {}", small.len(), usual.len());
        let differences = [&small, &usual].map(|file| difference(&picture, file));
        assert!(differences[0] < differences[1] * 1.3 + 0.2, "q{quality}: {differences:?}");
    }
}

#[test]
fn both_decoders_read_pictures_of_every_size_and_quality() {
    for (size, quality) in SIZES.into_iter().zip([1, 20, 50, 80, 95].into_iter().cycle()) {
        let picture = photo_like(size);
        let file = encoded(&picture, quality);
        assert!(steps::decode(&file).is_some(), "{size:?}: our decoder leaves it to the other one");
        if quality >= 50 {
            assert!(difference(&picture, &file) < 12.0, "{size:?} q{quality}");
        }
    }
}

#[test]
fn flat_picture_keeps_its_level() {
    for level in [0, 1, 77, 128, 254, 255] {
        let file = encoded(&Picture::new((40, 24), |_, _, _| level), 80);
        assert!(difference(&Picture::new((40, 24), |_, _, _| level), &file) <= 1.0, "{level}");
    }
}

proptest! {
    #[test]
    fn only_levels_of_one_become_zero(
        samples: [[u8; 16]; 8],
        spread in 1_u8..=255,
        quality in 1_u8..=100,
        is_chroma: bool,
    ) {
        let quant = &Quant::of(adaptive(quality))[usize::from(is_chroma)];
        // Small spreads give coefficients near the edge of the dead zone.
        let samples: Samples = samples.map(|row| row.map(|sample| 100 + sample % spread.min(150)));
        let (mut plain, mut zoned) = (Blocks::default(), Blocks::default());
        portable::transform::<false, false>(&samples, quant, &mut plain);
        portable::transform::<true, false>(&samples, quant, &mut zoned);
        for block in 0..2 {
            for (index, place) in PLACES.into_iter().enumerate() {
                let place = usize::from(place) + 8 * block;
                let (before, after) = (plain.coefficients[place], zoned.coefficients[place]);
                prop_assert!(after == before || (after == 0 && before.abs() == 1 && index > 0));
                prop_assert_eq!(zoned.present[block] >> index & 1 == 1, after != 0);
            }
        }
    }

    #[test]
    fn arbitrary_picture_is_decoded(
        width in 1_usize..70,
        height in 1_usize..70,
        quality in 1_u8..=100,
        samples in prop::collection::vec(any::<u8>(), 1..2000),
    ) {
        let mut samples = samples.iter().copied().cycle();
        let picture = Picture::new((width, height), |_, _, _| samples.next().unwrap_or_default());
        let file = encoded(&picture, quality);
        prop_assert!(steps::decode(&file).is_some());
        prop_assert_eq!(turbojpeg::read_header(&file).unwrap().height, height);
    }
}
