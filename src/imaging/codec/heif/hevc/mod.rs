//! Decodes HEVC still pictures with the intra decoder of `heic-rs` (without unsafe code, and without threads in this use).
//!
//! The decoder gets only the parameter sets and the slices of one picture. Chroma other than 4:2:0 and 4:0:0 is refused.

mod sps;

use heic_rs::hevc::{ChromaFormat, Frame, decode_still};

use super::boxes::Reader;
use super::picture::{Chroma, Header, MAX_CODED_PIXELS, Picture, Planes};
use crate::imaging::error::ImageError;

const SPS: u8 = 33;
const PPS: u8 = 34;
/// Most NAL units of a configuration, each read for each tile: the 64 possible picture parameter sets, and as many others.
const MAX_CONFIGURATION_NALS: usize = 128;
const FIRST_NON_SLICE: u8 = 32;

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
}

/// Returns the type of a NAL unit of the base layer.
fn kind_of(nal: &[u8]) -> Option<u8> {
    let [first, second] = *nal.first_chunk()?;
    let layer = (first & 1) << 5 | second >> 3;
    (layer == 0).then_some(first >> 1 & 0x3F)
}

pub(super) fn header(configuration: &[u8]) -> Result<Header, ImageError> {
    sps::read(Configuration::read(configuration)?.sps)
}

pub(super) fn decode(configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
    let configuration = Configuration::read(configuration)?;
    let header = sps::read(configuration.sps)?;
    let slices = slices(data, configuration.length_bytes)?;
    // The syntax allows each slice to cover the whole picture again.
    let pixels = u64::from(header.coded.0) * u64::from(header.coded.1);
    if pixels.saturating_mul(slices.len() as u64) > 2 * MAX_CODED_PIXELS {
        return Err(ImageError::Unsupported);
    }
    let sets: Vec<&[u8]> = [configuration.sps].into_iter().chain(configuration.pps).collect();
    let frame = decode_still(&sets, &slices).map_err(|error| classify(&error))?;
    let chroma = match frame.chroma {
        ChromaFormat::Monochrome => Chroma::None,
        ChromaFormat::Yuv420 => Chroma::Quarter,
        ChromaFormat::Yuv422 | ChromaFormat::Yuv444 => return Err(ImageError::Unsupported),
    };
    let shown = (frame.width, frame.height);
    if (shown, chroma, frame.bit_depth) != (header.shown, header.chroma, header.depth) {
        return Err(ImageError::Corrupt);
    }
    Ok(Picture { header, planes: Box::new(HevcPlanes(frame)) })
}

/// Returns the slices among the NAL units of a picture's data.
fn slices(data: &[u8], length_bytes: u8) -> Result<Vec<&[u8]>, ImageError> {
    let mut slices = Vec::new();
    let mut reader = Reader::new(data);
    while !reader.rest().is_empty() {
        let mut len = 0;
        for _ in 0..length_bytes {
            len = len << 8 | usize::from(reader.u8().map_err(|_| ImageError::Truncated)?);
        }
        let nal = reader.take(len).map_err(|_| ImageError::Truncated)?;
        if kind_of(nal).is_some_and(|kind| kind < FIRST_NON_SLICE) {
            slices.push(nal);
        }
    }
    Ok(slices)
}

fn classify(error: &heic_rs::Error) -> ImageError {
    match error {
        heic_rs::Error::Unsupported(_) => ImageError::Unsupported,
        heic_rs::Error::Truncated(_) => ImageError::Truncated,
        _ => ImageError::Corrupt,
    }
}

struct HevcPlanes(Frame);

impl Planes for HevcPlanes {
    fn copy_row(&self, plane: usize, row: usize, to: &mut [u16]) -> Result<(), ImageError> {
        let (samples, stride) = match plane {
            0 => (&self.0.y, self.0.y_stride),
            1 => (&self.0.cb, self.0.c_stride),
            _ => (&self.0.cr, self.0.c_stride),
        };
        let stride = stride as usize;
        let row = row.checked_mul(stride).and_then(|at| samples.get(at..at.checked_add(stride)?));
        let row = row.and_then(|row| row.get(..to.len())).ok_or(ImageError::Corrupt)?;
        to.copy_from_slice(row);
        Ok(())
    }
}
