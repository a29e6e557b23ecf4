//! The header block of a part (RFC 7578 section 4), read so that no two parsers could read it differently.

use super::PartsError;

/// What the header block of a part says. Blocks that two parsers could read differently are refused.
pub(super) fn read_head(block: &[u8]) -> Result<Disposition, PartsError> {
    let mut found = None;
    let lines = block.strip_suffix(b"\r\n\r\n").ok_or(PartsError::Malformed("a part has no headers"))?;
    let lines =
        std::str::from_utf8(lines).map_err(|_| PartsError::Malformed("a part header is not UTF-8"))?;
    for line in lines.split("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err(PartsError::Malformed("a part header holds a control character"));
        }
        let (name, value) =
            line.split_once(':').ok_or(PartsError::Malformed("a part header has no colon"))?;
        if name.eq_ignore_ascii_case("content-disposition") && found.replace(disposition(value)?).is_some() {
            return Err(PartsError::Malformed("a part has more than one Content-Disposition"));
        }
    }
    found.ok_or(PartsError::Malformed("a part has no Content-Disposition"))
}

/// The parameters of a part's `Content-Disposition` that are used here.
#[derive(Debug, Default)]
pub(super) struct Disposition {
    pub(super) name: Option<String>,
    pub(super) filename: Option<String>,
}

/// Reads `form-data` with each of its parameters at most once (RFC 7578 section 4.2).
fn disposition(value: &str) -> Result<Disposition, PartsError> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(PartsError::Malformed("a part's Content-Disposition is not form-data"));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut read = Disposition::default();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        let (value, after) = parameter_value(after)?;
        rest = after;
        if seen.contains(&name) {
            return Err(PartsError::Malformed("a Content-Disposition names a parameter twice"));
        }
        match name.as_str() {
            "name" => read.name = Some(value),
            "filename" => read.filename = Some(value),
            _ => {}
        }
        seen.push(name);
    }
    Ok(read)
}

/// A parameter's value and what follows its semicolon. A backslash escapes a quote and nothing else: old browsers send
/// whole Windows paths.
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
    let rest = quoted[end + 1..].trim_start();
    let rest = match rest.strip_prefix(';') {
        Some(rest) => rest,
        None if rest.is_empty() => rest,
        None => return Err(PartsError::Malformed("a Content-Disposition has text behind a quote")),
    };
    Ok((quoted[..end].replace("\\\"", "\""), rest))
}
