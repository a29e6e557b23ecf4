//! Which bucket, where, and on whose account.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{BackoffConfig, RetryConfig};

use super::http::Connector;
use crate::tls::{self, TlsError};

/// What does not work may be tried so often again, and not any more after this time. Both well below the patience of a
/// client.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Rest before the first repetition; the next is up to twice as long. Each is drawn at random.
const BACKOFF: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// An S3-compatible service, in whose path the bucket is named; `None` is Amazon's.
    pub endpoint: Option<String>,
    /// `None` is what the environment says, or `us-east-1`.
    pub region: Option<String>,
    /// Access key and secret key; `None` is what the environment has: variables, a container's or a machine's role.
    pub keys: Option<(String, String)>,
    /// How long the links work that clients are sent to; zero sends none.
    pub presigned_for: Duration,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, endpoint, region, keys: _, presigned_for } = self;
        write!(f, "S3Settings({bucket} at {endpoint:?} in {region:?}, links for {presigned_for:?})")
    }
}

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3StartError {
    /// The service says so.
    #[error(
        "the bucket {bucket} cannot be used: {reason}. Check S3_BUCKET, S3_ENDPOINT_URL, S3_REGION and the keys, which must be allowed to list, get, put and delete"
    )]
    Refused {
        /// Its name.
        bucket: String,
        /// What the service says.
        reason: String,
    },
    /// The settings do not fit together.
    #[error("the settings of S3 cannot be used: {0}")]
    Settings(#[from] object_store::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl S3Settings {
    pub(super) fn client(&self) -> Result<AmazonS3, S3StartError> {
        let mut builder = match &self.keys {
            Some((access, secret)) => {
                AmazonS3Builder::new().with_access_key_id(access).with_secret_access_key(secret)
            }
            None => AmazonS3Builder::from_env(),
        };
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        builder = match &self.endpoint {
            Some(endpoint) => {
                builder.with_endpoint(endpoint).with_allow_http(true).with_virtual_hosted_style_request(false)
            }
            // A certificate covers one label in front of Amazon's own names.
            None => builder.with_virtual_hosted_style_request(!self.bucket.contains('.')),
        };
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: BACKOFF, ..Default::default() },
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        };
        let client = builder
            .with_bucket_name(&self.bucket)
            .with_retry(retry)
            .with_disable_bulk_delete(true)
            .with_http_connector(Connector::new(tls::client()?))
            .build()?;
        Ok(client)
    }
}
