//! Generic HTTP: bodies, errors, routes, ranges, and the layers that every request passes. It knows nothing of drafts or
//! images, and could serve another application.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod conditional;
pub(crate) mod cors;
pub(crate) mod headers;
pub(crate) mod interim;
pub(crate) mod min_rate;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod request_id;
pub(crate) mod router;
pub(crate) mod stack;
pub(crate) mod trace_context;

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use self::body::Body;

/// Returns a response with a whole body of a known type.
pub(crate) fn full(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<bytes::Bytes>,
) -> Response<Body> {
    let bytes = bytes.into();
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(Body::Bytes(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Returns a JSON response (RFC 8259).
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => full(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "a response could not be written as JSON");
            full(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}")
        }
    }
}
