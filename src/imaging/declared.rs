//! Reads the size that a file declares at a fixed offset of its first bytes, so that the server can refuse a file before all of
//! it has arrived. The decoder reads the size again and decides.

use super::codec::Format;

/// Returns the declared width and height, if `head` (the first bytes of a file) contains them.
pub(super) fn size(format: Format, head: &[u8]) -> Option<(u64, u64)> {
    match format {
        // The decoder refuses the variant with another first chunk.
        Format::Png if head.get(12..16)? == b"IHDR" => Some((be32(head, 16)?, be32(head, 20)?)),
        Format::Gif => Some((le16(head, 6)?, le16(head, 8)?)),
        Format::Bmp => bmp(head),
        Format::WebP => webp(head),
        _ => None,
    }
}

/// Reads a BMP header. The oldest kind has 16-bit sides. Others have signed ones; a negative height means upside down.
fn bmp(head: &[u8]) -> Option<(u64, u64)> {
    const CORE_HEADER: u64 = 12;
    if le32(head, 14)? == CORE_HEADER {
        return Some((le16(head, 18)?, le16(head, 20)?));
    }
    let side =
        |at: usize| Some(u64::from(i32::from_le_bytes(*head.get(at..)?.first_chunk()?).unsigned_abs()));
    Some((side(18)?, side(22)?))
}

/// Reads the size by RFC 9649 section 2.5 (lossy: RFC 6386 section 9.1), 2.6 (lossless: section 3.4) and 2.7 (extended).
fn webp(head: &[u8]) -> Option<(u64, u64)> {
    match head.get(12..16)? {
        b"VP8 " => Some((le16(head, 26)? & 0x3FFF, le16(head, 28)? & 0x3FFF)),
        b"VP8L" => {
            let bits = le32(head, 21)?;
            Some(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        }
        b"VP8X" => Some(((le32(head, 24)? & 0xFF_FFFF) + 1, (le32(head, 26)? >> 8) + 1)),
        _ => None,
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn le32(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn le16(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn size_is_read_from_each_format() {
        use image::ImageFormat as F;
        for (format, kind) in
            [(Format::Png, F::Png), (Format::Gif, F::Gif), (Format::Bmp, F::Bmp), (Format::WebP, F::WebP)]
        {
            let mut file = std::io::Cursor::new(Vec::new());
            image::RgbImage::new(301, 70).write_to(&mut file, kind).unwrap();
            assert_eq!(size(format, file.get_ref()), Some((301, 70)), "{format:?}");
        }
        let lossy = b"RIFF....WEBPVP8 ....\x00\x00\x00\x9d\x01\x2a\x2d\x01\x46\x00";
        assert_eq!(size(Format::WebP, lossy), Some((301, 70)));
        let extended = b"RIFF....WEBPVP8X....\0\0\0\0\x2c\x01\x00\x45\x00\x00";
        assert_eq!(size(Format::WebP, extended), Some((301, 70)));
    }

    #[test]
    fn png_whose_first_chunk_is_no_header_declares_no_size() {
        let apple = b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI\x50\0\x20\x02\x2b\xd5\xb3\x7f\0\0\0\x0dIHDR";
        assert_eq!(size(Format::Png, apple), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            for format in [Format::Png, Format::Gif, Format::Bmp, Format::WebP, Format::Jpeg] {
                size(format, &bytes);
            }
        }
    }
}
