//! Reads the header block of a part (RFC 7578 section 4), and refuses blocks that two parsers could read differently.
//!
//! The name of the field decides what the part is, so everything that could hide or change it is refused. The file name
//! only serves messages, so forms of it are accepted that real clients send and no grammar allows.

use super::PartsError;
use super::filename;

/// Largest number of headers of a part. Clients send up to five.
pub(super) const MAX_HEADERS: usize = 32;
/// Largest number of parameters of a `Content-Disposition`. Clients send up to three.
pub(super) const MAX_PARAMETERS: usize = 16;

/// The content of the header block of a part.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) name: Option<String>,
    pub(super) filename: Option<String>,
    /// Whether a `Content-Transfer-Encoding` declares that the data are encoded.
    pub(super) is_encoded: bool,
}

/// Reads a header block. Blocks that two parsers could read differently are refused.
pub(super) fn read_head(block: &[u8]) -> Result<Head, PartsError> {
    let mut lines = block.strip_suffix(b"\r\n\r\n").ok_or(PartsError::Malformed("a part has no headers"))?;
    let (mut head, mut headers) = (None, 0);
    let mut is_encoded = false;
    while !lines.is_empty() {
        let end = memchr::memmem::find(lines, b"\r\n");
        let line = &lines[..end.unwrap_or(lines.len())];
        lines = end.map_or(&[], |end| &lines[end + 2..]);
        headers += 1;
        if headers > MAX_HEADERS {
            return Err(PartsError::Malformed("a part has more than 32 headers"));
        }
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(PartsError::Malformed("a part header holds a control character"));
        }
        let colon = memchr::memchr(b':', line).ok_or(PartsError::Malformed("a part header has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Parsers disagree about white space before the colon, and at the start of a continued line.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(PartsError::Malformed("the name of a part header is not a token"));
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            let value = String::from_utf8_lossy(value);
            if head.replace(disposition(&value)?).is_some() {
                return Err(PartsError::Malformed("a part has more than one Content-Disposition"));
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let is_identity = |known: &&str| value.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
            is_encoded |= !["", "7bit", "8bit", "binary"].iter().any(is_identity);
        }
    }
    let head = head.ok_or(PartsError::Malformed("a part has no Content-Disposition"))?;
    Ok(Head { is_encoded, ..head })
}

/// Reads `form-data` with each of its parameters at most once (RFC 7578 section 4.2).
fn disposition(value: &str) -> Result<Head, PartsError> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(PartsError::Malformed("a part's Content-Disposition is not form-data"));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut read = Head::default();
    let mut extended = None;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(PartsError::Malformed("a Content-Disposition names a parameter twice"));
        }
        if seen.len() == MAX_PARAMETERS {
            return Err(PartsError::Malformed("a Content-Disposition has more than 16 parameters"));
        }
        let (value, after) = match (parameter_value(after), name.as_str()) {
            (Err(error), "filename") => filename::with_bare_quotes(after).ok_or(error)?,
            (read, _) => read?,
        };
        rest = after;
        match name.as_str() {
            "name" if value.contains(char::REPLACEMENT_CHARACTER) => {
                return Err(PartsError::Malformed("the name of a part is not UTF-8"));
            }
            "name" => read.name = Some(value),
            "filename" => read.filename = Some(filename::shown(&value)),
            "filename*" => extended = Some(filename::extended(&value)),
            _ => {}
        }
        seen.push(name);
    }
    read.filename = read.filename.or(extended);
    Ok(read)
}

/// Returns a parameter's value, and the text after its semicolon. A backslash escapes only a quote: old browsers send whole
/// Windows paths.
fn parameter_value(text: &str) -> Result<(String, &str), PartsError> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.ok_or(PartsError::Malformed("a Content-Disposition has an open quote"))?;
    let (value, rest) = (&quoted[..end], quoted[end + 1..].trim_start());
    let rest = match rest.strip_prefix(';') {
        Some(rest) => rest,
        None if rest.is_empty() => rest,
        None => return Err(PartsError::Malformed("a Content-Disposition has text after a closing quote")),
    };
    // A parser that knows no escapes would find more parameters after this quote.
    if value.split("\\\"").skip(1).any(|after| after.trim_start().starts_with(';')) {
        return Err(PartsError::Malformed("a Content-Disposition has a semicolon after an escaped quote"));
    }
    Ok((value.replace("\\\"", "\""), rest))
}
