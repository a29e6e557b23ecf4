//! Settings: one table of rows, from which parser, `--help`, `check-config` and the documents come.
//!
//! To add a setting, add a row to `table.rs` and run `make docs`. All errors of a start are reported together. Nothing outside
//! this module reads the environment.

mod address;
mod buckets;
mod combine;
mod database;
mod docs;
mod dotenv;
mod kind;
mod near;
mod parse;
mod process;
mod provider;
mod reload;
mod row;
mod secret;
mod source;
mod storage;
mod table;
mod webhook;

use std::fmt;

use self::row::Reader;
use self::table::Parsed;

use crate::budget::Budget;
use crate::imaging::Recipe;

pub use self::address::StoreAddress;
pub use self::database::Database;
pub(crate) use self::docs::help;
pub use self::provider::{KeySource, ProviderSettings};
pub use self::reload::{Changes, Reloaded};
pub use self::row::Setting;
pub use self::source::{NearMiss, Source};
pub use self::storage::MediaStorage;
pub use self::table::{SETTINGS, Settings};
pub use self::webhook::WebhookSettings;

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

impl Settings {
    /// Parses every setting.
    ///
    /// # Errors
    /// All values that are not accepted, in the order of the table.
    pub fn load(source: &Source) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(source);
        let parsed = Parsed::read(&mut reader);
        let combined = combine::combine(&parsed, &mut reader);
        reader.finish(combined.and_then(|combined| parsed.with(combined)), SETTINGS)
    }

    /// Returns whether the key that signs tokens is public: the default, or a placeholder.
    pub fn has_public_secret_key(&self) -> bool {
        secret::is_placeholder(&self.secret_key)
    }

    /// Returns how photos are made.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            max_dim: self.max_dim_px,
            quality: self.jpeg_quality,
            effort: self.jpeg_effort,
            max_pixels: self.max_pixels,
            memory: Budget::new(self.memory_budget_bytes).images,
            keep_exif: !self.strip_gps,
            timeout: self.image_timeout,
            processor_time: self.image_processor_time,
        }
    }

    /// Returns the largest size of a request body: every photo at its cap, plus [`FORM_OVERHEAD_BYTES`].
    pub fn max_body_bytes(&self) -> u64 {
        self.max_file_bytes * self.max_uploads_per_request as u64 + FORM_OVERHEAD_BYTES
    }
}

/// Bytes for part headers, the title and other fields in addition to the photos.
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
