//! Decodes AV1 still pictures with `rusty_av1d` (a port of dav1d; its threads are not used). An image item may hold any number
//! of frames, each as expensive as the picture. So the decoder gets only the sequence header and the first frame.

mod sequence;

use std::panic::catch_unwind;

use rusty_av1d::{
    Decoder, Picture as Decoded, PixelLayout, PlanarImageComponent as Component, Rav1dError, Settings,
};

use super::picture::{Chroma, Header, Picture, Planes, Samples};
use crate::imaging::error::ImageError;

/// Bytes before the OBUs of a decoder configuration (`av1C`, AV1 in ISOBMFF section 2.3.3).
const CONFIGURATION_HEADER: usize = 4;

/// Most units before the sequence header: a delimiter and metadata. They may be empty.
const MAX_UNITS_IN_FRONT: usize = 32;

const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const TILE_GROUP: u8 = 4;
const FRAME: u8 = 6;

/// An open bitstream unit (AV1 specification section 5.3).
struct Obu<'a> {
    kind: u8,
    payload: &'a [u8],
    whole: &'a [u8],
}

/// Splits `data` after its first unit.
fn next_obu(data: &[u8]) -> Result<(Obu<'_>, &[u8]), ImageError> {
    let header = *data.first().ok_or(ImageError::Truncated)?;
    let mut start = 1 + usize::from(header >> 2 & 1);
    let mut end = data.len();
    if header & 2 != 0 {
        let mut len = 0u64;
        for shift in (0..).step_by(7) {
            // The specification allows at most eight bytes.
            if shift == 56 {
                return Err(ImageError::Corrupt);
            }
            let byte = *data.get(start).ok_or(ImageError::Truncated)?;
            start += 1;
            len |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let len = usize::try_from(len).map_err(|_| ImageError::Truncated)?;
        end = start.checked_add(len).ok_or(ImageError::Truncated)?;
    }
    let payload = data.get(start..end).ok_or(ImageError::Truncated)?;
    let (whole, rest) = data.split_at(end);
    Ok((Obu { kind: header >> 3 & 15, payload, whole }, rest))
}

/// Returns the first sequence header in `data`, otherwise that in the configuration.
fn sequence_header<'a>(configuration: &'a [u8], data: &'a [u8]) -> Result<Obu<'a>, ImageError> {
    for mut rest in [data, configuration.get(CONFIGURATION_HEADER..).unwrap_or_default()] {
        for _ in 0..=MAX_UNITS_IN_FRONT {
            if rest.is_empty() {
                break;
            }
            let (obu, behind) = next_obu(rest)?;
            match obu.kind {
                SEQUENCE_HEADER => return Ok(obu),
                FRAME | FRAME_HEADER => break,
                _ => rest = behind,
            }
        }
    }
    Err(ImageError::Corrupt)
}

pub(super) fn header(configuration: &[u8], data: &[u8]) -> Result<Header, ImageError> {
    sequence::read(sequence_header(configuration, data)?.payload)
}

pub(super) fn decode(configuration: &[u8], data: &[u8]) -> Result<Picture, ImageError> {
    let sequence = sequence_header(configuration, data)?;
    let header = sequence::read(sequence.payload)?;
    let mut unit = sequence.whole.to_vec();
    let mut rest = data;
    let mut in_frame = false;
    while !rest.is_empty() {
        let (obu, behind) = next_obu(rest)?;
        match obu.kind {
            FRAME | FRAME_HEADER if in_frame => break,
            FRAME | FRAME_HEADER | TILE_GROUP => {
                in_frame = true;
                unit.extend_from_slice(obu.whole);
            }
            _ => {}
        }
        rest = behind;
    }
    // The decoder panics on most damaged data (an unwrap after an error).
    let decoded = catch_unwind(|| decode_unit(unit, &header)).map_err(|_| ImageError::Corrupt)??;
    let chroma = match decoded.pixel_layout() {
        PixelLayout::I400 => Chroma::None,
        PixelLayout::I420 => Chroma::Quarter,
        PixelLayout::I422 => Chroma::Half,
        PixelLayout::I444 => Chroma::Full,
    };
    let shown = (decoded.width(), decoded.height());
    if (shown, chroma, decoded.bit_depth()) != (header.shown, header.chroma, usize::from(header.depth)) {
        return Err(ImageError::Corrupt);
    }
    Ok(Picture { header, planes: Box::new(Av1Planes(decoded)) })
}

fn decode_unit(unit: Vec<u8>, header: &Header) -> Result<Decoded, ImageError> {
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    // Frames may declare their own sizes.
    settings.set_frame_size_limit(header.coded.0.checked_mul(header.coded.1).ok_or(ImageError::Corrupt)?);
    let mut decoder = Decoder::with_settings(&settings).map_err(classify)?;
    match decoder.send_data(unit.into_boxed_slice(), None, None, None) {
        Ok(()) | Err(Rav1dError::TryAgain) => {}
        Err(error) => return Err(classify(error)),
    }
    decoder.get_picture().map_err(classify)
}

fn classify(error: Rav1dError) -> ImageError {
    match error {
        Rav1dError::UnsupportedBitstream => ImageError::Unsupported,
        _ => ImageError::Corrupt,
    }
}

struct Av1Planes(Decoded);

impl Planes for Av1Planes {
    fn row(&self, plane: usize, row: usize) -> Result<Samples<'_>, ImageError> {
        let component = match plane {
            0 => Component::Y,
            1 => Component::U,
            _ => Component::V,
        };
        let at = row.checked_mul(self.0.stride(component) as usize).ok_or(ImageError::Corrupt)?;
        let row = self.0.plane(component).get(at..).ok_or(ImageError::Corrupt)?;
        Ok(if self.0.bit_depth() == 8 { Samples::Bytes(row) } else { Samples::Words(row.as_chunks().0) })
    }
}
