//! The marker segments of a JPEG (ITU-T T.81 annex B). Every walk only moves forward.

use crate::imaging::colour::MAX_PROFILE_BYTES;

/// Marker of the segment that carries EXIF (and XMP).
pub(in crate::imaging) const APP1: u8 = 0xE1;
const APP0: u8 = 0xE0;
const APP2: u8 = 0xE2;
const APP14: u8 = 0xEE;
pub(super) const SOF_BASELINE: u8 = 0xC0;
pub(super) const SOF_EXTENDED: u8 = 0xC1;
pub(super) const DHT: u8 = 0xC4;
const SOF_ARITHMETIC: u8 = 0xC9;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
pub(super) const SOS: u8 = 0xDA;
pub(super) const DQT: u8 = 0xDB;
pub(super) const DRI: u8 = 0xDD;
const TEM: u8 = 0x01;
pub(super) const START: [u8; 2] = [0xFF, SOI];
const END: [u8; 2] = [0xFF, EOI];

/// A JFIF 1.01 header without units or thumbnail.
const JFIF: [u8; 18] = *b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

/// A marker segment in front of the first scan.
#[derive(Debug, Clone, Copy)]
pub(in crate::imaging) struct Segment<'a> {
    pub(in crate::imaging) marker: u8,
    /// The bytes behind the length field.
    pub(in crate::imaging) payload: &'a [u8],
    /// The file behind the segment.
    pub(super) rest: &'a [u8],
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

/// What a frame header (T.81 B.2.2) declares.
pub(in crate::imaging) struct Frame {
    pub(in crate::imaging) width: u16,
    pub(in crate::imaging) height: u16,
    pub(in crate::imaging) components: u8,
    /// Baseline or extended, Huffman-coded, of 8 bits.
    pub(in crate::imaging) is_sequential: bool,
}

/// The frame header; `None` if there is more than one.
pub(in crate::imaging) fn frame(file: &[u8]) -> Option<Frame> {
    // C4, C8 and CC are no frames: tables, an extension and arithmetic conditioning.
    let is_frame = |marker| matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
    let mut frames = segments(file).filter(|segment| is_frame(segment.marker));
    let (frame, None) = (frames.next()?, frames.next()) else { return None };
    let side = |at: usize| Some(u16::from_be_bytes(*frame.payload.get(at..)?.first_chunk()?));
    let is_sequential =
        matches!(frame.marker, SOF_BASELINE | SOF_EXTENDED) && frame.payload.first() == Some(&8);
    Some(Frame { width: side(3)?, height: side(1)?, components: *frame.payload.get(5)?, is_sequential })
}

/// Whether behind the first start of scan there are as many restart markers as the frame header and the restart interval
/// (T.81 B.2.4.4) call for: if pixels are missing, then at most those after the last of them.
pub(super) fn has_restarts(file: &[u8]) -> bool {
    let mut interval = 0;
    let mut mcus = 0;
    for segment in segments(file) {
        match segment.marker {
            DRI => {
                interval =
                    segment.payload.first_chunk().map_or(0, |bytes| u64::from(u16::from_be_bytes(*bytes)));
            }
            SOF_BASELINE | SOF_EXTENDED | SOF_ARITHMETIC => {
                mcus = mcus_of(segment.payload).unwrap_or(u64::MAX);
            }
            SOS if interval > 0 => {
                let restarts =
                    segment.rest.windows(2).filter(|pair| pair[0] == 0xFF && matches!(pair[1], 0xD0..=0xD7));
                return restarts.count() as u64 >= mcus.div_ceil(interval).saturating_sub(1);
            }
            _ => {}
        }
    }
    true
}

/// Minimum coded units of a picture all of whose components are in one scan.
fn mcus_of(frame: &[u8]) -> Option<u64> {
    let side = |at: usize| Some(u64::from(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?)));
    let factors = frame.get(6..)?.as_chunks::<3>().0.iter().map(|component| component[1]);
    let (mut across, mut down) = (1, 1);
    if frame.get(5) != Some(&1) {
        for factor in factors {
            (across, down) = (across.max(u64::from(factor >> 4)), down.max(u64::from(factor & 15)));
        }
    }
    Some(side(3)?.div_ceil(8 * across) * side(1)?.div_ceil(8 * down))
}

/// Whether the file bears Adobe's mark (APP14), with which four inks are stored inverted: 255 is no ink.
pub(super) fn has_adobe(file: &[u8]) -> bool {
    segments(file).any(|segment| segment.marker == APP14 && segment.payload.starts_with(b"Adobe"))
}

/// A copy with nothing in front of the first scan but what decodes its pixels, and with an end; `None` without a scan.
pub(super) fn tidied(file: &[u8]) -> Option<Vec<u8>> {
    let one_scan = has_one_scan(file);
    let mut copy = START.to_vec();
    // It says that three components are luma and chroma, even where Adobe's mark says otherwise.
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

    /// 64 x 16 pixels of 4:2:0 are four MCUs; a restart after each of them makes three markers.
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
    fn restarts_are_counted() {
        assert!(has_restarts(&file(3)) && has_restarts(&file(4)));
        assert!(!has_restarts(&file(2)) && !has_restarts(&file(0)));
        let without_interval: Vec<u8> = [&file(0)[..2], &file(0)[8..]].concat();
        assert!(has_restarts(&without_interval));
    }

    #[test]
    fn a_frame_says_what_it_is_and_is_the_only_one() {
        let file = file(3);
        let read = frame(&file).unwrap();
        assert_eq!((read.width, read.height, read.components, read.is_sequential), (64, 16, 3, true));
        let twice = [&file[..8], &file[8..27], &file[8..]].concat();
        assert!(frame(&twice).is_none());
    }
}
