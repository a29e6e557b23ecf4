//! Writing a new EXIF block from values that were found acceptable (Exif 3.0 section 4.5), little-endian.

use super::list::{Kept, Tags, Value};

const APP1: [u8; 2] = [0xFF, 0xE1];
const EXIF_HEADER: &[u8] = b"Exif\0\0";
const TIFF_HEADER: &[u8] = b"II*\0\x08\0\0\0";

const ORIENTATION: u16 = 0x0112;
const EXIF_IFD: u16 = 0x8769;
const GPS_IFD: u16 = 0x8825;
const EXIF_VERSION: u16 = 0x9000;
const COLOR_SPACE: u16 = 0xA001;
const PIXEL_X_DIMENSION: u16 = 0xA002;
const PIXEL_Y_DIMENSION: u16 = 0xA003;

const UPRIGHT: u16 = 1;
const SRGB: u16 = 1;

/// The APP1 segment of a JPEG, marker included; `None` if there is nothing to tell or it does not fit a segment.
pub(super) fn app1(mut kept: Kept, width: u32, height: u32) -> Option<Vec<u8>> {
    if kept.is_empty() {
        return None;
    }
    kept.exif.extend([
        (EXIF_VERSION, Value::Characters(*b"0232")),
        (COLOR_SPACE, Value::Short(SRGB)),
        (PIXEL_X_DIMENSION, Value::Long(width)),
        (PIXEL_Y_DIMENSION, Value::Long(height)),
    ]);
    let has_place = !kept.gps.is_empty();
    kept.ifd0.extend([(ORIENTATION, Value::Short(UPRIGHT)), (EXIF_IFD, Value::Long(0))]);
    if has_place {
        kept.ifd0.insert(GPS_IFD, Value::Long(0));
    }
    // The offsets do not change the lengths.
    let exif_at = offset(TIFF_HEADER.len() + ifd(&kept.ifd0, 0)?.len())?;
    let exif = ifd(&kept.exif, exif_at)?;
    let gps_at = exif_at.checked_add(offset(exif.len())?)?;
    kept.ifd0.insert(EXIF_IFD, Value::Long(exif_at));
    if has_place {
        kept.ifd0.insert(GPS_IFD, Value::Long(gps_at));
    }
    let mut block = [EXIF_HEADER, TIFF_HEADER].concat();
    block.extend(ifd(&kept.ifd0, offset(TIFF_HEADER.len())?)?);
    block.extend(exif);
    if has_place {
        block.extend(ifd(&kept.gps, gps_at)?);
    }
    // The length counts its own two bytes.
    let length = u16::try_from(block.len() + 2).ok()?;
    Some([&APP1[..], &length.to_be_bytes(), &block].concat())
}

/// An IFD that stands at `at`, no other behind it, with the values that do not fit its entries.
fn ifd(tags: &Tags, at: u32) -> Option<Vec<u8>> {
    let mut entries = u16::try_from(tags.len()).ok()?.to_le_bytes().to_vec();
    let mut values = Vec::new();
    let values_at = at.checked_add(offset(2 + 12 * tags.len() + 4)?)?;
    for (tag, value) in tags {
        let (kind, count, mut bytes) = encode(value)?;
        entries.extend(tag.to_le_bytes());
        entries.extend(kind.to_le_bytes());
        entries.extend(count.to_le_bytes());
        if bytes.len() <= 4 {
            bytes.resize(4, 0);
            entries.extend(bytes);
        } else {
            entries.extend(values_at.checked_add(offset(values.len())?)?.to_le_bytes());
            // Values begin at even offsets (TIFF 6.0 section 2).
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            values.extend(bytes);
        }
    }
    entries.extend([0; 4]);
    entries.extend(values);
    Some(entries)
}

/// Type, count and bytes of a value.
fn encode(value: &Value) -> Option<(u16, u32, Vec<u8>)> {
    let pairs = |kind: u16, pairs: &[[u32; 2]]| {
        let bytes = pairs.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect();
        Some((kind, offset(pairs.len())?, bytes))
    };
    match value {
        Value::Byte(byte) => Some((1, 1, vec![*byte])),
        Value::Version(version) => Some((1, 4, version.to_be_bytes().to_vec())),
        Value::Text(text) => {
            let bytes = [text.as_bytes(), b"\0"].concat();
            Some((2, offset(bytes.len())?, bytes))
        }
        Value::Short(number) => Some((3, 1, number.to_le_bytes().to_vec())),
        Value::Long(number) => Some((4, 1, number.to_le_bytes().to_vec())),
        Value::Rationals(fractions) => pairs(5, fractions),
        Value::Characters(characters) => Some((7, 4, characters.to_vec())),
        Value::SignedRationals(fractions) => pairs(10, fractions),
    }
}

fn offset(length: usize) -> Option<u32> {
    u32::try_from(length).ok()
}
