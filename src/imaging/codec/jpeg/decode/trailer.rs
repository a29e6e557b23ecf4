//! Judges the bytes between the last pixel and the end of image, by what libjpeg-turbo does with them.
//!
//! libjpeg-turbo skips restart markers and the segments of applications without a warning. It warns of bytes that are no
//! marker. That warning makes a photo unacceptable, except before the end of image, where no pixel can be missing any more. It
//! also warns if the file ends without an end of image, and the photo is accepted nevertheless (see `turbo::strict`).

use crate::imaging::codec::jpeg::markers::{EOI, RST0, RST7};

/// A marker without meaning or payload (T.81 table B.1).
const TEM: u8 = 0x01;

/// Returns whether libjpeg-turbo accepts `rest`, the file after its last pixel. `is_clean` is false if other bytes without a
/// marker come before `rest`. False means that libjpeg-turbo must decide.
pub(super) fn is_harmless(mut rest: &[u8], mut is_clean: bool) -> bool {
    loop {
        let Some(start) = memchr::memchr(0xFF, rest) else { return true };
        is_clean &= start == 0;
        // Any number of 0xFF may precede a marker.
        let Some(fill) = rest[start..].iter().position(|byte| *byte != 0xFF) else { return true };
        let marker = rest[start + fill];
        rest = &rest[start + fill + 1..];
        match marker {
            EOI => return true,
            // A stuffed byte of entropy-coded data.
            0 => is_clean = false,
            _ if !is_clean => return false,
            RST0..=RST7 | TEM => {}
            // Not JFIF and Adobe, of whose content libjpeg-turbo may warn.
            0xE1..=0xED | 0xEF | 0xFE => match after_segment(rest) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => return false,
        }
    }
}

/// Returns the bytes after the segment whose length field begins `rest`, or `None` if the segment is cut off.
fn after_segment(rest: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    rest.get(length..).filter(|_| length >= 2)
}
