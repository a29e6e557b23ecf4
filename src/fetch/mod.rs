//! Fetches photos by URL, for clients that choose the URLs. A URL must not reach what only this server can reach.
//!
//! Each hop, the first and those of redirects, is judged twice: its origin by FETCH_ALLOW, from the text of the URL, and then
//! its addresses, after they were resolved. The connection goes to an address that was judged. The client learns
//! whether the text of a URL was refused. Of everything after that it learns only that it failed.

mod hop;
mod origins;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING,
};
use hyper::{Response, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Url;

use self::hop::{Answer, Cause, Network};
pub(crate) use self::origins::AllowedOrigins;
use self::origins::Trust;
use crate::error_chain::error_chain;
use crate::global_address::is_global;
use crate::outbound::SystemResolver;
use crate::telemetry::metrics::{Counter, Metrics, Unit};
use crate::tls::{self, TlsError};

/// Longest URL in bytes.
const MAX_URL_BYTES: usize = 4096;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// Longest time to connect to one server: the name, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one URL, to the last byte of its photo.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a photo was not fetched. The texts are for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The text is no URL.
    #[error("The URL is not an absolute URL of at most {MAX_URL_BYTES} bytes.")]
    NotAUrl,
    /// The URL has credentials.
    #[error("The URL has a user name or a password. Use a URL without.")]
    Credentials,
    /// The origin is not in the list.
    #[error("This server does not fetch from this scheme, host and port (FETCH_ALLOW).")]
    Origin,
    /// Anything else. One text for all, so that a client cannot probe the server's network.
    #[error(
        "The URL could not be fetched: within 60 seconds and 3 redirects it must answer 200 with the bytes of a photo, \
         from the public internet."
    )]
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Fetches photos.
pub(crate) struct Fetcher {
    allowed: AllowedOrigins,
    network: Network,
    timeout: Duration,
    fetches: Family<OutcomeLabels, Counter>,
}

impl Fetcher {
    /// Creates a fetcher of these origins.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(allowed: AllowedOrigins) -> Result<Self, TlsError> {
        let tls = TlsConnector::from(Arc::new(tls::client()?));
        let resolver = Arc::new(SystemResolver::default());
        let network = Network { resolver, is_public: is_global, tls, connect_timeout: CONNECT_TIMEOUT };
        Ok(Self { allowed, network, timeout: TIMEOUT, fetches: Family::default() })
    }

    /// Registers the metric of fetches.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let help = "URLs fetched, by outcome: fetched, refused, abandoned, or why it failed";
        metrics.register("fetches", Unit::Of("URLs"), help, self.fetches.clone());
    }

    /// Sends the request for a photo, and returns it when its bytes begin to arrive.
    ///
    /// # Errors
    /// See [`FetchError`]. The cause is logged.
    pub(crate) async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let mut outcome =
            Outcome { fetches: self.fetches.clone(), label: "abandoned", origin: String::new() };
        let deadline = Instant::now() + self.timeout;
        let (url, trust) = self.judge(url, None).inspect_err(|_| outcome.label = "refused")?;
        outcome.origin = url.origin().ascii_serialization();
        let following = timeout_at(deadline, self.follow(url, trust));
        match following.await.unwrap_or(Err(Cause::Slow)) {
            Ok(Answer { response, connection }) => {
                let declared = length(response.headers());
                let body = response.into_body();
                Ok(Fetched { body, declared, deadline, outcome, _connection: connection })
            }
            Err(cause) => Err(outcome.failed(&cause)),
        }
    }

    /// Reads a URL, and judges its origin.
    fn judge(&self, text: &str, base: Option<&Url>) -> Result<(Url, Trust), FetchError> {
        if text.len() > MAX_URL_BYTES {
            return Err(FetchError::NotAUrl);
        }
        let url = Url::options().base_url(base).parse(text).map_err(|_| FetchError::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Credentials);
        }
        let trust = self.allowed.trust(&url).ok_or(FetchError::Origin)?;
        Ok((url, trust))
    }

    /// Follows redirects to an answer with bytes.
    async fn follow(&self, mut url: Url, mut trust: Trust) -> Result<Answer, Cause> {
        let mut redirects = 0;
        loop {
            let answer = self.network.get(&url, trust).await?;
            let status = answer.response.status();
            if !is_redirect(status) {
                return check(&answer.response).map(|()| answer);
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(Cause::Redirect);
            }
            let location = answer.response.headers().get(LOCATION).map(HeaderValue::as_bytes);
            // Some servers send UTF-8, which the parser of URLs encodes.
            let location =
                location.and_then(|location| str::from_utf8(location).ok()).ok_or(Cause::Redirect)?;
            (url, trust) = self.judge(location, Some(&url)).map_err(|_| Cause::Redirect)?;
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Checks that the answer is a whole file, as it is.
fn check(response: &Response<Incoming>) -> Result<(), Cause> {
    if response.status() != StatusCode::OK {
        return Err(Cause::Status(response.status()));
    }
    let has_only = |name: HeaderName, coding: &str| {
        let mut values = response.headers().get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(coding.as_bytes()))
    };
    if has_only(CONTENT_ENCODING, "identity") && has_only(TRANSFER_ENCODING, "chunked") {
        Ok(())
    } else {
        Err(Cause::Encoded)
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The bytes of a photo as they arrive. Dropping it ends the connection.
pub(crate) struct Fetched {
    body: Incoming,
    declared: Option<u64>,
    deadline: Instant,
    outcome: Outcome,
    _connection: JoinSet<()>,
}

impl Fetched {
    /// The length that the server declared.
    pub(crate) fn declared_bytes(&self) -> Option<u64> {
        self.declared
    }

    /// Returns the next bytes, at least one, or `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or the time is over.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = match timeout_at(self.deadline, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(self.outcome.failed(&Cause::Broken(error.into()))),
                Ok(None) => {
                    self.outcome.label = "fetched";
                    return Ok(None);
                }
                Err(_) => return Err(self.outcome.failed(&Cause::Slow)),
            };
            // Trailers are no data.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
    }
}

/// Counts a fetch when it ends.
struct Outcome {
    fetches: Family<OutcomeLabels, Counter>,
    label: &'static str,
    origin: String,
}

impl Outcome {
    /// Logs the cause, and returns what clients get in its place.
    fn failed(&mut self, cause: &Cause) -> FetchError {
        self.label = cause.outcome();
        // A path or a query may have secrets.
        tracing::info!(origin = self.origin, cause = %error_chain(cause), "a URL was not fetched");
        FetchError::Failed
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.fetches.get_or_create(&OutcomeLabels { outcome: self.label }).inc();
    }
}

#[cfg(test)]
mod tests;
