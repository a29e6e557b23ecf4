//! Why a request for a resumable upload failed. The texts are for developers of apps; causes are logged.

use std::time::Duration;

use crate::catalog::CatalogError;
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoError};
use crate::partial::PartialError;

/// Why a request for a resumable upload failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// No upload of the caller has this id.
    #[error("No upload of yours has this id, or it expired.")]
    NotFound,
    /// The bytes do not begin where the acknowledged ones end.
    #[error("The upload has {expected} bytes, and the request continues it at {provided}.")]
    OffsetMismatch {
        /// The number of acknowledged bytes.
        expected: u64,
        /// Where the request would continue.
        provided: u64,
    },
    /// The upload is complete.
    #[error("The upload is complete.")]
    Completed {
        /// Its length.
        offset: u64,
    },
    /// The lengths that requests named differ, or the bytes are more or fewer.
    #[error("The length of the upload is not the one that was named before.")]
    InconsistentLength,
    /// The upload is longer than the largest photo.
    #[error("A photo has at most {max} bytes.")]
    TooLong {
        /// The largest photo in bytes.
        max: u64,
    },
    /// Another request continues the upload.
    #[error("Another request continues this upload.")]
    Superseded,
    /// The attempt of a form made the draft of another request.
    #[error("The Idempotency-Key of this form was used for another request.")]
    KeyReused,
    /// An earlier request does not end.
    #[error("An earlier request for this upload is in progress.")]
    InProgress,
    /// The bytes do not have the digest that came with them. None of them is acknowledged.
    #[error("The content does not have the digest that was sent with it.")]
    DigestMismatch,
    /// The first bytes are no photo that is accepted.
    #[error("{0}")]
    RefusedHead(PhotoError),
    /// The photo or the form was refused. The text is that of [`Rules`](super::Rules).
    #[error("The upload was refused.")]
    Refused(String),
    /// The client has added as many bytes to the store as it may for now.
    #[error(
        "This client has used up its quota of new photos. Continue the upload when Retry-After has passed."
    )]
    QuotaSpent {
        /// After this time the quota has room.
        retry_after: Duration,
    },
    /// The body ended early.
    #[error(transparent)]
    Body(PartsError),
    /// The photo could not be stored.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The store of the bytes failed.
    #[error(transparent)]
    Partial(#[from] PartialError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The program is wrong.
    #[error("The upload failed.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StreamError> for UploadError {
    fn from(error: StreamError) -> Self {
        Self::Body(PartsError::Stream(error))
    }
}
