//! Preconditions on entity tags (RFC 9110 section 13).

use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

/// Returns whether the request has no `If-Match`, or names `etag` there by strong comparison.
pub(crate) fn if_match(headers: &HeaderMap, etag: &str) -> bool {
    if_match_by(headers, |tag| tag == etag)
}

/// Returns whether the request has no `If-Match`, or names an entity tag there that `is_ours`.
pub(crate) fn if_match_by(headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> bool {
    names(headers, &IF_MATCH, is_ours).unwrap_or(true)
}

/// Returns whether the request has `If-Match: *`, which every existing resource fits.
pub(crate) fn if_match_any(headers: &HeaderMap) -> bool {
    headers.get_all(IF_MATCH).iter().any(|value| value.as_bytes().trim_ascii() == b"*")
}

/// Returns whether the request names `etag` in `If-None-Match` by weak comparison, so that the client has it already.
pub(crate) fn if_none_match(headers: &HeaderMap, etag: &str) -> bool {
    names(headers, &IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag).unwrap_or(false)
}

/// Returns whether a header is `*` or has a tag that `is_ours`, or `None` without the header.
fn names(headers: &HeaderMap, name: &HeaderName, is_ours: impl Fn(&str) -> bool) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    // Our tags contain no comma, so splitting at each comma cannot create one of them.
    let has_ours = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or("").trim();
        value == "*" || value.split(',').map(str::trim).any(&is_ours)
    };
    Some(values.any(has_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_compares_strongly_and_if_none_match_weakly() {
        let headers = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        for (value, strongly, weakly) in [
            (r#""a""#, true, true),
            (r#"W/"a""#, false, true),
            (r#""b", "a""#, true, true),
            ("*", true, true),
            (r#""b""#, false, false),
            ("a", false, false),
        ] {
            assert_eq!(if_match(&headers(IF_MATCH, value), r#""a""#), strongly, "{value}");
            assert_eq!(if_none_match(&headers(IF_NONE_MATCH, value), r#""a""#), weakly, "{value}");
        }
        assert!(if_match(&HeaderMap::new(), r#""a""#) && !if_none_match(&HeaderMap::new(), r#""a""#));
    }
}
