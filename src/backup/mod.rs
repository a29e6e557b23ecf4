//! What an operator does to catalog and photos while no server runs: save, restore, check.
//!
//! This room knows the traits of catalog and media store, and no implementation of them. It refuses to guess: an export that
//! is not whole is not imported, a row is never replaced by another, and nothing here deletes a photo or a draft.

mod copy;
mod export;
mod format;
mod fsck;
mod import;
mod pages;
mod photo;
#[cfg(test)]
mod tests;

pub use self::copy::{Copied, copy};
pub use self::export::export;
pub use self::format::{Counts, Malformed, Writer};
pub use self::fsck::{Checks, Finding, Outcome, Summary, fsck};
pub use self::import::{import, verify};
pub use self::pages::{is_empty, read_all};

use crate::catalog::{CatalogError, RestoreError};
use crate::media::MediaError;

/// Why a command did not come to its end. Causes are sources.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The export is not one that can be imported.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The export cannot be read.
    #[error("the export cannot be read")]
    Read(#[source] std::io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Write(#[source] std::io::Error),
    /// The catalog holds another row in the place of one that is to be imported.
    #[error("the export is not of this catalog: {0}")]
    Conflict(String),
    /// Only a part of it was imported.
    #[error("the catalog is incomplete, because an import into it did not end: run that import again")]
    Partial,
}

impl From<RestoreError> for CustodyError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Conflict(row) => Self::Conflict(row),
            RestoreError::Catalog(error) => error.into(),
        }
    }
}
