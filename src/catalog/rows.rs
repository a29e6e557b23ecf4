//! Rows as they are recorded. They refer to other rows by id.

use serde::{Deserialize, Serialize};

use super::{AttemptRow, EventRow, IdentityRow};
use crate::model::{Draft, Media, MediaId, SourceId};

/// A draft as it is recorded: its photos are the ids of media rows.
pub type DraftRow = Draft<MediaId>;

/// A source, and the media that was last made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRow {
    /// The source.
    pub source: SourceId,
    /// The id of the media row.
    pub media: MediaId,
}

/// Any row of a catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A stored photo.
    Media(Media),
    /// A draft.
    Draft(DraftRow),
    /// A source of a photo.
    Source(SourceRow),
    /// A request that succeeded.
    Attempt(AttemptRow),
    /// An event that is not delivered.
    Event(EventRow),
    /// A user of an identity provider.
    Identity(IdentityRow),
}
