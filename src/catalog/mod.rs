//! Where media rows and drafts are recorded, behind a trait.
//!
//! This room knows rows, not files. Its [`create_draft`](Catalog::create_draft) is the commit point of an upload: before
//! it nothing was promised, after it nothing may be lost. Every implementation passes the one suite in `conformance`.

#[cfg(test)]
mod conformance;
mod postgres;
mod restorable;
mod rows;
mod sled;

use std::time::SystemTime;

use async_trait::async_trait;

pub use self::postgres::{InvalidPostgresUrl, PostgresCatalog, PostgresUrl, Schema};
pub use self::restorable::{Restorable, Restore, RestoreError, State};
pub use self::rows::{DraftRow, Row, SourceRow};
pub use self::sled::{Salvage, SalvageReport, SledCatalog};
use crate::blocking::BlockingError;
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, SourceId, UserId};

/// Why the catalog could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No space is left; deleting something else may help.
    #[error("the catalog's disk is full")]
    Full(#[source] std::io::Error),
    /// The catalog does not answer; trying again later may help.
    #[error("the catalog is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has room for one process, and another one is in it.
    #[error("the catalog is in use by another process")]
    InUse,
    /// Recording failed half-way: whether the draft is there will be known when the catalog works again. What it refers
    /// to must be kept.
    #[error("the catalog failed while it recorded a draft")]
    Indeterminate(#[source] Box<CatalogError>),
    /// A row cannot be read as what it should be.
    #[error("the catalog is corrupt: {0}")]
    Corrupt(String),
}

impl From<BlockingError> for CatalogError {
    fn from(error: BlockingError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// A stored photo that a new draft refers to.
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
    /// What it was made of.
    pub source: SourceId,
}

/// A draft to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDraft {
    /// The title, possibly empty.
    pub title: String,
    /// The photos in order; the same photo may occur more than once.
    pub photos: Vec<NewPhoto>,
    /// Whose it will be; `None` is nobody's.
    pub owner: Option<UserId>,
}

/// A source that is known by a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSource {
    /// The source.
    pub source: SourceId,
    /// The id of the photo that was last made of it.
    pub media_id: MediaId,
    /// Its row; `None` if it is gone.
    pub media: Option<Media>,
}

/// Locks on media keys, released on drop.
pub trait KeyLock: Send + Sync {
    /// Returns false if the database connection that holds the locks was lost.
    fn is_valid(&self) -> bool;
}

/// The record of media and drafts.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Records a draft and those of its media that have no row yet, in one transaction, and returns once it is durable:
    /// it survives the loss of power from then on.
    ///
    /// Equal keys share one media row, however often, however concurrently and by whomever they are recorded; its owner is
    /// that of the first draft with it. Ids start at 1 and are never used twice.
    ///
    /// In the same transaction each photo's source is remembered for [`media_of_source`](Self::media_of_source); where the
    /// source was known before, the new photo takes the place of the old one.
    ///
    /// # Errors
    /// Nothing was recorded, unless the error is [`CatalogError::Indeterminate`].
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, CatalogError>;

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

    /// The draft with this id; `None` if there is none.
    ///
    /// # Errors
    /// The catalog failed: it is not known whether the draft exists.
    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError>;

    /// The media that was last recorded as made of `source`; `None` if there is none, as after its row was removed.
    ///
    /// A source is known once a draft with it is recorded, and never for a draft that failed. The row says what was stored
    /// then: whether the file is still there is for the caller to ask.
    ///
    /// # Errors
    /// The catalog failed: it is not known whether the source is known.
    async fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError>;

    /// Those of `keys` that no media row has, in their order.
    ///
    /// # Errors
    /// The catalog failed.
    async fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError>;

    /// The first `limit` media rows by id, or the first of those after `after`.
    ///
    /// # Errors
    /// The catalog failed.
    async fn media_page(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<Media>, CatalogError>;

    /// The first `limit` drafts by id, or the first of those after `after`, as they are recorded: whether their photos have
    /// rows is not looked at.
    ///
    /// # Errors
    /// The catalog failed.
    async fn drafts_page(&self, after: Option<DraftId>, limit: usize) -> Result<Vec<DraftRow>, CatalogError>;

    /// The first `limit` known sources in the order of their ids, or the first of those after `after`.
    ///
    /// # Errors
    /// The catalog failed.
    async fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError>;

    /// Forgets a source if it is still known by this photo. The photo and its row stay. A loss of power may bring it back.
    ///
    /// # Errors
    /// The catalog failed.
    async fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError>;

    /// When the catalog was created. What is older cannot have been recorded in it, and may be in another one.
    ///
    /// # Errors
    /// The catalog failed.
    async fn created(&self) -> Result<SystemTime, CatalogError>;

    /// Whether a draft could be recorded now.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<(), CatalogError>;
}
