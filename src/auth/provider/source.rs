//! Where the keys of a provider come from: a URL, or a file.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::keys::{InvalidSet, KeySet, MAX_SET_BYTES};
use crate::blocking::{BlockingError, blocking};
use crate::config::KeySource;
use crate::error_chain::error_chain;
use crate::outbound::OWN_NAME;
use crate::tls::{self, TlsError};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The provider answered with another status than 200. Redirects are not followed.
    #[error("the provider answered {0}")]
    Refused(StatusCode),
    /// The provider did not answer in time.
    #[error("the provider did not answer within {} s", FETCH_TIMEOUT.as_secs())]
    Silent,
    /// The provider cannot be reached, or its answer broke off or is too long.
    #[error("the provider cannot be reached, or its answer is longer than {MAX_SET_BYTES} bytes: {0}")]
    Unreachable(String),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    File(#[from] io::Error),
    /// What came is not a set of keys.
    #[error("the set of keys is not used: {0}")]
    Set(#[from] InvalidSet),
}

impl From<BlockingError> for KeysError {
    fn from(error: BlockingError) -> Self {
        Self::File(io::Error::other(error))
    }
}

type KeyClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Reads the keys.
pub(super) enum Source {
    Url(Uri, Box<KeyClient>),
    File(PathBuf),
}

impl Source {
    pub(super) fn new(source: &KeySource) -> Result<Self, TlsError> {
        Ok(match source {
            KeySource::File(path) => Self::File(path.clone()),
            KeySource::Url(url) => {
                // The settings decided whether the URL may have http. An operator's provider may be in a private network.
                let connector = tls::connector(HttpConnector::new(), tls::client()?, CONNECT_TIMEOUT);
                // A fetch an hour keeps no connection.
                let client = Client::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .pool_max_idle_per_host(0)
                    .build(connector);
                Self::Url(url.clone(), Box::new(client))
            }
        })
    }

    /// Reads the keys once.
    pub(super) async fn load(&self) -> Result<KeySet, KeysError> {
        let bytes = match self {
            Self::Url(url, client) => {
                timeout(FETCH_TIMEOUT, fetch(url, client)).await.map_err(|_| KeysError::Silent)??
            }
            Self::File(path) => {
                let path = path.clone();
                blocking(move || Ok::<_, KeysError>(read(&path)?)).await?
            }
        };
        Ok(KeySet::parse(&bytes)?)
    }
}

async fn fetch(url: &Uri, client: &KeyClient) -> Result<Vec<u8>, KeysError> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| KeysError::Unreachable(error_chain(error));
    let request = Request::get(url.clone())
        .header(USER_AGENT, OWN_NAME)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::new())
        .map_err(|error| unreachable(&error))?;
    let answer = client.request(request).await.map_err(|error| unreachable(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(KeysError::Refused(answer.status()));
    }
    let body = Limited::new(answer.into_body(), MAX_SET_BYTES).collect().await;
    Ok(body.map_err(|error| unreachable(&*error))?.to_bytes().to_vec())
}

/// Reads the file, or one byte more than a set may have.
fn read(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_SET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
