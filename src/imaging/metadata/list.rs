//! The list of tags that are kept, with what each of their values must be.
//!
//! The tags are those of Exif 3.0 sections 4.6.5 and 4.6.6. What is not in the list is not kept; what could tell one device
//! or its owner from another of its kind (serial numbers, names, unique ids, maker notes) is not in the list.

use std::collections::BTreeMap;

use super::gps;
use crate::imaging::tiff_directory::{Block, Entry};

/// Tags with their values, in the order in which an IFD holds them.
pub(super) type Tags = BTreeMap<u16, Value>;

/// A value that was found acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Byte(u8),
    Short(u16),
    Long(u32),
    /// Four bytes of type BYTE, a version.
    Version(u32),
    /// Four characters of type UNDEFINED, a version too.
    Characters([u8; 4]),
    Rationals(Vec<[u32; 2]>),
    SignedRationals(Vec<[u32; 2]>),
}

/// What is kept of a source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) ifd0: Tags,
    pub(super) exif: Tags,
    pub(super) gps: Tags,
}

const EXIF_IFD: u16 = 0x8769;
const GPS_IFD: u16 = 0x8825;

/// Longest name of a camera or lens in bytes; real ones have up to about 60.
const MAX_NAME: usize = 128;

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// A name of at most [`MAX_NAME`] bytes without control characters.
    Name,
    /// `2026:11:23 10:20:30`.
    DateTime,
    /// `+01:00`.
    Offset,
    /// One to nine digits.
    SubSeconds,
    Short,
    Rational,
    SignedRational,
    /// Shortest and longest focal length, and the F numbers there; 0/0 is "unknown".
    LensSpecification,
}

const IFD0: &[(u16, Rule)] = &[
    (0x010F, Rule::Name),     // Make
    (0x0110, Rule::Name),     // Model
    (0x0132, Rule::DateTime), // DateTime
];

const EXIF: &[(u16, Rule)] = &[
    (0x829A, Rule::Rational),          // ExposureTime
    (0x829D, Rule::Rational),          // FNumber
    (0x8822, Rule::Short),             // ExposureProgram
    (0x8827, Rule::Short),             // PhotographicSensitivity
    (0x8830, Rule::Short),             // SensitivityType
    (0x9003, Rule::DateTime),          // DateTimeOriginal
    (0x9004, Rule::DateTime),          // DateTimeDigitized
    (0x9010, Rule::Offset),            // OffsetTime
    (0x9011, Rule::Offset),            // OffsetTimeOriginal
    (0x9012, Rule::Offset),            // OffsetTimeDigitized
    (0x9201, Rule::SignedRational),    // ShutterSpeedValue
    (0x9202, Rule::Rational),          // ApertureValue
    (0x9203, Rule::SignedRational),    // BrightnessValue
    (0x9204, Rule::SignedRational),    // ExposureBiasValue
    (0x9205, Rule::Rational),          // MaxApertureValue
    (0x9206, Rule::Rational),          // SubjectDistance
    (0x9207, Rule::Short),             // MeteringMode
    (0x9208, Rule::Short),             // LightSource
    (0x9209, Rule::Short),             // Flash
    (0x920A, Rule::Rational),          // FocalLength
    (0x9290, Rule::SubSeconds),        // SubSecTime
    (0x9291, Rule::SubSeconds),        // SubSecTimeOriginal
    (0x9292, Rule::SubSeconds),        // SubSecTimeDigitized
    (0xA402, Rule::Short),             // ExposureMode
    (0xA403, Rule::Short),             // WhiteBalance
    (0xA404, Rule::Rational),          // DigitalZoomRatio
    (0xA405, Rule::Short),             // FocalLengthIn35mmFilm
    (0xA406, Rule::Short),             // SceneCaptureType
    (0xA432, Rule::LensSpecification), // LensSpecification
    (0xA433, Rule::Name),              // LensMake
    (0xA434, Rule::Name),              // LensModel
];

impl Kept {
    /// Picks what is kept of a block.
    pub(super) fn of(block: &Block<'_>) -> Self {
        let mut kept = Self::default();
        let (mut exif, mut place) = (None, None);
        for entry in block.ifd0().into_iter().flat_map(|offset| block.entries(offset)) {
            match entry.tag {
                EXIF_IFD => exif = exif.or(entry.offset()),
                GPS_IFD => place = place.or(entry.offset()),
                _ => keep(&mut kept.ifd0, &entry, IFD0),
            }
        }
        for entry in exif.into_iter().flat_map(|offset| block.entries(offset)) {
            keep(&mut kept.exif, &entry, EXIF);
        }
        kept.gps = place.and_then(|offset| gps::place(block.entries(offset))).unwrap_or_default();
        kept
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.ifd0.is_empty() && self.exif.is_empty() && self.gps.is_empty()
    }
}

/// Keeps the value of an entry if its tag is in the list and the value is what the list demands. The first one counts.
fn keep(tags: &mut Tags, entry: &Entry<'_>, list: &[(u16, Rule)]) {
    let rule = list.iter().find(|(tag, _)| *tag == entry.tag).map(|(_, rule)| *rule);
    if let Some(value) = rule.and_then(|rule| rule.accept(entry)) {
        tags.entry(entry.tag).or_insert(value);
    }
}

impl Rule {
    fn accept(self, entry: &Entry<'_>) -> Option<Value> {
        match self {
            Self::Name => name(entry, MAX_NAME),
            Self::DateTime => text(entry, is_date_time),
            Self::Offset => text(entry, is_offset),
            Self::SubSeconds => {
                text(entry, |digits| digits.len() <= 9 && is_shaped(digits, digits.len(), ""))
            }
            Self::Short => entry.short().map(Value::Short),
            Self::Rational => rationals::<1>(entry),
            Self::SignedRational => {
                let [pair] = entry.rationals::<1>(true)?;
                (pair[1] != 0).then(|| Value::SignedRationals(vec![pair]))
            }
            Self::LensSpecification => {
                let lens = entry.rationals::<4>(false)?;
                let is_known_or_unknown =
                    |[numerator, denominator]: &[u32; 2]| *denominator != 0 || *numerator == 0;
                lens.iter().all(is_known_or_unknown).then(|| Value::Rationals(lens.to_vec()))
            }
        }
    }
}

/// `N` fractions, none of them over zero.
pub(super) fn rationals<const N: usize>(entry: &Entry<'_>) -> Option<Value> {
    let pairs = entry.rationals::<N>(false)?;
    pairs.iter().all(|[_, denominator]| *denominator != 0).then(|| Value::Rationals(pairs.to_vec()))
}

/// Text of at most `max` bytes without control characters.
pub(super) fn name(entry: &Entry<'_>, max: usize) -> Option<Value> {
    text(entry, |text| text.len() <= max && !text.contains(char::is_control))
}

/// Text that passes.
pub(super) fn text(entry: &Entry<'_>, is_acceptable: impl Fn(&str) -> bool) -> Option<Value> {
    entry.text().filter(|text| is_acceptable(text)).map(|text| Value::Text(text.to_owned()))
}

/// `2026:11:23`, and on the calendar: devices that do not know the date write zeros or spaces.
pub(super) fn is_date(text: &str) -> bool {
    let number = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u8>().ok());
    is_shaped(text, 10, ":4:7")
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
}

fn is_date_time(text: &str) -> bool {
    let (Some(date), Some(time)) = (text.get(..10), text.get(11..)) else {
        return false;
    };
    is_date(date) && text.get(10..11) == Some(" ") && is_shaped(time, 8, ":2:5")
}

fn is_offset(text: &str) -> bool {
    text.strip_prefix(['+', '-']).is_some_and(|time| is_shaped(time, 5, ":2"))
}

/// Whether `text` has `length` bytes, colons where `colons` says, and digits everywhere else.
fn is_shaped(text: &str, length: usize, colons: &str) -> bool {
    let is_colon = |at: usize| colons.split(':').any(|place| place.parse() == Ok(at));
    text.len() == length
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if is_colon(at) { byte == b':' } else { byte.is_ascii_digit() })
}
