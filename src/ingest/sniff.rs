//! Finds out the type of a part from its first bytes, before any of it is kept.
//!
//! The declared type and the file name are not used. The result is a hint: the decoder has to agree.

use crate::imaging::Format;

/// Number of first bytes that are read. Every image signature lies within 16; the rest serves to name in an error what was
/// sent instead (the signature of a tar archive is at byte 257).
pub const HEAD_BYTES: usize = 512;

/// The result of reading the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    /// The MIME type, if the signature is known.
    pub mime: Option<&'static str>,
    /// The decoder to try, if there is one for that type.
    pub format: Option<Format>,
    /// The kind of text, if the part is text.
    pub text: Option<TextKind>,
}

/// The kind of text that was sent in place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// A file in base64.
    Base64,
    /// A file as a `data:` URL.
    DataUrl,
    /// A JSON object or array, such as an error of an API.
    Json,
    /// A web page, such as a login form.
    Html,
    /// Any other text.
    Plain,
}

/// Finds out the type from up to [`HEAD_BYTES`] first bytes of a part.
pub fn sniff(head: &[u8]) -> Sniffed {
    let mime = signature(head);
    // Many texts begin with the two letters of a BMP.
    if mime.is_none_or(|mime| mime.starts_with("text/") || mime == "image/bmp")
        && let Some(text) = text(head)
    {
        return match is_svg(text) {
            true => Sniffed { mime: Some("image/svg+xml"), format: None, text: None },
            false => Sniffed { mime: None, format: None, text: Some(TextKind::of(text)) },
        };
    }
    Sniffed { mime, format: mime.and_then(Format::from_mime), text: None }
}

/// Returns the type by its signature.
fn signature(head: &[u8]) -> Option<&'static str> {
    let image = damaged(head).or_else(|| heif(head)).or_else(|| tiff(head)).or_else(|| unread(head));
    image.or_else(|| infer::get(head).map(|kind| kind.mime_type())).or_else(|| film(head))
}

/// Returns the type of files whose type is clear although their signature is incomplete. An app learns more from
/// "corrupt" than from "unknown".
fn damaged(head: &[u8]) -> Option<&'static str> {
    if head == [0xFF, 0xD8] {
        return Some("image/jpeg");
    }
    // The PNG signature is designed to break in transfers that change line ends or bits; the chunk after it identifies the
    // file.
    (head.get(12..16) == Some(b"IHDR")).then_some("image/png")
}

/// Recognises TIFF by its first four bytes (TIFF 6.0 section 2), as pixel data may begin at offset 8. A Canon RAW of the
/// second version has its mark there. BigTIFF has another version number.
fn tiff(head: &[u8]) -> Option<&'static str> {
    match head.first_chunk()? {
        b"II*\0" | b"MM\0*" if head.get(8..11) == Some(b"CR\x02") => Some("image/x-canon-cr2"),
        b"II*\0" | b"MM\0*" => Some("image/tiff"),
        b"II+\0" | b"MM\0+" => Some("image/x-bigtiff"),
        _ => None,
    }
}

/// Recognises images that no decoder here reads and that the library does not know: JPEG 2000 without a container, and RAW
/// files of cameras.
fn unread(head: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 9] = [
        (b"\xff\x4f\xff\x51", "image/j2c"),
        (b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
        (b"IIRO", "image/x-olympus-orf"),
        (b"IIRS", "image/x-olympus-orf"),
        (b"MMOR", "image/x-olympus-orf"),
        (b"IIU\0", "image/x-panasonic-rw2"),
        (b"FOVb", "image/x-sigma-x3f"),
        (b"\0MRM", "image/x-minolta-mrw"),
        (b"qoif", "image/qoi"),
    ];
    if head.get(4..12) == Some(b"ftypcrx ") {
        return Some("image/x-canon-cr3");
    }
    SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)).map(|(_, mime)| *mime)
}

/// Recognises containers of films that the library does not: those of an unknown brand, or with a short head.
fn film(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"\x1a\x45\xdf\xa3") {
        return Some("video/x-matroska");
    }
    (head.get(4..8) == Some(b"ftyp")).then_some("video/mp4")
}

/// Returns the bytes as text if all of them are, without byte order mark and leading white space.
fn text(head: &[u8]) -> Option<&str> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may end after the head.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = text.trim_start();
    let is_binary = |c: char| c.is_control() && !c.is_whitespace();
    (!text.is_empty() && !text.contains(is_binary)).then_some(text)
}

fn is_svg(text: &str) -> bool {
    text.starts_with('<') && text.contains("<svg")
}

impl TextKind {
    fn of(text: &str) -> Self {
        let starts_with = |text: &str, tag: &str| {
            text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
        };
        // Base64 from a JSON document often still has its quotes.
        let bare = text.trim_start_matches('"');
        if starts_with(bare, "data:") {
            return Self::DataUrl;
        }
        if signature(&base64_decoded(bare)).is_some_and(|mime| mime.starts_with("image/")) {
            return Self::Base64;
        }
        match text.as_bytes() {
            [b'{' | b'[', ..] => Self::Json,
            _ if infer::is(text.as_bytes(), "html") || starts_with(text, "<html") => Self::Html,
            _ => Self::Plain,
        }
    }
}

/// Decodes base64 (RFC 4648 sections 4 and 5) up to the first character that does not belong to it.
fn base64_decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map_while(value);
    let digits: Vec<u8> = digits.collect();
    let (groups, _) = digits.as_chunks::<4>();
    groups.iter().flat_map(|[a, b, c, d]| [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]).collect()
}

/// Recognises still images in the HEIF container by the brands in its first box (ISO/IEC 14496-12 section 4.3): the major
/// brand, then the compatible ones. Films share the container, and their brands are not in this list.
fn heif(head: &[u8]) -> Option<&'static str> {
    let size = u32::from_be_bytes(*head.first_chunk()?) as usize;
    let brands = head.get(4..size.min(head.len()))?.strip_prefix(b"ftyp")?;
    let (brands, _) = brands.as_chunks::<4>();
    // A version number lies between the two.
    let listed = || brands.iter().take(1).chain(brands.iter().skip(2));
    let named = listed().find_map(|brand| match brand {
        b"avif" | b"avis" => Some("image/avif"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => Some("image/heic"),
        _ => None,
    });
    // These brands do not name the codec.
    let general =
        || listed().any(|brand| matches!(brand, b"mif1" | b"msf1" | b"mif2")).then_some("image/heif");
    named.or_else(general)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_that_of_the_signature() {
        let cases: [(&[u8], Option<&str>, Option<Format>); 8] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg"), Some(Format::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("image/png"), Some(Format::Png)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp"), Some(Format::WebP)),
            (b"GIF89a\x01\0\x01\0", Some("image/gif"), Some(Format::Gif)),
            (b"BM\x36\0\0\0", Some("image/bmp"), Some(Format::Bmp)),
            (b"II*\0\x08\0\0\0\x01\0", Some("image/tiff"), Some(Format::Tiff)),
            (b"%PDF-1.7", Some("application/pdf"), None),
            (b"<svg onload=alert(1)>", Some("image/svg+xml"), None),
        ];
        for (head, mime, format) in cases {
            assert_eq!(
                sniff(head),
                Sniffed { mime, format, text: None },
                "{:?}",
                String::from_utf8_lossy(head)
            );
        }
        assert_eq!(sniff(b"").mime, None);
        assert_eq!(sniff(b"\xff\xd8").format, Some(Format::Jpeg));
        assert_eq!(sniff(b"\x89PNg\r\n\x1a\n\0\0\0\rIHDR").format, Some(Format::Png));
    }

    #[test]
    fn file_with_the_first_four_bytes_of_a_tiff_is_a_tiff() {
        for (head, mime) in [
            (b"II*\0\x08\0\0\0\x43\0\x02\0".as_slice(), "image/tiff"),
            (b"II*\0\xff\0\0\0\x43\x00", "image/tiff"),
            (b"MM\0*\0\0\xff\0\0\x52", "image/tiff"),
            (b"II*\0\xff\0\0\0CR\x01", "image/tiff"),
            (b"II*\0", "image/tiff"),
            (b"II*\0\x10\0\0\0CR\x02\0", "image/x-canon-cr2"),
            (b"II+\0\x08\0\0\0", "image/x-bigtiff"),
            (b"MM\0+\0\x08\0\0", "image/x-bigtiff"),
        ] {
            let sniffed = sniff(head);
            assert_eq!(sniffed.mime, Some(mime), "{head:?}");
            assert_eq!(sniffed.format.is_some(), mime == "image/tiff", "{head:?}");
        }
    }

    #[test]
    fn text_in_place_of_bytes_is_named() {
        let cases: [(&[u8], TextKind); 12] = [
            (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD", TextKind::Base64),
            (b"\"iVBORw0KGgoAAAANSUhEUgAA\"", TextKind::Base64),
            (b"\r\n  R0lG\r\nODlhAQABAIAA", TextKind::Base64),
            (b"AAAAGGZ0eXBoZWljAAAAAG1pZjFoZWlj", TextKind::Base64),
            (b"Qk02AAAAAAAAADYAAAA=", TextKind::Base64),
            (b"data:image/jpeg;base64,/9j/4AAQ", TextKind::DataUrl),
            (b"\"DATA:image/png,", TextKind::DataUrl),
            (b"\xef\xbb\xbf{\"error\":\"expired\"}", TextKind::Json),
            (b"<!DOCTYPE html><html>", TextKind::Html),
            (b"hello, photos", TextKind::Plain),
            (b"BMW for sale, caf\xc3", TextKind::Plain),
            (b"<?xml version=\"1.0\"?><error/>", TextKind::Plain),
        ];
        for (head, kind) in cases {
            let sniffed = sniff(head);
            let name = String::from_utf8_lossy(head);
            assert_eq!(sniffed, Sniffed { mime: None, format: None, text: Some(kind) }, "{name}");
        }
        assert_eq!(sniff(b"<?xml version=\"1.0\"?>\n<svg>").mime, Some("image/svg+xml"));
        assert_eq!(sniff(b"\0\x01\x02 hello").text, None);
    }

    #[test]
    fn unsupported_images_and_films_have_a_type() {
        for (head, mime) in [
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom".as_slice(), "image/x-canon-cr3"),
            (b"FUJIFILMCCD-RAW 0201", "image/x-fuji-raf"),
            (b"\0\0\0\x14ftyp3gp5\0\0\0\0", "video/mp4"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0", "video/quicktime"),
            (b"\x1a\x45\xdf\xa3\x01\0\0\0", "video/x-matroska"),
        ] {
            assert_eq!(sniff(head), Sniffed { mime: Some(mime), format: None, text: None }, "{head:?}");
        }
    }

    #[test]
    fn brands_separate_still_images_from_films() {
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
