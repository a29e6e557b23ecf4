//! Resumable uploads: how far each of them is, and what became of its bytes.
//!
//! The row of an upload says which of its bytes are acknowledged. The bytes themselves are elsewhere. At any time an upload has
//! one writer, named by a number: who claims the upload becomes its writer, and the changes of all earlier ones are refused.

use serde::{Deserialize, Serialize};

use super::NewPhoto;
use crate::model::{DraftId, MediaId, Timestamp, UploadId, UserId};

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// The id.
    pub id: UploadId,
    /// The owner; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// What was asked for. The catalog does not read it.
    pub request: String,
    /// The length of the whole upload in bytes, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The number of bytes that are acknowledged.
    pub offset: u64,
    /// The number of the writer. A new upload has no writer yet, and its number is the current time in milliseconds. So it is
    /// larger than those of an earlier upload with this id, of which a store may still have bytes.
    pub writer: u64,
    /// Where the bytes are. Only the store of the bytes reads it.
    pub layout: String,
    /// What became of the bytes.
    pub state: UploadState,
    /// When it was created.
    pub created: Timestamp,
    /// When it may be removed.
    pub expires: Timestamp,
}

/// What became of the bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Bytes are missing, or the whole is not judged yet.
    Receiving,
    /// They are a photo that no draft has had from this upload. The photo stays while the upload is in this state.
    Finished(MediaId),
    /// They are a photo that a draft has got from this upload. The photo stays while a draft has it.
    InDraft(MediaId, DraftId),
    /// They are a form, and a draft has got its photos.
    Ingested(DraftId),
    /// They were refused. The text says why; the catalog does not read it.
    Failed(String),
}

/// A change of an upload by its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadChange {
    /// A new writer takes over, unless more bytes were acknowledged meanwhile. Its number is one more than that of the earlier one.
    Claim {
        /// The number of bytes that are acknowledged. The layout says that the new writer begins there.
        offset: u64,
        /// Where the new writer puts bytes.
        layout: String,
        /// When the upload may be removed.
        expires: Timestamp,
    },
    /// More bytes are acknowledged, or the length became known.
    Advance {
        /// The number of bytes that are acknowledged.
        offset: u64,
        /// The length, if it is known.
        length: Option<u64>,
        /// When the upload may be removed.
        expires: Timestamp,
    },
    /// The upload is complete and its bytes are this photo, which is recorded in the same transaction.
    Finish {
        /// The length of the upload.
        length: u64,
        /// The photo.
        photo: NewPhoto,
    },
    /// The bytes are a form. A draft, which is recorded already, has its photos.
    Ingest(DraftId),
    /// The bytes are refused.
    Fail(String),
}

impl UploadRow {
    /// Creates the row of an upload that begins now, without bytes and of unknown length.
    pub fn new(
        id: UploadId,
        owner: Option<UserId>,
        request: String,
        created: Timestamp,
        expires: Timestamp,
    ) -> Self {
        Self {
            id,
            owner,
            request,
            length: None,
            offset: 0,
            writer: Self::newest_writer(created),
            layout: String::new(),
            state: UploadState::Receiving,
            created,
            expires,
        }
    }

    /// Returns a number that is no smaller than those of all writers which uploads have at this time.
    pub(crate) fn newest_writer(now: Timestamp) -> u64 {
        now.millis()
    }

    /// Returns the photo that stays because of this upload.
    pub(super) fn kept_photo(&self) -> Option<MediaId> {
        match self.state {
            UploadState::Finished(media) => Some(media),
            UploadState::Receiving
            | UploadState::InDraft(..)
            | UploadState::Ingested(_)
            | UploadState::Failed(_) => None,
        }
    }

    /// Returns whether `writer` may change the row.
    pub(super) fn can_change(&self, writer: u64) -> bool {
        self.writer == writer && self.state == UploadState::Receiving
    }

    /// Returns the row after `change` by `writer`, or `None` if another one writes or nothing more can change. `media` is the
    /// row of a photo that the change records.
    pub(super) fn after(&self, writer: u64, change: &UploadChange, media: Option<MediaId>) -> Option<Self> {
        if !self.can_change(writer) {
            return None;
        }
        let mut row = self.clone();
        match change {
            UploadChange::Claim { offset, layout, expires } => {
                if *offset != self.offset {
                    return None;
                }
                row.writer += 1;
                row.layout.clone_from(layout);
                row.expires = *expires;
            }
            UploadChange::Advance { offset, length, expires } => {
                row.expires = *expires;
                // What was acknowledged stays so.
                row.offset = (*offset).max(row.offset);
                row.length = row.length.or(*length);
            }
            UploadChange::Finish { length, .. } => {
                row.offset = *length;
                row.length = Some(*length);
                row.state = UploadState::Finished(media?);
            }
            UploadChange::Ingest(draft) => row.state = UploadState::Ingested(*draft),
            UploadChange::Fail(reason) => row.state = UploadState::Failed(reason.clone()),
        }
        Some(row)
    }
}
