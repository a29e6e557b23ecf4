//! What the operator's commands need of a catalog: to read all of it, and to restore it.

use async_trait::async_trait;

use super::{AttemptRow, Catalog, CatalogError, EventRow, IdentityRow, Outbox, Row, TaskLeases};
use crate::model::{AttemptId, DraftId, Media, MediaId, MediaKey, UserId};

/// The state of a catalog in addition to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The id that the next media row gets.
    pub next_media_id: u64,
    /// The id that the next draft gets.
    pub next_draft_id: u64,
    /// Whether restoring an empty catalog began and did not end: rows are missing, and the server must not use it.
    pub is_partial: bool,
}

/// A step of restoring: one `Begin`, any number of `Rows`, one `End`.
#[derive(Debug, Clone, PartialEq)]
pub enum Restore {
    /// Raises the counters to at least these values. An empty catalog is partial from now on.
    Begin {
        /// The id that the next media row gets.
        next_media_id: u64,
        /// The id that the next draft gets.
        next_draft_id: u64,
    },
    /// Records rows with their ids.
    Rows(Vec<Row>),
    /// Ends the restoring: the catalog is not partial any more.
    End,
}

/// Why a step of restoring failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The catalog has another row with the same id or key. The text names the row.
    #[error("{0}")]
    Conflict(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A place where an index or a count does not agree with the drafts that it is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexFault {
    /// The list of its owner does not have the draft.
    Unlisted(DraftId),
    /// The drafts with the photo do not have the draft.
    Unindexed(DraftId, MediaId),
    /// More drafts have the photo than are counted. It could be removed while a draft has it.
    Undercounted(MediaId),
    /// Fewer drafts have the photo than are counted. It would not be removed when no draft has it any more.
    Overcounted(MediaId),
    /// The list of an owner has a draft that does not exist, or that has another owner or state.
    StaleList(DraftId),
    /// The drafts with the photo have a draft that does not exist or does not have the photo.
    StaleReference(DraftId, MediaId),
    /// The photos without a draft have a photo that does not exist or has a draft.
    StaleUnreferenced(MediaId),
}

/// How many rows named a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Attempts that were removed.
    pub attempts: u64,
    /// Media rows that have no owner any more.
    pub media: u64,
}

/// A catalog that the operator can save, check and restore while no other process uses it.
#[async_trait]
pub trait Restorable: Catalog + Outbox + TaskLeases {
    /// Returns the state. That of an empty catalog is 1, 1 and not partial.
    ///
    /// # Errors
    /// The catalog failed.
    async fn state(&self) -> Result<State, CatalogError>;

    /// Returns the media row that an upload of the photo with this key would share, or `None` if it would get a new one.
    ///
    /// # Errors
    /// The catalog failed, or its index has the key and the row is gone.
    async fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError>;

    /// Returns the first `limit` attempts by id, after the attempt `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn attempts_page(
        &self,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<AttemptRow>, CatalogError>;

    /// Returns the first `limit` events by number, after the event `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn events_page(&self, after: Option<u64>, limit: usize) -> Result<Vec<EventRow>, CatalogError>;

    /// Returns the first `limit` users of identity providers by id, after the user `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn identities_page(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<IdentityRow>, CatalogError>;

    /// Removes events without delivering them, in one transaction. The next event of a subject is due when the first removed one
    /// was, and not before a lease on it ends. Returns once that is durable, with the number of those that were there.
    ///
    /// # Errors
    /// The rows are unchanged, unless the error is [`CatalogError::Indeterminate`]. It may be repeated in any case.
    async fn remove_events(&self, events: &[EventRow]) -> Result<u64, CatalogError>;

    /// Returns the places where indexes and counts do not agree with the drafts. If `repair` is set, they agree afterwards, and
    /// that is durable. Nothing else may use the catalog during the call.
    ///
    /// # Errors
    /// The catalog failed. A repair may be run again.
    async fn check_indexes(&self, repair: bool) -> Result<Vec<IndexFault>, CatalogError>;

    /// Removes what names `user` from these rows, in one transaction: those of `attempts` whose draft is the user's, and the
    /// owner of those of `media` that is the user. Returns once that is durable, with the number of rows. Other rows do not
    /// change.
    ///
    /// # Errors
    /// The rows are unchanged, unless the error is [`CatalogError::Indeterminate`]. It may be repeated in any case.
    async fn erase(
        &self,
        user: UserId,
        attempts: &[AttemptId],
        media: &[MediaId],
    ) -> Result<Erased, CatalogError>;

    /// Removes the row and the subject of a user, if the catalog has one of them and no draft and no media row names the user. Returns
    /// whether it did. The subject gets another user when it comes back.
    ///
    /// # Errors
    /// The catalog failed, or the user was named during the call.
    async fn remove_user(&self, user: UserId) -> Result<bool, CatalogError>;

    /// Takes one step, in one transaction, and returns once it is durable.
    ///
    /// Every step may be repeated: an equal row stays as it is (and is found under its key again, if it was not), and a
    /// counter never decreases. After any step the counters are above all ids. Rows are recorded as they are, even if they
    /// refer to rows that do not exist.
    ///
    /// # Errors
    /// Nothing of this step was recorded, unless the error is [`CatalogError::Indeterminate`]; then it may be repeated.
    async fn restore(&self, step: Restore) -> Result<(), RestoreError>;
}
