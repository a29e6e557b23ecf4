//! Attempts: requests that a client may repeat under one key, and what became of the first.
//!
//! The row of an attempt is written in the transaction of the draft, so that there is never one without the other. A claim says
//! that a request is in progress. A claim can be lost. Then two requests may run in parallel, and the row decides which one is
//! recorded.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Catalog, CatalogError};
use crate::model::{AttemptId, Draft, Timestamp};

/// What a request asks for, as far as its head says. A repeated request has the same path, and the same length where both name one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// The path.
    pub path: String,
    /// The length of the body, if the head names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_length: Option<u64>,
}

impl RequestHead {
    /// Returns whether `other` may be the same request. Lengths are compared where both are known.
    pub fn fits(&self, other: &Self) -> bool {
        let lengths = self.content_length.zip(other.content_length);
        self.path == other.path && lengths.is_none_or(|(own, other)| own == other)
    }
}

/// An attempt that is to be recorded with a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// The id.
    pub id: AttemptId,
    /// The request.
    pub request: RequestHead,
    /// What the answer has in addition to the draft. The catalog does not read it.
    pub note: String,
    /// An attempt with this id that was recorded before this time counts as forgotten.
    pub since: Timestamp,
}

impl NewAttempt {
    /// Returns the attempt, which succeeded with `draft` at time `now`. It does not name the first owners of the photos, who may
    /// be other users: answers do not show them, and the row must not name a user after that user was erased.
    pub(super) fn succeeded(&self, draft: &Draft, now: Timestamp) -> Attempt {
        let (request, note) = (self.request.clone(), self.note.clone());
        Attempt { request, created: now, draft: draft.without_photo_owners(), note }
    }
}

/// An attempt that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The request.
    pub request: RequestHead,
    /// When it succeeded.
    pub created: Timestamp,
    /// The draft as it was then.
    pub draft: Draft,
    /// What the answer had in addition to the draft.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// An attempt under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// The id.
    pub id: AttemptId,
    /// The attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// A claim on an attempt, released on drop.
pub trait Claim: Send + Sync {}

/// An attempt that the caller works on.
pub struct ClaimedAttempt {
    /// What is to be recorded.
    pub attempt: NewAttempt,
    /// The claim, which lives until the attempt is recorded or given up.
    pub claim: Box<dyn Claim>,
}

/// The answer to a request with a key.
pub(crate) enum Claiming {
    /// The caller works on it.
    Claimed(ClaimedAttempt),
    /// Another request is in progress.
    InWork,
    /// Its key was used for another request.
    Reused,
    /// An earlier request succeeded.
    Done(Box<Attempt>),
}

/// Claims the attempt `id` for `request`, unless an earlier request with it succeeded within `lifetime`.
///
/// # Errors
/// The catalog failed.
pub(crate) async fn claim_attempt(
    catalog: &dyn Catalog,
    id: AttemptId,
    request: RequestHead,
    lifetime: Duration,
) -> Result<Claiming, CatalogError> {
    let since = Timestamp::now().minus(lifetime);
    Ok(match catalog.begin_attempt(id, since).await? {
        Begun::InWork => Claiming::InWork,
        Begun::Claimed(claim) => {
            let attempt = NewAttempt { id, request, note: String::new(), since };
            Claiming::Claimed(ClaimedAttempt { attempt, claim })
        }
        Begun::Done(attempt) if !attempt.request.fits(&request) => Claiming::Reused,
        Begun::Done(attempt) => Claiming::Done(attempt),
    })
}

/// What the catalog knows of a key: the result of [`begin_attempt`](super::Catalog::begin_attempt).
pub enum Begun {
    /// No earlier request. The caller may process the request while it holds the claim.
    Claimed(Box<dyn Claim>),
    /// Another request is in progress.
    InWork,
    /// An earlier request succeeded.
    Done(Box<Attempt>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    #[test]
    fn id_depends_on_user_and_key() {
        let user = |id: u64| UserId::try_from(id).ok();
        let ids = [(None, "a"), (user(1), "a"), (user(2), "a"), (None, "b")]
            .map(|(user, key)| AttemptId::new(user, key));
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id));
        }
        assert_eq!(AttemptId::new(user(1), "a"), ids[1]);
    }

    #[test]
    fn request_with_another_path_or_length_does_not_fit() {
        let head = |path: &str, content_length| RequestHead { path: path.into(), content_length };
        let first = head("/a", Some(5));
        assert!(
            first.fits(&head("/a", Some(5)))
                && first.fits(&head("/a", None))
                && head("/a", None).fits(&first)
        );
        assert!(!first.fits(&head("/a", Some(6))) && !first.fits(&head("/b", Some(5))));
    }
}
