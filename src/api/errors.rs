//! The table from domain errors to problems; `resumable/errors.rs` has those of resumable uploads. Each match
//! is exhaustive, so that a new error does not compile before a table says what clients see of it.

use std::time::Duration;

use crate::catalog::{CatalogError, ChangeError};
use crate::error_chain::error_chain;
use crate::fetch::FetchError;
use crate::imaging::ImageError;
use crate::ingest::boundary::ContentTypeError;
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoError};
use crate::listings::fields::FieldError;
use crate::media::MediaError;
use crate::renditions::RenditionError;
use crate::web::problem::{self, Problem, ProblemKind};

/// When to try again after a database did not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

impl From<ContentTypeError> for Problem {
    fn from(error: ContentTypeError) -> Self {
        let kind = match error {
            ContentTypeError::NotMultipart => ProblemKind::NotMultipart,
            ContentTypeError::Repeated | ContentTypeError::BadBoundary(_) => ProblemKind::BadBoundary,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::Parts(error) => parts(error, detail),
            IngestError::NoPhoto { .. } => Self::new(ProblemKind::NoPhoto, detail),
            IngestError::TooManyPhotos { .. } => Self::new(ProblemKind::TooManyPhotos, detail),
            IngestError::TitleNotText | IngestError::Title(_) | IngestError::TitleEncoded => {
                Self::new(ProblemKind::BadTitle, detail)
            }
            IngestError::WrongDigest => Self::new(ProblemKind::DigestMismatch, detail),
            IngestError::Photo { index, filename, reason } => {
                Self::new(photo(&reason), detail).with("file_index", index).with("filename", filename)
            }
            IngestError::Draft(refusal) => refusal.into(),
            IngestError::Busy { retry_after } => {
                Self::new(ProblemKind::Busy, detail).retry_after(retry_after)
            }
            IngestError::QuotaSpent { retry_after } | IngestError::LargerThanQuota { retry_after, .. } => {
                Self::new(ProblemKind::UploadQuota, detail).retry_after(retry_after)
            }
            IngestError::Full(cause) => {
                tracing::error!(%cause, "no space left");
                Self::new(ProblemKind::StorageFull, detail)
            }
            IngestError::Unavailable(cause) => {
                tracing::error!(cause = %error_chain(&*cause), "an upload could not be stored");
                unavailable(detail)
            }
            IngestError::Internal(cause) => {
                tracing::error!(cause = %error_chain(&*cause), "an upload failed");
                Self::new(ProblemKind::StorageFailed, detail)
            }
        }
    }
}

/// Returns the problem of a body that cannot be read.
pub(super) fn parts(error: PartsError, detail: String) -> Problem {
    match error {
        PartsError::Malformed(_) => Problem::new(ProblemKind::MalformedMultipart, detail),
        PartsError::TooLarge { .. } => problem::body_too_large(detail),
        PartsError::Stream(StreamError::Idle) => problem::request_timeout(),
        PartsError::Stream(StreamError::Aborted) => Problem::new(ProblemKind::CutOff, detail),
    }
}

pub(super) fn photo(reason: &PhotoError) -> ProblemKind {
    match reason {
        PhotoError::TooLarge { .. } => ProblemKind::PhotoTooLarge,
        PhotoError::WrongDigest => ProblemKind::DigestMismatch,
        PhotoError::NoBytes | PhotoError::Image(ImageError::Empty) => ProblemKind::EmptyImage,
        PhotoError::UnknownType
        | PhotoError::RefusedType { .. }
        | PhotoError::SentAsText { .. }
        | PhotoError::Encoded
        | PhotoError::Image(ImageError::Unsupported | ImageError::CameraRaw) => ProblemKind::UnsupportedImage,
        PhotoError::Fetch(FetchError::NotAUrl | FetchError::Credentials | FetchError::Origin) => {
            ProblemKind::FetchRefused
        }
        PhotoError::Fetch(FetchError::Failed) => ProblemKind::FetchFailed,
        PhotoError::Image(ImageError::TooManyPixels { .. }) => ProblemKind::TooManyPixels,
        PhotoError::Image(ImageError::Truncated) => ProblemKind::TruncatedImage,
        PhotoError::Image(ImageError::Corrupt) => ProblemKind::CorruptImage,
        PhotoError::Image(ImageError::TooSlow | ImageError::TooMuchMemory) => ProblemKind::ImageTooComplex,
        // The client is gone, so that only log and metrics get this.
        PhotoError::Image(ImageError::Abandoned) => ProblemKind::Abandoned,
    }
}

/// Returns 503 for a database or a store that does not answer.
pub(super) fn unavailable(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::Unavailable, detail).retry_after(UNAVAILABLE_RETRY)
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let kind = match &error {
            ChangeError::NotFound => return problem::not_found(),
            ChangeError::VersionMismatch => return precondition_failed(),
            ChangeError::NoSuchPhoto { .. } => ProblemKind::NotFound,
            ChangeError::NotAPermutation { .. } => ProblemKind::BadOrder,
            ChangeError::TooManyPhotos { .. } => ProblemKind::DraftFull,
            ChangeError::Repeated => return in_progress(),
            ChangeError::Superseded => ProblemKind::UploadSuperseded,
            ChangeError::UnusableUpload { index } => return unknown_upload(*index),
            ChangeError::Catalog(_) => ProblemKind::Internal,
        };
        match error {
            ChangeError::Catalog(error) => error.into(),
            refusal => Self::new(kind, refusal.to_string()),
        }
    }
}

/// Returns 412 for a draft that is not the one that the client has seen (RFC 9110 section 13.1.1).
pub(super) fn precondition_failed() -> Problem {
    let detail = "The draft does not have an ETag that If-Match names: it was changed. Read it again.";
    Problem::new(ProblemKind::PreconditionFailed, detail)
}

/// Returns 422 for a key of another request.
pub(super) fn key_reused() -> Problem {
    let detail =
        "This Idempotency-Key was used for another request: its path or the length of its body differs.";
    Problem::new(ProblemKind::KeyReused, detail)
}

/// Returns 422 for an upload whose photo a draft cannot get.
pub(super) fn unknown_upload(index: usize) -> Problem {
    let detail = "No finished upload of yours has this id, or a draft has its photo already.";
    Problem::new(ProblemKind::UnknownUpload, detail).with("file_index", index)
}

/// Returns 409 for a request while the first with its key is in progress. A later one gets the answer of the first.
pub(super) fn in_progress() -> Problem {
    let detail = "A request with this Idempotency-Key is in progress. Send this one again after Retry-After.";
    Problem::new(ProblemKind::InProgress, detail).retry_after(Duration::from_secs(1))
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let kind = match error {
            FieldError::TooLong { field: "title", .. } | FieldError::Control { field: "title", .. } => {
                ProblemKind::BadTitle
            }
            FieldError::TooLong { .. } | FieldError::Control { .. } | FieldError::Price => {
                ProblemKind::BadMember
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        tracing::error!(cause = %error_chain(&error), "the catalog failed");
        match error {
            CatalogError::Full(_) => {
                Self::new(ProblemKind::StorageFull, "The server has no space left for drafts.")
            }
            CatalogError::Unavailable(_) | CatalogError::InUse | CatalogError::Indeterminate(_) => {
                unavailable("Listings cannot be used at the moment. Try again in a moment.")
            }
            CatalogError::Corrupt(_) => problem::internal(),
        }
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        media(&error)
    }
}

fn media(error: &MediaError) -> Problem {
    tracing::error!(cause = %error_chain(error), "the media store could not be read");
    match error {
        MediaError::OutOfFiles(_) | MediaError::Unavailable(_) => {
            unavailable("Photos cannot be read at the moment. Try again in a moment.")
        }
        MediaError::Full(_) | MediaError::Io(_) => problem::internal(),
    }
}

impl From<RenditionError> for Problem {
    fn from(error: RenditionError) -> Self {
        let detail = error.to_string();
        match error {
            RenditionError::NotFound | RenditionError::Damaged => Self::new(ProblemKind::NotFound, detail),
            RenditionError::Image(reason) => Self::new(photo(&PhotoError::Image(reason)), detail),
            RenditionError::Busy { retry_after } => {
                Self::new(ProblemKind::Busy, detail).retry_after(retry_after)
            }
            // A bucket's photo waits on disk.
            RenditionError::Media(error) if matches!(*error, MediaError::Full(_)) => unavailable(detail),
            RenditionError::Media(error) => media(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_no_request_provokes_have_their_kinds() {
        let failed = Problem::from(IngestError::Internal("/secret/path".into()));
        assert_eq!(failed.kind(), ProblemKind::StorageFailed);
        assert!(!failed.to_json("id").to_string().contains("secret"));
        let reason = PhotoError::Image(ImageError::Abandoned);
        let left = IngestError::Photo { index: 0, filename: None, reason };
        assert_eq!(Problem::from(left).kind(), ProblemKind::Abandoned);
    }
}
