//! The receiver of events: an HTTP server of the operator's, which may hang, redirect or lie.
//!
//! A delivery has a deadline and reads little of the answer. Redirects are not followed. A host name must resolve to addresses on
//! the public internet; an address in a private network is used only if the URL itself names it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::signature::SigningSecret;
use crate::error_chain::error_chain;
use crate::global_address::is_global;
use crate::model::Timestamp;
use crate::outbound::{OWN_NAME, SystemResolver, allowed_addresses};
use crate::tls::{self, TlsError};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of a delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait that a receiver can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    /// The URL.
    pub(crate) url: Uri,
    /// The key that signs deliveries.
    pub(crate) secret: SigningSecret,
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the receiver answered {0}")]
    Refused(StatusCode, Option<Duration>),
    #[error("the receiver did not answer in time")]
    Silent,
    #[error("the receiver cannot be reached: {0}")]
    Unreachable(String),
}

impl DeliveryError {
    /// Returns how long the receiver asks to wait.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(_, Some(wait)) => (*wait).min(LONGEST_RETRY_AFTER),
            _ => Duration::ZERO,
        }
    }
}

/// Sends deliveries.
pub(super) struct Receiver {
    url: Uri,
    secret: RwLock<SigningSecret>,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

impl Receiver {
    pub(super) fn new(webhook: Webhook) -> Result<Self, TlsError> {
        let tcp = HttpConnector::new_with_resolver(Resolver::default());
        let connector = tls::connector(tcp, tls::client()?, CONNECT_TIMEOUT);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Self { url: webhook.url, secret: RwLock::new(webhook.secret), client })
    }

    /// Signs later deliveries with `secret`.
    pub(super) fn replace_secret(&self, secret: SigningSecret) {
        *self.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        self.secret.read().unwrap_or_else(PoisonError::into_inner).sign(id, timestamp, body)
    }

    /// Delivers `body` as the message `id`.
    pub(super) async fn deliver(&self, id: &str, body: Bytes) -> Result<(), DeliveryError> {
        let timestamp = Timestamp::now().millis() / 1000;
        let signature = self.sign(id, timestamp, &body);
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, OWN_NAME)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(body));
        let request = request.map_err(|error| DeliveryError::Unreachable(error.to_string()))?;
        match timeout(DELIVERY_TIMEOUT, self.client.request(request)).await {
            Err(_) => Err(DeliveryError::Silent),
            Ok(Err(error)) => Err(DeliveryError::Unreachable(error_chain(&error))),
            // The body of the answer is not read: dropping it closes the connection if it is long.
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(DeliveryError::Refused(answer.status(), retry_after(answer.headers()))),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// Resolves host names, and leaves out addresses that are not on the public internet. A URL with an address is not resolved: a
/// private one must be in WEBHOOK_URL itself.
#[derive(Debug, Clone, Default)]
struct Resolver(SystemResolver);

type Addresses = std::vec::IntoIter<SocketAddr>;

impl tower::Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move {
            // The name of this machine says what it is, as an address does.
            let is_own = name.as_str().eq_ignore_ascii_case("localhost");
            let is_allowed = |address: IpAddr| is_global(address) || is_own && address.is_loopback();
            let allowed = allowed_addresses(&resolver, name.as_str(), is_allowed).await;
            let allowed: Vec<_> =
                allowed.map_err(io::Error::other)?.into_iter().map(|ip| (ip, 0).into()).collect();
            Ok(allowed.into_iter())
        })
    }
}
