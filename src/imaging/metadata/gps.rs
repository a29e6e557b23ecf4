//! Keeps the GPS position of a photo if it is complete and valid, see the module documentation of `metadata`.

use std::collections::BTreeMap;

use super::value::{Tags, Value, is_date, name, rationals, text};
use crate::imaging::tiff_directory::Entry;

// Exif 3.0 section 4.6.7.
const VERSION: u16 = 0x00;
const LATITUDE_REF: u16 = 0x01;
const LATITUDE: u16 = 0x02;
const LONGITUDE_REF: u16 = 0x03;
const LONGITUDE: u16 = 0x04;
const ALTITUDE_REF: u16 = 0x05;
const ALTITUDE: u16 = 0x06;
const TIME_STAMP: u16 = 0x07;
const STATUS: u16 = 0x09;
const DOP: u16 = 0x0B;
const IMAGE_DIRECTION_REF: u16 = 0x10;
const IMAGE_DIRECTION: u16 = 0x11;
const MAP_DATUM: u16 = 0x12;
const DATE_STAMP: u16 = 0x1D;
const POSITIONING_ERROR: u16 = 0x1F;

/// Longest name of a map datum (`WGS-84`) in bytes.
const MAX_DATUM: usize = 32;

/// Returns the tags of the position, or `None` if there is no valid one.
pub(super) fn position<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Option<Tags> {
    let mut first = BTreeMap::new();
    for entry in entries {
        first.entry(entry.tag).or_insert(entry);
    }
    if let Some(status) = first.get(&STATUS)
        && status.text() != Some("A")
    {
        return None;
    }
    let mut tags = Tags::from([(VERSION, Value::Version(0x02_03_00_00))]);
    let mut are_zero = true;
    for (reference, letters, coordinate, most) in
        [(LATITUDE_REF, ["N", "S"], LATITUDE, 90), (LONGITUDE_REF, ["E", "W"], LONGITUDE, 180)]
    {
        let entry = first.get(&coordinate)?;
        let angle = entry.rationals::<3>(false)?;
        if !is_angle(&angle, most) {
            return None;
        }
        are_zero &= angle.iter().all(|[numerator, _]| *numerator == 0);
        tags.insert(coordinate, Value::Rationals(angle.to_vec()));
        tags.insert(reference, text(first.get(&reference)?, |letter| letters.contains(&letter))?);
    }
    if are_zero {
        return None;
    }
    for (tag, entry) in &first {
        let value = match *tag {
            ALTITUDE_REF => entry.byte().filter(|reference| *reference <= 3).map(Value::Byte),
            ALTITUDE | DOP | IMAGE_DIRECTION | POSITIONING_ERROR => rationals::<1>(entry),
            TIME_STAMP => rationals::<3>(entry),
            IMAGE_DIRECTION_REF => text(entry, |letter| ["T", "M"].contains(&letter)),
            MAP_DATUM => name(entry, MAX_DATUM),
            DATE_STAMP => text(entry, is_date),
            _ => None,
        };
        tags.extend(value.map(|value| (*tag, value)));
    }
    Some(tags)
}

/// Returns whether degrees, minutes and seconds are numbers in their ranges, with at most `most` degrees.
fn is_angle(parts: &[[u32; 2]; 3], most: u64) -> bool {
    let is_at_most = |[numerator, denominator]: [u32; 2], most: u64| {
        denominator != 0 && u64::from(numerator) <= most * u64::from(denominator)
    };
    // Real devices write minutes and seconds that are rounded up to 60.
    is_at_most(parts[0], most) && is_at_most(parts[1], 60) && is_at_most(parts[2], 60)
}
