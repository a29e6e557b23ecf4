//! Buckets of Amazon S3, and of services with the same API.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::{BackoffConfig, CredentialProvider, RetryConfig};

use super::http::Connector;
use super::{BucketError, Connection};
use crate::tls;

/// How often a failed request is repeated, and until when. Both are well below the time that a client waits.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before the first repetition. The next is up to twice as long. Each is random.
const BACKOFF: Duration = Duration::from_millis(100);

/// The value of MEDIA_STORAGE, and the scheme of URLs that name objects.
pub(crate) const SERVICE: &str = "s3";

/// A bucket of S3 and the account that uses it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// An S3-compatible service, in whose path the bucket is named; `None` is Amazon's.
    pub endpoint: Option<String>,
    /// `None` is what the environment says, or `us-east-1`.
    pub region: Option<String>,
    /// The keys of the account; `None` is what the environment has: variables, a container's or a machine's role.
    pub keys: Option<S3Keys>,
    /// How long presigned links for clients are valid; zero: clients get none.
    pub presigned_for: Duration,
}

/// The access key and the secret key of an account, which may be replaced. Clones share them.
#[derive(Clone)]
pub struct S3Keys(Arc<RwLock<Arc<AwsCredential>>>);

impl S3Keys {
    /// Creates the keys of an account.
    pub(crate) fn new(access: String, secret: String) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(AwsCredential {
            key_id: access,
            secret_key: secret,
            token: None,
        }))))
    }

    /// Uses the keys that `newer` has for later requests, of all clones.
    pub(crate) fn replace(&self, newer: &Self) {
        let keys = newer.get();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn get(&self) -> Arc<AwsCredential> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PartialEq for S3Keys {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for S3Keys {}

impl std::fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("S3Keys")
    }
}

#[async_trait]
impl CredentialProvider for S3Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.get())
    }
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, endpoint, region, keys: _, presigned_for } = self;
        write!(f, "S3Settings({bucket} at {endpoint:?} in {region:?}, links for {presigned_for:?})")
    }
}

impl S3Settings {
    /// Builds a client. Sends no request.
    ///
    /// # Errors
    /// The settings contradict each other, or TLS cannot be set up.
    pub fn connect(&self) -> Result<Connection, BucketError> {
        let mut builder = match &self.keys {
            Some(keys) => AmazonS3Builder::new().with_credentials(Arc::new(keys.clone())),
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
            .build()
            .map_err(|source| BucketError::Settings { service: "S3", source })?;
        Ok(Connection {
            bucket: self.bucket.clone(),
            scheme: SERVICE,
            settings: "S3_BUCKET, S3_ENDPOINT_URL, S3_REGION",
            client: Arc::new(client),
            link_lifetime: self.presigned_for,
        })
    }
}
