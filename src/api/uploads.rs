//! Uploads: `POST /api/v1/ingest/upload`, `POST /api/v1/ingest/photos` and `POST /api/v1/listings/{id}/photos`.

use std::borrow::Cow;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::Api;
use super::body_head::{byte_stream, refuse_encoding, refuse_length};
use super::digests::{CONTENT_DIGEST, REPR_DIGEST, sha_256};
use super::dto::RejectedOut;
use super::endpoint::{Call, bad_parameter};
use super::json_body::bad_member;
use super::listings::{self, Located, Precondition};
use crate::catalog::ChangeError;
use crate::ingest::boundary::{ContentTypeError, boundary};
use crate::ingest::{OnError, Rejected, Target, Upload, UploadAttempt, Uploaded};
use crate::listings::fields;
use crate::model::Draft;
use crate::uploads::verified_body;
use crate::web::body::Body;
use crate::web::problem::{Problem, ProblemKind};

/// The parameter of the query that says what a bad photo means for the others.
pub(super) const ON_ERROR: &str = "on_error";

/// Makes a draft of the photos in a form.
pub(super) async fn create(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let (draft, rejected) = upload(api, call, Target::NewDraft).await?;
    listings::answer(api, success(Target::NewDraft), draft, rejected)
}

/// Makes a draft of photos that this server fetches.
pub(super) async fn create_by_url(api: &Api, mut call: Call) -> Result<Response<Body>, Problem> {
    let Some(fetcher) = &api.fetcher else {
        let detail = "This server does not fetch photos by URL (FETCH_ENABLED). Upload them in a form.";
        return Err(Problem::new(ProblemKind::FetchDisabled, detail));
    };
    api.refuse_if_read_only()?;
    let upload = new_upload(&mut call, Target::NewDraft)?;
    let mut members = listings::read(call).await?;
    let urls = urls(members.take("urls"))?;
    let title =
        members.take("title").map(|value| listings::text("title", value, fields::title)).transpose()?;
    members.end("`urls` and `title`")?;
    api.ingest.admit(upload.caller.client).await?;
    let on_error = upload.on_error;
    let uploaded = api.ingest.upload_urls(upload, fetcher, urls, title.unwrap_or_default()).await?;
    let (draft, rejected) = shown_upload(uploaded, on_error);
    listings::answer(api, StatusCode::CREATED, draft, rejected)
}

fn urls(member: Option<Value>) -> Result<Vec<String>, Problem> {
    let url = |value| match value {
        Value::String(url) => Some(url),
        _ => None,
    };
    let urls = match member {
        Some(Value::Array(values)) => values.into_iter().map(url).collect(),
        _ => None,
    };
    urls.ok_or_else(|| bad_member("urls", "The member `urls` is an array of strings, one or more."))
}

/// Appends the photos in a form to a draft.
pub(super) async fn append(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let target = existing_draft(api, &call).await?;
    let (draft, rejected) = upload(api, call, target).await?;
    listings::answer(api, success(target), draft, rejected)
}

/// Returns the draft to which the request adds photos.
pub(super) async fn existing_draft(api: &Api, call: &Call) -> Result<Target, Problem> {
    let Located { found, version } = listings::locate(api, call, Precondition::Optional).await?;
    let max = api.ingest.limits().photos_per_draft;
    let (draft, count) = (found.draft().id, found.draft().photos.len());
    if count >= max {
        return Err(ChangeError::TooManyPhotos { max, count: count + 1 }.into());
    }
    Ok(Target::Append { draft, version })
}

/// Returns the status of the answer when the photos are recorded.
pub(super) fn success(target: Target) -> StatusCode {
    match target {
        Target::NewDraft => StatusCode::CREATED,
        Target::Append { .. } => StatusCode::OK,
    }
}

/// Takes in the form. Returns the draft, and the photos that were left out if the request says that bad ones may be.
async fn upload(
    api: &Api,
    mut call: Call,
    target: Target,
) -> Result<(Draft, Option<Vec<RejectedOut>>), Problem> {
    api.refuse_if_read_only()?;
    let upload = new_upload(&mut call, target)?;
    let Call { caller, request, body_cap, .. } = call;
    let (head, body) = request.into_parts();
    // Whatever the head decides is answered before the first read of the body, which sends 100 Continue.
    let boundary = form_boundary(&head.headers)?;
    refuse_encoding(&head.headers)?;
    refuse_length(&head.headers, body_cap)?;
    let digests = [sha_256(&head.headers, &CONTENT_DIGEST)?, sha_256(&head.headers, &REPR_DIGEST)?];
    api.ingest.admit(caller.client).await?;
    let digests = digests.into_iter().flatten().collect();
    let (body, verification) = verified_body(byte_stream(body), digests, body_cap);
    let on_error = upload.on_error;
    let form = api.ingest.read(caller.client, on_error, body, &boundary).await?;
    verification.finish().await?;
    Ok(shown_upload(api.ingest.record(upload, form).await?, on_error))
}

/// Begins an upload with what the head says about it. Takes the attempt out of the call.
fn new_upload(call: &mut Call, target: Target) -> Result<Upload, Problem> {
    let on_error = on_error(call)?;
    let note = match on_error {
        OnError::Fail => |_: &[Rejected]| String::new(),
        OnError::Skip => rejected_note,
    };
    let attempt = call.attempt.take().map(|claimed| UploadAttempt { claimed, note });
    Ok(Upload { caller: call.caller, target, on_error, attempt })
}

/// Returns the draft, and the photos that were left out if the request says that bad ones may be.
fn shown_upload(uploaded: Uploaded, on_error: OnError) -> (Draft, Option<Vec<RejectedOut>>) {
    let Uploaded { draft, rejected, photos: _ } = uploaded;
    (draft, (on_error == OnError::Skip).then(|| shown(&rejected)))
}

fn shown(rejected: &[Rejected]) -> Vec<RejectedOut> {
    rejected.iter().map(RejectedOut::from).collect()
}

/// Writes down which photos were left out, for the note of an attempt.
pub(crate) fn rejected_note(rejected: &[Rejected]) -> String {
    serde_json::to_string(&shown(rejected)).unwrap_or_default()
}

/// Reads the photos that were left out from the note of an attempt, if the request asked to leave out bad ones.
pub(super) fn read_note(note: &str) -> Option<Vec<RejectedOut>> {
    serde_json::from_str(note).ok()
}

/// Returns what a bad photo means for the others.
pub(super) fn on_error(call: &Call) -> Result<OnError, Problem> {
    match call.query(ON_ERROR)?.as_deref() {
        None | Some("fail") => Ok(OnError::Fail),
        Some("skip") => Ok(OnError::Skip),
        Some(_) => Err(bad_parameter(ON_ERROR, "The parameter on_error is `fail` or `skip`.")),
    }
}

/// Returns the boundary of the form.
pub(super) fn form_boundary(headers: &HeaderMap) -> Result<String, ContentTypeError> {
    boundary(&content_type(headers)?)
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
