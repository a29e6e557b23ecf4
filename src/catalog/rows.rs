//! Rows as they are recorded: what refers to another row has its id.

use serde::{Deserialize, Serialize};

use crate::model::{DraftId, DraftStatus, Media, MediaId, SourceId, UserId};

/// A draft as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftRow {
    /// The draft's id.
    pub id: DraftId,
    /// At most 160 characters; may be empty.
    pub title: String,
    /// Free text, empty until somebody writes it.
    pub description: String,
    /// Where the draft stands.
    pub status: DraftStatus,
    /// A price in the listing's currency, once one was suggested.
    pub price_suggested: Option<f64>,
    /// The photos, in the order of the upload.
    pub photos: Vec<MediaId>,
    /// Whose it is; `None` is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

/// A source, and the media that was last made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRow {
    /// What it was made of.
    pub source: SourceId,
    /// What was made.
    pub media: MediaId,
}

/// Any row of a catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A stored photo.
    Media(Media),
    /// A draft.
    Draft(DraftRow),
    /// What a photo was made of.
    Source(SourceRow),
}
