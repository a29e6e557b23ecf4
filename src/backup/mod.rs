//! Export, import, check and copy of catalog and photos, and backups made of these. An export and a check may run beside requests.
//!
//! This room knows the traits of catalog and store, and no implementation of them. An incomplete export is not imported, a
//! row is never replaced by another one, and nothing here deletes a photo or a draft.

mod copy;
mod export;
mod format;
mod fsck;
mod import;
mod pages;
mod photo;
mod photos;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use self::copy::{Copied, copy};
pub(crate) use self::export::{Assembler, export, stream};
pub(crate) use self::format::{Counts, MAX_LINE_BYTES, Malformed, Writer};
pub(crate) use self::fsck::{Checks, Finding, Outcome, Summary, fsck};
pub(crate) use self::import::{import, verify};
pub(crate) use self::pages::{Rows, is_empty, read_all};
pub(crate) use self::photos::{copy_named, keys, not_among, remove_others};

use crate::catalog::{CatalogError, RestoreError};
use crate::media::MediaError;
use crate::partial::PartialError;

/// Why a command failed. Causes are sources.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The media store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The store of unfinished uploads failed.
    #[error(transparent)]
    Uploads(#[from] PartialError),
    /// The export cannot be imported.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The export cannot be read.
    #[error("the export cannot be read")]
    Read(#[source] std::io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Write(#[source] std::io::Error),
    /// The catalog has another row in the place of one of the export.
    #[error("the export is not of this catalog: {0}")]
    Conflict(String),
    /// An import into the catalog did not end.
    #[error("the catalog is incomplete, because an import into it did not end: run that import again")]
    Partial,
}

impl From<RestoreError> for BackupError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Conflict(row) => Self::Conflict(row),
            RestoreError::Catalog(error) => error.into(),
        }
    }
}
