//! Where a photo has its EXIF block, and the orientation in it.
//!
//! A reader of our own because general EXIF libraries were seen to loop or abort on a few hostile bytes. Every walk here
//! only moves forward, so its cost is bounded by the length of the file; whatever is malformed means "upright".
//! The rules are those of browsers: the tag of IFD0 in the first EXIF block, of type SHORT, with a value of 1 to 8
//! (Exif 3.0 section 4.6.5.1, TIFF 6.0 section 8). XMP and the thumbnail's IFD1 do not count.

use super::Format;
use super::codec::markers;

/// What makes the stored picture upright; EXIF values 1 to 8, rotations clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    Normal,
    FlipHorizontal,
    Rotate180,
    FlipVertical,
    Transpose,
    Rotate90,
    Transverse,
    Rotate270,
}

impl Orientation {
    /// The meaning of an EXIF value; one outside 1..=8 means nothing and so is upright.
    pub(super) fn from_exif(value: u16) -> Self {
        match value {
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => Self::Normal,
        }
    }

    /// Whether columns and rows are put in reverse order, before they change places.
    pub(super) fn mirrors(self) -> (bool, bool) {
        let columns =
            matches!(self, Self::FlipHorizontal | Self::Rotate180 | Self::Rotate270 | Self::Transverse);
        let rows = matches!(self, Self::FlipVertical | Self::Rotate180 | Self::Rotate90 | Self::Transverse);
        (columns, rows)
    }

    /// Whether width and height change places.
    pub(super) fn swaps_sides(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }
}

/// The orientation that an EXIF block asks for.
pub(super) fn orientation(block: Option<&[u8]>) -> Orientation {
    Orientation::from_exif(block.and_then(orientation_tag).unwrap_or(1))
}

/// The EXIF block of `file`: a TIFF header and what it leads to. Nobody vouches for it. That of HEIC and AVIF is found by
/// their decoder, which knows the container; the orientation in it does not count.
pub(super) fn block(format: Format, file: &[u8]) -> Option<&[u8]> {
    match format {
        Format::Jpeg => jpeg_exif(file),
        Format::Png => png_exif(file),
        Format::WebP => webp_exif(file),
        // A TIFF file is laid out as the block that EXIF borrowed from it.
        Format::Tiff => Some(file),
        _ => None,
    }
}

/// In front of the block in the segment of a JPEG, from where some writers copy it along.
pub(super) const EXIF_HEADER: &[u8] = b"Exif\0\0";

fn jpeg_exif(file: &[u8]) -> Option<&[u8]> {
    markers::segments(file)
        .filter(|segment| segment.marker == markers::APP1)
        .find_map(|app1| app1.payload.strip_prefix(EXIF_HEADER))
}

/// The eXIf chunk (PNG, third edition, section 11.3.4.5).
fn png_exif(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind = rest.get(4..8)?;
        let data = rest.get(8..)?;
        match kind {
            b"eXIf" => return data.get(..length),
            b"IEND" => return None,
            _ => rest = data.get(length.checked_add(4)?..)?,
        }
    }
}

/// The EXIF chunk (WebP container specification, RFC 9649 section 2.7.1.5).
fn webp_exif(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let data = rest.get(8..)?;
        if rest.starts_with(b"EXIF") {
            let exif = data.get(..length)?;
            return Some(exif.strip_prefix(EXIF_HEADER).unwrap_or(exif));
        }
        rest = data.get(length.checked_add(length & 1)?..)?;
    }
}

const ORIENTATION_TAG: u16 = 0x0112;
const TYPE_SHORT: u16 = 3;

fn orientation_tag(tiff: &[u8]) -> Option<u16> {
    let big_endian = match tiff.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes: [u8; 2] = *tiff.get(at..)?.first_chunk()?;
        Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes: [u8; 4] = *tiff.get(at..)?.first_chunk()?;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let ifd0 = u32_at(4)? as usize;
    // Offset 0 is the header itself: no IFD.
    if ifd0 < 8 {
        return None;
    }
    let entries = u16_at(ifd0)?;
    for entry in 0..usize::from(entries) {
        let at = ifd0.checked_add(2 + 12 * entry)?;
        if u16_at(at)? == ORIENTATION_TAG {
            // A second value is against the standard; the first still stands in the entry, and other readers take it.
            let is_inline_short = u16_at(at + 2)? == TYPE_SHORT && matches!(u32_at(at + 4)?, 1 | 2);
            return if is_inline_short { u16_at(at + 8) } else { None };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiff(big_endian: bool, kind: u16, count: u32, value: u16) -> Vec<u8> {
        let (short, long) = if big_endian {
            (u16::to_be_bytes as fn(u16) -> [u8; 2], u32::to_be_bytes as fn(u32) -> [u8; 4])
        } else {
            (u16::to_le_bytes as fn(u16) -> [u8; 2], u32::to_le_bytes as fn(u32) -> [u8; 4])
        };
        let mut block = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        block.extend(long(8));
        block.extend(short(1));
        block.extend(short(ORIENTATION_TAG));
        block.extend(short(kind));
        block.extend(long(count));
        block.extend(short(value));
        block.extend([0, 0, 0, 0, 0, 0]);
        block
    }

    #[test]
    fn one_short_from_1_to_8_counts_in_either_byte_order() {
        for big_endian in [false, true] {
            for value in 1..=8 {
                assert_eq!(orientation_tag(&tiff(big_endian, TYPE_SHORT, 1, value)), Some(value));
            }
        }
        assert_eq!(orientation_tag(&tiff(false, 1, 1, 6)), None, "BYTE");
        assert_eq!(orientation_tag(&tiff(false, TYPE_SHORT, 2, 6)), Some(6), "the first of two values");
        assert_eq!(orientation_tag(&tiff(false, TYPE_SHORT, 3, 6)), None, "an offset, not a value");
        assert_eq!(Orientation::from_exif(9), Orientation::Normal);
    }

    #[test]
    fn webp_and_png_carry_the_same_block() {
        let exif = tiff(true, TYPE_SHORT, 1, 8);
        let mut webp = b"RIFF\0\0\0\0WEBPVP8X\x03\0\0\0abc\0EXIF".to_vec();
        webp.extend(u32::try_from(exif.len()).unwrap().to_le_bytes());
        webp.extend(&exif);
        assert_eq!(orientation(block(Format::WebP, &webp)), Orientation::Rotate270);
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x01tEXtxCRC!".to_vec();
        png.extend(u32::try_from(exif.len()).unwrap().to_be_bytes());
        png.extend(b"eXIf");
        png.extend(&exif);
        assert_eq!(orientation(block(Format::Png, &png)), Orientation::Rotate270);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, prefix in 0usize..4) {
            let mut file = [&b"II*\0\x08\0\0\0"[..], b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*", b"RIFF....WEBP", b""][prefix].to_vec();
            file.extend(bytes);
            for format in [Format::Jpeg, Format::Png, Format::WebP, Format::Tiff] {
                orientation(block(format, &file));
            }
        }
    }
}
