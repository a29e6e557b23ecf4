//! The one table from domain errors to problems. Exhaustive on purpose: a new error does not compile before somebody has
//! decided what clients see of it.

use std::time::Duration;

use hyper::StatusCode;

use crate::catalog::CatalogError;
use crate::imaging::ImageError;
use crate::ingest::boundary::ContentTypeError;
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoError};
use crate::media::MediaError;
use crate::web::problem::{self, Problem};

/// When to try again after the server was busy: a few photos' worth of work.
const BUSY_RETRY: Duration = Duration::from_secs(5);

impl From<ContentTypeError> for Problem {
    fn from(error: ContentTypeError) -> Self {
        match error {
            ContentTypeError::NotMultipart => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-multipart", "Unsupported Media Type", error.to_string())
            }
            ContentTypeError::BadBoundary => {
                Self::new(StatusCode::BAD_REQUEST, "bad-boundary", "Bad Request", error.to_string())
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::Parts(error) => parts(error, detail),
            IngestError::NoPhoto { .. } => Self::new(StatusCode::BAD_REQUEST, "no-photo", "Bad Request", detail),
            IngestError::TooManyPhotos { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-photos", "Content Too Large", detail)
            }
            IngestError::TitleTooLong | IngestError::TitleNotText => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-title", "Unprocessable Content", detail)
            }
            IngestError::Photo { index, filename, reason } => {
                photo(&reason, detail).with("file_index", index).with("filename", filename)
            }
            IngestError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Service Unavailable", detail).retry_after(BUSY_RETRY)
            }
            IngestError::Full(cause) => {
                tracing::error!(%cause, "no space left");
                full(detail)
            }
            IngestError::Internal(cause) => {
                tracing::error!(cause = %chain(&*cause), "an upload failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage-failed", "Internal Server Error", detail)
            }
        }
    }
}

fn parts(error: PartsError, detail: String) -> Problem {
    match error {
        PartsError::Malformed(_) => Problem::new(StatusCode::BAD_REQUEST, "malformed-multipart", "Bad Request", detail),
        PartsError::TooLarge { .. } => body_too_large(detail),
        PartsError::Stream(StreamError::Idle) => problem::request_timeout(),
        PartsError::Stream(StreamError::Aborted) => Problem::new(StatusCode::BAD_REQUEST, "cut-off", "Bad Request", detail),
    }
}

fn photo(reason: &PhotoError, detail: String) -> Problem {
    const UNSUPPORTED: (StatusCode, &str) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type");
    const UNPROCESSABLE: (StatusCode, &str) = (StatusCode::UNPROCESSABLE_ENTITY, "Unprocessable Content");
    let ((status, title), kind) = match reason {
        PhotoError::TooLarge { .. } => ((StatusCode::PAYLOAD_TOO_LARGE, "Content Too Large"), "photo-too-large"),
        PhotoError::UnknownType | PhotoError::RefusedType { .. } | PhotoError::Image(ImageError::Unsupported) => {
            (UNSUPPORTED, "unsupported-image")
        }
        PhotoError::Image(ImageError::Empty) => (UNPROCESSABLE, "empty-image"),
        PhotoError::Image(ImageError::TooManyPixels { .. }) => (UNPROCESSABLE, "too-many-pixels"),
        PhotoError::Image(ImageError::Truncated) => (UNPROCESSABLE, "truncated-image"),
        PhotoError::Image(ImageError::Corrupt) => (UNPROCESSABLE, "corrupt-image"),
        PhotoError::Image(ImageError::TooSlow | ImageError::TooMuchMemory) => (UNPROCESSABLE, "image-too-complex"),
    };
    Problem::new(status, kind, title, detail)
}

/// 413 for a body that cannot fit the caps.
pub(super) fn body_too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Content Too Large", detail)
}

fn full(detail: String) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", "Insufficient Storage", detail)
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        read_failed(&error)
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        read_failed(&error)
    }
}

fn read_failed(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(cause = %chain(error), "a read failed");
    problem::internal()
}

/// An error with its causes, for the log.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
