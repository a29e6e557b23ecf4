//! Encodes every sampling, size and restart interval, and decodes it.

use turbojpeg::raw;

use super::reference::{Recipe, encode, inks};
use super::*;

const RECIPE: Recipe = Recipe {
    subsampling: raw::TJSAMP_TJSAMP_420,
    quality: 90,
    restart: 0,
    optimise: false,
    progressive: false,
    colours: None,
};

#[test]
fn every_sampling_and_size_is_equal() {
    for subsampling in SAMPLINGS {
        for (width, height) in SIZES {
            let file = encode(&picture(width, height, 3), width, height, Recipe { subsampling, ..RECIPE });
            assert_decodes(&file, &format!("{width} x {height}, sampling {subsampling}"));
        }
    }
}

#[test]
fn restart_intervals_are_equal() {
    for restart in [1, 2, 3, 7, 8, 50, 1000] {
        for subsampling in [raw::TJSAMP_TJSAMP_420, raw::TJSAMP_TJSAMP_GRAY, raw::TJSAMP_TJSAMP_444] {
            let file = encode(&picture(130, 97, 3), 130, 97, Recipe { restart, subsampling, ..RECIPE });
            assert_decodes(&file, &format!("restart every {restart}"));
        }
    }
}

#[test]
fn all_qualities_and_both_kinds_of_tables_are_equal() {
    for quality in [1, 5, 30, 75, 95, 98, 100] {
        for optimise in [false, true] {
            let file = encode(&picture(150, 110, 3), 150, 110, Recipe { quality, optimise, ..RECIPE });
            assert_decodes(&file, &format!("quality {quality}"));
        }
    }
}

#[test]
fn more_than_a_window_of_noise_is_equal() {
    let mut pixels = vec![0_u8; 3 * 400 * 400];
    let mut noise = 1_u64;
    for pixel in &mut pixels {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *pixel = noise.to_be_bytes()[0];
    }
    for quality in [92, 100] {
        let file = encode(&pixels, 400, 400, Recipe { quality, ..RECIPE });
        assert!(file.len() > 100_000);
        assert_decodes(&file, &format!("noise at {quality}"));
    }
}

#[test]
fn model_is_that_of_libjpeg() {
    let rgb = picture(40, 30, 3);
    let cmyk = picture(40, 30, 4);
    let model = |file: &[u8]| Regular::open(file).map(|file| file.model());
    let full = Recipe { subsampling: raw::TJSAMP_TJSAMP_444, ..RECIPE };
    let with = |colours| Recipe { colours: Some(colours), ..full };
    let ycbcr = encode(&rgb, 40, 30, full);
    assert_eq!(model(&ycbcr), Some(Model::YCbCr));
    let file = encode(&rgb, 40, 30, with(raw::TJCS_TJCS_RGB));
    assert_eq!(model(&file), Some(Model::Rgb));
    let grey = encode(&rgb, 40, 30, Recipe { subsampling: raw::TJSAMP_TJSAMP_GRAY, ..RECIPE });
    assert_eq!(model(&grey), Some(Model::Grey));
    assert_eq!(
        model(&encode(&cmyk, 40, 30, with(raw::TJCS_TJCS_CMYK))),
        Some(Model::Cmyk { is_inverted: true })
    );
    assert_eq!(
        model(&encode(&cmyk, 40, 30, with(raw::TJCS_TJCS_YCCK))),
        Some(Model::Ycck { is_inverted: true })
    );
    // Without the APP0 segment (18 bytes) the component identifiers decide.
    let mut bare = [&ycbcr[..2], &ycbcr[20..]].concat();
    assert_eq!(model(&bare), Some(Model::YCbCr));
    for (from, to) in [(1, b'R'), (2, b'G'), (3, b'B')] {
        let frame = bare.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        let scan = bare.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
        assert_eq!(
            (bare[frame + 7 + 3 * from], bare[scan + 3 + 2 * from]),
            (u8::try_from(from).unwrap(), u8::try_from(from).unwrap())
        );
        (bare[frame + 7 + 3 * from], bare[scan + 3 + 2 * from]) = (to, to);
    }
    assert_eq!(model(&bare), Some(Model::Rgb));
    assert_decodes(&bare, "RGB by its identifiers");
}

#[test]
fn undefined_adobe_transform_is_read_as_the_common_one() {
    let adobe = |transform: u8| [&b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"[..], &[transform]].concat();
    let with_adobe = |file: &[u8], from: usize, transform: u8| {
        [&file[..2], adobe(transform).as_slice(), &file[from..]].concat()
    };
    let colour = encode(&picture(40, 30, 3), 40, 30, RECIPE);
    let full = Recipe { subsampling: raw::TJSAMP_TJSAMP_444, ..RECIPE };
    let inks = encode(&picture(40, 30, 4), 40, 30, Recipe { colours: Some(raw::TJCS_TJCS_CMYK), ..full });
    for transform in 0..=4 {
        // Replaces the JFIF segment (18 bytes) and Adobe's own (16 bytes).
        let colour = with_adobe(&colour, 20, transform);
        let expected = if transform == 0 { Model::Rgb } else { Model::YCbCr };
        assert_eq!(Regular::open(&colour).map(|file| file.model()), Some(expected), "{transform}");
        assert_decodes(&colour, &format!("transform {transform}"));
        let inks = with_adobe(&inks, 18, transform);
        let expected = if transform == 0 {
            Model::Cmyk { is_inverted: true }
        } else {
            Model::Ycck { is_inverted: true }
        };
        assert_eq!(Regular::open(&inks).map(|file| file.model()), Some(expected), "{transform}");
    }
}

#[test]
fn four_inks_are_equal() {
    for colours in [raw::TJCS_TJCS_CMYK, raw::TJCS_TJCS_YCCK] {
        let recipe = Recipe { subsampling: raw::TJSAMP_TJSAMP_444, colours: Some(colours), ..RECIPE };
        let file = encode(&picture(61, 43, 4), 61, 43, recipe);
        let ours = decode(&file, 1).unwrap().unwrap();
        // For CMYK, the library returns the decoded inks unchanged.
        let mut plain = file.clone();
        let adobe = plain.windows(5).position(|bytes| bytes == b"Adobe").unwrap();
        plain[adobe + 11] = 0;
        let theirs = inks(&plain).unwrap();
        for component in 0..4 {
            let (_, _, samples) = ours.plane(component);
            let theirs: Vec<u8> = theirs.iter().skip(component).step_by(4).copied().collect();
            assert!(samples == theirs, "component {component}");
        }
    }
}

#[test]
fn error_of_the_sink_is_returned() {
    let file = encode(&picture(100, 100, 3), 100, 100, RECIPE);
    let file = Regular::open(&file).unwrap();
    let mut bands = Collected { stop_after: Some(4), ..Collected::for_file(&file, 1) };
    assert_eq!(file.decode(1, &mut bands), Err(RegularError::Stopped(ImageError::TooSlow)));
    assert_eq!(bands.rows, [32, 16, 8, 0]);
}

#[test]
fn undefined_divisor_is_irregular() {
    let file = encode(&picture(20, 20, 3), 20, 20, RECIPE);
    let file = Regular::open(&file).unwrap();
    assert_eq!(file.plane_size(0, 3), None);
    assert_eq!(file.plane_size(3, 1), None);
    assert_eq!(file.decode(3, &mut Collected::default()), Err(FallbackReason::Tables.into()));
}

#[test]
fn too_small_buffer_is_irregular() {
    let file = encode(&picture(20, 20, 3), 20, 20, RECIPE);
    assert_eq!(
        Regular::open(&file).unwrap().decode(1, &mut Collected::default()),
        Err(FallbackReason::Range.into())
    );
}
