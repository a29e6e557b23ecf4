//! Classifies PostgreSQL's errors.

use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::catalog::CatalogError;
use crate::error_chain::error_chain;

impl From<Error> for CatalogError {
    fn from(error: Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::DISK_FULL => {
                Self::Full(io::Error::new(io::ErrorKind::StorageFull, error))
            }
            Some(code) if is_damage(code) => Self::Corrupt(error_chain(&error)),
            _ => Self::Unavailable(error.into()),
        }
    }
}

/// Returns true for unreadable pages and for tables that differ from what the migrations create.
fn is_damage(code: &SqlState) -> bool {
    [
        SqlState::DATA_CORRUPTED,
        SqlState::INDEX_CORRUPTED,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::CHECK_VIOLATION,
    ]
    .contains(code)
}

/// Returns true if a transaction was aborted because of a concurrent one, so that a retry may succeed.
pub(super) fn is_conflict(error: &Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::T_R_SERIALIZATION_FAILURE) || code == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// Returns true if a transaction failed because the attempt that it records has a row already.
pub(super) fn is_repeated(error: &Error) -> bool {
    error.as_db_error().and_then(DbError::constraint) == Some("attempt_pkey")
}

/// Returns true if the database refused for a reason that waiting does not remove: wrong password, no such database,
/// no permission.
pub(super) fn is_refusal(error: &CatalogError) -> bool {
    let CatalogError::Unavailable(cause) = error else { return matches!(error, CatalogError::Corrupt(_)) };
    let refused =
        |code: &SqlState| ["28", "3D", "42", "0A"].iter().any(|class| code.code().starts_with(class));
    cause.downcast_ref::<Error>().and_then(Error::code).is_some_and(refused)
}

/// Returns true if an error in response to COMMIT proves that nothing was committed. A lost connection, or a server
/// that is shutting down, proves nothing.
pub(super) fn proves_rollback(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| ["23", "25", "40", "53"].iter().any(|class| code.code().starts_with(class)))
}

/// The error for a database that did not answer in time.
pub(super) fn silent() -> CatalogError {
    CatalogError::Unavailable("the database did not answer in time".into())
}
