//! What the head of a request says of its body, judged before the body is read; and the body itself.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};

use crate::ingest::parts::{PartsError, StreamError};
use crate::web::body::{ReadError, RequestBody};
use crate::web::problem::{self, Problem, ProblemKind};

/// Refuses a Content-Encoding, which this server does not undo (RFC 9110 section 8.4).
pub(super) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Ok(());
    }
    let detail = "The body must not have a Content-Encoding.";
    Err(Problem::new(ProblemKind::EncodedBody, detail))
}

/// Refuses a body whose Content-Length is over `max`.
pub(super) fn refuse_length(headers: &HeaderMap, max: u64) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > max => {
            Err(problem::body_too_large(PartsError::TooLarge { max }.to_string()))
        }
        _ => Ok(()),
    }
}

/// Returns the body as the stream that the domain reads.
pub(super) fn byte_stream(
    body: RequestBody,
) -> impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    body.map_err(|error| match error {
        ReadError::Slow => StreamError::Idle,
        ReadError::Aborted => StreamError::Aborted,
    })
}
