//! Reads the marker segments of a JPEG (ITU-T T.81 annex B). All readers only move forward.

use crate::imaging::limits::MAX_PROFILE_BYTES;

/// Marker of the segment that carries EXIF or XMP.
pub(in crate::imaging) const APP1: u8 = 0xE1;
const APP0: u8 = 0xE0;
const APP2: u8 = 0xE2;
const APP14: u8 = 0xEE;
pub(super) const SOF_BASELINE: u8 = 0xC0;
pub(super) const SOF_EXTENDED: u8 = 0xC1;
pub(super) const DHT: u8 = 0xC4;
pub(super) const SOF_PROGRESSIVE: u8 = 0xC2;
const SOF_ARITHMETIC: u8 = 0xC9;
pub(super) const RST0: u8 = 0xD0;
pub(super) const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
pub(super) const EOI: u8 = 0xD9;
pub(super) const SOS: u8 = 0xDA;
pub(super) const DQT: u8 = 0xDB;
pub(super) const DRI: u8 = 0xDD;
pub(super) const START: [u8; 2] = [0xFF, SOI];
const END: [u8; 2] = [0xFF, EOI];

/// A JFIF 1.01 header without units or thumbnail.
const JFIF: [u8; 18] = *b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
/// Most chunks of an ICC profile. One byte counts them.
const MAX_PROFILE_CHUNKS: usize = 255;

/// A marker with its segment.
#[derive(Debug, Clone, Copy)]
pub(in crate::imaging) struct Segment<'a> {
    pub(in crate::imaging) marker: u8,
    /// The bytes after the length field.
    pub(in crate::imaging) payload: &'a [u8],
    /// The file after the segment.
    pub(super) rest: &'a [u8],
}

/// Returns all markers of `file` with their segments, including the end of image. Restarts and the end of image have no
/// payload. The iterator ends early at a malformed segment.
///
/// It finds every start of scan that libjpeg-turbo finds, which also skips all bytes between markers.
pub(super) fn all(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = file.strip_prefix(&START).unwrap_or(&[]);
    std::iter::from_fn(move || {
        loop {
            // Skip fill bytes and garbage between segments, as libjpeg-turbo does.
            let start = memchr::memchr(0xFF, rest)?;
            let fill = rest[start..].iter().position(|byte| *byte != 0xFF)?;
            let marker = rest[start + fill];
            rest = &rest[start + fill + 1..];
            // A stuffed byte of entropy-coded data, or a reserved marker, which has no length.
            if matches!(marker, 0..=0xBF) {
                continue;
            }
            let mut payload: &[u8] = &[];
            if !has_no_payload(marker) {
                let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
                payload = rest.get(2..length)?;
                rest = &rest[length..];
            }
            let segment = Segment { marker, payload, rest };
            if marker == EOI {
                rest = &[];
            }
            return Some(segment);
        }
    })
}

fn has_no_payload(marker: u8) -> bool {
    matches!(marker, RST0..=EOI)
}

/// Returns the segments of `file` up to and including the first start of scan. The iterator ends early at a malformed segment.
pub(in crate::imaging) fn segments(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut segments = all(file).filter(|segment| !has_no_payload(segment.marker));
    let mut is_done = false;
    std::iter::from_fn(move || {
        // This check comes before the search for the next marker, which would read the whole scan.
        if is_done {
            return None;
        }
        let segment = segments.next()?;
        is_done = segment.marker == SOS;
        Some(segment)
    })
}

/// Returns whether a marker begins a frame header.
pub(super) fn is_frame(marker: u8) -> bool {
    // C4, C8 and CC are Huffman tables, an extension and arithmetic conditioning.
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// Returns whether the first scan of `file` is sequential and contains all components.
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

/// The content of a frame header (T.81 B.2.2).
pub(in crate::imaging) struct Frame {
    pub(in crate::imaging) width: u16,
    pub(in crate::imaging) height: u16,
    pub(in crate::imaging) components: u8,
    /// Baseline or extended, Huffman-coded, of 8 bits.
    pub(in crate::imaging) is_sequential: bool,
    /// Progressive, Huffman-coded, of 8 bits.
    pub(in crate::imaging) is_progressive: bool,
}

/// Returns the frame header, or `None` if there is none or more than one.
pub(in crate::imaging) fn frame(file: &[u8]) -> Option<Frame> {
    let mut frames = segments(file).filter(|segment| is_frame(segment.marker));
    let (frame, None) = (frames.next()?, frames.next()) else { return None };
    let side = |at: usize| Some(u16::from_be_bytes(*frame.payload.get(at..)?.first_chunk()?));
    let is_8_bit = frame.payload.first() == Some(&8);
    Some(Frame {
        width: side(3)?,
        height: side(1)?,
        components: *frame.payload.get(5)?,
        is_sequential: is_8_bit && matches!(frame.marker, SOF_BASELINE | SOF_EXTENDED),
        is_progressive: is_8_bit && frame.marker == SOF_PROGRESSIVE,
    })
}

/// Returns whether the file has Adobe's segment (APP14). CMYK files with it are stored inverted: 255 means no ink.
pub(super) fn has_adobe(file: &[u8]) -> bool {
    segments(file).any(|segment| segment.marker == APP14 && segment.payload.starts_with(b"Adobe"))
}

/// Returns a copy with an end marker and only those segments that the first scan needs. Returns `None` without a scan.
pub(super) fn tidied(file: &[u8], has_end: bool) -> Option<Vec<u8>> {
    let one_scan = has_one_scan(file);
    let components = frame(file).map(|frame| frame.components);
    let mut copy = START.to_vec();
    // JFIF means that three components are luma and chroma, even if Adobe's segment contradicts it.
    if segments(file).any(|segment| segment.marker == APP0 && segment.payload.starts_with(b"JFIF\0")) {
        copy.extend_from_slice(&JFIF);
    }
    for segment in segments(file) {
        let is_needed = matches!(segment.marker, 0xC0..=0xCF | SOS | DQT | DRI | APP14);
        if !is_needed {
            continue;
        }
        let length = u16::try_from(segment.payload.len() + 2).ok()?;
        copy.extend_from_slice(&[0xFF, segment.marker]);
        copy.extend_from_slice(&length.to_be_bytes());
        let start = copy.len();
        copy.extend_from_slice(segment.payload);
        if segment.marker == APP14
            && let [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..] = &mut copy[start..]
        {
            // libjpeg-turbo warns of a transform that is undefined for the number of components, and uses this one.
            *transform = match (components, *transform) {
                (Some(3), 2..) => 1,
                (Some(4), 1 | 3..) => 2,
                (_, defined) => defined,
            };
        }
        if segment.marker == SOS {
            // These are the only valid parameters of a sequential scan. Some encoders write others.
            if let (true, Some(parameters)) = (one_scan, copy.last_chunk_mut()) {
                *parameters = [0, 63, 0];
            }
            copy.extend_from_slice(segment.rest);
            if !has_end {
                copy.extend_from_slice(&END);
            }
            return Some(copy);
        }
    }
    None
}

/// Returns the ICC profile, joined from its chunks (ICC.1:2022 annex B.4), or `None` unless each chunk is present once.
pub(super) fn icc_profile(file: &[u8]) -> Option<Vec<u8>> {
    let app2 = segments(file).filter(|segment| segment.marker == APP2);
    let mut chunks: Vec<&[u8]> = app2
        .filter_map(|segment| segment.payload.strip_prefix(b"ICC_PROFILE\0"))
        .take(MAX_PROFILE_CHUNKS + 1)
        .collect();
    if chunks.len() > MAX_PROFILE_CHUNKS {
        return None;
    }
    chunks.sort_by_key(|chunk| chunk.first().copied());
    if chunks.iter().map(|chunk| chunk.len()).sum::<usize>() > MAX_PROFILE_BYTES {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 x 16 pixels of 4:2:0 are four MCUs. A restart interval of one MCU needs three restart markers.
    fn file(restarts: usize) -> Vec<u8> {
        let mut file = b"\xff\xd8\xff\xdd\0\x04\0\x01".to_vec();
        file.extend(b"\xff\xc0\0\x11\x08\0\x10\0\x40\x03\x01\x22\0\x02\x11\x01\x03\x11\x01");
        file.extend(b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0");
        for restart in 0..restarts {
            file.extend([0x12, 0x34, 0xFF, 0xD0 + u8::try_from(restart).unwrap()]);
        }
        file.extend(b"\x12\x34\xff\xd9");
        file
    }

    #[test]
    fn single_frame_header_is_read() {
        let file = file(3);
        let read = frame(&file).unwrap();
        assert_eq!((read.width, read.height, read.components, read.is_sequential), (64, 16, 3, true));
        let twice = [&file[..8], &file[8..27], &file[8..]].concat();
        assert!(frame(&twice).is_none());
    }
}
