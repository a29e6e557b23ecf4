//! The one table from domain errors to problems. Exhaustive on purpose: a new error does not compile before somebody has
//! decided what clients see of it.

use std::time::Duration;

use hyper::StatusCode;

use crate::catalog::CatalogError;
use crate::error_chain::error_chain;
use crate::imaging::ImageError;
use crate::ingest::boundary::ContentTypeError;
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoError};
use crate::media::MediaError;
use crate::web::problem::{self, Problem};

/// When to try again after a database did not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

impl From<ContentTypeError> for Problem {
    fn from(error: ContentTypeError) -> Self {
        match error {
            ContentTypeError::NotMultipart => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-multipart", error.to_string())
            }
            ContentTypeError::Repeated | ContentTypeError::BadBoundary(_) => {
                Self::new(StatusCode::BAD_REQUEST, "bad-boundary", error.to_string())
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::Parts(error) => parts(error, detail),
            IngestError::NoPhoto { .. } => Self::new(StatusCode::BAD_REQUEST, "no-photo", detail),
            IngestError::TooManyPhotos { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-photos", detail)
            }
            IngestError::TitleTooLong
            | IngestError::TitleNotText
            | IngestError::TitleControl { .. }
            | IngestError::TitleEncoded => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-title", detail),
            IngestError::Photo { index, filename, reason } => {
                photo(&reason, detail).with("file_index", index).with("filename", filename)
            }
            IngestError::Busy { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(retry_after)
            }
            IngestError::QuotaSpent { retry_after } | IngestError::LargerThanQuota { retry_after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "upload-quota", detail).retry_after(retry_after)
            }
            IngestError::Full(cause) => {
                tracing::error!(%cause, "no space left");
                full(detail)
            }
            IngestError::Unavailable(cause) => {
                tracing::error!(cause = %error_chain(&*cause), "an upload could not be stored");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                    .retry_after(UNAVAILABLE_RETRY)
            }
            IngestError::Internal(cause) => {
                tracing::error!(cause = %error_chain(&*cause), "an upload failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage-failed", detail)
            }
        }
    }
}

fn parts(error: PartsError, detail: String) -> Problem {
    match error {
        PartsError::Malformed(_) => Problem::new(StatusCode::BAD_REQUEST, "malformed-multipart", detail),
        PartsError::TooLarge { .. } => problem::body_too_large(detail),
        PartsError::Stream(StreamError::Idle) => problem::request_timeout(),
        PartsError::Stream(StreamError::Aborted) => Problem::new(StatusCode::BAD_REQUEST, "cut-off", detail),
    }
}

fn photo(reason: &PhotoError, detail: String) -> Problem {
    let (status, kind) = match reason {
        PhotoError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "photo-too-large"),
        PhotoError::NoBytes => (StatusCode::UNPROCESSABLE_ENTITY, "empty-image"),
        PhotoError::UnknownType
        | PhotoError::RefusedType { .. }
        | PhotoError::SentAsText { .. }
        | PhotoError::Encoded
        | PhotoError::Image(ImageError::Unsupported | ImageError::CameraRaw) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-image")
        }
        PhotoError::Image(error) => (StatusCode::UNPROCESSABLE_ENTITY, image(error)),
    };
    Problem::new(status, kind, detail)
}

fn image(error: &ImageError) -> &'static str {
    match error {
        ImageError::Empty => "empty-image",
        ImageError::TooManyPixels { .. } => "too-many-pixels",
        ImageError::Truncated => "truncated-image",
        ImageError::Corrupt => "corrupt-image",
        ImageError::Unsupported | ImageError::CameraRaw => "unsupported-image",
        ImageError::TooSlow | ImageError::TooMuchMemory => "image-too-complex",
        // Whoever would have read it is gone.
        ImageError::Abandoned => "abandoned",
    }
}

fn full(detail: String) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", detail)
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        tracing::error!(cause = %error_chain(&error), "the catalog could not be read");
        match error {
            CatalogError::Full(_)
            | CatalogError::Unavailable(_)
            | CatalogError::InUse
            | CatalogError::Indeterminate(_) => {
                let detail = "Listings cannot be read at the moment. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                    .retry_after(UNAVAILABLE_RETRY)
            }
            CatalogError::Corrupt(_) => problem::internal(),
        }
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        tracing::error!(cause = %error_chain(&error), "the media store could not be read");
        match error {
            MediaError::OutOfFiles(_) | MediaError::Unavailable(_) => {
                let detail = "Photos cannot be read at the moment. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                    .retry_after(UNAVAILABLE_RETRY)
            }
            MediaError::Full(_) | MediaError::Io(_) => problem::internal(),
        }
    }
}
