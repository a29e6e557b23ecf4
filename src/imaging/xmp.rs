//! Reads the orientation in an XMP packet: the property `Orientation` of the namespace `http://ns.adobe.com/tiff/1.0/`.
//! `exif.rs` asks for it if EXIF has none.
//!
//! It is an attribute (`tiff:Orientation="3"`) or an element (`<tiff:Orientation>3</tiff:Orientation>`), with any prefix that
//! is bound to the namespace. This is not an XML parser: it scans the tags of an untrusted packet from front to back and ignores
//! nesting, entities and documents in UTF-16. A prefix stays bound until it is bound again.

use memchr::memchr;
use memchr::memmem::find;

/// Bytes of a packet that are read. A packet in a JPEG has at most 64 KiB.
const MAX_BYTES: usize = 256 << 10;
/// Most prefixes that can be bound to the namespace at the same time.
const MAX_PREFIXES: usize = 4;
const NAMESPACE: &[u8] = b"http://ns.adobe.com/tiff/1.0/";
const PROPERTY: &[u8] = b"Orientation";

/// Returns the value of the first orientation in the packet, or `None` if there is none or it is not a number.
pub(super) fn orientation(packet: &[u8]) -> Option<u16> {
    let mut rest = &packet[..packet.len().min(MAX_BYTES)];
    let mut prefixes = Prefixes::default();
    loop {
        rest = &rest[memchr(b'<', rest)? + 1..];
        rest = if let Some(comment) = rest.strip_prefix(b"!--") {
            after(comment, b"-->")?
        } else if let Some(data) = rest.strip_prefix(CDATA) {
            after(data, b"]]>")?
        } else if matches!(rest.first(), Some(b'?' | b'!' | b'/')) {
            after(rest, b">")?
        } else {
            let (tag, content) = Tag::read(rest, &mut prefixes)?;
            if let Some(value) = tag.attribute {
                return number(value);
            }
            if tag.is_property {
                return number(text(content));
            }
            content
        }
    }
}

const CDATA: &[u8] = b"![CDATA[";

fn after<'a>(bytes: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    bytes.get(find(bytes, end)? + end.len()..)
}

fn text(content: &[u8]) -> &[u8] {
    let content = content.trim_ascii_start();
    let (content, end) = match content.strip_prefix(b"<").and_then(|tag| tag.strip_prefix(CDATA)) {
        Some(data) => (data, b']'),
        None => (content, b'<'),
    };
    &content[..memchr(end, content).unwrap_or(content.len())]
}

/// Parses a number of one to five digits, with optional white space around it.
fn number(text: &[u8]) -> Option<u16> {
    let digits = text.trim_ascii();
    let is_number = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[derive(Debug, Default)]
struct Prefixes<'a> {
    bound: Vec<&'a [u8]>,
}

impl<'a> Prefixes<'a> {
    fn bind(&mut self, prefix: &'a [u8], namespace: &[u8]) {
        self.bound.retain(|bound| *bound != prefix);
        if namespace == NAMESPACE && self.bound.len() < MAX_PREFIXES {
            self.bound.push(prefix);
        }
    }

    /// Returns whether `name` is the orientation property. A name without a prefix has the prefix `default`; attributes have no
    /// default.
    fn has_property(&self, name: &[u8], default: Option<&[u8]>) -> bool {
        let prefix = match memchr(b':', name) {
            Some(colon) if name[colon + 1..] == *PROPERTY => Some(&name[..colon]),
            None if name == PROPERTY => default,
            _ => None,
        };
        prefix.is_some_and(|prefix| self.bound.contains(&prefix))
    }
}

struct Tag<'a> {
    /// The value of the property, if an attribute of the tag is the property.
    attribute: Option<&'a [u8]>,
    is_property: bool,
}

impl<'a> Tag<'a> {
    /// Reads a start tag whose `<` was removed from `rest`. Returns it and the bytes after its `>`, or `None` if it does not end.
    fn read(mut rest: &'a [u8], prefixes: &mut Prefixes<'a>) -> Option<(Self, &'a [u8])> {
        let element;
        (element, rest) = name(rest);
        // The tag may use a prefix before it binds it.
        let start = rest;
        while let Some((attribute, value)) = next_attribute(&mut rest)? {
            if let Some(prefix) = attribute.strip_prefix(b"xmlns") {
                prefixes.bind(prefix.strip_prefix(b":").unwrap_or(prefix), value);
            }
        }
        let mut again = start;
        let mut attribute = None;
        while let (None, Some((name, value))) = (attribute, next_attribute(&mut again)?) {
            attribute = prefixes.has_property(name, None).then_some(value);
        }
        Some((Self { attribute, is_property: prefixes.has_property(element, Some(b"")) }, rest))
    }
}

/// Splits the name at the start of `rest` from the bytes after it.
fn name(rest: &[u8]) -> (&[u8], &[u8]) {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/' | b'>' | b'<');
    rest.split_at(rest.iter().position(is_end).unwrap_or(rest.len()))
}

/// Removes the next attribute, or the end of the tag, from the front of `rest`. Returns `Some(None)` at the end of the tag, and
/// `None` if the tag does not end.
#[allow(clippy::type_complexity, reason = "a name and a value, or the end, or an error")]
fn next_attribute<'a>(rest: &mut &'a [u8]) -> Option<Option<(&'a [u8], &'a [u8])>> {
    loop {
        *rest = rest.trim_ascii_start();
        match rest.first()? {
            b'>' => {
                *rest = &rest[1..];
                return Some(None);
            }
            b'/' | b'=' | b'<' => *rest = &rest[1..],
            _ => {
                let (name, after_name) = name(rest);
                *rest = after_name.trim_ascii_start();
                let Some(value) = rest.strip_prefix(b"=") else { continue };
                let value = value.trim_ascii_start();
                let quote @ (b'"' | b'\'') = value.first()? else {
                    *rest = value;
                    continue;
                };
                let value = &value[1..];
                let end = memchr(*quote, value)?;
                *rest = &value[end + 1..];
                return Some(Some((name, &value[..end])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a packet with these attributes and this content of its description.
    fn packet(attributes: &str, content: &str) -> String {
        format!(
            "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x='adobe:ns:meta/'>\
             <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
             <rdf:Description rdf:about=\"\" {attributes}>{content}</rdf:Description></rdf:RDF></x:xmpmeta>"
        )
    }

    fn read(attributes: &str, content: &str) -> Option<u16> {
        orientation(packet(attributes, content).as_bytes())
    }

    const BOUND: &str = "xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\"";

    #[test]
    fn attribute_or_element_of_the_namespace_is_read() {
        for value in 1..=8 {
            assert_eq!(read(&format!("{BOUND} tiff:Orientation=\"{value}\""), ""), Some(value));
            assert_eq!(read(BOUND, &format!("<tiff:Orientation>{value}</tiff:Orientation>")), Some(value));
        }
        let other = "xmlns:a = 'http://ns.adobe.com/tiff/1.0/'";
        for (attributes, content) in [
            (format!("{other} a:Orientation = ' 6 '"), ""),
            (format!("a:Orientation='6'\n\t{other}"), ""),
            (other.to_owned(), "<a:Make>x</a:Make>\n<a:Orientation >\n 6 </a:Orientation>"),
            (other.to_owned(), "<a:Orientation><![CDATA[6]]></a:Orientation>"),
            (String::new(), "<Orientation xmlns='http://ns.adobe.com/tiff/1.0/'>6</Orientation>"),
            (
                format!("{other} x='a > b' y=\"'\""),
                "<!-- > <a:Orientation>3</a:Orientation> --><a:Orientation>6</a:Orientation>",
            ),
            (
                other.to_owned(),
                "<![CDATA[> <a:Orientation>3</a:Orientation>]]><x/><a:Orientation>6</a:Orientation>",
            ),
            (other.to_owned(), "<?x a:Orientation='3'?><a:Orientation> <![CDATA[00006]]></a:Orientation>"),
        ] {
            assert_eq!(read(&attributes, content), Some(6), "{attributes} {content}");
        }
    }

    #[test]
    fn other_namespace_or_no_number_is_ignored() {
        for (attributes, content) in [
            ("tiff:Orientation=\"6\"", ""),
            ("xmlns:tiff=\"http://ns.adobe.com/exif/1.0/\" tiff:Orientation=\"6\"", ""),
            ("xmlns=\"http://ns.adobe.com/tiff/1.0/\" Orientation=\"6\"", ""),
            (
                "xmlns:a=\"http://ns.adobe.com/tiff/1.0/\"",
                "<b xmlns:a='other'><a:Orientation>6</a:Orientation></b>",
            ),
            (BOUND, "<tiff:OrientationX>6</tiff:OrientationX>"),
            (BOUND, "<tiff:Orientation>+6</tiff:Orientation>"),
            (BOUND, "<tiff:Orientation/>"),
            (BOUND, "<!-- <tiff:Orientation>6</tiff:Orientation>"),
            (BOUND, "<tiff:Orientation>99999</tiff:Orientation>"),
            (BOUND, "<tiff:Orientation>000006</tiff:Orientation>"),
            (BOUND, "tiff:Orientation=\"6\""),
        ] {
            assert_eq!(read(attributes, content), None, "{attributes} {content}");
        }
    }

    #[test]
    fn prefix_beyond_the_limit_is_not_bound() {
        let bound: String = (0..=MAX_PREFIXES)
            .map(|number| format!("xmlns:p{number}='http://ns.adobe.com/tiff/1.0/' "))
            .collect();
        let by = |prefix: usize| read(&format!("{bound} p{prefix}:Orientation='6'"), "");
        assert_eq!((by(0), by(MAX_PREFIXES - 1), by(MAX_PREFIXES)), (Some(6), Some(6), None));
    }

    #[test]
    fn property_after_the_size_limit_is_ignored() {
        let content =
            |padding: usize| format!("<!--{}--><tiff:Orientation>6</tiff:Orientation>", "-".repeat(padding));
        assert_eq!(read(BOUND, &content(MAX_BYTES / 2)), Some(6));
        assert_eq!(read(BOUND, &content(MAX_BYTES)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_packet_does_not_panic(bytes: Vec<u8>) {
            orientation(&bytes);
        }

        #[test]
        fn arbitrary_tags_do_not_panic(soup in "[<>='\"/!:a\\[\\]-]{0,40}") {
            orientation(soup.as_bytes());
            orientation(packet(&soup, &soup).as_bytes());
        }
    }
}
