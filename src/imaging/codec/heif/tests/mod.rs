//! Decodes the files of `tests/fixtures/heif` (see `tests/fixtures/README.md`), and damaged copies of them.

use std::cell::Cell;

use moxcms::ColorProfile;

use super::*;
use crate::budget::Budget;
use crate::imaging::{self, Encoded, Format, WorkBudget, Workspace};

const RECIPE: Recipe = Recipe { max_dim: 160, quality: 90, memory: 1 << 30, ..Recipe::TEST };

/// Returns the recipe of the default settings with longer time limits, because this build is slow.
fn default_recipe() -> Recipe {
    let memory = Budget::new(256 << 20).images;
    Recipe { max_dim: 1600, max_pixels: 120_000_000, memory, ..RECIPE }
}

#[track_caller]
fn assert_fits_the_default_budget(file: &[u8]) {
    let recipe = default_recipe();
    let budget = WorkBudget::new(&recipe, &|| false);
    let needed = imaging::inspect(Format::Heif, file, &recipe, &budget).unwrap().memory();
    assert!(needed <= recipe.memory, "{needed} of {}", recipe.memory);
}

/// Opens a file with a budget of its own.
fn open<'a>(bytes: &'a [u8], recipe: &Recipe) -> Result<Heif<'a>, ImageError> {
    let budget = Box::leak(Box::new(WorkBudget::new(recipe, &|| false)));
    Heif::open(&budget.input(bytes), recipe)
}

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heif/", $name)).as_slice()
    };
}

#[cfg(all(feature = "heic", feature = "avif"))]
mod hostile;
mod planes;

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255; 3];

fn make(bytes: &[u8]) -> Result<Encoded, ImageError> {
    imaging::make(Format::Heif, bytes, &RECIPE, &mut Workspace::default())
}

#[track_caller]
fn assert_card(name: &str, made: &Encoded, size: (u32, u32), quadrants: [[u8; 3]; 4]) {
    assert_eq!((made.width, made.height), size, "{name}");
    let image = turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap();
    for (n, expected) in quadrants.into_iter().enumerate() {
        let (x, y) = (image.width / 4 * (1 + n % 2 * 2), image.height / 4 * (1 + n / 2 * 2));
        let at = y * image.pitch + 3 * x;
        let got = &image.pixels[at..at + 3];
        assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 12), "{name} at {x}, {y}: {got:?}");
    }
}

/// Returns the EXIF that is kept of a photo with `bytes`.
fn kept(bytes: &[u8]) -> Option<::exif::Exif> {
    let recipe = Recipe { keep_exif: true, ..RECIPE };
    let made = imaging::make(Format::Heif, bytes, &recipe, &mut Workspace::default()).unwrap();
    assert_card("with EXIF", &made, (64, 48), [RED, GREEN, BLUE, WHITE]);
    let reader = ::exif::Reader::new();
    match reader.read_from_container(&mut std::io::Cursor::new(&made.bytes)) {
        Ok(exif) => Some(exif),
        Err(::exif::Error::NotFound(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn assert_kept(bytes: &[u8]) {
    let exif = kept(bytes).unwrap();
    let shown = |tag| {
        let field = exif.get_field(tag, ::exif::In::PRIMARY).unwrap();
        field.display_value().to_string()
    };
    assert_eq!(shown(::exif::Tag::Make), "\"Card Maker\"");
    assert_eq!(shown(::exif::Tag::PhotographicSensitivity), "400");
    assert_eq!(shown(::exif::Tag::DateTimeOriginal), "2026-11-23 10:20:30");
    assert_eq!(shown(::exif::Tag::GPSLatitude), "33 deg 51 min 35.5 sec");
    assert_eq!(shown(::exif::Tag::Orientation), "row 0 at top and column 0 at left");
    assert_eq!(shown(::exif::Tag::PixelXDimension), "64");
}

fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = file.windows(from.len()).position(|window| window == from).unwrap();
    [&file[..at], to, &file[at + to.len()..]].concat()
}

#[cfg(feature = "heic")]
mod heic {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_turns_and_mirrors_are_upright() {
        for (name, bytes) in [
            ("none", data!("turn0_mirror.heic")),
            ("upside down", data!("turn0_mirror0.heic")),
            ("mirrored", data!("turn0_mirror1.heic")),
            ("a quarter", data!("turn1_mirror.heic")),
            ("a quarter, upside down", data!("turn1_mirror0.heic")),
            ("a quarter, mirrored", data!("turn1_mirror1.heic")),
            ("half", data!("turn2_mirror.heic")),
            ("three quarters", data!("turn3_mirror.heic")),
        ] {
            assert_card(name, &make(bytes).unwrap(), (64, 48), [RED, GREEN, BLUE, WHITE]);
        }
    }

    #[test]
    fn variants_give_the_same_card() {
        for (name, bytes) in [
            ("limited range, BT.709", data!("limited.heic")),
            ("Display P3", data!("p3.heic")),
            ("10 bits", data!("deep.heic")),
            ("4:2:2, 10 bits", data!("422.heic")),
            ("4:4:4", data!("444.heic")),
        ] {
            assert_card(name, &make(bytes).unwrap(), (64, 48), [RED, GREEN, BLUE, WHITE]);
        }
        assert_card(
            "grey",
            &make(data!("grey.heic")).unwrap(),
            (64, 48),
            [[76; 3], [150; 3], [29; 3], WHITE],
        );
        let odd = make(data!("odd_clap.heic")).unwrap();
        assert_card("cropped to odd sides", &odd, (65, 49), [RED, GREEN, BLUE, WHITE]);
        let alpha = make(data!("alpha.heic")).unwrap();
        assert_card("lower half invisible", &alpha, (64, 48), [RED, GREEN, WHITE, WHITE]);
    }

    #[test]
    fn vector_and_portable_code_decode_alike() {
        for file in [
            data!("turn0_mirror.heic"),
            data!("deep.heic"),
            data!("422.heic"),
            data!("444.heic"),
            data!("grey.heic"),
            data!("grid.heic"),
            data!("alpha.heic"),
        ] {
            open(file, &RECIPE).unwrap().assert_paths_agree();
        }
    }

    #[test]
    fn p3_code_points_give_a_profile() {
        let open = |bytes| open(bytes, &RECIPE).unwrap();
        let heif = open(data!("p3.heic"));
        let profile = ColorProfile::new_from_slice(heif.profile().unwrap()).unwrap();
        let p3 = ColorProfile::new_display_p3();
        let close = |a: f64, b: f64| (a - b).abs() < 0.001;
        assert!(close(profile.red_colorant.x, p3.red_colorant.x), "{:?}", profile.red_colorant);
        assert_eq!(open(data!("turn0_mirror.heic")).profile(), None);
    }

    #[test]
    fn exif_is_kept_and_its_orientation_ignored() {
        let bytes = data!("exif.heic");
        assert_kept(bytes);
        assert!(!make(bytes).unwrap().bytes.windows(4).any(|four| four == b"Exif"), "only if asked for");
        assert!(kept(data!("turn0_mirror.heic")).is_none());
        // The item has the id 2, and begins with the distance to its TIFF header.
        let header = b"\0\0\0\x06Exif\0\0MM";
        assert_kept(&replaced(bytes, header, b"\0\0\0\0Exif\0\0MM"));
        for (from, to) in [
            (&header[..], &b"\0\0\0\x07Exif\0\0MM"[..]),
            (header, b"\0\0\x7f\xffExif\0\0MM"),
            (header, b"\xff\xff\xff\xffExif\0\0MM"),
            (b"cdsc\0\x02\0\x01\0\x01", b"cdsc\0\x02\0\x01\0\x02"),
            (b"cdsc\0\x02\0\x01\0\x01", b"cdsc\0\x02\xff\xff\0\x03"),
            (b"\0\0Exif\0", b"\0\0exif\0"),
            // Longer than the file, and with an extent that has no location.
            (b"\0\x01\0\0\0\0\0\0\0\xec", b"\0\x01\0\0\0\0\0\0\xff\xff"),
            (b"\0\x02\0\0\0\0\x03\x10\0\x01", b"\0\x02\0\0\0\0\x03\x10\0\0"),
        ] {
            assert!(kept(&replaced(bytes, from, to)).is_none(), "{to:?}");
        }
    }

    #[test]
    fn exif_in_several_extents_is_joined() {
        let bytes = data!("exif.heic");
        let at = bytes.windows(4).position(|four| four == b"iloc").unwrap() + 8;
        // Without base offsets there is room for a second extent of the second item.
        let located = |extents: [u32; 4]| {
            let mut iloc = b"\x44\0\0\x02\0\x01\0\0\0\x01".to_vec();
            iloc.extend([0x1E2u32, 0x12E].map(u32::to_be_bytes).as_flattened());
            iloc.extend(b"\0\x02\0\0\0\x02");
            iloc.extend(extents.map(u32::to_be_bytes).as_flattened());
            [&bytes[..at], &iloc, &bytes[at + iloc.len()..]].concat()
        };
        assert_kept(&located([0x310, 23, 0x310 + 23, 236 - 23]));
        // Extents to the end of the file, more than once: together more than the file has.
        assert!(kept(&located([0, 0, 0, 0])).is_none());
        assert!(kept(&located([0x310, 23, u32::MAX, 1])).is_none());
        assert!(kept(&located([0x310, 3, 0x310, 3])).is_none());
    }

    #[test]
    fn tiles_are_placed_in_grid_order() {
        let heif = open(data!("grid.heic"), &RECIPE).unwrap();
        assert_eq!((heif.layout().width, heif.layout().height), (150, 120));
        let mut pixels = Vec::new();
        let take = |row: &[u8]| {
            pixels.extend_from_slice(row);
            Ok(())
        };
        heif.rows(take).unwrap();
        for (x, y, expected) in [
            (16, 16, RED),
            (48, 16, GREEN),
            (64 + 16, 48, BLUE),
            (64 + 48, 48, WHITE),
            (128 + 16, 64 + 16, RED),
            (64 + 16, 64 + 48, BLUE),
        ] {
            let at = 3 * (y * 150 + x);
            let got = &pixels[at..at + 3];
            assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 6), "{x}, {y}: {got:?}");
        }
    }

    #[test]
    fn grid_whose_tiles_have_their_own_alpha_shows_white_where_transparent() {
        let recipe = Recipe { max_dim: 128, ..RECIPE };
        let file = data!("grid_alpha.heic");
        let made = imaging::make(Format::Heif, file, &recipe, &mut Workspace::default()).unwrap();
        let image = turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap();
        for (x, y, expected) in [
            (16, 16, RED),
            (48, 16, GREEN),
            (16, 48, WHITE),
            (64 + 16, 16, RED),
            (64 + 48, 16, GREEN),
            (64 + 16, 48, WHITE),
        ] {
            let got = &image.pixels[y * image.pitch + 3 * x..][..3];
            assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 8), "{x}, {y}: {got:?}");
        }
        // With one alpha picture less, the grid is read as one without opacity.
        let aux = file.windows(4).position(|four| four == b"auxl").unwrap();
        let mut bare = file.to_vec();
        bare[aux..aux + 4].copy_from_slice(b"free");
        let made = imaging::make(Format::Heif, &bare, &recipe, &mut Workspace::default()).unwrap();
        let image = turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap();
        assert_ne!(&image.pixels[48 * image.pitch + 3 * 16..][..3], WHITE);
    }

    #[test]
    fn disconnected_client_stops_a_grid_between_tiles() {
        // For each tile the budget is checked once before reading and once before decoding.
        let asked = Cell::new(1000);
        let is_abandoned = || asked.replace(asked.get() + 1) == 7;
        let budget = WorkBudget::new(&RECIPE, &is_abandoned);
        let file = data!("grid.heic");
        let inspected = imaging::inspect(Format::Heif, file, &RECIPE, &budget).unwrap();
        asked.set(0);
        let result = inspected.encode(&mut Workspace::default());
        assert!(matches!(result, Err(imaging::EncodeError::Image(ImageError::Abandoned))), "{result:?}");
        assert_eq!(asked.get(), 8, "no tile was decoded after that");
    }

    #[test]
    fn picture_of_33_megapixels_in_one_piece_fits_the_default_budget() {
        let file = data!("whole_33mp.heic");
        assert_fits_the_default_budget(file);
        let made = imaging::make(Format::Heif, file, &default_recipe(), &mut Workspace::default()).unwrap();
        assert_card("in one piece", &made, (1600, 1067), [RED, GREEN, BLUE, WHITE]);
    }

    #[test]
    fn grid_needs_memory_for_one_row_of_tiles() {
        let heif = open(data!("grid.heic"), &RECIPE).unwrap();
        let tile = 64 * 64 * 3 / 2;
        let memory = heif.colour.memory();
        let tables = 224 << 10;
        assert!(memory < 7 * tile + tables, "{memory}");
    }

    #[test]
    fn grid_that_contradicts_its_tiles_is_refused() {
        let grid = data!("grid.heic");
        // The grid has the id 7, its tiles 1 to 6. Each id is followed by the next in the reference.
        let tiles = b"\0\x01\0\x02\0\x03\0\x04\0\x05\0\x06";
        let refused = |from: &[u8], to: &[u8], error: ImageError| {
            assert_eq!(open(&replaced(grid, from, to), &RECIPE).err(), Some(error), "{to:?}");
        };
        refused(tiles, b"\0\x01\0\x02\0\x03\0\x04\0\x05\0\x07", ImageError::Corrupt);
        refused(tiles, b"\0\x07\0\x07\0\x07\0\x07\0\x07\0\x07", ImageError::Unsupported);
        refused(tiles, b"\0\x01\0\x02\0\x03\0\x04\0\x05\0\x63", ImageError::Corrupt);
        refused(b"\0\0\x01\x02\0\x96\0\x78", b"\0\0\x01\x03\0\x96\0\x78", ImageError::Corrupt);
        refused(b"\0\0\x01\x02\0\x96\0\x78", b"\0\0\x01\x02\0\x96\0\x79", ImageError::Corrupt);
        refused(b"\0\0\0\x96\0\0\0\x78", b"\0\0\0\x80\0\0\0\x78", ImageError::Corrupt);
        refused(b"\0\0\0\x40\0\0\0\x40", b"\0\0\0\x40\0\0\0\x50", ImageError::Corrupt);
        refused(b"\0\0\0\x40\0\0\0\x40", &[0xFF; 8], ImageError::Corrupt);
        refused(b"\0\0\0\x40\0\0\0\x40", b"\0\0\0\0\0\0\0\x40", ImageError::Empty);
        refused(
            b"\0\0\0\x96\0\0\0\x78",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            ImageError::TooManyPixels {
                width: u32::MAX.into(),
                height: u32::MAX.into(),
                max: RECIPE.max_pixels,
            },
        );
    }

    #[test]
    fn sizes_are_refused_before_pixels_are_read() {
        // The picture is coded as 64 x 64, and 64 x 48 of it are shown.
        let bytes = data!("turn0_mirror.heic");
        let recipe = Recipe { max_pixels: 64 * 64 - 1, ..RECIPE };
        let error = ImageError::TooManyPixels { width: 64, height: 64, max: 64 * 64 - 1 };
        assert_eq!(open(bytes, &recipe).err(), Some(error));
        // The container declares one size, and the coded picture another one.
        let other = replaced(bytes, b"\0\0\0\x40\0\0\0\x40", b"\0\0\0\x41\0\0\0\x40");
        assert_eq!(open(&other, &RECIPE).err(), Some(ImageError::Corrupt));
    }

    #[test]
    fn truncated_file_is_refused_at_every_cut() {
        for whole in [data!("turn1_mirror0.heic"), data!("grid.heic"), data!("alpha.heic")] {
            for cut in 0..whole.len() {
                assert!(make(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_file_does_not_panic(
            which in 0usize..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = [data!("odd_clap.heic"), data!("grid.heic"), data!("alpha.heic"), data!("exif.heic")][which].to_vec();
            for (at, byte) in changes {
                *at.get_mut(&mut bytes) = byte;
            }
            let recipe = Recipe { keep_exif: true, ..RECIPE };
            let outcome = imaging::make(Format::Heif, &bytes, &recipe, &mut Workspace::default());
            prop_assert!(outcome.is_ok() || outcome.is_err());
            if let Ok(heif) = open(&bytes, &recipe) {
                heif.assert_paths_agree();
            }
        }
    }
}

#[cfg(feature = "avif")]
mod avif {
    use super::*;

    #[test]
    fn variants_give_the_same_card() {
        for (name, bytes) in [
            ("4:2:0", data!("420.avif")),
            ("4:2:2", data!("422.avif")),
            ("4:4:4", data!("444.avif")),
            ("limited range", data!("limited.avif")),
            ("the first picture of a film", data!("film.avif")),
        ] {
            assert_card(name, &make(bytes).unwrap(), (64, 48), [RED, GREEN, BLUE, WHITE]);
        }
        let grey = [[76; 3], [150; 3], [29; 3], WHITE];
        assert_card("4:0:0", &make(data!("400.avif")).unwrap(), (64, 48), grey);
        for (name, bytes) in [("alpha", data!("alpha.avif")), ("premultiplied", data!("premultiplied.avif"))]
        {
            assert_card(name, &make(bytes).unwrap(), (64, 48), [RED, GREEN, WHITE, WHITE]);
        }
    }

    #[test]
    fn film_without_a_primary_item_is_not_supported() {
        assert_eq!(open(data!("film_alone.avif"), &RECIPE).err(), Some(ImageError::Unsupported));
    }

    /// The decoder's own assertions make it too slow to decode this here.
    #[test]
    fn picture_of_20_megapixels_in_full_chroma_fits_the_default_budget() {
        assert_fits_the_default_budget(data!("whole_20mp.avif"));
    }

    #[test]
    fn exif_is_kept() {
        assert_kept(data!("exif.avif"));
        assert!(kept(data!("420.avif")).is_none());
    }

    #[test]
    fn size_that_contradicts_the_sequence_header_is_refused() {
        let bytes = data!("420.avif");
        let other = replaced(bytes, b"\0\0\0\x40\0\0\0\x30", b"\0\0\0\x40\0\0\0\x31");
        assert_eq!(open(&other, &RECIPE).err(), Some(ImageError::Corrupt));
        let recipe = Recipe { max_pixels: 64 * 48 - 1, ..RECIPE };
        assert!(matches!(open(bytes, &recipe), Err(ImageError::TooManyPixels { .. })));
    }

    #[test]
    fn truncated_file_is_refused_at_every_cut() {
        for whole in [data!("420.avif"), data!("alpha.avif")] {
            for cut in 0..whole.len() {
                assert!(make(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
            }
        }
    }
}
