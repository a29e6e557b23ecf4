//! The services whose buckets the store can use.

use super::s3::{self, S3Keys, S3Settings};
use super::{BucketError, Connection};

/// A bucket of one of the services, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketSettings {
    /// Amazon S3, or a service with the same API.
    S3(S3Settings),
}

impl BucketSettings {
    /// Returns the name of the service, as `MEDIA_STORAGE` names it.
    pub fn service(&self) -> &'static str {
        match self {
            Self::S3(_) => s3::SERVICE,
        }
    }

    /// Returns the name of the bucket.
    pub fn name(&self) -> &str {
        match self {
            Self::S3(settings) => &settings.bucket,
        }
    }

    /// Returns the keys of the account, if the settings have any.
    pub(crate) fn keys(&self) -> Option<&S3Keys> {
        match self {
            Self::S3(settings) => settings.keys.as_ref(),
        }
    }

    /// Returns settings that reach another bucket of the service with the same account.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        match self {
            Self::S3(settings) => Self::S3(S3Settings { bucket: name.to_owned(), ..settings }),
        }
    }

    /// Builds a client. Sends no request.
    ///
    /// # Errors
    /// The settings contradict each other, or TLS cannot be set up.
    pub fn connect(&self) -> Result<Connection, BucketError> {
        match self {
            Self::S3(settings) => settings.connect(),
        }
    }
}
