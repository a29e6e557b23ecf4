//! Reads the file name of a part. It is shown to the client and used for nothing else: so it is read leniently, and made
//! safe to show.

use std::borrow::Cow;

/// Longest file name that is kept, in characters.
const MAX_CHARS: usize = 255;

/// Reads a quoted file name whose inner quotes are not escaped, as some clients send it. It ends at the last quote of the
/// line. Returns the name, and the text after its semicolon.
///
/// Returns `None` if the name contains a semicolon: a parser that ends it at the first quote could find other parameters in
/// it.
pub(super) fn with_bare_quotes(text: &str) -> Option<(String, &str)> {
    let (name, rest) = text.trim_start().strip_prefix('"')?.rsplit_once('"')?;
    let rest = rest.trim_start();
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(';')? };
    (!name.contains(';')).then(|| (name.replace("\\\"", "\""), rest))
}

/// Reads the value of a `filename*` (RFC 8187 section 3.2). RFC 7578 forbids it in forms, but clients send it. Broken
/// values are used as they are.
pub(super) fn extended(value: &str) -> String {
    let mut pieces = value.splitn(3, '\'');
    let (Some(charset), Some(_language), Some(encoded)) = (pieces.next(), pieces.next(), pieces.next())
    else {
        return shown(value);
    };
    let bytes = percent_decoded(encoded);
    let name = if charset.eq_ignore_ascii_case("iso-8859-1") {
        Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect::<String>())
    } else {
        String::from_utf8_lossy(&bytes)
    };
    shown(&name)
}

/// Decodes each `%` with two hexadecimal digits, and leaves any other `%`.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().and_then(|digits| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            u8::try_from(digit(0)? << 4 | digit(1)?).ok()
        });
        match digits.filter(|_| *byte == b'%') {
            Some(value) => {
                decoded.push(value);
                rest = &after[2..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

/// Makes a name safe to show: without control characters, which would break a log line, and without characters that change
/// the direction of the text around them. Browsers write a quote as `%22`.
pub(super) fn shown(name: &str) -> String {
    let is_bidi = |c: char| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let is_break = |c: char| matches!(c, '\u{2028}' | '\u{2029}');
    let name = name.replace("%22", "\"");
    let shown = name.chars().take(MAX_CHARS).map(|c| match c {
        c if c.is_control() || is_bidi(c) || is_break(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn name_with_bare_quotes_ends_at_the_last_one() {
        for (text, expected) in [
            (r#""a "b" c.jpg""#, Some((r#"a "b" c.jpg"#, ""))),
            (r#""a" b.jpg"; size=3"#, Some((r#"a" b.jpg"#, " size=3"))),
            (r#""a" b.jpg"; size="3""#, None),
            (r#""a" ; name="files""#, None),
            (r#""a\"; name="files""#, None),
            (r#""a\"b" c.jpg""#, Some((r#"a"b" c.jpg"#, ""))),
            (r#""a" b"#, None),
            (r#""a"#, None),
        ] {
            let read = with_bare_quotes(text);
            assert_eq!(read.as_ref().map(|(name, rest)| (name.as_str(), *rest)), expected, "{text}");
        }
    }

    #[test]
    fn extended_name_is_decoded_and_a_broken_one_is_kept() {
        for (value, expected) in [
            ("UTF-8''caf%C3%A9.jpg", "café.jpg"),
            ("utf-8'en'a%20b.jpg", "a b.jpg"),
            ("ISO-8859-1''caf%E9.jpg", "café.jpg"),
            ("UTF-8''caf%E9.jpg", "caf\u{FFFD}.jpg"),
            ("UTF-8''100%.jpg", "100%.jpg"),
            ("UTF-8''%0d%0a.jpg", "\u{FFFD}\u{FFFD}.jpg"),
            ("caf%C3%A9.jpg", "caf%C3%A9.jpg"),
            ("UTF-8'x.jpg", "UTF-8'x.jpg"),
            ("UTF-8''%G1%1", "%G1%1"),
            ("a\u{7}b.jpg", "a\u{FFFD}b.jpg"),
            ("", ""),
        ] {
            assert_eq!(extended(value), expected, "{value}");
        }
    }

    #[test]
    fn character_that_breaks_or_turns_a_line_is_not_shown() {
        for c in ['\n', '\u{85}', '\u{2028}', '\u{2029}', '\u{202A}', '\u{202E}', '\u{2066}', '\u{2069}'] {
            assert_eq!(shown(&format!("a{c}b")), "a\u{FFFD}b", "{c:?}");
        }
        let foreign = "\u{5D0}\u{2026}\u{1F4F7}.jpg";
        assert_eq!(shown(foreign), foreign);
    }

    #[test]
    fn long_name_is_cut() {
        let longest = "\u{E4}".repeat(MAX_CHARS);
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}b")), longest);
    }

    proptest! {
        #[test]
        fn name_is_safe_to_show(name: String) {
            let shown = shown(&name);
            prop_assert!(shown.chars().count() <= MAX_CHARS && !shown.chars().any(char::is_control));
        }
    }
}
