//! Finds the EXIF block and the XMP packet of a photo, and reads the orientation from them.
//!
//! The orientation is the tag in IFD0 of the first EXIF block (Exif 3.0 section 4.6.5.1, TIFF 6.0 section 8), with any integer
//! type, as in Pillow and ImageIO; without the tag, it is the orientation in the XMP packet. A tag with an undefined value
//! means upright and is not replaced by XMP. The thumbnail's IFD1 is ignored.
//!
//! The readers only move forward, so the length of the file bounds their cost. Malformed data means upright.

use super::codec::Format;
use super::codec::jpeg::markers;
use super::orientation::Orientation;
use super::tiff_directory::{Block, Entry};
use super::xmp;

/// Returns the orientation of `file` by its EXIF, otherwise by its XMP. HEIC and AVIF declare theirs in the container.
pub(super) fn orientation_of(format: Format, file: &[u8]) -> Orientation {
    let exif = || block(format, file).and_then(orientation);
    let xmp = || packet(format, file).and_then(xmp::orientation).map(Orientation::from_exif);
    exif().or_else(xmp).unwrap_or(Orientation::Normal)
}

/// Returns the orientation in an EXIF block, or `None` if it has no such tag.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    let entry = find_entry(block, ORIENTATION_TAG)?;
    Some(Orientation::from_exif(entry.inline_number().unwrap_or(0)))
}

/// Returns the EXIF block of `file`: everything from the TIFF header on, not validated. The decoder of HEIC and AVIF finds
/// theirs, and the orientation in it is ignored.
pub(super) fn block(format: Format, file: &[u8]) -> Option<&[u8]> {
    match format {
        Format::Jpeg => jpeg_exif(file),
        Format::Png => png_exif(file),
        Format::WebP => webp_exif(file),
        // An EXIF block has the structure of a TIFF file.
        Format::Tiff => Some(file),
        _ => None,
    }
}

/// The header of the EXIF segment in a JPEG. Some writers copy it into other containers.
pub(super) const EXIF_HEADER: &[u8] = b"Exif\0\0";

/// Returns the XMP packet of `file` (XMP specification part 3). The packet is not validated.
fn packet(format: Format, file: &[u8]) -> Option<&[u8]> {
    match format {
        Format::Jpeg => jpeg_app1(file, b"http://ns.adobe.com/xap/1.0/\0"),
        Format::Png => {
            png_chunks(file).filter(|(kind, _)| kind == b"iTXt").find_map(|(_, data)| itxt_packet(data))
        }
        Format::WebP => webp_chunk(file, b"XMP "),
        Format::Tiff => find_entry(file, XMP_TAG)?.bytes(),
        _ => None,
    }
}

fn jpeg_exif(file: &[u8]) -> Option<&[u8]> {
    jpeg_app1(file, EXIF_HEADER)
}

/// Returns the bytes after `header` in the first APP1 segment that begins with it.
fn jpeg_app1<'a>(file: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    markers::segments(file)
        .filter(|segment| segment.marker == markers::APP1)
        .find_map(|app1| app1.payload.strip_prefix(header))
}

/// Returns the eXIf chunk (PNG third edition, section 11.3.4.5).
fn png_exif(file: &[u8]) -> Option<&[u8]> {
    png_chunks(file).find(|(kind, _)| kind == b"eXIf").map(|(_, data)| data)
}

/// Returns kind and data of the chunks of a PNG up to IEND or the first chunk that is cut off.
fn png_chunks(file: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = file.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind: [u8; 4] = *rest.get(4..)?.first_chunk()?;
        let (data, checksum) = rest.get(8..)?.split_at_checked(length)?;
        rest = checksum.get(4..).unwrap_or_default();
        (kind != *b"IEND").then_some((kind, data))
    })
}

/// Returns the XMP packet in an iTXt chunk (PNG third edition, section 11.3.3.4). XMP part 3 forbids compressing it.
fn itxt_packet(data: &[u8]) -> Option<&[u8]> {
    let mut fields = data.strip_prefix(b"XML:com.adobe.xmp\0\0\0")?.splitn(3, |byte| *byte == 0);
    // Skips language and translated keyword.
    fields.nth(2)
}

/// Returns the EXIF chunk (WebP container specification, RFC 9649 section 2.7.1.5).
fn webp_exif(file: &[u8]) -> Option<&[u8]> {
    let exif = webp_chunk(file, b"EXIF")?;
    Some(exif.strip_prefix(EXIF_HEADER).unwrap_or(exif))
}

/// Returns the data of the first chunk of this kind.
fn webp_chunk<'a>(file: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let data = rest.get(8..)?;
        if rest.starts_with(kind) {
            return data.get(..length);
        }
        rest = data.get(length.checked_add(length & 1)?..)?;
    }
}

const ORIENTATION_TAG: u16 = 0x0112;
const XMP_TAG: u16 = 700;

/// Returns the first entry of IFD0 with this tag.
fn find_entry(tiff: &[u8], tag: u16) -> Option<Entry<'_>> {
    Block::new(tiff)?.first()?.all_entries().find(|entry| entry.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a block with only the orientation tag. `field` is the value field of its entry.
    fn tiff(big_endian: bool, kind: u16, count: u32, field: [u8; 4]) -> Vec<u8> {
        let short = |number: u16| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let long = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut block = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        block.extend(long(8));
        for number in [1, ORIENTATION_TAG, kind] {
            block.extend(short(number));
        }
        block.extend(long(count));
        block.extend(field);
        block.extend([0; 4]);
        block
    }

    const XMP: &[u8] = br#"<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>"#;

    #[test]
    fn orientation_of_any_integer_type_is_read_in_either_byte_order() {
        for value in 1..=8_u8 {
            let expected = Some(Orientation::from_exif(value.into()));
            for (kind, size) in [(1, 1), (6, 1), (3, 2), (8, 2), (4, 4), (9, 4)] {
                let mut field = [0; 4];
                field[0] = value;
                assert_eq!(orientation(&tiff(false, kind, 1, field)), expected, "type {kind}");
                field.rotate_right(size - 1);
                assert_eq!(orientation(&tiff(true, kind, 1, field)), expected, "type {kind}");
            }
        }
        assert_eq!(
            orientation(&tiff(false, 3, 2, [6, 0, 1, 0])),
            Some(Orientation::Rotate90),
            "the first of two"
        );
    }

    #[test]
    fn orientation_with_undefined_value_is_upright() {
        let upright = Some(Orientation::Normal);
        assert_eq!(orientation(&tiff(false, 3, 3, [6, 0, 0, 0])), upright, "an offset, not a value");
        assert_eq!(orientation(&tiff(false, 4, 2, [6, 0, 0, 0])), upright, "an offset, not a value");
        assert_eq!(orientation(&tiff(false, 3, 0, [6, 0, 0, 0])), upright, "no value");
        assert_eq!(orientation(&tiff(false, 2, 1, [6, 0, 0, 0])), upright, "text");
        assert_eq!(orientation(&tiff(false, 3, 1, [9, 0, 0, 0])), upright);
        assert_eq!(orientation(&tiff(false, 4, 1, [6, 0, 1, 0])), upright);
        assert_eq!(orientation(b"MM\0*\0\0\0\x08\0\0"), None, "no tag");
    }

    fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WEBPVP8X\x03\0\0\0abc\0".to_vec();
        for (kind, data) in chunks {
            file.extend(*kind);
            file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            file.extend(*data);
            file.extend(vec![0; data.len() & 1]);
        }
        file
    }

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x01tEXtxCRC!".to_vec();
        for (kind, data) in chunks {
            file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            file.extend(*kind);
            file.extend(*data);
            file.extend(b"CRC!");
        }
        file
    }

    fn jpeg(segments: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = b"\xff\xd8".to_vec();
        for (header, data) in segments {
            file.extend([0xFF, markers::APP1]);
            file.extend(u16::try_from(2 + header.len() + data.len()).unwrap().to_be_bytes());
            file.extend([*header, *data].concat());
        }
        file
    }

    /// Returns a TIFF with an XMP packet, and with an orientation tag if `value` is given.
    fn tiff_with_xmp(value: Option<u8>) -> Vec<u8> {
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        file.extend([1 + u8::from(value.is_some()), 0]);
        if let Some(value) = value {
            file.extend([0x12, 1, 3, 0, 1, 0, 0, 0, value, 0, 0, 0]);
        }
        file.extend([0xBC, 2, 1, 0, u8::try_from(XMP.len()).unwrap(), 0, 0, 0, 64, 0, 0, 0]);
        file.resize(64, 0);
        [&file, XMP].concat()
    }

    #[test]
    fn file_without_exif_orientation_is_turned_by_xmp() {
        let exif = tiff(true, 3, 1, [0, 8, 0, 0]);
        let xap: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
        let itxt = [b"XML:com.adobe.xmp\0\0\0en\0\0", XMP].concat();
        let compressed = [b"XML:com.adobe.xmp\0\x01\0en\0\0", XMP].concat();
        for (format, file, expected) in [
            (Format::WebP, webp(&[(b"EXIF", &exif)]), Orientation::Rotate270),
            (Format::WebP, webp(&[(b"EXIF", &exif), (b"XMP ", XMP)]), Orientation::Rotate270),
            (Format::WebP, webp(&[(b"XMP ", XMP)]), Orientation::Rotate180),
            (Format::Png, png(&[(b"eXIf", &exif)]), Orientation::Rotate270),
            (Format::Png, png(&[(b"iTXt", &itxt), (b"eXIf", &exif)]), Orientation::Rotate270),
            (Format::Png, png(&[(b"iTXt", b"Title\0\0\0\0\0x"), (b"iTXt", &itxt)]), Orientation::Rotate180),
            (Format::Png, png(&[(b"iTXt", &compressed)]), Orientation::Normal),
            (Format::Png, png(&[(b"IEND", b""), (b"iTXt", &itxt)]), Orientation::Normal),
            (Format::Jpeg, jpeg(&[(xap, XMP), (EXIF_HEADER, &exif)]), Orientation::Rotate270),
            (
                Format::Jpeg,
                jpeg(&[(EXIF_HEADER, b"MM\0*\0\0\0\x08\0\0"), (xap, XMP)]),
                Orientation::Rotate180,
            ),
            (Format::Tiff, tiff_with_xmp(None), Orientation::Rotate180),
            (Format::Tiff, tiff_with_xmp(Some(6)), Orientation::Rotate90),
            (Format::Tiff, tiff_with_xmp(Some(1)), Orientation::Normal),
            (Format::Tiff, tiff_with_xmp(Some(0)), Orientation::Normal),
        ] {
            assert_eq!(orientation_of(format, &file), expected, "{format:?} {file:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, prefix in 0usize..4) {
            let mut file = [&b"II*\0\x08\0\0\0"[..], b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*", b"RIFF....WEBP", b""][prefix].to_vec();
            file.extend(bytes);
            for format in [Format::Jpeg, Format::Png, Format::WebP, Format::Tiff] {
                orientation_of(format, &file);
            }
        }
    }
}
