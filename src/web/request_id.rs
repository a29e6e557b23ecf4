//! The id of a request, which the client and the log share.

use hyper::header::{HeaderMap, HeaderName};
use uuid::Uuid;

/// `X-Request-Id`, in requests and in every response.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static(super::headers::REQUEST_ID.0);

/// Returns the client's id if it is valid (1 to 128 characters of `A-Za-z0-9._-`), otherwise a new UUID version 7 (RFC 9562).
pub(crate) fn of(headers: &HeaderMap) -> String {
    let sent = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    match sent {
        Some(id) if is_sane(id) => id.to_owned(),
        _ => fresh(),
    }
}

/// Returns a new id.
pub(crate) fn fresh() -> String {
    // Each request has one, and `to_string` took 1,400 instructions.
    Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

fn is_sane(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids_are_kept_and_others_replaced() {
        let of = |id: &str| of(&HeaderMap::from_iter([(X_REQUEST_ID, id.parse().unwrap())]));
        assert_eq!(of("app-1.2_x"), "app-1.2_x");
        let long = "x".repeat(129);
        for bad in ["", "a b", "<script>", "ä", &long] {
            assert_eq!(of(bad).len(), 36, "{bad}");
        }
        assert_ne!(super::of(&HeaderMap::new()), super::of(&HeaderMap::new()));
    }
}
