//! The marker segments of a JPEG (ITU-T T.81 annex B). Every walk only moves forward.

use crate::imaging::colour::MAX_PROFILE_BYTES;

/// Marker of the segment that carries EXIF (and XMP).
pub(in crate::imaging) const APP1: u8 = 0xE1;
const APP2: u8 = 0xE2;
const APP14: u8 = 0xEE;
const SOF_BASELINE: u8 = 0xC0;
const SOF_EXTENDED: u8 = 0xC1;
const SOF_ARITHMETIC: u8 = 0xC9;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;
const TEM: u8 = 0x01;
const START: [u8; 2] = [0xFF, SOI];
const END: [u8; 2] = [0xFF, EOI];

/// A marker segment in front of the first scan.
#[derive(Debug, Clone, Copy)]
pub(in crate::imaging) struct Segment<'a> {
    pub(in crate::imaging) marker: u8,
    /// The bytes behind the length field.
    pub(in crate::imaging) payload: &'a [u8],
    /// The file behind the segment.
    rest: &'a [u8],
}

/// The segments of `file` up to and with the first start of scan; ends early where they are malformed.
pub(in crate::imaging) fn segments(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = file.strip_prefix(&START).unwrap_or(&[]);
    std::iter::from_fn(move || {
        loop {
            // Like the decoder, pass over fill bytes and over garbage between segments.
            let start = rest.iter().position(|byte| *byte == 0xFF)?;
            let fill = rest[start..].iter().position(|byte| *byte != 0xFF)?;
            let marker = rest[start + fill];
            rest = &rest[start + fill + 1..];
            if marker == EOI {
                rest = &[];
            }
            if matches!(marker, 0 | TEM | 0xD0..=EOI) {
                continue;
            }
            let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
            let payload = rest.get(2..length)?;
            let segment = Segment { marker, payload, rest: &rest[length..] };
            rest = if marker == SOS { &[] } else { segment.rest };
            return Some(segment);
        }
    })
}

/// Whether an end-of-image marker follows the first start of scan. In entropy-coded data 0xFF is always stuffed, so that
/// the pair FF D9 cannot occur by chance.
pub(super) fn has_end(file: &[u8]) -> bool {
    let scan = segments(file).find(|segment| segment.marker == SOS);
    scan.is_some_and(|scan| scan.rest.windows(2).any(|pair| pair == END))
}

/// Whether all pixels of `file` are in its first scan.
pub(super) fn has_one_scan(file: &[u8]) -> bool {
    let mut components = None;
    for segment in segments(file) {
        match segment.marker {
            SOF_BASELINE | SOF_EXTENDED | SOF_ARITHMETIC => components = segment.payload.get(5),
            SOS => return components.is_some() && segment.payload.first() == components,
            _ => {}
        }
    }
    false
}

/// Width and height that the frame header declares.
pub(super) fn declared_size(file: &[u8]) -> Option<(u16, u16)> {
    // C4, C8 and CC are no frames: tables, an extension and arithmetic conditioning.
    let is_frame = |marker| matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
    let frame = segments(file).find(|segment| is_frame(segment.marker))?;
    let side = |at: usize| Some(u16::from_be_bytes(*frame.payload.get(at..)?.first_chunk()?));
    Some((side(3)?, side(1)?))
}

/// Whether the file bears Adobe's mark (APP14), with which four inks are stored inverted: 255 is no ink.
pub(super) fn has_adobe(file: &[u8]) -> bool {
    segments(file).any(|segment| segment.marker == APP14 && segment.payload.starts_with(b"Adobe"))
}

/// A copy with nothing in front of the first scan but what decodes its pixels, and with an end; `None` without a scan.
pub(super) fn tidied(file: &[u8]) -> Option<Vec<u8>> {
    let one_scan = has_one_scan(file);
    let mut copy = START.to_vec();
    for segment in segments(file) {
        let is_needed = matches!(segment.marker, 0xC0..=0xCF | SOS | DQT | DRI | APP14);
        if !is_needed {
            continue;
        }
        let length = u16::try_from(segment.payload.len() + 2).ok()?;
        copy.extend_from_slice(&[0xFF, segment.marker]);
        copy.extend_from_slice(&length.to_be_bytes());
        copy.extend_from_slice(segment.payload);
        if segment.marker == SOS {
            // The only lawful parameters of a sequential scan; some encoders write others.
            if let (true, Some(parameters)) = (one_scan, copy.last_chunk_mut()) {
                *parameters = [0, 63, 0];
            }
            copy.extend_from_slice(segment.rest);
            if !has_end(file) {
                copy.extend_from_slice(&END);
            }
            return Some(copy);
        }
    }
    None
}

/// The ICC profile, put together from its chunks (ICC.1:2022 annex B.4); `None` unless all are there, each once.
pub(super) fn icc_profile(file: &[u8]) -> Option<Vec<u8>> {
    let app2 = segments(file).filter(|segment| segment.marker == APP2);
    let mut chunks: Vec<&[u8]> =
        app2.filter_map(|segment| segment.payload.strip_prefix(b"ICC_PROFILE\0")).collect();
    chunks.sort_by_key(|chunk| chunk.first().copied());
    let mut profile = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let [sequence, count, data @ ..] = chunk else { return None };
        if usize::from(*sequence) != index + 1 || usize::from(*count) != chunks.len() {
            return None;
        }
        profile.extend_from_slice(data);
    }
    (1..=MAX_PROFILE_BYTES).contains(&profile.len()).then_some(profile)
}
