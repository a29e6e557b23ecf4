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
    let mime = damaged(head).or_else(|| infer::get(head).map(|kind| kind.mime_type()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_decide() {
        let cases: [(&[u8], Option<&str>, Option<Format>); 9] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg"), Some(Format::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("image/png"), Some(Format::Png)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp"), Some(Format::WebP)),
            (b"GIF89a\x01\0\x01\0", Some("image/gif"), Some(Format::Gif)),
            (b"BM\x36\0\0\0", Some("image/bmp"), Some(Format::Bmp)),
            (b"II*\0\x08\0\0\0\x01\0", Some("image/tiff"), Some(Format::Tiff)),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some("image/heif"), None),
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
}
