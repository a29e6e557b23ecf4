//! What the operator's commands ask of a catalog beside what serving asks: all that is in it, and to record it again.

use async_trait::async_trait;

use super::{Catalog, CatalogError, Row};
use crate::model::{Media, MediaKey};

/// What a catalog knows of itself beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The id that the next media row gets.
    pub next_media_id: u64,
    /// The id that the next draft gets.
    pub next_draft_id: u64,
    /// Whether restoring an empty catalog was begun and not ended: rows are missing, and it should not serve.
    pub is_partial: bool,
}

/// A step of restoring: the first, any number of the second, the last.
#[derive(Debug, Clone, PartialEq)]
pub enum Restore {
    /// Raises the counters to at least these values. A catalog without media and drafts is partial from here on.
    Begin {
        /// The id that the next media row gets.
        next_media_id: u64,
        /// The id that the next draft gets.
        next_draft_id: u64,
    },
    /// Records rows with the ids that they have.
    Rows(Vec<Row>),
    /// The catalog is not partial any more.
    End,
}

/// Why a step of restoring was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The catalog holds something else in a row's place. The text names the row.
    #[error("{0}")]
    Conflict(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A catalog whose operator can save, check and restore it. Nobody else uses the catalog meanwhile.
#[async_trait]
pub trait Restorable: Catalog {
    /// Counters and marks. Those of an empty catalog are 1, 1 and not partial.
    ///
    /// # Errors
    /// The catalog failed.
    async fn state(&self) -> Result<State, CatalogError>;

    /// The media row that an upload of the photo with this key would share; `None` if it would get a new one.
    ///
    /// # Errors
    /// The catalog failed, or what leads from the key to its row leads nowhere.
    async fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError>;

    /// Takes one step, in one transaction, and returns once it is durable.
    ///
    /// Every step may be repeated: a row that is there as it should be stays as it is (and is found under its key again, if
    /// it was not), and a counter never sinks. After any step the counters are above all ids in it. Rows are recorded as they
    /// are, even if what they refer to has no row.
    ///
    /// # Errors
    /// Nothing of this step was recorded, unless the error is [`CatalogError::Indeterminate`]; then it may be repeated.
    async fn restore(&self, step: Restore) -> Result<(), RestoreError>;
}
