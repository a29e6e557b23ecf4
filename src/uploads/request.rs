//! What a client asked for when it created an upload.

use serde::{Deserialize, Serialize};

use super::{Digest, FormRequest, UploadError};

/// What a client asked for when it created an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRequest {
    /// The file name of the photo, for errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The digest of the whole upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The metadata of tus, as they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The Content-Length of the request that created the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_length: Option<u64>,
    /// What is to be done with the bytes if they are a form. Else they are one photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FormRequest>,
}

impl UploadRequest {
    /// Returns the text that the catalog keeps.
    pub(super) fn to_text(&self) -> Result<String, UploadError> {
        serde_json::to_string(self).map_err(|error| UploadError::Internal(error.into()))
    }

    /// Reads the text of [`to_text`](Self::to_text), for a request that changes the upload.
    ///
    /// # Errors
    /// A later version wrote it.
    pub(super) fn read(text: &str) -> Result<Self, UploadError> {
        serde_json::from_str(text).map_err(|error| UploadError::Internal(error.into()))
    }

    /// Reads the text of [`to_text`](Self::to_text). What a later version wrote and this one cannot read is left out.
    pub(crate) fn of_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}
