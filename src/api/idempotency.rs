//! `Idempotency-Key`: a request that is sent again gets the answer of the first that succeeded, before its body is read.
//!
//! Follows draft-ietf-httpapi-idempotency-key-header where `docs/api.md` is silent. The first request is remembered in the
//! transaction of the draft that it made. A request that ended in an error is forgotten, so that it can be tried again.

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};

use super::endpoint::Endpoint;
use super::resumable::protocol::mark_complete;
use super::{Api, errors, listings, uploads};
use crate::catalog::{Attempt, ClaimedAttempt, Claiming, RequestHead, claim_attempt};
use crate::model::{AttemptId, Caller};
use crate::web::body::{Body, RequestBody};
use crate::web::problem::{Problem, ProblemKind};

/// The header that names an attempt.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key in characters.
const MAX_KEY_CHARS: usize = 255;

/// What the Idempotency-Key of a request, or its absence, leads to.
pub(super) enum KeyCheck {
    /// The handler answers the request. It has a claimed attempt if the request has a key.
    Proceed(Option<ClaimedAttempt>),
    /// The request gets the answer of the first one with its key.
    Replay(Response<Body>),
}

impl Api {
    /// Claims the attempt that the key of the request names, or returns the answer of the first request with the key.
    ///
    /// # Errors
    /// The key is malformed, in use, or was used for another request, or the catalog failed.
    pub(super) async fn check_key(
        &self,
        endpoint: &Endpoint,
        caller: Caller,
        request: &hyper::Request<RequestBody>,
    ) -> Result<KeyCheck, Problem> {
        if endpoint.method != Method::POST {
            return Ok(KeyCheck::Proceed(None));
        }
        let Some(key) = key(request.headers())? else { return Ok(KeyCheck::Proceed(None)) };
        let content_length = request.headers().get(CONTENT_LENGTH);
        let content_length = content_length.and_then(|length| length.to_str().ok()?.parse().ok());
        let head = RequestHead { path: request.uri().path().to_owned(), content_length };
        let id = AttemptId::new(caller.user, key);
        match claim_attempt(&*self.catalog, id, head, self.idempotency_lifetime).await? {
            Claiming::InWork => Err(errors::in_progress()),
            Claiming::Claimed(claimed) => Ok(KeyCheck::Proceed(Some(claimed))),
            Claiming::Reused => Err(errors::key_reused()),
            Claiming::Done(attempt) => {
                let mut response = self.replay(endpoint, *attempt)?;
                mark_complete(request.headers(), response.headers_mut());
                Ok(KeyCheck::Replay(response))
            }
        }
    }

    fn replay(&self, endpoint: &Endpoint, attempt: Attempt) -> Result<Response<Body>, Problem> {
        let Attempt { draft, note, .. } = attempt;
        // Every row has answers, and the first one is that of success.
        let status = endpoint.answers[0].status;
        let mut response = listings::answer(self, status, draft, uploads::read_note(&note))?;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// Returns the key of a request, without quotation marks around it.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(bad_key()),
    };
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let is_visible = !unquoted.is_empty() && unquoted.iter().all(u8::is_ascii_graphic);
    let key = std::str::from_utf8(unquoted).ok().filter(|key| is_visible && key.len() <= MAX_KEY_CHARS);
    key.map(Some).ok_or_else(bad_key)
}

fn bad_key() -> Problem {
    let detail = "One Idempotency-Key of 1 to 255 visible ASCII characters is expected.";
    Problem::new(ProblemKind::BadIdempotencyKey, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> Result<Option<String>, ProblemKind> {
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap())]);
        key(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.kind())
    }

    #[test]
    fn key_in_quotation_marks_is_the_same_key() {
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of(b"abc"), Ok(Some("abc".into())));
        assert_eq!(of(b"\"abc\""), Ok(Some("abc".into())));
        assert_eq!(of(b"\""), Ok(Some("\"".into())));
        assert_eq!(of(&[b'k'; 255]), Ok(Some("k".repeat(255))));
        for bad in [b"".as_slice(), b"\"\"", b"a b", b"a\tb", "ä".as_bytes(), &[b'k'; 256]] {
            assert_eq!(of(bad), Err(ProblemKind::BadIdempotencyKey), "{bad:?}");
        }
    }

    #[test]
    fn two_keys_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(key(&headers).is_err());
    }
}
