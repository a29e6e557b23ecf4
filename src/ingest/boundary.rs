//! Reads the boundary of a `Content-Type: multipart/form-data`.

/// Why a `Content-Type` is not that of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentTypeError {
    /// The media type is not `multipart/form-data`.
    #[error("The request must be multipart/form-data.")]
    NotMultipart,
    /// There are two.
    #[error("The request has more than one Content-Type.")]
    Repeated,
    /// The boundary cannot be used.
    #[error(
        "{0} The Content-Type must carry exactly one boundary of 1 to 70 characters (RFC 2046 section 5.1.1)."
    )]
    BadBoundary(BoundaryError),
}

/// What is wrong with a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BoundaryError {
    /// There is none.
    #[error("The Content-Type has no boundary.")]
    Missing,
    /// There are two.
    #[error("The Content-Type has more than one boundary.")]
    Repeated,
    /// A quote is not closed, or has text after it.
    #[error("A quoted parameter of the Content-Type is not closed, or has text after its closing quote.")]
    BadQuote,
    /// It is empty.
    #[error("The boundary is empty.")]
    Empty,
    /// It is longer than the standard allows.
    #[error("The boundary has more than 70 characters.")]
    TooLong,
    /// It ends in a space, which a receiver could not tell from padding.
    #[error("The boundary ends in a space.")]
    FinalSpace,
    /// It has a character with another meaning in a header, or an invisible one.
    #[error("The boundary contains {}, which is not allowed there.", named(*.0))]
    Character(char),
}

/// Names a character for an error: itself if it is visible, and its code point.
fn named(character: char) -> String {
    let code = u32::from(character);
    if character.is_ascii_graphic() {
        format!("the character `{character}` (U+{code:04X})")
    } else {
        format!("the character U+{code:04X}")
    }
}

impl From<BoundaryError> for ContentTypeError {
    fn from(error: BoundaryError) -> Self {
        Self::BadBoundary(error)
    }
}

/// Returns the boundary that `content_type` names.
///
/// Accepts `token` and `quoted-string` parameters (RFC 9110 section 5.6.6), and unquoted values with characters that are
/// allowed in a boundary but not in a token, as some clients send them.
///
/// # Errors
/// The media type is another one, or the boundary is missing, repeated, empty, longer than 70 characters, ends in a
/// space or holds a character outside RFC 2046's `bchars`.
pub(crate) fn boundary(content_type: &str) -> Result<String, ContentTypeError> {
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(ContentTypeError::NotMultipart);
    }
    let mut found = None;
    let mut rest = parameters;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = value(after).ok_or(BoundaryError::BadQuote)?;
        // Text before the last semicolon in `name` is a parameter without a value.
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(BoundaryError::Repeated.into());
        }
        rest = after;
    }
    let boundary = found.ok_or(BoundaryError::Missing)?;
    check(&boundary)?;
    Ok(boundary)
}

/// Returns a parameter's value, and the text after its semicolon.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(mut quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return Some((value.trim_end().to_owned(), rest));
    };
    let mut value = String::new();
    loop {
        let at = quoted.find(['"', '\\'])?;
        value.push_str(&quoted[..at]);
        let escaped = quoted[at..].starts_with('\\');
        quoted = &quoted[at + 1..];
        if !escaped {
            let rest = quoted.trim_start();
            return if rest.is_empty() {
                Some((value, rest))
            } else {
                Some((value, rest.strip_prefix(';')?))
            };
        }
        let next = quoted.chars().next()?;
        value.push(next);
        quoted = &quoted[next.len_utf8()..];
    }
}

fn check(boundary: &str) -> Result<(), BoundaryError> {
    let is_bchar = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    // Characters of a token that RFC 2046 does not allow, and that real clients use.
    let is_token_char = |c: char| "!#$%&*^`|~".contains(c);
    if let Some(character) = boundary.chars().find(|c| !is_bchar(*c) && !is_token_char(*c)) {
        return Err(BoundaryError::Character(character));
    }
    match boundary.len() {
        0 => Err(BoundaryError::Empty),
        71.. => Err(BoundaryError::TooLong),
        _ if boundary.ends_with(' ') => Err(BoundaryError::FinalSpace),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boundaries_of_real_clients_are_accepted() {
        let cases = [
            ("multipart/form-data; boundary=----WebKitFormBoundaryABC", "----WebKitFormBoundaryABC"),
            ("Multipart/Form-Data;boundary=\"a b:c\"; charset=utf-8", "a b:c"),
            ("multipart/form-data; charset=utf-8; boundary=x=y", "x=y"),
            ("multipart/form-data; BOUNDARY=----=_Part_1/2", "----=_Part_1/2"),
            ("multipart/form-data; title=\"a; boundary=b\"; boundary=c", "c"),
            ("multipart/form-data; flag; boundary=a", "a"),
            ("multipart/form-data; boundary= a ; charset=utf-8", "a"),
            ("multipart/form-data; boundary=\"a\" ; charset=utf-8", "a"),
            ("multipart/form-data; boundary=\"a\\b\"", "ab"),
            ("multipart/form-data; boundary=a!#$%&*^`|~b", "a!#$%&*^`|~b"),
        ];
        for (header, expected) in cases {
            assert_eq!(boundary(header).as_deref(), Ok(expected), "{header}");
        }
    }

    #[test]
    fn invalid_boundaries_are_refused() {
        let bad = ContentTypeError::BadBoundary;
        let cases = [
            ("application/json", ContentTypeError::NotMultipart),
            ("multipart/mixed; boundary=a", ContentTypeError::NotMultipart),
            ("", ContentTypeError::NotMultipart),
            ("multipart/form-data", bad(BoundaryError::Missing)),
            ("multipart/form-data; boundary", bad(BoundaryError::Missing)),
            ("multipart/form-data; boundary=", bad(BoundaryError::Empty)),
            ("multipart/form-data; boundary=\"\"", bad(BoundaryError::Empty)),
            ("multipart/form-data; boundary=\"open", bad(BoundaryError::BadQuote)),
            ("multipart/form-data; boundary=a; boundary=b", bad(BoundaryError::Repeated)),
            ("multipart/form-data; boundary=\"a \"", bad(BoundaryError::FinalSpace)),
            ("multipart/form-data; boundary=\"a\"b", bad(BoundaryError::BadQuote)),
            ("multipart/form-data; boundary=ä", bad(BoundaryError::Character('ä'))),
            ("multipart/form-data; boundary={8d9b-1}", bad(BoundaryError::Character('{'))),
            ("multipart/form-data; boundary=\"a;b\"", bad(BoundaryError::Character(';'))),
            ("multipart/form-data; boundary=a\u{1}b", bad(BoundaryError::Character('\u{1}'))),
            ("multipart/form-data; boundary=\"a\\\"\"", bad(BoundaryError::Character('"'))),
        ];
        for (header, expected) in cases {
            assert_eq!(boundary(header), Err(expected), "{header}");
        }
        let shown = bad(BoundaryError::Character('{')).to_string();
        assert!(shown.contains("`{`") && shown.ends_with('.'), "{shown}");
        let shown = bad(BoundaryError::Character('\u{1b}')).to_string();
        assert!(shown.contains("U+001B") && !shown.contains('\u{1b}'), "{shown}");
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(70))).is_ok());
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "multipart/form-data;.{0,80}") {
            let _ = boundary(&text);
        }
    }
}
