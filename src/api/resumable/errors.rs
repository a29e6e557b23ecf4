//! The table from errors of resumable uploads to problems; see `api/errors.rs`.

use std::time::Duration;

use super::protocol::UPLOAD_OFFSET;
use crate::api::dto::ProblemOut;
use crate::api::errors::{parts, photo, unavailable};
use crate::error_chain::error_chain;
use crate::partial::PartialError;
use crate::uploads::UploadError;
use crate::web::problem::{self, Problem, ProblemKind};

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = error.to_string();
        match error {
            UploadError::NotFound => Self::new(ProblemKind::NotFound, detail),
            UploadError::OffsetMismatch { expected, provided } => {
                Self::new(ProblemKind::MismatchingUploadOffset, detail)
                    .with("expected-offset", expected)
                    .with("provided-offset", provided)
                    .header(UPLOAD_OFFSET, expected.into())
            }
            UploadError::Completed { .. } => Self::new(ProblemKind::CompletedUpload, detail),
            UploadError::InconsistentLength => Self::new(ProblemKind::InconsistentUploadLength, detail),
            UploadError::TooLong { .. } => Self::new(ProblemKind::PhotoTooLarge, detail),
            UploadError::Superseded | UploadError::InProgress => {
                Self::new(ProblemKind::UploadSuperseded, detail).retry_after(Duration::from_secs(1))
            }
            UploadError::KeyReused => Self::new(ProblemKind::KeyReused, detail),
            UploadError::DigestMismatch => Self::new(ProblemKind::DigestMismatch, detail),
            UploadError::RefusedHead(reason) => Self::new(photo(&reason), detail),
            UploadError::Refused(reason) => refused(&reason),
            UploadError::QuotaSpent { retry_after } => {
                Self::new(ProblemKind::UploadQuota, detail).retry_after(retry_after)
            }
            UploadError::Body(error) => parts(error, detail),
            UploadError::Ingest(error) => error.into(),
            UploadError::Partial(error) => error.into(),
            UploadError::Catalog(error) => error.into(),
            UploadError::Internal(cause) => {
                tracing::error!(cause = %error_chain(&*cause), "an upload failed");
                Self::new(ProblemKind::StorageFailed, detail)
            }
        }
    }
}

impl From<PartialError> for Problem {
    fn from(error: PartialError) -> Self {
        tracing::error!(cause = %error_chain(&error), "the store of unfinished uploads failed");
        match error {
            PartialError::Full(_) => {
                Self::new(ProblemKind::StorageFull, "The server has no space left for uploads.")
            }
            PartialError::OutOfFiles(_) | PartialError::Unavailable(_) => {
                unavailable("Uploads cannot be stored at the moment. Try again in a moment.")
            }
            PartialError::Missing | PartialError::TooManyResumptions => {
                Self::new(ProblemKind::NotFound, "The upload cannot be continued. Begin a new one.")
            }
            PartialError::Io(_) => {
                Self::new(ProblemKind::StorageFailed, "The upload failed while it was stored. Continue it.")
            }
        }
    }
}

/// Returns the problem of an upload whose photo was refused.
pub(super) fn refused(reason: &str) -> Problem {
    let problem: Option<ProblemOut> = serde_json::from_str(reason).ok();
    problem.map_or_else(problem::internal, ProblemOut::into_problem)
}
