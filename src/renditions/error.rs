//! Why a rendition is not served.

use std::sync::Arc;
use std::time::Duration;

use crate::imaging::ImageError;
use crate::media::MediaError;

/// Why a rendition is not served. All who wait for the same rendition get the same error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RenditionError {
    /// There is no such photo, or it has no rendition of this size.
    #[error(
        "There is no photo of this hash, or no copy of this size. `media.renditions` lists those of a photo."
    )]
    NotFound,
    /// The stored bytes of the photo do not have its hash.
    #[error("The stored photo is damaged, so no copy of it can be made. Upload the photo again.")]
    Damaged,
    /// The photo cannot be decoded within the limits of this server.
    #[error("The stored photo cannot be decoded, so no copy of it can be made: {0}")]
    Image(ImageError),
    /// The server has no room for the work now.
    #[error("The server is busy with other photos. Try again in a moment.")]
    Busy {
        /// After this time it probably has room.
        retry_after: Duration,
    },
    /// The store failed.
    #[error("Photos cannot be read at the moment. Try again in a moment.")]
    Media(#[source] Arc<MediaError>),
}

impl RenditionError {
    /// Returns a [`Busy`](Self::Busy) for when the wait is unknown: it names the time of a few photos.
    pub(super) fn busy() -> Self {
        Self::Busy { retry_after: Duration::from_secs(5) }
    }
}

impl From<MediaError> for RenditionError {
    fn from(error: MediaError) -> Self {
        Self::Media(Arc::new(error))
    }
}

impl From<std::io::Error> for RenditionError {
    fn from(error: std::io::Error) -> Self {
        MediaError::from(error).into()
    }
}
