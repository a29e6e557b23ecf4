//! Errors of sled.

use std::io;

use crate::catalog::CatalogError;

impl From<sled::Error> for CatalogError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(_) => io_error(error).into(),
            sled::Error::Corruption { .. } => Self::Corrupt("a page of it cannot be read".into()),
            other => Self::Corrupt(io_error(other).to_string()),
        }
    }
}

/// Converts sled's error to an I/O error without sled's text, which is meant for sled's developers and goes to the
/// debug log.
pub(super) fn io_error(error: sled::Error) -> io::Error {
    tracing::debug!(%error, "the embedded catalog failed");
    match error {
        sled::Error::Io(error) if error.raw_os_error().is_some() => error,
        sled::Error::Io(error) if error.kind() != io::ErrorKind::Other => error.kind().into(),
        sled::Error::Io(_) => io::Error::other("its files cannot be used"),
        _ => io::Error::other("its files are not what this version writes"),
    }
}
