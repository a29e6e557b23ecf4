//! Decodes HEVC still pictures: Main, Main 10, Main Still Picture, and the range extensions that cameras use, with 8 to 12 bits
//! and any chroma format.
//!
//! Refused: inter prediction, screen content, several layers, extended precision, and planes of different depths.

mod decode;
mod escapes;
mod pps;
mod scaling;
mod slice;
mod sps;
mod vui;

use self::decode::Unit;
use self::pps::Pps;
use self::sps::Sps;
use super::boxes::Reader;
#[cfg(any(test, fuzzing))]
use super::picture::Chroma;
use super::picture::{Header, Picture, Planes};
use crate::imaging::error::ImageError;

const SPS: u8 = 33;
const PPS: u8 = 34;
/// Most NAL units of a configuration, each read for each tile: the 64 possible picture parameter sets, and as many others.
const MAX_CONFIGURATION_NALS: usize = 128;
const FIRST_NON_SLICE: u8 = 32;
/// Most slice segments of a picture (ITU-T H.265 table A.8).
const MAX_SEGMENTS: usize = 600;

/// The parts of a decoder configuration (`hvcC`, ISO/IEC 14496-15 section 8.3.3.1).
struct Configuration<'a> {
    /// Bytes of the length before each NAL unit of the data.
    length_bytes: u8,
    sps: &'a [u8],
    pps: Vec<&'a [u8]>,
}

impl<'a> Configuration<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let mut reader = Reader::new(bytes);
        // Skips profile and level, which the parameter sets repeat.
        reader.take(21)?;
        let length_bytes = (reader.u8()? & 3) + 1;
        let (mut sps, mut pps) = (None, Vec::new());
        let mut room = MAX_CONFIGURATION_NALS;
        for _ in 0..reader.u8()? {
            reader.u8()?;
            let count = reader.u16()?;
            room = room.checked_sub(count.into()).ok_or(ImageError::Unsupported)?;
            for _ in 0..count {
                let len = usize::from(reader.u16()?);
                let nal = reader.take(len)?;
                match kind_of(nal) {
                    // With several sets, a slice could choose another one than the one that was checked.
                    Some(SPS) if sps.replace(nal).is_some() => return Err(ImageError::Unsupported),
                    Some(PPS) => pps.push(nal),
                    _ => {}
                }
            }
        }
        Ok(Self { length_bytes, sps: sps.ok_or(ImageError::Corrupt)?, pps })
    }

    /// Returns the picture parameter set that the slices name, which is the same for all of a picture.
    fn picture_set(&self, sps: &Sps, slices: &[Unit]) -> Result<Pps, ImageError> {
        let mut ids = slices.iter().map(|slice| slice::pps_id(slice.kind, &slice.payload));
        let id = ids.next().ok_or(ImageError::Truncated)??;
        for other in ids {
            if other? != id {
                return Err(ImageError::Corrupt);
            }
        }
        // A later set replaces an earlier one with its number.
        let set = self.pps.iter().rev().find(|set| Pps::id(set) == Ok(id));
        Pps::read(set.ok_or(ImageError::Corrupt)?, sps)
    }
}

/// Returns the type of a NAL unit of the base layer.
fn kind_of(nal: &[u8]) -> Option<u8> {
    let [first, second] = *nal.first_chunk()?;
    let layer = (first & 1) << 5 | second >> 3;
    (layer == 0).then_some(first >> 1 & 0x3F)
}

pub(super) fn header(configuration: &[u8]) -> Result<Header, ImageError> {
    Ok(Sps::read(Configuration::read(configuration)?.sps)?.header)
}

pub(super) fn decode(configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
    decode_by(decode::decode, configuration, data)
}

/// Decodes the planes of a picture from its slice segments.
type DecodePlanes = fn(&Sps, &Pps, &[Unit]) -> Result<Box<dyn Planes>, ImageError>;

fn decode_by(by: DecodePlanes, configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
    let configuration = Configuration::read(configuration)?;
    let sps = Sps::read(configuration.sps)?;
    let units = slices(data, configuration.length_bytes)?;
    let pps = configuration.picture_set(&sps, &units)?;
    Ok(Picture { header: sps.header, planes: by(&sps, &pps, &units)? })
}

/// Asserts that code with and without SIMD decodes a picture to the same samples, or refuses it for the same reason.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, reason = "a fuzz target reports a finding by a panic")]
pub(super) fn assert_paths_agree(configuration: &[u8], data: &[u8]) {
    let decode = |by: DecodePlanes| decode_by(by, configuration, data);
    match (decode(decode::decode), decode(decode::decode_anywhere)) {
        (Ok(Picture { header, planes }), Ok(Picture { planes: portable, .. })) => {
            let (half_width, half_height) = header.chroma.halves();
            let count = if header.chroma == Chroma::None { 1 } else { 3 };
            for plane in 0..count {
                let right = u32::from(plane > 0 && half_width);
                let down = u32::from(plane > 0 && half_height);
                let (mut got, mut expected) = (vec![0; header.shown.0 as usize >> right], Vec::new());
                expected.clone_from(&got);
                for row in 0..header.shown.1 as usize >> down {
                    for (planes, to) in [(&planes, &mut got), (&portable, &mut expected)] {
                        assert_eq!(planes.row(plane, row).and_then(|row| row.copy_to(to)), Ok(()));
                    }
                    assert!(got == expected, "plane {plane}, row {row}");
                }
            }
        }
        (got, expected) => assert_eq!(got.err(), expected.err()),
    }
}

/// Returns the slices among the NAL units of a picture's data.
fn slices(data: &[u8], length_bytes: u8) -> Result<Vec<Unit>, ImageError> {
    let mut slices = Vec::new();
    let mut reader = Reader::new(data);
    while !reader.rest().is_empty() {
        let mut len = 0;
        for _ in 0..length_bytes {
            len = len << 8 | usize::from(reader.u8().map_err(|_| ImageError::Truncated)?);
        }
        let nal = reader.take(len).map_err(|_| ImageError::Truncated)?;
        if slices.len() == MAX_SEGMENTS {
            return Err(ImageError::Unsupported);
        }
        if let Some(kind) = kind_of(nal).filter(|kind| *kind < FIRST_NON_SLICE) {
            slices.push(Unit::new(kind, escapes::unescaped(nal.get(2..).unwrap_or_default())));
        }
    }
    Ok(slices)
}
