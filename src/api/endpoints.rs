//! The one table of endpoints. Router, `Allow`, CORS, authentication, rate limits, names in logs and metrics and the
//! OpenAPI document come from it: a new endpoint is one row here and its handler.

use std::future::Future;
use std::pin::Pin;

use hyper::{Method, Request, Response, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::dto::{DraftOut, Health, Ready};
use super::{Api, listings, media, openapi, ops, uploads};
use crate::ingest::Limits;
use crate::media::MediaName;
use crate::model::Caller;
use crate::telemetry::metrics;
use crate::web::body::{Body, RequestBody};
use crate::web::problem::{Problem, ProblemKind};

/// One endpoint.
pub(super) struct Endpoint {
    /// GET stands for HEAD too.
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The value of the label `route` in metrics.
    pub(super) name: &'static str,
    /// The `operationId` of the OpenAPI document.
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    pub(super) auth: Auth,
    /// The rate limits that count a request, the narrowest last.
    pub(super) limits: &'static [Limit],
    /// Whether the endpoint answers a client that has its share of the connections already.
    pub(super) is_monitor: bool,
    pub(super) input: Input,
    /// The parameter in the path.
    pub(super) parameter: Option<Parameter>,
    /// Request headers that the endpoint reads.
    pub(super) request_headers: &'static [Header],
    /// Answers other than problems.
    pub(super) answers: &'static [Answer],
    /// Problems of the handler itself. [`Endpoint::kinds`] adds those of the other columns.
    pub(super) problems: &'static [ProblemKind],
    pub(super) handler: Handler,
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    /// Everybody; a token is not looked at.
    Public,
    /// The user of a bearer token, and those without one unless AUTH_REQUIRED is set.
    Bearer,
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// RATE_LIMIT_GLOBAL.
    Global,
    /// RATE_LIMIT_UPLOAD.
    Upload,
}

/// What an endpoint reads of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing: a body is ignored.
    Nothing,
    /// A multipart form with photos.
    Photos,
}

impl Input {
    /// Returns the largest body in bytes.
    pub(super) fn cap(self, limits: &Limits) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Photos => limits.body_bytes,
        }
    }
}

/// A parameter in a path.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) schema: fn() -> Value,
}

/// A header and what it says.
pub(super) type Header = (&'static str, &'static str);

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) meaning: &'static str,
    pub(super) headers: &'static [Header],
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    Nothing,
    /// JSON with this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Bytes or text of a media type.
    Other(&'static str),
}

/// What a handler gets of a request.
pub(super) struct Call {
    pub(super) caller: Caller,
    /// The value of the parameter in the path, or an empty string.
    pub(super) parameter: String,
    /// The largest body in bytes, by [`Input`].
    pub(super) body_cap: u64,
    pub(super) request: Request<RequestBody>,
}

type Answered<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send + 'a>>;
type Handler = for<'a> fn(&'a Api, Call) -> Answered<'a>;

impl Endpoint {
    /// Returns all kinds of problems that a request may be answered with, in the order of the enum.
    pub(super) fn kinds(&self) -> Vec<ProblemKind> {
        let mut kinds = vec![ProblemKind::Internal];
        kinds.extend(crate::web::stack::PROBLEMS);
        kinds.extend(self.problems);
        if self.auth == Auth::Bearer {
            kinds.extend([ProblemKind::TokenMissing, ProblemKind::TokenInvalid]);
        }
        if !self.limits.is_empty() {
            kinds.push(ProblemKind::RateLimited);
        }
        if !self.is_monitor {
            kinds.push(ProblemKind::TooManyConnections);
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

const fn answer(
    status: StatusCode,
    meaning: &'static str,
    headers: &'static [Header],
    content: Content,
) -> Answer {
    Answer { status, meaning, headers, content }
}

const fn json_of<T: JsonSchema>() -> Content {
    Content::Json(SchemaGenerator::subschema_for::<T>)
}

const ETAG: Header = ("ETag", "The strong entity tag of the content.");
const LOCATION: Header = ("Location", "The URL of the draft.");
const CACHE_CONTROL: Header = ("Cache-Control", "How long the answer may be kept.");
const ACCEPT_RANGES: Header = ("Accept-Ranges", "`bytes`.");
const CONTENT_RANGE: Header = ("Content-Range", "The range and the length of the photo.");
const IF_MATCH: Header = ("If-Match", "Entity tags; the answer is 412 if none of them is the photo's.");
const IF_NONE_MATCH: Header = ("If-None-Match", "Entity tags; the answer is 304 if one of them matches.");
const IF_RANGE: Header = ("If-Range", "An entity tag; Range is ignored if it is not the photo's.");
const RANGE: Header = ("Range", "One range of bytes. Others are ignored, and the answer is the whole photo.");

/// All endpoints.
pub(super) static ENDPOINTS: [Endpoint; 7] = [
    Endpoint {
        method: Method::POST,
        path: "/api/v1/ingest/upload",
        name: "upload",
        operation: "uploadPhotos",
        summary: "Makes a draft of the photos in a form: all of them, or nothing.",
        auth: Auth::Bearer,
        limits: &[Limit::Global, Limit::Upload],
        is_monitor: false,
        input: Input::Photos,
        parameter: None,
        request_headers: &[],
        answers: &[answer(StatusCode::CREATED, "The draft.", &[LOCATION], json_of::<DraftOut>())],
        problems: &[
            ProblemKind::BadBoundary,
            ProblemKind::MalformedMultipart,
            ProblemKind::CutOff,
            ProblemKind::NoPhoto,
            ProblemKind::TooManyPhotos,
            ProblemKind::PhotoTooLarge,
            ProblemKind::NotMultipart,
            ProblemKind::EncodedBody,
            ProblemKind::UnsupportedImage,
            ProblemKind::BadTitle,
            ProblemKind::EmptyImage,
            ProblemKind::TooManyPixels,
            ProblemKind::TruncatedImage,
            ProblemKind::CorruptImage,
            ProblemKind::ImageTooComplex,
            ProblemKind::UploadQuota,
            ProblemKind::StorageFailed,
            ProblemKind::Busy,
            ProblemKind::ReadOnly,
            ProblemKind::Unavailable,
            ProblemKind::StorageFull,
        ],
        handler: |api, call| Box::pin(uploads::create(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/listings/{id}",
        name: "listing",
        operation: "getListing",
        summary: "Returns a draft as the upload answered it.",
        auth: Auth::Bearer,
        limits: &[Limit::Global],
        is_monitor: false,
        input: Input::Nothing,
        parameter: Some(Parameter {
            name: "id",
            meaning: "The id of the draft.",
            schema: || json!({"type": "integer", "minimum": 1, "examples": [1]}),
        }),
        request_headers: &[],
        answers: &[answer(StatusCode::OK, "The draft.", &[], json_of::<DraftOut>())],
        problems: &[ProblemKind::NotFound, ProblemKind::Unavailable],
        handler: |api, call| Box::pin(listings::show(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/media/{file}",
        name: "media",
        operation: "getPhoto",
        summary: "Returns a photo, or one range of its bytes.",
        auth: Auth::Public,
        limits: &[],
        is_monitor: false,
        input: Input::Nothing,
        parameter: Some(Parameter {
            name: "file",
            meaning: "The last part of `media.url`: the SHA-256 of the photo in hexadecimal, and `.jpg`.",
            schema: || json!({"type": "string", "pattern": "^[0-9a-f]{64}\\.jpg$"}),
        }),
        request_headers: &[IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE],
        answers: &[
            answer(
                StatusCode::OK,
                "The photo.",
                &[ETAG, CACHE_CONTROL, ACCEPT_RANGES],
                Content::Other(MediaName::CONTENT_TYPE),
            ),
            answer(
                StatusCode::PARTIAL_CONTENT,
                "A part of the photo.",
                &[ETAG, CACHE_CONTROL, ACCEPT_RANGES, CONTENT_RANGE],
                Content::Other(MediaName::CONTENT_TYPE),
            ),
            answer(
                StatusCode::NOT_MODIFIED,
                "The client has the photo.",
                &[ETAG, CACHE_CONTROL, ACCEPT_RANGES],
                Content::Nothing,
            ),
            answer(
                StatusCode::TEMPORARY_REDIRECT,
                "The photo is at a link that expires.",
                &[("Location", "The link."), CACHE_CONTROL],
                Content::Nothing,
            ),
        ],
        problems: &[
            ProblemKind::NotFound,
            ProblemKind::PreconditionFailed,
            ProblemKind::BadRange,
            ProblemKind::Unavailable,
        ],
        handler: |api, call| Box::pin(media::serve(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/openapi.json",
        name: "openapi",
        operation: "getOpenapi",
        summary: "Returns this document.",
        auth: Auth::Public,
        limits: &[Limit::Global],
        is_monitor: false,
        input: Input::Nothing,
        parameter: None,
        request_headers: &[IF_NONE_MATCH],
        answers: &[
            answer(StatusCode::OK, "The document.", &[ETAG, CACHE_CONTROL], json_of::<Map<String, Value>>()),
            answer(
                StatusCode::NOT_MODIFIED,
                "The client has the document.",
                &[ETAG, CACHE_CONTROL],
                Content::Nothing,
            ),
        ],
        problems: &[],
        handler: |_, call| Box::pin(async move { Ok(openapi::show(call.request.headers())) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/health",
        name: "health",
        operation: "getHealth",
        summary: "Says that the process lives.",
        auth: Auth::Public,
        limits: &[],
        is_monitor: true,
        input: Input::Nothing,
        parameter: None,
        request_headers: &[],
        answers: &[answer(StatusCode::OK, "The process lives.", &[], json_of::<Health>())],
        problems: &[],
        handler: |_, _| Box::pin(async { Ok(ops::health()) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/ready",
        name: "ready",
        operation: "getReadiness",
        summary: "Says whether an upload would be taken now.",
        auth: Auth::Public,
        limits: &[],
        is_monitor: true,
        input: Input::Nothing,
        parameter: None,
        request_headers: &[],
        answers: &[answer(StatusCode::OK, "Uploads work.", &[], json_of::<Ready>())],
        problems: &[ProblemKind::NotReady],
        handler: |api, _| Box::pin(ops::ready(api)),
    },
    Endpoint {
        method: Method::GET,
        path: "/metrics",
        name: "metrics",
        operation: "getMetrics",
        summary: "Returns the metrics in the OpenMetrics text format.",
        auth: Auth::Public,
        limits: &[],
        is_monitor: true,
        input: Input::Nothing,
        parameter: None,
        request_headers: &[],
        answers: &[answer(StatusCode::OK, "The metrics.", &[], Content::Other(metrics::CONTENT_TYPE))],
        problems: &[],
        handler: |api, _| Box::pin(async { Ok(ops::metrics(api)) }),
    },
];
