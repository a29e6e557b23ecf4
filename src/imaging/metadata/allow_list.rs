//! The tags that are kept, and the rule that each value must pass.
//!
//! The tags are those of Exif 3.0 sections 4.6.5 and 4.6.6. Tags that are not listed are dropped, above all those that can
//! identify a device or its owner (serial numbers, names, unique ids, maker notes).
//!
//! After a change here, add 1 to `VERSION` in `fingerprint.rs`. Otherwise photos that are uploaded again keep the old metadata.

use super::gps;
use super::value::{Tags, Value, is_date_time, is_offset, is_shaped, name, rationals, text};
use crate::imaging::tiff_directory::{Directory, Entry};

/// The tags that are kept from a source, by directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) ifd0: Tags,
    pub(super) exif: Tags,
    pub(super) gps: Tags,
}

const EXIF_IFD: u16 = 0x8769;
const GPS_IFD: u16 = 0x8825;

/// Longest name of a camera or lens in bytes. Real names have up to about 60.
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
    /// Shortest and longest focal length, and their F numbers; 0/0 means unknown.
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
    /// Picks the tags to keep from the block whose first directory is `ifd0`.
    pub(super) fn of(ifd0: Directory<'_>) -> Self {
        let mut kept = Self::default();
        let (mut exif, mut gps) = (None, None);
        for entry in ifd0.entries() {
            match entry.tag {
                EXIF_IFD => exif = exif.or(entry.directory()),
                GPS_IFD => gps = gps.or(entry.directory()),
                _ => keep(&mut kept.ifd0, &entry, IFD0),
            }
        }
        for entry in exif.into_iter().flat_map(Directory::entries) {
            keep(&mut kept.exif, &entry, EXIF);
        }
        kept.gps = gps.and_then(|directory| gps::position(directory.entries())).unwrap_or_default();
        kept
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ifd0.is_empty() && self.exif.is_empty() && self.gps.is_empty()
    }
}

/// Keeps the value of an entry if its tag is listed and the value passes the rule. The first value of a tag is kept.
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
