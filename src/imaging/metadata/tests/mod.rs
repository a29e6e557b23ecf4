//! Builds blocks by hand and reads the output with another EXIF reader.

mod write;

use std::io::Cursor;

use ::exif::{Exif, In, Tag, Value};
use proptest::prelude::*;

use super::*;
use crate::imaging::{self, Format, Recipe, Workspace};

/// An entry of a hand-made block: tag, type, count, and the value's bytes in big-endian order.
type Field = (u16, u16, u32, Vec<u8>);

fn ascii(tag: u16, text: &str) -> Field {
    (tag, 2, u32::try_from(text.len() + 1).unwrap(), [text.as_bytes(), b"\0"].concat())
}

fn short(tag: u16, value: u16) -> Field {
    (tag, 3, 1, value.to_be_bytes().to_vec())
}

fn fractions(tag: u16, kind: u16, pairs: &[[u32; 2]]) -> Field {
    let bytes = pairs.as_flattened().iter().flat_map(|number| number.to_be_bytes()).collect();
    (tag, kind, u32::try_from(pairs.len()).unwrap(), bytes)
}

/// Returns a big-endian block with these three IFDs, and a thumbnail in an IFD1 after the first.
fn block(ifd0: &[Field], exif: &[Field], gps: &[Field]) -> Vec<u8> {
    let size = |fields: &[Field]| {
        6 + 12 * fields.len()
            + fields.iter().map(|(.., value)| if value.len() > 4 { value.len() } else { 0 }).sum::<usize>()
    };
    let exif_at = 8 + size(ifd0) + 24;
    let gps_at = exif_at + size(exif);
    let ifd1_at = gps_at + size(gps);
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes().to_vec();
    let mut ifd0 = ifd0.to_vec();
    ifd0.push((0x8769, 4, 1, number(exif_at)));
    ifd0.push((0x8825, 4, 1, number(gps_at)));
    let thumbnail = [(0x0201, 4, 1, number(8)), (0x0202, 4, 1, number(100))];
    let mut out = b"MM\0*\0\0\0\x08".to_vec();
    for (fields, next) in [(&ifd0[..], ifd1_at), (exif, 0), (gps, 0), (&thumbnail, 0)] {
        let mut values_at = out.len() + 6 + 12 * fields.len();
        let mut values: Vec<u8> = Vec::new();
        out.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
        for (tag, kind, count, value) in fields {
            out.extend(tag.to_be_bytes());
            out.extend(kind.to_be_bytes());
            out.extend(count.to_be_bytes());
            if value.len() > 4 {
                out.extend(number(values_at));
                values_at += value.len();
                values.extend(value);
            } else {
                out.extend(value);
                out.extend(vec![0; 4 - value.len()]);
            }
        }
        out.extend(number(next));
        out.extend(values);
    }
    out
}

fn gps() -> Vec<Field> {
    vec![
        ascii(1, "S"),
        fractions(2, 5, &[[33, 1], [51, 1], [3_540, 100]]),
        ascii(3, "E"),
        fractions(4, 5, &[[151, 1], [12, 1], [4, 1]]),
        (5, 1, 1, vec![0]),
        fractions(6, 5, &[[1234, 10]]),
        fractions(7, 5, &[[10, 1], [20, 1], [30, 1]]),
        ascii(0x1D, "2026:11:23"),
    ]
}

const BARE: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9";

fn with_exif(jpeg: Vec<u8>, tiff: &[u8], width: u32, height: u32) -> Vec<u8> {
    match segment(tiff, width, height) {
        Some(segment) => insert(jpeg, segment),
        None => jpeg,
    }
}

/// Returns the kept block as another reader sees it, or `None` if there is none.
fn kept(block: &[u8]) -> Option<Exif> {
    let jpeg = with_exif(BARE.to_vec(), block, 1200, 1600);
    if jpeg == BARE {
        return None;
    }
    assert!(
        jpeg.starts_with(&BARE[..20]) && jpeg.ends_with(&BARE[20..]) && jpeg[20..].starts_with(&[0xFF, 0xE1])
    );
    Some(::exif::Reader::new().read_from_container(&mut Cursor::new(jpeg)).unwrap())
}

fn text(exif: &Exif, tag: Tag) -> Option<String> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => Some(String::from_utf8(texts.concat()).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_tags_of_the_allow_list_are_kept() {
    let source = block(
        &[
            ascii(0x010E, "my holiday"),
            ascii(0x010F, "Zoë 相机 "),
            ascii(0x0110, "Phone 7"),
            short(0x0112, 6),
            ascii(0x0132, "2026:11:23 10:20:30"),
            ascii(0x013B, "Erika Mustermann"),
        ],
        &[
            fractions(0x829A, 5, &[[1, 120]]),
            short(0x8827, 400),
            ascii(0x9003, "2026:11:23 10:20:29"),
            ascii(0x9011, "+01:00"),
            fractions(0x9204, 10, &[[u32::MAX, 3]]),
            (0x927C, 7, 5, b"maker".to_vec()),
            ascii(0x9291, "123"),
            short(0xA001, 0xFFFF),
            (0xA002, 4, 1, 4000u32.to_be_bytes().to_vec()),
            ascii(0xA431, "SN12345"),
            fractions(0xA432, 5, &[[15, 10], [9, 1], [0, 0], [0, 0]]),
            ascii(0xA434, "lens f/1.8"),
        ],
        &gps(),
    );
    let exif = kept(&source).unwrap();
    let names: Vec<String> = exif.fields().map(|field| format!("{} {}", field.ifd_num, field.tag)).collect();
    assert_eq!(
        names,
        [
            "Make",
            "Model",
            "Orientation",
            "DateTime",
            "ExposureTime",
            "PhotographicSensitivity",
            "ExifVersion",
            "DateTimeOriginal",
            "OffsetTimeOriginal",
            "ExposureBiasValue",
            "SubSecTimeOriginal",
            "ColorSpace",
            "PixelXDimension",
            "PixelYDimension",
            "LensSpecification",
            "LensModel",
            "GPSVersionID",
            "GPSLatitudeRef",
            "GPSLatitude",
            "GPSLongitudeRef",
            "GPSLongitude",
            "GPSAltitudeRef",
            "GPSAltitude",
            "GPSTimeStamp",
            "GPSDateStamp",
        ]
        .map(|name| format!("primary {name}"))
    );
    assert_eq!(text(&exif, Tag::Make).as_deref(), Some("Zoë 相机"));
    assert_eq!(text(&exif, Tag::DateTimeOriginal).as_deref(), Some("2026:11:23 10:20:29"));
    let shown = |tag| exif.get_field(tag, In::PRIMARY).unwrap().display_value().to_string();
    assert_eq!(shown(Tag::Orientation), "row 0 at top and column 0 at left");
    assert_eq!((shown(Tag::PixelXDimension), shown(Tag::PixelYDimension)), ("1200".into(), "1600".into()));
    assert_eq!((shown(Tag::ColorSpace), shown(Tag::ExifVersion)), ("sRGB".into(), "2.32".into()));
    assert_eq!(
        (shown(Tag::ExposureTime), shown(Tag::ExposureBiasValue)),
        ("1/120".into(), "-0.3333333333333333".into())
    );
    assert_eq!(shown(Tag::GPSLatitude), "33 deg 51 min 35.4 sec");
    assert_eq!(shown(Tag::GPSLongitude), "151 deg 12 min 4 sec");
    assert_eq!(shown(Tag::GPSVersionID), "2.3.0.0");
}

#[test]
fn void_or_incomplete_position_is_dropped() {
    let make = [ascii(0x010F, "Phone")];
    let has_place = |gps: &[Field]| {
        let exif = kept(&block(&make, &[], gps)).unwrap();
        assert_eq!(text(&exif, Tag::Make).as_deref(), Some("Phone"));
        let fields = exif.fields().filter(|field| field.tag.context() == ::exif::Context::Gps).count();
        assert!(fields == 0 || fields >= 5, "all or nothing");
        fields > 0
    };
    let with = |field: Field| {
        let mut gps: Vec<Field> = gps().into_iter().filter(|(tag, ..)| *tag != field.0).collect();
        gps.push(field);
        gps
    };
    assert!(has_place(&gps()));
    assert!(has_place(&with(ascii(9, "A"))));
    let zero = [[0, 1]; 3];
    assert!(has_place(&with(fractions(2, 5, &zero))), "the equator");
    let mut redacted = with(fractions(2, 5, &zero));
    redacted.retain(|(tag, ..)| *tag != 4);
    redacted.push(fractions(4, 5, &zero));
    let mut halves: Vec<Vec<Field>> =
        [1, 2, 3, 4].map(|tag| gps().into_iter().filter(|field| field.0 != tag).collect()).into();
    halves.extend([
        with(ascii(9, "V")),
        with(ascii(9, "")),
        with(short(9, 65)),
        with(ascii(1, "")),
        with(ascii(3, "N")),
        with(fractions(2, 5, &[[33, 1], [51, 0], [0, 1]])),
        with(fractions(2, 5, &[[0, 0]; 3])),
        with(fractions(2, 5, &[[91, 1], [0, 1], [0, 1]])),
        with(fractions(4, 5, &[[181, 1], [0, 1], [0, 1]])),
        with(fractions(2, 10, &[[33, 1], [51, 1], [0, 1]])),
        with(fractions(2, 5, &[[33, 1], [51, 1]])),
        redacted,
    ]);
    for gps in halves {
        assert!(!has_place(&gps), "{gps:?}");
    }
}

#[test]
fn values_that_break_the_rule_of_their_tag_are_dropped() {
    let long = "x".repeat(129);
    for field in [
        ascii(0x010F, &long),
        ascii(0x010F, " "),
        ascii(0x010F, "line\nbreak"),
        (0x010F, 2, 4, b"\xff\xfe\xfd\0".to_vec()),
        (0x010F, 7, 4, b"Make".to_vec()),
        (0x010F, 2, u32::MAX, b"Make".to_vec()),
        ascii(0x0132, "0000:00:00 00:00:00"),
        ascii(0x0132, "    :  :     :  :  "),
        ascii(0x0132, "2026-11-23 10:20:30"),
        ascii(0x0132, "2026:13:01 10:20:30"),
    ] {
        assert!(kept(&block(std::slice::from_ref(&field), &[], &[])).is_none(), "{field:?}");
    }
    for field in [
        fractions(0x829A, 5, &[[1, 0]]),
        fractions(0x829A, 10, &[[1, 100]]),
        fractions(0x829A, 5, &[[1, 100], [1, 100]]),
        (0x829A, 5, u32::MAX, vec![0; 8]),
        (0x8827, 4, 1, vec![0, 0, 1, 0]),
        ascii(0x9011, "01:00"),
        ascii(0x9291, "12 3"),
        fractions(0xA432, 5, &[[1, 0], [1, 1], [0, 0], [0, 0]]),
    ] {
        assert!(kept(&block(&[], std::slice::from_ref(&field), &[])).is_none(), "{field:?}");
    }
}

#[test]
fn block_that_refers_to_itself_is_read_once() {
    // The EXIF and the GPS IFD are the first one, which is full of references to itself.
    let mut loops = b"MM\0*\0\0\0\x08\xff\xff".to_vec();
    for n in 0..5000u32 {
        let tag: u16 = if n.is_multiple_of(2) { 0x8769 } else { 0x8825 };
        loops.extend(tag.to_be_bytes());
        loops.extend([0, 4, 0, 0, 0, 1, 0, 0, 0, 8]);
    }
    assert!(kept(&loops).is_none());
    for offset in [0, 4, 7, u32::MAX - 1, u32::MAX] {
        let header = [b"MM\0*".as_slice(), &offset.to_be_bytes()].concat();
        assert!(kept(&header).is_none());
    }
    assert!(kept(b"").is_none());
}

#[test]
fn segment_is_inserted_after_the_jfif_header_or_first() {
    let source = block(&[ascii(0x010F, "Phone")], &[], &[]);
    let bare = b"\xff\xd8\xff\xdb\0\x02\xff\xd9".to_vec();
    let with = with_exif(bare, &source, 1, 1);
    assert!(with.starts_with(b"\xff\xd8\xff\xe1") && with.ends_with(b"\xff\xdb\0\x02\xff\xd9"));
    for broken in [&b"\xff\xd8\xff\xe0"[..], b"\xff\xd8\xff\xe0\0\x10", b""] {
        assert_eq!(with_exif(broken.to_vec(), &source, 1, 1), broken);
    }
}

/// The block of a TIFF is the whole file, including the pixels.
#[test]
fn tiff_is_its_own_block() {
    let long = |tag, value: u32| (tag, 4, 1, value.to_be_bytes().to_vec());
    let ifd0 = [
        long(0x0100, 4),
        long(0x0101, 2),
        short(0x0102, 8),
        short(0x0103, 1),
        short(0x0106, 1),
        ascii(0x010F, "Scanner"),
        // The pixels can be any eight bytes.
        long(0x0111, 8),
        short(0x0112, 6),
        short(0x0115, 1),
        long(0x0116, 2),
        long(0x0117, 8),
        ascii(0x013B, "Erika Mustermann"),
    ];
    let file = block(&ifd0, &[ascii(0x9003, "2026:11:23 10:20:29"), ascii(0xA431, "SN12345")], &gps());
    let recipe = Recipe { max_dim: 100, max_pixels: 100, memory: 1 << 30, keep_exif: true, ..Recipe::TEST };
    let make =
        |recipe: &Recipe| imaging::make(Format::Tiff, &file, recipe, &mut Workspace::default()).unwrap();
    let made = make(&recipe);
    assert_eq!((made.width, made.height), (2, 4), "turned");
    let exif = ::exif::Reader::new().read_from_container(&mut Cursor::new(&made.bytes)).unwrap();
    let shown = |tag| exif.get_field(tag, In::PRIMARY).map(|field| field.display_value().to_string());
    assert_eq!(text(&exif, Tag::Make).as_deref(), Some("Scanner"));
    assert_eq!(text(&exif, Tag::DateTimeOriginal).as_deref(), Some("2026:11:23 10:20:29"));
    assert_eq!(shown(Tag::GPSLatitude).as_deref(), Some("33 deg 51 min 35.4 sec"));
    assert_eq!(shown(Tag::Orientation).as_deref(), Some("row 0 at top and column 0 at left"));
    assert_eq!(shown(Tag::PixelYDimension).as_deref(), Some("4"));
    for tag in [Tag::ImageWidth, Tag::StripOffsets, Tag::Artist, Tag::BodySerialNumber] {
        assert_eq!(shown(tag), None);
    }
    let bare = make(&Recipe { keep_exif: false, ..recipe });
    assert!(!bare.bytes.windows(4).any(|four| four == b"Exif"));
}

proptest! {
    #[test]
    fn random_bytes_give_no_panic_and_a_readable_block(noise: Vec<u8>, big: bool) {
        let mut bytes = if big { b"MM\0*\0\0\0\x08".to_vec() } else { b"II*\0\x08\0\0\0".to_vec() };
        bytes.extend(noise);
        kept(&bytes);
    }

    /// Changes in a valid block reach more code than random bytes do.
    #[test]
    fn damaged_block_gives_no_panic_and_a_readable_block(changes: Vec<(prop::sample::Index, u8)>) {
        let camera = [ascii(0x010F, "Phone"), ascii(0x0132, "2026:11:23 10:20:30")];
        let mut bytes = block(&camera, &[fractions(0x829A, 5, &[[1, 120]]), short(0x8827, 400)], &gps());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        kept(&bytes);
    }
}
