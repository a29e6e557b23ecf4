//! Judges the bytes between the last pixel and the end of image, by what libjpeg-turbo does with them.
//!
//! libjpeg-turbo skips restart markers and the segments of applications without a warning. It warns of bytes that are no
//! marker. That warning makes a photo unacceptable, except before the end of image, where no pixel can be missing any more. It
//! also warns if the file ends without an end of image, and the photo is accepted nevertheless (see `turbo::strict`).

use crate::imaging::codec::jpeg::markers::{EOI, RST0, RST7};

/// A marker without meaning or payload (T.81 table B.1).
const TEM: u8 = 0x01;

/// Whether a file has an end of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Present,
    Missing,
}

/// Returns how `rest` ends, the file after its last pixel, if libjpeg-turbo accepts it. `is_clean` is false if other bytes
/// without a marker come before `rest`. Returns `None` if libjpeg-turbo must decide.
pub(super) fn end(mut rest: &[u8], mut is_clean: bool) -> Option<End> {
    loop {
        let Some(start) = memchr::memchr(0xFF, rest) else { return Some(End::Missing) };
        is_clean &= start == 0;
        // Any number of 0xFF may precede a marker.
        let Some(fill) = rest[start..].iter().position(|byte| *byte != 0xFF) else {
            return Some(End::Missing);
        };
        let marker = rest[start + fill];
        rest = &rest[start + fill + 1..];
        match marker {
            EOI => return Some(End::Present),
            // A stuffed byte of entropy-coded data.
            0 => is_clean = false,
            _ if !is_clean => return None,
            RST0..=RST7 | TEM => {}
            // Not JFIF and Adobe, of whose content libjpeg-turbo may warn.
            0xE1..=0xED | 0xEF | 0xFE => rest = after_segment(rest)?,
            _ => return None,
        }
    }
}

/// Returns the bytes after the segment whose length field begins `rest`, or `None` if the segment is cut off.
fn after_segment(rest: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    rest.get(length..).filter(|_| length >= 2)
}
