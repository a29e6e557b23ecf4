//! The one table of endpoints. Router, `Allow`, CORS, authentication, rate limits, names in logs and metrics and the
//! OpenAPI document come from it: a new endpoint is one row here and its handler.

use hyper::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::dto::{self, DraftOut, Health, ListOut, Ready};
use super::endpoint::{Access, Answer, Content, Endpoint, Header, Input, Parameter, Reads};
use super::resumable::{self, UploadOut};
use super::{listings, media, openapi, ops, upload_page, uploads};
use crate::media::MediaName;
use crate::model::DraftStatus;
use crate::telemetry::exposition::Exposition;
use crate::web::problem::ProblemKind;

const fn answer(
    status: StatusCode,
    meaning: &'static str,
    headers: &'static [&'static [Header]],
    content: Content,
) -> Answer {
    Answer { status, meaning, headers, content }
}

/// The media types of the metrics.
const METRICS: [&str; 2] = [Exposition::ALL[0].content_type(), Exposition::ALL[1].content_type()];

/// Answers with content, or with 304 to a client that has it, with these meanings.
const fn conditional_answers(
    [whole, known]: [&'static str; 2],
    headers: &'static [&'static [Header]],
    content: Content,
) -> [Answer; 2] {
    [
        answer(StatusCode::OK, whole, headers, content),
        answer(StatusCode::NOT_MODIFIED, known, headers, Content::Nothing),
    ]
}

/// Answers with an immutable file: the whole, 304, a part, or a redirection, with these meanings.
const fn file_answers([whole, known, part, link]: [&'static str; 4]) -> [Answer; 4] {
    const FILE: Content = Content::Other(&[MediaName::CONTENT_TYPE]);
    const HEADERS: &[&[Header]] = &[&[ETAG, CACHE_CONTROL, ACCEPT_RANGES]];
    let [whole, known] = conditional_answers([whole, known], HEADERS, FILE);
    let part = answer(
        StatusCode::PARTIAL_CONTENT,
        part,
        &[&[ETAG, CACHE_CONTROL, ACCEPT_RANGES, CONTENT_RANGE]],
        FILE,
    );
    let link = answer(
        StatusCode::TEMPORARY_REDIRECT,
        link,
        &[&[("Location", "The link."), CACHE_CONTROL]],
        Content::Nothing,
    );
    [whole, known, part, link]
}

const fn json_of<T: JsonSchema>() -> Content {
    Content::Json(SchemaGenerator::subschema_for::<T>)
}

const ETAG: Header = ("ETag", "The strong entity tag of the content.");
const LOCATION: Header = ("Location", "The URL of the draft.");
const DRAFT_ETAG: Header = ("ETag", "The strong entity tag of the draft, for If-Match.");
const CACHE_CONTROL: Header = ("Cache-Control", "How long the answer may be kept.");
const ACCEPT_RANGES: Header = ("Accept-Ranges", "`bytes`.");
const CONTENT_RANGE: Header = ("Content-Range", "The range and the length of the photo.");
const IF_MATCH: Header = ("If-Match", "Entity tags; the answer is 412 if none of them is the photo's.");
const KEY: Header = (
    "Idempotency-Key",
    "Names the request: sent again with the same key, it gets the answer of the first that succeeded.",
);
const REPLAYED: Header = ("Idempotency-Replayed", "`true` if the answer is that of an earlier request.");
const IF_MATCH_DRAFT: Header = ("If-Match", "Entity tags; the answer is 412 if none of them is the draft's.");
const IF_NONE_MATCH: Header = ("If-None-Match", "Entity tags; the answer is 304 if one of them matches.");
const IF_RANGE: Header = ("If-Range", "An entity tag; Range is ignored if it is not the photo's.");
const RANGE: Header = ("Range", "One range of bytes. Others are ignored, and the answer is the whole photo.");
/// Headers of a request for a file or a part of it.
const FILE_HEADERS: &[&[Header]] = &[&[IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE]];

/// Problems of every form.
const FORM_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::BadBoundary,
    ProblemKind::MalformedMultipart,
    ProblemKind::CutOff,
    ProblemKind::NotMultipart,
    ProblemKind::EncodedBody,
];
/// Problems of every photo that is to be stored.
const PHOTO_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::PhotoTooLarge,
    ProblemKind::UnsupportedImage,
    ProblemKind::EmptyImage,
    ProblemKind::TooManyPixels,
    ProblemKind::TruncatedImage,
    ProblemKind::CorruptImage,
    ProblemKind::ImageTooComplex,
    ProblemKind::UploadQuota,
    ProblemKind::StorageFailed,
    ProblemKind::Busy,
];
/// Problems of the photos of a draft together, and of its title.
const PHOTOS_PROBLEMS: &[ProblemKind] =
    &[ProblemKind::NoPhoto, ProblemKind::TooManyPhotos, ProblemKind::BadTitle];
/// Problems of everything that is written.
const WRITE_PROBLEMS: &[ProblemKind] =
    &[ProblemKind::ReadOnly, ProblemKind::Unavailable, ProblemKind::StorageFull];
/// Problems of every request for a file or a part of it.
const FILE_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::NotFound,
    ProblemKind::PreconditionFailed,
    ProblemKind::BadRange,
    ProblemKind::Unavailable,
];
/// Problems of every request for one draft.
const DRAFT_PROBLEMS: &[ProblemKind] = &[ProblemKind::NotFound, ProblemKind::PreconditionFailed];

const ID: Parameter = Parameter {
    name: "id",
    meaning: "The id of the draft.",
    schema: || json!({"type": "integer", "minimum": 1, "examples": [1]}),
};
const ORDER_INDEX: Parameter = Parameter {
    name: "order_index",
    meaning: "The place of the photo in the draft, from 0.",
    schema: || json!({"type": "integer", "minimum": 0, "examples": [0]}),
};
const ON_ERROR: Parameter = Parameter {
    name: uploads::ON_ERROR,
    meaning: "`skip`: bad photos are left out and named in `rejected`. `fail`: a bad photo ends the upload.",
    schema: || json!({"type": "string", "enum": ["fail", "skip"], "default": "fail"}),
};
const STATUS: Parameter = Parameter {
    name: listings::STATUS,
    meaning: "Only drafts in this state.",
    schema: || json!({"type": "string", "enum": DraftStatus::ALL.map(DraftStatus::name)}),
};
const LIMIT: Parameter = Parameter {
    name: listings::LIMIT,
    meaning: "The most drafts of a page.",
    schema: || {
        json!({
            "type": "integer",
            "minimum": 1,
            "maximum": listings::MAX_LIMIT,
            "default": listings::DEFAULT_LIMIT,
        })
    },
};
const CURSOR: Parameter = Parameter {
    name: listings::CURSOR,
    meaning: "The `next_cursor` of the page before.",
    schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{11}$"}),
};

const UPLOAD_ID: Parameter = Parameter {
    name: "id",
    meaning: "The id of the upload.",
    schema: || json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
};

const UPLOAD_URL: Header = ("Location", "The URL of the upload.");
const NO_STORE: Header = ("Cache-Control", "`no-store`.");
const INTEROP: Header =
    ("Upload-Draft-Interop-Version", "The version of draft-ietf-httpbis-resumable-upload: 3 to 8.");
const COMPLETE: Header = ("Upload-Complete", "`?1` if the upload is complete with this body, else `?0`.");
const INCOMPLETE: Header = ("Upload-Incomplete", "The opposite of Upload-Complete, up to interop version 4.");
const OFFSET: Header = ("Upload-Offset", "The number of bytes of the upload that are acknowledged.");
const LENGTH: Header = ("Upload-Length", "The length of the whole upload in bytes.");
const UPLOAD_LIMITS: Header =
    ("Upload-Limit", "The largest upload in bytes, and for how many seconds it is kept.");
const TUS: Header = ("Tus-Resumable", "`1.0.0`: the version of tus.");
const EXPIRES: Header = ("Upload-Expires", "When an unfinished upload of tus may be removed.");
const METADATA: Header = ("Upload-Metadata", "The metadata of tus: keys, and values in base64.");
const CHECKSUM: Header =
    ("Upload-Checksum", "`sha1` or `sha256`, and the digest of this body in base64 (tus).");
const REPR_DIGEST: Header = ("Repr-Digest", "The digest `sha-256` of the whole photo (RFC 9530).");
const BODY_DIGEST: Header = ("Content-Digest", "The digest `sha-256` of this body (RFC 9530).");

/// Headers that describe an upload in draft-ietf-httpbis-resumable-upload.
const IETF_STATE: &[Header] = &[INTEROP, COMPLETE, INCOMPLETE, OFFSET, LENGTH, UPLOAD_LIMITS];
/// Headers that describe an upload.
const UPLOAD_STATE: &[&[Header]] =
    &[&[UPLOAD_URL, NO_STORE], IETF_STATE, &[TUS, EXPIRES, METADATA, REPLAYED]];
/// Media types of the bytes of uploads.
const UPLOAD_TYPES: &[&str] =
    &["application/octet-stream", "application/partial-upload", "application/offset+octet-stream", "image/*"];
/// Problems of every request about a resumable upload.
const RESUMABLE_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::BadUploadHeader,
    ProblemKind::TusVersion,
    ProblemKind::Unavailable,
    ProblemKind::UploadSuperseded,
];
/// Problems of every request that brings bytes of an upload.
const BYTES_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::CutOff,
    ProblemKind::InconsistentUploadLength,
    ProblemKind::DigestMismatch,
    ProblemKind::EncodedBody,
    ProblemKind::NotPartialUpload,
    ProblemKind::CompletedUpload,
];
/// Headers of a draft that was created.
const NEW_DRAFT: &[Header] = &[LOCATION, DRAFT_ETAG, CACHE_CONTROL, REPLAYED];

/// The answer of a request that makes a draft.
const CREATED: &[Answer] = &[answer(StatusCode::CREATED, "The draft.", &[NEW_DRAFT], json_of::<DraftOut>())];

/// The answer of a form that makes a draft.
const FORM_CREATED: &[Answer] = &[answer(
    StatusCode::CREATED,
    "The draft. A resumable form that is not complete: nothing, and Location is the URL of the upload.",
    &[NEW_DRAFT, IETF_STATE],
    json_of::<DraftOut>(),
)];

/// The answers of a form with photos for an existing draft.
const FORM_APPENDED: &[Answer] = &[
    answer(StatusCode::OK, "The draft.", &[&[DRAFT_ETAG, CACHE_CONTROL, REPLAYED]], json_of::<DraftOut>()),
    answer(
        StatusCode::CREATED,
        "A resumable form is not complete. Location is the URL of the upload.",
        UPLOAD_STATE,
        Content::Nothing,
    ),
];

/// Headers of a form that may be resumed.
const FORM_HEADERS: &[Header] = &[KEY, INTEROP, COMPLETE, INCOMPLETE, LENGTH, REPR_DIGEST, BODY_DIGEST];
/// Problems of a form that may be resumed.
const RESUMABLE_FORM_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::BadUploadHeader,
    ProblemKind::UploadSuperseded,
    ProblemKind::InconsistentUploadLength,
    ProblemKind::DigestMismatch,
];

/// What a request gets that completes an upload: of a photo, or of a form.
fn upload_or_draft(generator: &mut SchemaGenerator) -> Schema {
    let (upload, draft) = (generator.subschema_for::<UploadOut>(), generator.subschema_for::<DraftOut>());
    json_schema!({"anyOf": [upload, draft]})
}

const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];
const JSON: &[&str] = &["application/json"];

/// The answer of a change of a draft.
const CHANGED: &[Answer] =
    &[answer(StatusCode::OK, "The draft.", &[&[DRAFT_ETAG, CACHE_CONTROL]], json_of::<DraftOut>())];

/// All endpoints.
pub(super) static ENDPOINTS: [Endpoint; 22] = [
    Endpoint {
        method: Method::POST,
        path: "/api/v1/ingest/upload",
        name: "upload",
        operation: "uploadPhotos",
        summary: "Makes a draft of the photos in a form: all of them, or nothing.",
        access: Access::UPLOADS,
        reads: Reads { input: Input::Photos, query: &[ON_ERROR], headers: &[FORM_HEADERS], ..Reads::NOTHING },
        answers: FORM_CREATED,
        problems: &[FORM_PROBLEMS, RESUMABLE_FORM_PROBLEMS, PHOTOS_PROBLEMS, PHOTO_PROBLEMS, WRITE_PROBLEMS],
        handler: |api, call| Box::pin(resumable::create_form(api, call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/api/v1/ingest/photos",
        name: "photos_fetch",
        operation: "fetchPhotos",
        summary: "Makes a draft of photos that the server fetches by their URLs: all of them, or nothing.",
        access: Access::UPLOADS,
        reads: Reads {
            input: Input::Json { types: JSON, schema: dto::photo_urls },
            query: &[ON_ERROR],
            headers: &[&[KEY]],
            ..Reads::NOTHING
        },
        answers: CREATED,
        problems: &[
            &[ProblemKind::FetchDisabled, ProblemKind::FetchRefused, ProblemKind::FetchFailed],
            PHOTOS_PROBLEMS,
            PHOTO_PROBLEMS,
            WRITE_PROBLEMS,
        ],
        handler: |api, call| Box::pin(uploads::create_by_url(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/listings",
        name: "listings",
        operation: "getListings",
        summary: "Lists the drafts of the caller, newest first; without a token those without an owner.",
        access: Access::SHOWN_DRAFTS,
        reads: Reads { query: &[STATUS, LIMIT, CURSOR], ..Reads::NOTHING },
        answers: &[answer(StatusCode::OK, "A page of drafts.", &[], json_of::<ListOut>())],
        problems: &[&[ProblemKind::Unavailable]],
        handler: |api, call| Box::pin(listings::list(api, call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/api/v1/listings",
        name: "listings_create",
        operation: "createListing",
        summary: "Makes a draft without a form.",
        access: Access::DRAFTS,
        reads: Reads {
            input: Input::Json { types: JSON, schema: dto::new_draft },
            headers: &[&[KEY]],
            ..Reads::NOTHING
        },
        answers: CREATED,
        problems: &[
            &[ProblemKind::BadTitle, ProblemKind::UnknownUpload, ProblemKind::DraftFull],
            WRITE_PROBLEMS,
        ],
        handler: |api, call| Box::pin(listings::create(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/listings/{id}",
        name: "listing",
        operation: "getListing",
        summary: "Returns a draft as the upload answered it.",
        access: Access::SHOWN_DRAFTS,
        reads: Reads { parameters: &[ID], headers: &[&[IF_MATCH_DRAFT, IF_NONE_MATCH]], ..Reads::NOTHING },
        answers: &conditional_answers(
            ["The draft.", "The client has the draft."],
            &[&[DRAFT_ETAG, CACHE_CONTROL]],
            json_of::<DraftOut>(),
        ),
        problems: &[DRAFT_PROBLEMS, &[ProblemKind::Unavailable]],
        handler: |api, call| Box::pin(listings::show(api, call)),
    },
    Endpoint {
        method: Method::PATCH,
        path: "/api/v1/listings/{id}",
        name: "listing_change",
        operation: "changeListing",
        summary: "Changes fields of a draft (RFC 7396).",
        access: Access::DRAFTS,
        reads: Reads {
            input: Input::Json { types: MERGE_PATCH, schema: dto::draft_patch },
            parameters: &[ID],
            headers: &[&[IF_MATCH_DRAFT]],
            ..Reads::NOTHING
        },
        answers: CHANGED,
        problems: &[DRAFT_PROBLEMS, &[ProblemKind::BadTitle], WRITE_PROBLEMS],
        handler: |api, call| Box::pin(listings::change(api, call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/api/v1/listings/{id}",
        name: "listing_delete",
        operation: "deleteListing",
        summary: "Removes a draft. Photos that no other draft has are removed later.",
        access: Access::DRAFTS,
        reads: Reads { parameters: &[ID], headers: &[&[IF_MATCH_DRAFT]], ..Reads::NOTHING },
        answers: &[answer(StatusCode::NO_CONTENT, "The draft is removed.", &[], Content::Nothing)],
        problems: &[DRAFT_PROBLEMS, WRITE_PROBLEMS],
        handler: |api, call| Box::pin(listings::delete(api, call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/api/v1/listings/{id}/photos",
        name: "photos_append",
        operation: "appendPhotos",
        summary: "Adds the photos in a form to a draft, after its last one.",
        access: Access::UPLOADS,
        reads: Reads {
            input: Input::Photos,
            parameters: &[ID],
            query: &[ON_ERROR],
            headers: &[&[IF_MATCH_DRAFT], FORM_HEADERS],
        },
        answers: FORM_APPENDED,
        problems: &[
            DRAFT_PROBLEMS,
            &[ProblemKind::DraftFull],
            FORM_PROBLEMS,
            RESUMABLE_FORM_PROBLEMS,
            PHOTOS_PROBLEMS,
            PHOTO_PROBLEMS,
            WRITE_PROBLEMS,
        ],
        handler: |api, call| Box::pin(resumable::append_form(api, call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/api/v1/listings/{id}/photos/{order_index}",
        name: "photo_remove",
        operation: "removePhoto",
        summary: "Removes a photo from a draft. The later ones move up.",
        access: Access::DRAFTS,
        reads: Reads { parameters: &[ID, ORDER_INDEX], headers: &[&[IF_MATCH_DRAFT]], ..Reads::NOTHING },
        answers: CHANGED,
        problems: &[DRAFT_PROBLEMS, &[ProblemKind::PreconditionRequired], WRITE_PROBLEMS],
        handler: |api, call| Box::pin(listings::remove_photo(api, call)),
    },
    Endpoint {
        method: Method::PUT,
        path: "/api/v1/listings/{id}/photos/order",
        name: "photos_order",
        operation: "reorderPhotos",
        summary: "Sorts the photos of a draft.",
        access: Access::DRAFTS,
        reads: Reads {
            input: Input::Json { types: JSON, schema: dto::photo_order },
            parameters: &[ID],
            headers: &[&[IF_MATCH_DRAFT]],
            ..Reads::NOTHING
        },
        answers: CHANGED,
        problems: &[
            DRAFT_PROBLEMS,
            &[ProblemKind::BadOrder, ProblemKind::PreconditionRequired],
            WRITE_PROBLEMS,
        ],
        handler: |api, call| Box::pin(listings::reorder(api, call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/api/v1/uploads",
        name: "uploads_create",
        operation: "createUpload",
        summary: "Takes one photo, or begins to: whole, by draft-ietf-httpbis-resumable-upload, or by tus 1.0.0.",
        access: Access::DRAFTS,
        reads: Reads {
            input: Input::Bytes(UPLOAD_TYPES),
            headers: &[&[
                KEY,
                INTEROP,
                COMPLETE,
                INCOMPLETE,
                LENGTH,
                TUS,
                METADATA,
                CHECKSUM,
                REPR_DIGEST,
                BODY_DIGEST,
                ("Content-Disposition", "The file name of the photo, for messages."),
            ]],
            ..Reads::NOTHING
        },
        answers: &[answer(
            StatusCode::CREATED,
            "The upload: finished, or created to be continued at Location.",
            UPLOAD_STATE,
            json_of::<UploadOut>(),
        )],
        problems: &[RESUMABLE_PROBLEMS, BYTES_PROBLEMS, PHOTO_PROBLEMS, WRITE_PROBLEMS],
        handler: |api, call| Box::pin(resumable::create(api, call)),
    },
    Endpoint {
        method: Method::OPTIONS,
        path: "/api/v1/uploads",
        name: "uploads_options",
        operation: "getUploadOptions",
        summary: "Says which protocols of resumable uploads this server speaks, and its limits.",
        access: Access::PUBLIC,
        reads: Reads::NOTHING,
        answers: &[answer(
            StatusCode::NO_CONTENT,
            "What this server can do.",
            &[&[
                TUS,
                ("Tus-Version", "Versions of tus."),
                ("Tus-Extension", "Extensions of tus."),
                ("Tus-Max-Size", "The largest upload in bytes."),
                ("Tus-Checksum-Algorithm", "Algorithms of Upload-Checksum."),
                ("Accept-Patch", "`application/partial-upload`."),
                UPLOAD_LIMITS,
            ]],
            Content::Nothing,
        )],
        problems: &[],
        handler: |api, _| Box::pin(resumable::options(api)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/uploads/{id}",
        name: "upload_state",
        operation: "getUpload",
        summary: "Says how far an upload is. HEAD says where to continue it, and ends requests that write it.",
        access: Access::DRAFTS,
        reads: Reads { parameters: &[UPLOAD_ID], headers: &[&[INTEROP, TUS]], ..Reads::NOTHING },
        answers: &[
            answer(StatusCode::OK, "The upload.", UPLOAD_STATE, json_of::<UploadOut>()),
            answer(StatusCode::NO_CONTENT, "Where to continue the upload.", UPLOAD_STATE, Content::Nothing),
        ],
        problems: &[RESUMABLE_PROBLEMS, &[ProblemKind::NotFound]],
        handler: |api, call| Box::pin(resumable::show(api, call)),
    },
    Endpoint {
        method: Method::PATCH,
        path: "/api/v1/uploads/{id}",
        name: "upload_append",
        operation: "continueUpload",
        summary: "Continues an upload where its acknowledged bytes end.",
        access: Access::DRAFTS,
        reads: Reads {
            input: Input::Bytes(UPLOAD_TYPES),
            parameters: &[UPLOAD_ID],
            headers: &[&[INTEROP, COMPLETE, INCOMPLETE, OFFSET, LENGTH, TUS, CHECKSUM, BODY_DIGEST]],
            ..Reads::NOTHING
        },
        answers: &[
            answer(
                StatusCode::CREATED,
                "The bytes are acknowledged, the upload is finished, or a draft has the photos of the form.",
                UPLOAD_STATE,
                Content::Json(upload_or_draft),
            ),
            answer(StatusCode::NO_CONTENT, "The bytes are acknowledged.", UPLOAD_STATE, Content::Nothing),
            answer(
                StatusCode::OK,
                "The photos of the form are added to the draft.",
                UPLOAD_STATE,
                json_of::<DraftOut>(),
            ),
        ],
        problems: &[
            RESUMABLE_PROBLEMS,
            BYTES_PROBLEMS,
            PHOTOS_PROBLEMS,
            PHOTO_PROBLEMS,
            DRAFT_PROBLEMS,
            &[
                ProblemKind::MismatchingUploadOffset,
                ProblemKind::InProgress,
                ProblemKind::MalformedMultipart,
                ProblemKind::BodyTooLarge,
                ProblemKind::DraftFull,
            ],
            WRITE_PROBLEMS,
        ],
        handler: |api, call| Box::pin(resumable::append(api, call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/api/v1/uploads/{id}",
        name: "upload_cancel",
        operation: "cancelUpload",
        summary: "Removes an upload.",
        access: Access::DRAFTS,
        reads: Reads { parameters: &[UPLOAD_ID], headers: &[&[INTEROP, TUS]], ..Reads::NOTHING },
        answers: &[answer(StatusCode::NO_CONTENT, "The upload is removed.", &[&[TUS]], Content::Nothing)],
        problems: &[RESUMABLE_PROBLEMS, &[ProblemKind::NotFound], WRITE_PROBLEMS],
        handler: |api, call| Box::pin(resumable::cancel(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/media/{file}",
        name: "media",
        operation: "getPhoto",
        summary: "Returns a photo, or one range of its bytes.",
        access: Access::PHOTOS,
        reads: Reads {
            parameters: &[Parameter {
                name: "file",
                meaning: "The last part of `media.url`: the SHA-256 of the photo in hexadecimal, and the extension.",
                schema: || {
                    let pattern = format!("^[0-9a-f]{{64}}\\{}$", MediaName::EXTENSION);
                    json!({"type": "string", "pattern": pattern})
                },
            }],
            headers: FILE_HEADERS,
            ..Reads::NOTHING
        },
        answers: &file_answers([
            "The photo.",
            "The client has the photo.",
            "A part of the photo.",
            "The photo is at a link that expires.",
        ]),
        problems: &[FILE_PROBLEMS],
        handler: |api, call| Box::pin(media::serve(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: upload_page::PATH,
        name: "upload_page",
        operation: "getUploadPage",
        summary: "Returns a page that uploads photos from a browser, where UPLOAD_PAGE is on.",
        access: Access::PUBLIC,
        reads: Reads { headers: &[&[IF_NONE_MATCH]], ..Reads::NOTHING },
        answers: &conditional_answers(
            ["The page.", "The client has the page."],
            &[&[ETAG, CACHE_CONTROL]],
            Content::Other(&[upload_page::CONTENT_TYPE_HTML]),
        ),
        problems: &[&[ProblemKind::NotFound]],
        handler: |api, call| Box::pin(async move { upload_page::show(api, call.request.headers()) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/media/{photo}/{file}",
        name: "rendition",
        operation: "getRendition",
        summary: "Returns a smaller copy of a photo, or one range of its bytes. The first request for a copy makes it.",
        access: Access::PHOTOS,
        reads: Reads {
            parameters: &[
                Parameter {
                    name: "photo",
                    meaning: "The SHA-256 of the photo in hexadecimal.",
                    schema: || json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
                },
                Parameter {
                    name: "file",
                    meaning: "The last part of the `url` of a rendition: its longer side in pixels, which RENDITION_WIDTHS names, and the extension.",
                    schema: || {
                        let pattern = format!("^[1-9][0-9]*\\{}$", MediaName::EXTENSION);
                        json!({"type": "string", "pattern": pattern})
                    },
                },
            ],
            headers: FILE_HEADERS,
            ..Reads::NOTHING
        },
        answers: &file_answers([
            "The copy.",
            "The client has the copy.",
            "A part of the copy.",
            "The copy is at a link that expires.",
        ]),
        problems: &[
            FILE_PROBLEMS,
            &[
                ProblemKind::CorruptImage,
                ProblemKind::TruncatedImage,
                ProblemKind::UnsupportedImage,
                ProblemKind::ImageTooComplex,
                ProblemKind::Busy,
            ],
        ],
        handler: |api, call| Box::pin(media::serve_rendition(api, call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/openapi.json",
        name: "openapi",
        operation: "getOpenapi",
        summary: "Returns this document.",
        access: Access::PUBLIC,
        reads: Reads { headers: &[&[IF_NONE_MATCH]], ..Reads::NOTHING },
        answers: &conditional_answers(
            ["The document.", "The client has the document."],
            &[&[ETAG, CACHE_CONTROL]],
            json_of::<Map<String, Value>>(),
        ),
        problems: &[],
        handler: |_, call| Box::pin(async move { Ok(openapi::show(call.request.headers(), &ENDPOINTS)) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/api/v1/health",
        name: "health",
        operation: "getHealth",
        summary: "Says that the process lives.",
        access: Access::MONITORS,
        reads: Reads::NOTHING,
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
        access: Access::MONITORS,
        reads: Reads::NOTHING,
        answers: &[answer(StatusCode::OK, "Uploads work.", &[], json_of::<Ready>())],
        problems: &[&[ProblemKind::NotReady]],
        handler: |api, _| Box::pin(ops::ready(api)),
    },
    Endpoint {
        method: Method::GET,
        path: "/metrics",
        name: "metrics",
        operation: "getMetrics",
        summary: "Returns the metrics, in the OpenMetrics text format where `Accept` names it.",
        access: Access::MONITORS,
        reads: Reads::NOTHING,
        answers: &[answer(StatusCode::OK, "The metrics.", &[], Content::Other(&METRICS))],
        problems: &[],
        handler: |api, call| Box::pin(async move { Ok(ops::metrics(api, call.request.headers())) }),
    },
];
