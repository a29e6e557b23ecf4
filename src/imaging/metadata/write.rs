//! Writes a new EXIF block from the values that passed their checks.
//!
//! little_exif never reads a block here, so its behaviour on untrusted blocks does not matter. Each value is written with the
//! type that was checked, not with the type in the library's table.

use little_exif::exif_tag::ExifTag;
use little_exif::ifd::ExifTagGroup;
use little_exif::metadata::Metadata;
use little_exif::rational::{iR64, uR64};

use super::allow_list::Kept;
use super::value::Value;
use crate::imaging::exif::EXIF_HEADER;

const APP1: [u8; 2] = [0xFF, 0xE1];

const ORIENTATION: u16 = 0x0112;
const EXIF_VERSION: u16 = 0x9000;
const COLOR_SPACE: u16 = 0xA001;
const PIXEL_X_DIMENSION: u16 = 0xA002;
const PIXEL_Y_DIMENSION: u16 = 0xA003;

const UPRIGHT: u16 = 1;
const SRGB: u16 = 1;

/// Returns the APP1 segment of a JPEG, marker included. Returns `None` if nothing is kept or the block does not fit a segment.
pub(super) fn app1(mut kept: Kept, width: u32, height: u32) -> Option<Vec<u8>> {
    if kept.is_empty() {
        return None;
    }
    kept.ifd0.insert(ORIENTATION, Value::Short(UPRIGHT));
    kept.exif.extend([
        (EXIF_VERSION, Value::Characters(*b"0232")),
        (COLOR_SPACE, Value::Short(SRGB)),
        (PIXEL_X_DIMENSION, Value::Long(width)),
        (PIXEL_Y_DIMENSION, Value::Long(height)),
    ]);
    let mut metadata = Metadata::new();
    let groups =
        [(ExifTagGroup::GENERIC, kept.ifd0), (ExifTagGroup::EXIF, kept.exif), (ExifTagGroup::GPS, kept.gps)];
    for (group, tags) in groups {
        for (tag, value) in tags {
            metadata.set_tag(entry(tag, value, group));
        }
    }
    let block = metadata.encode().ok()?;
    // The library's own function would truncate the length to 16 bits. The length includes its own two bytes.
    let length = u16::try_from(2 + EXIF_HEADER.len() + block.len()).ok()?;
    Some([&APP1[..], &length.to_be_bytes(), EXIF_HEADER, &block].concat())
}

fn entry(tag: u16, value: Value, group: ExifTagGroup) -> ExifTag {
    match value {
        Value::Text(text) => ExifTag::UnknownSTRING(text, tag, group),
        Value::Byte(byte) => ExifTag::UnknownINT8U(vec![byte], tag, group),
        Value::Short(number) => ExifTag::UnknownINT16U(vec![number], tag, group),
        Value::Long(number) => ExifTag::UnknownINT32U(vec![number], tag, group),
        Value::Version(version) => ExifTag::UnknownINT8U(version.to_be_bytes().to_vec(), tag, group),
        Value::Characters(characters) => ExifTag::UnknownUNDEF(characters.to_vec(), tag, group),
        Value::Rationals(fractions) => {
            let fraction = |[nominator, denominator]: [u32; 2]| uR64 { nominator, denominator };
            ExifTag::UnknownRATIONAL64U(fractions.into_iter().map(fraction).collect(), tag, group)
        }
        Value::SignedRationals(fractions) => {
            let fraction = |[nominator, denominator]: [u32; 2]| iR64 {
                nominator: nominator.cast_signed(),
                denominator: denominator.cast_signed(),
            };
            ExifTag::UnknownRATIONAL64S(fractions.into_iter().map(fraction).collect(), tag, group)
        }
    }
}
