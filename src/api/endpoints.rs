//! The one table of endpoints. Router, `Allow`, CORS, authentication, rate limits, names in logs and metrics and the
//! OpenAPI document come from it: a new endpoint is one row here and its handler.

use hyper::{Method, StatusCode};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::dto::{DraftOut, Health, Ready};
use super::endpoint::{Answer, Auth, Content, Endpoint, Handler, Header, Input, Limit, Parameter};
use super::{listings, media, openapi, ops, uploads};
use crate::media::MediaName;
use crate::telemetry::metrics;
use crate::web::problem::ProblemKind;

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

/// An endpoint of monitors: GET by everybody, without limits.
const fn monitor(
    path: &'static str,
    name: &'static str,
    operation: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
    problems: &'static [ProblemKind],
    handler: Handler,
) -> Endpoint {
    Endpoint {
        method: Method::GET,
        path,
        name,
        operation,
        summary,
        auth: Auth::Public,
        limits: &[],
        is_monitor: true,
        input: Input::Nothing,
        parameter: None,
        request_headers: &[],
        answers,
        problems,
        handler,
    }
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
            meaning: "The last part of `media.url`: the SHA-256 of the photo in hexadecimal, and the extension.",
            schema: || {
                let pattern = format!("^[0-9a-f]{{64}}\\{}$", MediaName::EXTENSION);
                json!({"type": "string", "pattern": pattern})
            },
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
        handler: |_, call| Box::pin(async move { Ok(openapi::show(call.request.headers(), &ENDPOINTS)) }),
    },
    monitor(
        "/api/v1/health",
        "health",
        "getHealth",
        "Says that the process lives.",
        &[answer(StatusCode::OK, "The process lives.", &[], json_of::<Health>())],
        &[],
        |_, _| Box::pin(async { Ok(ops::health()) }),
    ),
    monitor(
        "/api/v1/ready",
        "ready",
        "getReadiness",
        "Says whether an upload would be taken now.",
        &[answer(StatusCode::OK, "Uploads work.", &[], json_of::<Ready>())],
        &[ProblemKind::NotReady],
        |api, _| Box::pin(ops::ready(api)),
    ),
    monitor(
        "/metrics",
        "metrics",
        "getMetrics",
        "Returns the metrics in the OpenMetrics text format.",
        &[answer(StatusCode::OK, "The metrics.", &[], Content::Other(metrics::CONTENT_TYPE))],
        &[],
        |api, _| Box::pin(async { Ok(ops::metrics(api)) }),
    ),
];
