//! The catalog: media rows and drafts, behind a trait.
//!
//! This room knows rows, not files. [`create_draft`](Catalog::create_draft) is the commit point of an upload: a draft that
//! it returned is never lost. A photo to which no draft refers any more keeps its row until
//! [`remove_media`](Catalog::remove_media). A catalog that records events does so in the transaction of each change. Every
//! implementation passes the suite in `conformance`.

mod attempt;
mod change;
#[cfg(test)]
mod conformance;
mod event;
mod identity;
mod lease;
mod postgres;
mod restorable;
mod rows;
mod sled;
mod upload;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

pub use self::attempt::{Attempt, AttemptRow, Begun, Claim, ClaimedAttempt, NewAttempt, RequestHead};
pub(crate) use self::attempt::{Claiming, claim_attempt};
pub use self::change::{Change, ChangeError, Fields};
pub use self::event::{DueEvent, Event, EventRow, Happening, Subject};
pub use self::identity::{Identities, Identity, IdentityRow};
pub use self::lease::{Holder, TaskLease, TaskLeases};
pub use self::postgres::{InvalidPostgresUrl, PostgresCatalog, PostgresUrl, Schema};
pub use self::restorable::{Erased, IndexFault, Restorable, Restore, RestoreError, State};
pub use self::rows::{DraftRow, Row, SourceRow};
pub use self::sled::{Salvage, SalvageReport, SledCatalog};
pub use self::upload::{UploadChange, UploadRow, UploadState};
use crate::blocking::BlockingError;
use crate::model::{
    AttemptId, Draft, DraftId, DraftStatus, Media, MediaId, MediaKey, PhotoFacts, SourceId, Timestamp,
    UploadId, UserId,
};

/// Why an operation of the catalog failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No space is left.
    #[error("the catalog's disk is full")]
    Full(#[source] std::io::Error),
    /// The catalog does not answer; trying again later may help.
    #[error("the catalog is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Only one process can open the catalog, and another one has it open.
    #[error("the catalog is in use by another process")]
    InUse,
    /// The recording failed at a point where the draft may be recorded or not. That is known once the catalog works again.
    /// The photos of the draft must be kept.
    #[error("the catalog failed while it recorded a draft")]
    Indeterminate(#[source] Box<CatalogError>),
    /// Rows or files cannot be read, or contradict each other.
    #[error("the catalog is corrupt: {0}")]
    Corrupt(String),
}

impl From<BlockingError> for CatalogError {
    fn from(error: BlockingError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// A photo that a draft is to refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPhoto {
    /// Content address of the stored JPEG.
    pub key: MediaKey,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Length of the stored JPEG in bytes.
    pub size_bytes: u64,
    /// The source that it was made from.
    pub source: SourceId,
    /// What is known of its pixels. They are recorded with a new media row.
    pub facts: Option<PhotoFacts>,
}

/// A draft that is to be recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewDraft {
    /// The title, possibly empty.
    pub title: String,
    /// The description, possibly empty.
    pub description: String,
    /// A suggested price, if any.
    pub price_suggested: Option<f64>,
    /// The photos in order; the same photo may occur more than once.
    pub photos: Vec<NewPhoto>,
    /// Finished uploads of the owner, whose photos follow in order.
    pub uploads: Vec<UploadId>,
    /// The owner; `None`: it has none.
    pub owner: Option<UserId>,
    /// The attempt that succeeds with the draft, if the client may repeat it.
    pub attempt: Option<NewAttempt>,
}

/// A source, and the photo that was last made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSource {
    /// The source.
    pub source: SourceId,
    /// The id of the media row of that photo.
    pub media_id: MediaId,
    /// The media row; `None` if it is gone.
    pub media: Option<Media>,
}

/// Locks on media keys, released on drop.
pub trait KeyLock: Send + Sync {
    /// Returns false if the database connection that holds the locks was lost.
    fn is_valid(&self) -> bool;
}

/// Which drafts a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftFilter {
    /// Drafts of this owner; `None`: drafts without an owner.
    pub owner: Option<UserId>,
    /// Only drafts in this state.
    pub status: Option<DraftStatus>,
}

/// Records media and drafts, and reads them.
#[async_trait]
pub trait Catalog: Uploads + Identities + Send + Sync {
    /// Records a draft, and its media that have no row yet, in one transaction. Returns once it is durable: it survives a
    /// loss of power from then on.
    ///
    /// Equal keys share one media row, even of concurrent drafts and other users. The owner of the row is that of the first
    /// draft with it. Ids start at 1 and are never used twice.
    ///
    /// Each upload gives its photo to the draft in the same transaction, and to no other draft later.
    ///
    /// The same transaction records the source of each photo for [`media_of_source`](Self::media_of_source). The new photo
    /// replaces an older one of the same source.
    ///
    /// # Errors
    /// Nothing was recorded, unless the error is [`CatalogError::Indeterminate`].
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, ChangeError>;

    /// Changes a draft in one transaction, and returns it as it is then. Returns once the change is durable. A change that
    /// alters nothing records nothing.
    ///
    /// Added photos are recorded as by [`create_draft`](Self::create_draft). If `version` is given, the draft is only changed
    /// if it has this version; each change raises the version.
    ///
    /// # Errors
    /// The draft is unchanged, unless the error is [`CatalogError::Indeterminate`].
    async fn change_draft(
        &self,
        id: DraftId,
        version: Option<u64>,
        change: Change,
    ) -> Result<Draft, ChangeError>;

    /// Removes a draft in one transaction, if it has `version` or none is given. Returns once that is durable. Its id is never
    /// used again. The rows of its photos stay.
    ///
    /// # Errors
    /// The draft is unchanged, unless the error is [`CatalogError::Indeterminate`].
    async fn delete_draft(&self, id: DraftId, version: Option<u64>) -> Result<(), ChangeError>;

    /// Claims an attempt, or returns what became of an earlier request with the same id that succeeded after `since`.
    ///
    /// The claims of a process end with it. The attempt is recorded by [`create_draft`](Self::create_draft) and
    /// [`change_draft`](Self::change_draft), in the transaction of the draft. They fail with [`ChangeError::Repeated`], and record
    /// nothing, if another request with the same id was recorded first.
    ///
    /// # Errors
    /// The catalog failed.
    async fn begin_attempt(&self, id: AttemptId, since: Timestamp) -> Result<Begun, CatalogError>;

    /// Forgets at most `limit` attempts that succeeded before `before`, and returns how many.
    ///
    /// # Errors
    /// The catalog failed.
    async fn forget_attempts(&self, before: Timestamp, limit: usize) -> Result<usize, CatalogError>;

    /// Locks `keys` against all other processes that use this catalog. Waits until no other process holds one of the locks,
    /// and until no process that held one is still recording a draft with that key. Within one process, callers exclude each
    /// other by their own locks.
    ///
    /// A caller that publishes and records a photo, or removes one that has no row, locks its key first. So the answer of
    /// [`without_row`](Self::without_row) stays true while the lock is held.
    ///
    /// # Errors
    /// The catalog failed, or another process holds one of the locks for longer than a request may wait.
    async fn lock_keys(&self, keys: &[MediaKey]) -> Result<Box<dyn KeyLock>, CatalogError>;

    /// Returns the draft with this id, or `None`.
    ///
    /// # Errors
    /// The catalog failed: it is unknown whether the draft exists.
    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError>;

    /// Returns the first `limit` drafts that fit `filter`, by descending id, before the draft `before` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn drafts_of(
        &self,
        filter: DraftFilter,
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<Draft>, CatalogError>;

    /// Returns the first `limit` drafts that refer to `media`, by id, after the draft `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn drafts_with(
        &self,
        media: MediaId,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError>;

    /// Returns at most `limit` media rows that became unreferenced at `before` or earlier, the oldest first.
    ///
    /// # Errors
    /// The catalog failed.
    async fn unreferenced_media(&self, before: Timestamp, limit: usize) -> Result<Vec<Media>, CatalogError>;

    /// Removes a media row and its sources in one transaction, if it became unreferenced at `before` or earlier. Returns
    /// whether it was removed, once that is durable. Its id is never used again.
    ///
    /// The caller holds the lock of the photo's key, so that no upload verifies or publishes its file during the removal.
    ///
    /// # Errors
    /// The row is unchanged, unless the error is [`CatalogError::Indeterminate`].
    async fn remove_media(&self, id: MediaId, before: Timestamp) -> Result<bool, CatalogError>;

    /// Returns the media that was last recorded as made from `source`, or `None` if there is none or its row was removed.
    ///
    /// A source is known once a draft with it is recorded. The row says what was stored then: the caller checks whether the
    /// file still exists.
    ///
    /// # Errors
    /// The catalog failed: it is unknown whether the source is known.
    async fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError>;

    /// Returns the media row with this id, or `None`.
    ///
    /// # Errors
    /// The catalog failed: it is unknown whether the row exists.
    async fn media(&self, id: MediaId) -> Result<Option<Media>, CatalogError>;

    /// Returns those of `keys` that have no media row, in their order.
    ///
    /// # Errors
    /// The catalog failed.
    async fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError>;

    /// Returns the first `limit` media rows by id, after the row `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn media_page(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<Media>, CatalogError>;

    /// Returns the first `limit` media rows by key, with keys above `after` and up to `upto`, where these are given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn media_by_key(
        &self,
        after: Option<MediaKey>,
        upto: Option<MediaKey>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError>;

    /// Records the facts of media rows that have none, in one transaction. Returns once that is durable. Rows that do not exist are
    /// left out.
    ///
    /// # Errors
    /// The rows are unchanged, unless the error is [`CatalogError::Indeterminate`]. It may be repeated in any case.
    async fn record_facts(&self, facts: &[(MediaId, PhotoFacts)]) -> Result<(), CatalogError>;

    /// Returns the first `limit` drafts by id, after the draft `after` if it is given. The rows of their photos are not
    /// checked.
    ///
    /// # Errors
    /// The catalog failed.
    async fn drafts_page(&self, after: Option<DraftId>, limit: usize) -> Result<Vec<DraftRow>, CatalogError>;

    /// Returns the first `limit` known sources by id, after the source `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError>;

    /// Forgets a source if `media` is the photo that was last made from it. The media row stays. A loss of power may
    /// restore the source.
    ///
    /// # Errors
    /// The catalog failed.
    async fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError>;

    /// Returns when the catalog was created. It cannot know photos that are older; another catalog may.
    ///
    /// # Errors
    /// The catalog failed.
    async fn created(&self) -> Result<SystemTime, CatalogError>;

    /// Checks whether a draft could be recorded now.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<(), CatalogError>;
}

/// The events of a catalog that are not delivered.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Returns at most `limit` events whose delivery is due at `now`, one for each subject: its first that is not delivered.
    /// No other caller gets them, and no later event of their subjects is due, before `lease` has passed. Their changes are durable.
    ///
    /// # Errors
    /// The catalog failed.
    async fn take_due_events(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<DueEvent>, CatalogError>;

    /// Removes an event that was delivered or given up. The next one of its subject is due.
    ///
    /// # Errors
    /// The catalog failed. The event may be delivered again.
    async fn finish_event(&self, row: &EventRow) -> Result<(), CatalogError>;

    /// Postpones the delivery of an event, and counts a failure if `is_failure`.
    ///
    /// # Errors
    /// The catalog failed. The event is due when its lease ends.
    async fn postpone_event(
        &self,
        row: &EventRow,
        until: Timestamp,
        is_failure: bool,
    ) -> Result<(), CatalogError>;

    /// Returns when the oldest event happened that is not delivered, if any.
    ///
    /// # Errors
    /// The catalog failed.
    async fn oldest_event(&self) -> Result<Option<Timestamp>, CatalogError>;
}

/// The resumable uploads of a catalog.
///
/// All changes are durable when their call returns: they survive a loss of power. A finished upload refers to its photo as a draft
/// does, so that [`Catalog::remove_media`] keeps the photo.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Records an upload, unless one with its id is recorded. Returns whether it did.
    ///
    /// # Errors
    /// Nothing was recorded, unless the error is [`CatalogError::Indeterminate`].
    async fn create_upload(&self, row: UploadRow) -> Result<bool, CatalogError>;

    /// Records a finished upload and its photo in one transaction, unless an upload with its id is recorded. `row` still
    /// receives; the recorded one is returned, or `None` if nothing was recorded.
    ///
    /// # Errors
    /// Nothing was recorded, unless the error is [`CatalogError::Indeterminate`].
    async fn record_upload(&self, row: UploadRow, photo: NewPhoto)
    -> Result<Option<UploadRow>, CatalogError>;

    /// Returns the upload with this id, or `None`.
    ///
    /// # Errors
    /// The catalog failed: it is unknown whether the upload exists.
    async fn upload(&self, id: UploadId) -> Result<Option<UploadRow>, CatalogError>;

    /// Changes an upload in one transaction, if `writer` is its writer and it still receives. Returns the changed row, or
    /// `None` if it was not changed. Returns once the change is durable. A claim need not be, if only one process uses the catalog:
    /// a crash ends its writer, too.
    ///
    /// # Errors
    /// The upload is unchanged, unless the error is [`CatalogError::Indeterminate`].
    async fn change_upload(
        &self,
        id: UploadId,
        writer: u64,
        change: UploadChange,
    ) -> Result<Option<UploadRow>, CatalogError>;

    /// Removes an upload in one transaction, if it expired at `before` or earlier, or whenever it expires for `None`. Returns
    /// whether it was removed. Its bytes stay.
    ///
    /// # Errors
    /// The upload is unchanged, unless the error is [`CatalogError::Indeterminate`].
    async fn remove_upload(&self, id: UploadId, before: Option<Timestamp>) -> Result<bool, CatalogError>;

    /// Returns at most `limit` uploads that expired at `before` or earlier, the oldest first.
    ///
    /// # Errors
    /// The catalog failed.
    async fn expired_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadId>, CatalogError>;

    /// Returns the first `limit` uploads by id, after the upload `after` if it is given.
    ///
    /// # Errors
    /// The catalog failed.
    async fn uploads_page(
        &self,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRow>, CatalogError>;
}
