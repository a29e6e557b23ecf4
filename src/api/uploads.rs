//! `POST /api/v1/ingest/upload`.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::TryStreamExt;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};

use super::Api;
use super::dto::DraftOut;
use super::endpoint::Call;
use crate::ingest::boundary::{ContentTypeError, boundary};
use crate::ingest::parts::{PartsError, StreamError};
use crate::web::body::{Body, ReadError};
use crate::web::json;
use crate::web::problem::{self, Problem, ProblemKind};

/// When to try again while uploads are switched off. Only a restart switches them on, so a short wait is of no use.
const READ_ONLY_RETRY: Duration = Duration::from_secs(60);

pub(super) async fn create(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let Call { caller, request, body_cap, .. } = call;
    if api.read_only {
        return Err(read_only());
    }
    let (head, body) = request.into_parts();
    // Whatever the head decides is answered before the first read of the body, which sends 100 Continue.
    let boundary = boundary(&content_type(&head.headers)?)?;
    refuse_encoding(&head.headers)?;
    refuse_length(&head.headers, body_cap)?;
    api.ingest.admit(caller.client).await?;
    let body = body.map_err(|error| match error {
        ReadError::Slow => StreamError::Idle,
        ReadError::Aborted => StreamError::Aborted,
    });
    let uploaded = api.ingest.upload(caller, body, &boundary).await?;
    let id = uploaded.draft.id;
    let mut response = json(StatusCode::CREATED, &DraftOut::new(uploaded.draft, &api.media_base_url));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/listings/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn read_only() -> Problem {
    let detail =
        "Photos are not taken at the moment, because what is kept here is being moved. Try again later.";
    Problem::new(ProblemKind::ReadOnly, detail).retry_after(READ_ONLY_RETRY)
}

/// Returns the only `Content-Type`. Two are refused, because a filter in front could read the other one.
fn content_type(headers: &HeaderMap) -> Result<Cow<'_, str>, ContentTypeError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(String::from_utf8_lossy(value.as_bytes())),
        (None, _) => Err(ContentTypeError::NotMultipart),
        (Some(_), Some(_)) => Err(ContentTypeError::Repeated),
    }
}

/// Refuses a Content-Encoding, which this server does not undo (RFC 9110 section 8.4).
fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Ok(());
    }
    let detail = "The body must not have a Content-Encoding.";
    Err(Problem::new(ProblemKind::EncodedBody, detail))
}

/// Refuses a body whose Content-Length is over `max`.
fn refuse_length(headers: &HeaderMap, max: u64) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > max => {
            Err(problem::body_too_large(PartsError::TooLarge { max }.to_string()))
        }
        _ => Ok(()),
    }
}
