//! Reads sled's files without writing to them: to verify a catalog before sled opens it, and to salvage a damaged one.
//!
//! sled repairs files while it opens them: it cuts its log at the first message that it cannot read, and overwrites
//! the rest with zeros. That is right after a crash and wrong after damage, and sled cannot tell the two apart. This
//! module can, because it compares the log with what was acknowledged. It reads the format of sled 0.34.7, the
//! version that `Cargo.toml` pins:
//!
//! - `db` is a log in slots of 512 KiB. A slot holds one segment: a header with the segment's position in the log,
//!   then messages, each with a checksum. A slot whose pages were all rewritten elsewhere is reused for a later
//!   segment.
//! - A message is a new version of a page, or a change (link) to the page's last version. The pages of a tree are
//!   linked.
//! - `snap.<position>` lists, for every page, where its messages are, as of the last time that sled opened the
//!   directory.
//! - `blobs/<position>` are messages that are too long for the log. `conf` has the parameters of the format.

mod codec;
mod files;
mod replay;
mod salvage;
mod verify;

#[cfg(test)]
mod tests;

pub(super) use self::files::DB_FILE;
pub use self::salvage::{Salvage, SalvageReport};
pub(super) use self::verify::{Found, remove_unfinished, verify};
use crate::catalog::CatalogError;

fn damaged(what: impl Into<String>) -> CatalogError {
    CatalogError::Corrupt(what.into())
}
