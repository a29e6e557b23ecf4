//! `DATABASE_URL`: which catalog, and where it is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::catalog::PostgresUrl;

/// The database with drafts and media rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// Embedded, in this directory.
    Sled(PathBuf),
    /// On a server that several instances share.
    Postgres(Box<PostgresUrl>),
}

impl Database {
    /// Parses a value of `DATABASE_URL`, or returns `None` for any other text.
    pub(super) fn parse(value: &str) -> Option<Self> {
        match value.strip_prefix("sled:") {
            Some("") => None,
            Some(path) => Some(Self::Sled(PathBuf::from(path))),
            None => value.parse().ok().map(|url| Self::Postgres(Box::new(url))),
        }
    }

    /// Returns the directory of an embedded database, or `None` if the database is on a server.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Sled(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(path) => fmt::Display::fmt(&path.display(), f),
            Self::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}
