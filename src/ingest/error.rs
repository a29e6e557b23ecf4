//! The errors that end an upload. Their texts are for developers of apps; their causes are logged.

use std::time::Duration;

use crate::blocking::BlockingError;
use crate::catalog::{CatalogError, ChangeError};
use crate::fetch::FetchError;
use crate::imaging::ImageError;
use crate::listings::fields::FieldError;
use crate::media::MediaError;
use crate::publication::CommitError;

use super::parts::PartsError;
use super::sniff::TextKind;

/// Why an upload was refused or failed. Nothing of the upload is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    /// The multipart body cannot be read.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// There is no photo in the body.
    #[error("There is no photo: a form has 1 to {max} parts named `files`, a JSON body as many `urls`.")]
    NoPhoto {
        /// Most photos in one request.
        max: usize,
    },
    /// There are more photos than one request may hold.
    #[error("The request has more than {max} photos.")]
    TooManyPhotos {
        /// Most photos in one request.
        max: usize,
    },
    /// The title is not text.
    #[error("The title is not UTF-8 text.")]
    TitleNotText,
    /// The title is too long, or has control characters.
    #[error(transparent)]
    Title(#[from] FieldError),
    /// The title has a `Content-Transfer-Encoding`.
    #[error(
        "The title has a Content-Transfer-Encoding, which forms do not have (RFC 7578 section 4.7). Send its text as it is."
    )]
    TitleEncoded,
    /// The body does not have the digest that came with it.
    #[error("The content does not have the digest that was sent with it.")]
    WrongDigest,
    /// One photo is to blame.
    #[error("{reason}")]
    Photo {
        /// Its position among the photos, from 0.
        index: usize,
        /// The file name that the client declared.
        filename: Option<String>,
        /// What is wrong with it.
        reason: PhotoError,
    },
    /// The draft to which the photos were to be added is gone, was changed, or takes no more photos.
    #[error(transparent)]
    Draft(ChangeError),
    /// The server has no room for the photo now.
    #[error("The server is busy with other photos. Try again in a moment.")]
    Busy {
        /// After this time it probably has room.
        retry_after: Duration,
    },
    /// The client has added as many bytes to the store as it may for now.
    #[error(
        "This client has used up its quota of new photos. Photos that are stored already may be sent again at any time; \
         for new ones wait as long as Retry-After says."
    )]
    QuotaSpent {
        /// After this time the quota has room for the photo.
        retry_after: Duration,
    },
    /// The photo takes more than the whole quota of a client.
    #[error(
        "The photo, as it would be stored, is larger than the whole quota of a client, which is {max_kib} KiB."
    )]
    LargerThanQuota {
        /// After this time the whole quota is free again.
        retry_after: Duration,
        /// The quota in KiB.
        max_kib: u32,
    },
    /// The disk or bucket is full.
    #[error("The server has no space left for photos.")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A store or the disk does not answer, and may do so again soon.
    #[error("The server cannot store photos at the moment. Nothing was kept; try again in a moment.")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server failed for a reason that repeating the request does not remove.
    #[error("The server failed to store the photos. Nothing was kept.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl IngestError {
    /// Returns after which time the same upload may succeed, if the server or the quota had no room for it.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after }
            | Self::QuotaSpent { retry_after }
            | Self::LargerThanQuota { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Returns whether the same upload would be refused again, whenever it is sent.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Parts(error) => !matches!(error, PartsError::Stream(_)),
            Self::NoPhoto { .. }
            | Self::TooManyPhotos { .. }
            | Self::TitleNotText
            | Self::Title(_)
            | Self::TitleEncoded
            | Self::WrongDigest
            | Self::Photo { .. } => true,
            Self::Draft(error) => matches!(
                error,
                ChangeError::NotFound | ChangeError::VersionMismatch | ChangeError::TooManyPhotos { .. }
            ),
            Self::Busy { .. }
            | Self::QuotaSpent { .. }
            | Self::LargerThanQuota { .. }
            | Self::Full(_)
            | Self::Unavailable(_)
            | Self::Internal(_) => false,
        }
    }
}

/// What is wrong with one photo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PhotoError {
    /// The photo is longer than allowed.
    #[error("The photo is larger than {max} bytes.")]
    TooLarge {
        /// The cap in bytes.
        max: u64,
    },
    /// A part with a file name has no bytes, but other parts have some.
    #[error("The file has 0 bytes. Leave the part out, or send the bytes of a photo.")]
    NoBytes,
    /// By its first bytes the file is not an image.
    #[error("The file is not an image that this server knows.")]
    UnknownType,
    /// The type is known, but not allowed, or no decoder here reads it.
    #[error("{}", refusal(.mime))]
    RefusedType {
        /// The sniffed MIME type.
        mime: &'static str,
    },
    /// The part holds text where the bytes of a file are expected.
    #[error("The part holds text ({}) where the bytes of an image file are expected. Send the file as it is, without encoding it.", name(*.kind))]
    SentAsText {
        /// The kind of text.
        kind: TextKind,
    },
    /// The part declares that its data are encoded.
    #[error(
        "The part has a Content-Transfer-Encoding: it holds text where the bytes of an image file are expected. Send the file as it is, without encoding it."
    )]
    Encoded,
    /// The bytes do not have the digest that was sent for them.
    #[error("The photo does not have the digest that was sent with it.")]
    WrongDigest,
    /// The photo could not be fetched from its URL.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The image cannot be decoded or exceeds a limit.
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn refusal(mime: &str) -> String {
    match mime.split_once('/') {
        Some(("image", _)) => format!("The file is an image of type {mime}, which is not supported."),
        Some(("video", _)) => format!("The file is a video ({mime}). Only still images are supported."),
        _ => format!("The file is not an image: it is {mime}."),
    }
}

fn name(kind: TextKind) -> &'static str {
    match kind {
        TextKind::Base64 => "an image in base64",
        TextKind::DataUrl => "a data: URL",
        TextKind::Json => "JSON",
        TextKind::Html => "an HTML page",
        TextKind::Plain => "of an unknown kind",
    }
}

impl IngestError {
    /// Returns a [`Busy`](Self::Busy) for when the wait is unknown: it names the time of a few photos.
    pub(super) fn busy() -> Self {
        Self::Busy { retry_after: Duration::from_secs(5) }
    }
}

impl From<MediaError> for IngestError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Full(_) => Self::Full(error.into()),
            // No descriptors left, a read-only file system, a lost network: all of these may pass.
            MediaError::OutOfFiles(_) | MediaError::Unavailable(_) | MediaError::Io(_) => {
                Self::Unavailable(error.into())
            }
        }
    }
}

impl From<CatalogError> for IngestError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Full(_) => Self::Full(error.into()),
            CatalogError::Indeterminate(cause) => (*cause).into(),
            CatalogError::Unavailable(_) | CatalogError::InUse => Self::Unavailable(error.into()),
            CatalogError::Corrupt(_) => Self::Internal(error.into()),
        }
    }
}

impl From<BlockingError> for IngestError {
    fn from(error: BlockingError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<CommitError> for IngestError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotPublished(error) => error.into(),
            CommitError::RolledBack(error) | CommitError::Pending(error) => error.into(),
        }
    }
}

impl From<ChangeError> for IngestError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Catalog(error) => error.into(),
            refusal => Self::Draft(refusal),
        }
    }
}

/// From the spool, whose files are on the disk of the photos.
impl From<std::io::Error> for IngestError {
    fn from(error: std::io::Error) -> Self {
        MediaError::from(error).into()
    }
}
