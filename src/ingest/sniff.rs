//! What a part is, judged by its first bytes before anything of it is kept.
//!
//! The declared type and the file name are never believed. The answer is a hint: the decoder must agree later.

use crate::imaging::Format;

/// First bytes of a part that are looked at. Every image signature lies within 16; the rest serves to name in an error
/// what was sent instead (a tar archive tells itself at byte 257).
pub const HEAD_BYTES: usize = 512;

/// The outcome of a look at the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    /// The MIME type, if the signature is known.
    pub mime: Option<&'static str>,
    /// The decoder to try, if there is one for that type.
    pub format: Option<Format>,
}

/// Looks at up to [`HEAD_BYTES`] first bytes of a part.
pub fn sniff(head: &[u8]) -> Sniffed {
    let mime = damaged(head).or_else(|| heif(head)).or_else(|| infer::get(head).map(|kind| kind.mime_type()));
    Sniffed { mime, format: mime.and_then(Format::from_mime) }
}

/// Files that are plainly of a type though their signature is not whole. To call them corrupt helps; to call them unknown
/// does not.
fn damaged(head: &[u8]) -> Option<&'static str> {
    if head == [0xFF, 0xD8] {
        return Some("image/jpeg");
    }
    // The PNG signature is made to break in transfers that change line ends or bits; the chunk behind it tells.
    (head.get(12..16) == Some(b"IHDR")).then_some("image/png")
}

/// Still images in the HEIF container, by the brands in its first box (ISO/IEC 14496-12 section 4.3): the one that leads,
/// then those that a reader may go by as well. Films share the container, and their brands are not listed here.
fn heif(head: &[u8]) -> Option<&'static str> {
    let size = u32::from_be_bytes(*head.first_chunk()?) as usize;
    let brands = head.get(4..size.min(head.len()))?.strip_prefix(b"ftyp")?;
    let (brands, _) = brands.as_chunks::<4>();
    // Between the two lies a version number.
    let listed = || brands.iter().take(1).chain(brands.iter().skip(2));
    let named = listed().find_map(|brand| match brand {
        b"avif" | b"avis" => Some("image/avif"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => Some("image/heic"),
        _ => None,
    });
    // The codec is not told by these.
    let general =
        || listed().any(|brand| matches!(brand, b"mif1" | b"msf1" | b"mif2")).then_some("image/heif");
    named.or_else(general)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_decide() {
        let cases: [(&[u8], Option<&str>, Option<Format>); 8] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg"), Some(Format::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("image/png"), Some(Format::Png)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp"), Some(Format::WebP)),
            (b"GIF89a\x01\0\x01\0", Some("image/gif"), Some(Format::Gif)),
            (b"BM\x36\0\0\0", Some("image/bmp"), Some(Format::Bmp)),
            (b"II*\0\x08\0\0\0\x01\0", Some("image/tiff"), Some(Format::Tiff)),
            (b"%PDF-1.7", Some("application/pdf"), None),
            (b"<svg onload=alert(1)>", None, None),
        ];
        for (head, mime, format) in cases {
            assert_eq!(sniff(head), Sniffed { mime, format }, "{:?}", String::from_utf8_lossy(head));
        }
        assert_eq!(sniff(b"").mime, None);
        assert_eq!(sniff(b"\xff\xd8").format, Some(Format::Jpeg));
        assert_eq!(sniff(b"\x89PNg\r\n\x1a\n\0\0\0\rIHDR").format, Some(Format::Png));
    }

    #[test]
    fn brands_tell_a_still_image_from_a_film() {
        let cases: [(&[u8], &str); 8] = [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heic"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", "image/avif"),
            (b"\0\0\0\x18ftypavis\0\0\0\0msf1heic", "image/avif"),
            (b"\0\0\0\x18ftypmsf1\0\0\0\0hevcmif1", "image/heic"),
            (b"\0\0\0\x14ftypmif1\0\0\0\0miafavif behind the box", "image/heif"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4"),
            (b"\0\0\0\x18ftypheic", "image/heic"),
        ];
        for (head, mime) in cases {
            let sniffed = sniff(head);
            assert_eq!(sniffed.mime, Some(mime), "{:?}", String::from_utf8_lossy(head));
            assert_eq!(sniffed.format, Format::from_mime(mime), "{mime}");
        }
    }
}
