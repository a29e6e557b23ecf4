//! Settings: one table of rows, from which parser, `--help`, `check-config` and the documents come.
//!
//! To add a setting, add a row to `table.rs` and run `make docs`. All errors of a start are reported together. Nothing outside
//! this module reads the environment.

mod combine;
mod docs;
mod dotenv;
mod kind;
mod near;
mod parse;
mod place;
mod row;
mod secret;
mod source;
mod table;

use std::fmt;
use std::path::PathBuf;

use self::row::Reader;
use self::table::Parsed;
use crate::catalog::PostgresUrl;
use crate::media::s3::S3Settings;

pub(crate) use self::docs::help;
pub use self::place::Place;
pub use self::row::Setting;
pub use self::source::{NearMiss, Source};
pub use self::table::{SETTINGS, Settings};

/// Development or production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Env {
    /// Readable logs. The default secret is accepted unless tokens are required.
    Dev,
    /// JSON logs. A secret has 32 bytes or more.
    Prod,
}

/// Origins that a browser may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// `*`: any origin, without credentials.
    Any,
    /// These origins, with credentials.
    Exact(Vec<String>),
}

/// The database with drafts and media rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// Embedded, in this directory.
    Sled(PathBuf),
    /// On a server that several instances share.
    Postgres(Box<PostgresUrl>),
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(path) => fmt::Display::fmt(&path.display(), f),
            Self::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}

/// The store of photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaStorage {
    /// In a directory, `MEDIA_ROOT`.
    Local,
    /// In a bucket.
    S3(S3Settings),
}

impl MediaStorage {
    /// Returns the value of `MEDIA_STORAGE` for this store.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3(_) => "s3",
        }
    }
}

impl Settings {
    /// Parses every setting.
    ///
    /// # Errors
    /// All values that are not accepted, in the order of the table.
    pub fn load(source: &Source) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(source);
        let parsed = Parsed::read(&mut reader);
        let combined = combine::combine(&parsed, &mut reader);
        reader.finish(combined.and_then(|combined| parsed.with(combined)))
    }

    /// Returns whether the key that signs tokens is public: the default, or a placeholder.
    pub fn has_public_secret_key(&self) -> bool {
        secret::is_placeholder(&self.secret_key)
    }

    /// Returns the largest size of a request body: every photo at its cap, plus [`FORM_OVERHEAD_BYTES`].
    pub fn max_body_bytes(&self) -> u64 {
        self.max_file_bytes * self.max_uploads_per_request as u64 + FORM_OVERHEAD_BYTES
    }
}

/// Bytes for part headers, the title and other fields beside the photos.
pub const FORM_OVERHEAD_BYTES: u64 = 1 << 20;

/// A setting whose value is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    name: &'static str,
    value: String,
    accepts: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} is not valid: accepted is {}", self.name, self.value, self.accepts)
    }
}

/// All settings whose values are not accepted, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<SettingError>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests;
