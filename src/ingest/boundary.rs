//! The boundary in a `Content-Type` of `multipart/form-data`.

/// Why a `Content-Type` cannot introduce an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// Not `multipart/form-data` at all.
    #[error("The request must be multipart/form-data.")]
    NotMultipart,
    /// No boundary, more than one, or one that RFC 2046 does not allow.
    #[error(
        "The Content-Type must carry exactly one boundary of 1 to 70 characters (RFC 2046 section 5.1.1)."
    )]
    BadBoundary,
}

/// The boundary that `content_type` names.
///
/// Takes `token` and `quoted-string` parameters (RFC 9110 section 5.6.6), and unquoted values with characters that a
/// boundary may hold though a token may not, as some clients send.
///
/// # Errors
/// The media type is another one, or the boundary is missing, repeated, empty, longer than 70 characters, ends in a
/// space or holds a character outside RFC 2046's `bchars`.
pub fn boundary(content_type: &str) -> Result<String, ContentTypeError> {
    let (media_type, mut parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(ContentTypeError::NotMultipart);
    }
    let mut found = None;
    // Not `trim`: it would look at spaces that stand at the end once for each parameter.
    while !parameters.trim_start().is_empty() {
        let Some((name, rest)) = parameters.split_once('=') else {
            break;
        };
        let (value, rest) = value(rest).ok_or(ContentTypeError::BadBoundary)?;
        // Whatever lies before the last semicolon in `name` is a parameter without a value.
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(ContentTypeError::BadBoundary);
        }
        parameters = rest;
    }
    found.filter(|boundary| is_boundary(boundary)).ok_or(ContentTypeError::BadBoundary)
}

/// A parameter's value and what follows its semicolon.
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

fn is_boundary(boundary: &str) -> bool {
    let is_bchar = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    // Beyond RFC 2046, the characters of a token that real clients were seen to use.
    let is_token_char = |byte: u8| b"!#$%&*^`|~".contains(&byte);
    (1..=70).contains(&boundary.len())
        && !boundary.ends_with(' ')
        && boundary.bytes().all(|byte| is_bchar(byte) || is_token_char(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_content_type_takes_time_in_proportion_to_its_length() {
        let began = std::time::Instant::now();
        let text =
            format!("multipart/form-data{};{}x=", ";a=b".repeat(64 << 10), "\u{3000}".repeat(64 << 10));
        assert_eq!(boundary(&text), Err(ContentTypeError::BadBoundary));
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[test]
    fn boundaries_of_real_clients() {
        let cases = [
            ("multipart/form-data; boundary=----WebKitFormBoundaryABC", "----WebKitFormBoundaryABC"),
            ("Multipart/Form-Data;boundary=\"a b:c\"; charset=utf-8", "a b:c"),
            ("multipart/form-data; charset=utf-8; boundary=x=y", "x=y"),
            ("multipart/form-data; boundary=\"a\\\"\"", ""),
            ("multipart/form-data; BOUNDARY=----=_Part_1/2", "----=_Part_1/2"),
            ("multipart/form-data; title=\"a; boundary=b\"; boundary=c", "c"),
        ];
        for (header, expected) in cases {
            assert_eq!(
                boundary(header).ok(),
                Some(expected.to_owned()).filter(|b| !b.is_empty()),
                "{header}"
            );
        }
    }

    #[test]
    fn what_cannot_delimit_is_refused() {
        use ContentTypeError::{BadBoundary, NotMultipart};
        let cases = [
            ("application/json", NotMultipart),
            ("multipart/mixed; boundary=a", NotMultipart),
            ("", NotMultipart),
            ("multipart/form-data", BadBoundary),
            ("multipart/form-data; boundary=", BadBoundary),
            ("multipart/form-data; boundary=\"\"", BadBoundary),
            ("multipart/form-data; boundary=\"open", BadBoundary),
            ("multipart/form-data; boundary=a; boundary=b", BadBoundary),
            ("multipart/form-data; boundary=\"a \"", BadBoundary),
            ("multipart/form-data; boundary=\"a\"b", BadBoundary),
            ("multipart/form-data; boundary=ä", BadBoundary),
        ];
        for (header, expected) in cases {
            assert_eq!(boundary(header), Err(expected), "{header}");
        }
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(70))).is_ok());
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "multipart/form-data;.{0,80}") {
            let _ = boundary(&text);
        }
    }
}
