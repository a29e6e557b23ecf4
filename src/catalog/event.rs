//! Events: what happened to drafts and photos, for a receiver outside. They are recorded in the transaction of the change, and
//! removed once they are delivered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Draft, DraftId, MediaId, MediaKey, Timestamp, UserId};

/// What an event is about. Events of one subject are delivered in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A draft.
    Draft(DraftId),
    /// A photo.
    Photo(MediaId),
}

impl Subject {
    /// Returns a number for the kind of subject, and its id.
    pub(super) fn parts(self) -> (u8, u64) {
        match self {
            Self::Draft(DraftId(id)) => (0, id),
            Self::Photo(MediaId(id)) => (1, id),
        }
    }

    /// Creates the subject of these [`parts`](Self::parts).
    pub(super) fn from_parts(kind: u8, id: u64) -> Option<Self> {
        match kind {
            0 => Some(Self::Draft(DraftId(id))),
            1 => Some(Self::Photo(MediaId(id))),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draft(id) => write!(f, "draft {id}"),
            Self::Photo(id) => write!(f, "photo {id}"),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// A draft was created. It was like this.
    #[serde(rename = "draft.created")]
    DraftCreated(Box<Draft>),
    /// A draft was changed. It was like this afterwards.
    #[serde(rename = "draft.updated")]
    DraftUpdated(Box<Draft>),
    /// A draft was removed.
    #[serde(rename = "draft.deleted")]
    DraftDeleted(DraftId),
    /// The row of a photo was removed. Its file goes next.
    #[serde(rename = "photo.removed")]
    PhotoRemoved {
        /// The id of the row.
        id: MediaId,
        /// The content address of the file.
        key: MediaKey,
        /// Width in pixels, but `None` in an event of a server without renditions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<u32>,
        /// Height in pixels, but `None` in an event of a server without renditions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<u32>,
    },
}

impl Happening {
    /// Returns that `draft` was created. It names the owner of the draft only, for erasure. Deliveries do not show it.
    pub(super) fn created(draft: &Draft) -> Self {
        Self::DraftCreated(Box::new(draft.without_photo_owners()))
    }

    /// Returns that `draft` was changed. It names the owner of the draft only.
    pub(super) fn updated(draft: &Draft) -> Self {
        Self::DraftUpdated(Box::new(draft.without_photo_owners()))
    }

    /// Returns the name of the event's type.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DraftCreated(_) => "draft.created",
            Self::DraftUpdated(_) => "draft.updated",
            Self::DraftDeleted(_) => "draft.deleted",
            Self::PhotoRemoved { .. } => "photo.removed",
        }
    }

    /// Returns the owner of the draft whose contents the event has, if any.
    pub fn owner(&self) -> Option<UserId> {
        match self {
            Self::DraftCreated(draft) | Self::DraftUpdated(draft) => draft.owner,
            Self::DraftDeleted(_) | Self::PhotoRemoved { .. } => None,
        }
    }

    /// Returns what the event is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::DraftCreated(draft) | Self::DraftUpdated(draft) => Subject::Draft(draft.id),
            Self::DraftDeleted(id) => Subject::Draft(*id),
            Self::PhotoRemoved { id, .. } => Subject::Photo(*id),
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its own name, the same at each try of its delivery.
    pub id: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub what: Happening,
}

impl Event {
    /// Creates an event of this moment.
    pub(super) fn new(what: Happening, time: Timestamp) -> Self {
        Self { id: format!("evt_{}", uuid::Uuid::now_v7().simple()), time, what }
    }
}

/// An event under its number. Numbers of one subject ascend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// The number.
    pub number: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// The first event of a subject whose delivery is due.
#[derive(Debug, Clone, PartialEq)]
pub struct DueEvent {
    /// The event.
    pub row: EventRow,
    /// How often its delivery has failed.
    pub failures: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An import refuses a line that it would write in another way.
    #[test]
    fn events_of_each_version_are_written_as_they_were_read() {
        for size in ["", ",\"width\":0,\"height\":0", ",\"width\":1600,\"height\":1200"] {
            let key = "7".repeat(64);
            let what = format!("{{\"photo.removed\":{{\"id\":3,\"key\":\"{key}\"{size}}}}}");
            let read: Happening = serde_json::from_str(&what).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), what);
        }
    }
}
