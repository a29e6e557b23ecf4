//! What the protocols of resumable uploads say in their answers.

use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::checksum::CHECKSUM_ALGORITHMS;
use super::errors::refused;
use super::protocol::{
    DRAFT_INTEROP_VERSION, Interop, PARTIAL_UPLOAD, Protocol, TUS, TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION,
    TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION, UPLOAD_EXPIRES, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_METADATA,
    UPLOAD_OFFSET, http_date,
};
use crate::api::Api;
use crate::api::dto::{DraftOut, MediaOut, ProblemOut};
use crate::api::idempotency::REPLAYED;
use crate::api::{listings, uploads};
use crate::catalog::{UploadRow, UploadState};
use crate::ingest::{IngestError, PhotoError, Target};
use crate::model::{Draft, Media, UploadId};
use crate::uploads::{FoundUpload, Progress, UploadRequest};
use crate::web::body::Body;
use crate::web::json;
use crate::web::problem::{self, Problem, ProblemKind};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const TUS_EXTENSIONS: HeaderValue =
    HeaderValue::from_static("creation,creation-with-upload,termination,expiration,checksum");

/// A resumable upload.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Upload")]
pub(in crate::api) struct UploadOut {
    /// The id of the upload.
    id: String,
    state: StateOut,
    /// The number of bytes that are acknowledged, while it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// The length of the upload in bytes, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    /// The stored photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<MediaOut>,
    /// The draft that has the photos of the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<DraftOut>,
    /// Why the photo or the form was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemOut>,
}

/// The state of a resumable upload.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "UploadState")]
enum StateOut {
    /// Bytes are missing.
    Receiving,
    /// The photos are stored.
    Finished,
    /// The photo or the form was refused.
    Failed,
}

/// Writes why a photo was refused, for the row of its upload.
pub(crate) fn photo_problem(reason: &PhotoError) -> String {
    serde_json::to_string(&ProblemOut::of_photo(reason)).unwrap_or_default()
}

/// Writes why a form was refused, for the row of its upload.
pub(crate) fn form_problem(error: IngestError) -> String {
    serde_json::to_string(&ProblemOut::of_form(error)).unwrap_or_default()
}

/// What an upload has become.
enum Outcome {
    /// Nothing yet, or its photo or draft was removed.
    Nothing,
    Photo(Media),
    Draft(Draft),
}

/// Answers requests about uploads.
pub(super) struct Answers<'a> {
    pub(super) api: &'a Api,
    pub(super) protocol: Protocol,
}

fn location(id: UploadId) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("/api/v1/uploads/{id}")).ok()
}

/// Returns the headers of an interim response that acknowledges bytes.
pub(super) fn acknowledged(interop: Interop, offset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DRAFT_INTEROP_VERSION, interop.version());
    headers.insert(UPLOAD_OFFSET, offset.into());
    headers
}

/// Returns the problem of a request for an upload that is complete.
pub(super) fn completed(offset: u64, protocol: Protocol, is_empty: bool) -> Problem {
    let detail = "The upload is complete, and takes no more bytes.";
    let kind = match protocol {
        Protocol::Ietf(interop) if interop.refuses_by_length() && !is_empty => {
            ProblemKind::InconsistentUploadLength
        }
        Protocol::Ietf(_) | Protocol::Tus | Protocol::Plain => ProblemKind::CompletedUpload,
    };
    let problem = Problem::new(kind, detail).header(UPLOAD_OFFSET, offset.into());
    match protocol {
        Protocol::Ietf(interop) => {
            let (name, value) = interop.completeness(true);
            problem.header(name, value)
        }
        Protocol::Tus | Protocol::Plain => problem,
    }
}

/// Adds what the protocol demands of the answer of an error.
pub(super) fn problem(problem: Problem, protocol: Protocol) -> Problem {
    match protocol {
        Protocol::Plain => problem,
        Protocol::Ietf(interop) => problem.header(DRAFT_INTEROP_VERSION, interop.version()),
        Protocol::Tus => {
            let problem = problem.header(TUS_RESUMABLE, TUS);
            match (problem.kind(), StatusCode::from_u16(460)) {
                // The checksum extension has a status of its own.
                (ProblemKind::DigestMismatch, Ok(status)) => problem.with_status(status),
                // Clients try again after this one; after others they forget the upload.
                (ProblemKind::UploadSuperseded, _) => problem.with_status(StatusCode::LOCKED),
                _ => problem,
            }
        }
    }
}

/// Returns 204 with what this server can do (tus 1.0.0, and draft-ietf-httpbis-resumable-upload-11 section 4.1.4).
pub(super) fn options(api: &Api) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let max = api.uploads.max_length(&UploadRequest::default());
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, TUS);
    headers.insert(TUS_VERSION, TUS);
    headers.insert(TUS_EXTENSION, TUS_EXTENSIONS);
    headers.insert(TUS_MAX_SIZE, max.into());
    headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(CHECKSUM_ALGORITHMS));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PARTIAL_UPLOAD));
    if let Ok(limit) = HeaderValue::from_str(&format!("max-size={max}")) {
        headers.insert(UPLOAD_LIMIT, limit);
    }
    response
}

/// Returns whether all bytes of an upload are there and judged as good.
fn is_complete(row: &UploadRow) -> bool {
    match row.state {
        UploadState::Finished(_) | UploadState::InDraft(..) | UploadState::Ingested(_) => true,
        UploadState::Receiving | UploadState::Failed(_) => false,
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

impl Answers<'_> {
    /// Returns the headers of the interim response that announces an upload.
    pub(super) fn announced(&self, row: &UploadRow) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.extend(location(row.id).map(|location| (LOCATION, location)));
        if let Protocol::Ietf(interop) = self.protocol {
            headers.insert(DRAFT_INTEROP_VERSION, interop.version());
            self.add_limit(&mut headers, interop, row);
        }
        headers
    }

    /// Answers a request of tus that created an upload without bytes.
    pub(super) fn created(&self, row: &UploadRow) -> Response<Body> {
        let mut response = empty(StatusCode::CREATED);
        self.add_state(response.headers_mut(), row, false);
        response.headers_mut().extend(location(row.id).map(|location| (LOCATION, location)));
        response
    }

    /// Answers a request that brought bytes. `is_creation`: it created the upload.
    pub(super) fn progressed(
        &self,
        progress: Progress,
        is_creation: bool,
    ) -> Result<Response<Body>, Problem> {
        let row = match progress {
            Progress::Finished(row, media) => return Ok(self.finished(&row, media, is_creation)),
            Progress::Ingested { row, draft, note } => return self.ingested(&row, draft, &note, is_creation),
            Progress::Receiving(row) => row,
        };
        let is_empty = match self.protocol {
            Protocol::Ietf(interop) => interop.answers_appends_empty(),
            Protocol::Tus | Protocol::Plain => true,
        };
        let status = if is_creation || !is_empty { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
        let mut response = empty(status);
        self.add_state(response.headers_mut(), &row, false);
        if is_creation {
            response.headers_mut().extend(location(row.id).map(|location| (LOCATION, location)));
        }
        Ok(response)
    }

    /// Answers a request that brought the last byte of a form, as a form that comes in one piece is answered.
    fn ingested(
        &self,
        row: &UploadRow,
        draft: Draft,
        note: &str,
        is_creation: bool,
    ) -> Result<Response<Body>, Problem> {
        let form = UploadRequest::of_text(&row.request).form;
        let status = uploads::success(form.map_or(Target::NewDraft, |form| form.target));
        let mut response = match self.protocol {
            Protocol::Tus if !is_creation => empty(StatusCode::NO_CONTENT),
            Protocol::Tus | Protocol::Ietf(_) | Protocol::Plain => {
                listings::answer(self.api, status, draft, uploads::read_note(note))?
            }
        };
        self.add_state(response.headers_mut(), row, true);
        Ok(response)
    }

    /// Answers a request that brought the last byte.
    pub(super) fn finished(&self, row: &UploadRow, media: Media, is_creation: bool) -> Response<Body> {
        let mut response = match self.protocol {
            Protocol::Tus if is_creation => empty(StatusCode::CREATED),
            Protocol::Tus => empty(StatusCode::NO_CONTENT),
            Protocol::Ietf(_) | Protocol::Plain => {
                json(StatusCode::CREATED, &self.out(row, Outcome::Photo(media)))
            }
        };
        self.add_state(response.headers_mut(), row, true);
        response.headers_mut().extend(location(row.id).map(|location| (LOCATION, location)));
        response
    }

    /// Answers a request that created an upload and is sent again.
    pub(super) async fn replayed(&self, found: &FoundUpload) -> Result<Response<Body>, Problem> {
        let row = found.row();
        let mut response = match (&row.state, self.outcome(row).await?) {
            (UploadState::Failed(reason), _) => return Err(refused(reason)),
            (_, Outcome::Photo(media)) => self.finished(row, media, true),
            (_, Outcome::Draft(draft)) => self.ingested(row, draft, "", true)?,
            (_, Outcome::Nothing) => self.created(row),
        };
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }

    /// Answers with the state of an upload as JSON.
    pub(super) async fn shown(&self, found: &FoundUpload) -> Result<Response<Body>, Problem> {
        let row = found.row();
        let is_complete = is_complete(row);
        let outcome = self.outcome(row).await?;
        if is_complete && matches!(outcome, Outcome::Nothing) {
            return Err(problem::not_found());
        }
        let mut response = json(StatusCode::OK, &self.out(row, outcome));
        self.add_state(response.headers_mut(), row, is_complete);
        Ok(response)
    }

    async fn outcome(&self, row: &UploadRow) -> Result<Outcome, Problem> {
        if let UploadState::Ingested(draft) = row.state {
            let draft = self.api.catalog.draft(draft).await?;
            return Ok(draft.map_or(Outcome::Nothing, Outcome::Draft));
        }
        let photo = self.api.uploads.photo(row).await?;
        Ok(photo.map_or(Outcome::Nothing, Outcome::Photo))
    }

    /// Answers a HEAD: where the client continues.
    pub(super) fn offset(&self, row: &UploadRow) -> Result<Response<Body>, Problem> {
        if let UploadState::Failed(_) = row.state {
            // Nothing continues it.
            return Err(problem::not_found());
        }
        let status = match self.protocol {
            Protocol::Ietf(_) => StatusCode::NO_CONTENT,
            Protocol::Tus | Protocol::Plain => StatusCode::OK,
        };
        let mut response = empty(status);
        self.add_state(response.headers_mut(), row, is_complete(row));
        if self.protocol == Protocol::Tus {
            let metadata = UploadRequest::of_text(&row.request).metadata;
            let metadata = metadata.and_then(|metadata| HeaderValue::from_str(&metadata).ok());
            response.headers_mut().extend(metadata.map(|metadata| (UPLOAD_METADATA, metadata)));
        }
        Ok(response)
    }

    /// Answers a request that removed an upload.
    pub(super) fn removed(&self) -> Response<Body> {
        let mut response = empty(StatusCode::NO_CONTENT);
        if self.protocol == Protocol::Tus {
            response.headers_mut().insert(TUS_RESUMABLE, TUS);
        }
        response
    }

    fn out(&self, row: &UploadRow, outcome: Outcome) -> UploadOut {
        let state = match row.state {
            UploadState::Receiving => StateOut::Receiving,
            UploadState::Failed(_) => StateOut::Failed,
            UploadState::Finished(_) | UploadState::InDraft(..) | UploadState::Ingested(_) => {
                StateOut::Finished
            }
        };
        let problem = match &row.state {
            UploadState::Failed(reason) => serde_json::from_str(reason).ok(),
            _ => None,
        };
        let urls = &self.api.urls;
        let (media, draft) = match outcome {
            Outcome::Nothing => (None, None),
            Outcome::Photo(media) => (Some(MediaOut::new(&media, urls)), None),
            Outcome::Draft(draft) => (None, Some(DraftOut::new(draft, urls))),
        };
        UploadOut {
            id: row.id.to_string(),
            state,
            offset: (row.state == UploadState::Receiving).then_some(row.offset),
            length: row.length,
            media,
            draft,
            problem,
        }
    }

    /// Adds the headers that describe an upload.
    fn add_state(&self, headers: &mut HeaderMap, row: &UploadRow, is_complete: bool) {
        headers.insert(CACHE_CONTROL, NO_STORE);
        match self.protocol {
            Protocol::Plain => {}
            Protocol::Ietf(interop) => {
                headers.insert(DRAFT_INTEROP_VERSION, interop.version());
                headers.insert(UPLOAD_OFFSET, row.offset.into());
                let (name, value) = interop.completeness(is_complete);
                headers.insert(name, value);
                if interop.has_limits() {
                    headers.extend(row.length.map(|length| (UPLOAD_LENGTH, length.into())));
                    self.add_limit(headers, interop, row);
                }
            }
            Protocol::Tus => {
                headers.insert(TUS_RESUMABLE, TUS);
                headers.insert(UPLOAD_OFFSET, row.offset.into());
                headers.extend(row.length.map(|length| (UPLOAD_LENGTH, length.into())));
                let expires = http_date(self.api.uploads.remaining(row)).filter(|_| !is_complete);
                headers.extend(expires.map(|expires| (UPLOAD_EXPIRES, expires)));
            }
        }
    }

    fn add_limit(&self, headers: &mut HeaderMap, interop: Interop, row: &UploadRow) {
        if interop.has_limits() {
            let max = self.api.uploads.max_length(&UploadRequest::of_text(&row.request));
            let (age, left) = (interop.age_key(), self.api.uploads.remaining(row).as_secs());
            let limit = HeaderValue::from_str(&format!("max-size={max}, {age}={left}"));
            headers.extend(limit.ok().map(|limit| (UPLOAD_LIMIT, limit)));
        }
    }
}
