//! How requests to the bucket travel: over hyper, with a limit on every wait.
//!
//! What is refused for good is told from what may work in a moment here, where status and code are still in sight: only
//! the latter is tried again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as Connects, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tokio::time::{Sleep, sleep, timeout};

/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the head of an answer, beside what sending takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Slowest line over which a photo still gets through, in bytes a millisecond.
const SLOWEST: u64 = 64;
/// Longest silence inside of an answer.
const SILENCE: Duration = Duration::from_secs(5);
/// Connections that are kept for later, and for how long. Services close them after about twice that time.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest error document that is read.
const ERROR_BYTES: usize = 16 * 1024;

/// An answer that no repetition will change.
#[derive(Debug, thiserror::Error)]
#[error("the bucket's service refuses with {status}{}", .code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// S3's name for the reason. The answer to a HEAD has none.
    pub(super) code: Option<String>,
}

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("the bucket's service is silent")]
struct Silent;

type Pool = Client<HttpsConnector<HttpConnector>, HttpRequestBody>;

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connector(Arc<rustls::ClientConfig>);

impl Connector {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        Self(Arc::new(tls))
    }
}

impl Connects for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config((*self.0).clone());
        let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
        let pool = Mutex::new(pool(&connector));
        Ok(HttpClient::new(Requests { connector, pool }))
    }
}

fn pool(connector: &HttpsConnector<HttpConnector>) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector.clone())
}

#[derive(Debug)]
struct Requests {
    connector: HttpsConnector<HttpConnector>,
    pool: Mutex<Pool>,
}

impl Requests {
    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpService for Requests {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sending = Duration::from_millis(request.body().content_length() as u64 / SLOWEST);
        let sent = self.pool().request(request);
        let response = match timeout(ANSWER_TIMEOUT + sending, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                return Err(HttpError::new(HttpErrorKind::Connect, error));
            }
            Ok(Err(error)) => return Err(HttpError::new(HttpErrorKind::Interrupted, error)),
            Err(_) => {
                // What else lies in the pool leads to the same silence.
                *self.pool() = pool(&self.connector);
                return Err(HttpError::new(HttpErrorKind::Timeout, Silent));
            }
        };
        let response = response.map(|body| Audible { body, silence: None });
        if response.status().is_success() {
            return Ok(response.map(HttpResponseBody::new));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ERROR_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match refusal(head.status, &body) {
            Some(refusal) => Err(HttpError::new(HttpErrorKind::Unknown, refusal)),
            None => Ok(HttpResponse::from_parts(head, body.into())),
        }
    }
}

/// Whether an error is final, and not only the absence of one object.
fn refusal(status: StatusCode, body: &[u8]) -> Option<Refusal> {
    let code = code(body);
    let is_final = match status {
        StatusCode::NOT_FOUND => code.as_deref() == Some("NoSuchBucket"),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => false,
        StatusCode::INSUFFICIENT_STORAGE => true,
        _ => !status.is_server_error(),
    };
    is_final.then_some(Refusal { status, code })
}

/// The code in an error document: a plain word, or it is none.
fn code(body: &[u8]) -> Option<String> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}

/// A body that fails when nothing comes for too long. The time in which nobody asks for more does not count.
struct Audible {
    body: Incoming,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Body for Audible {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, Silent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_final_is_told_from_what_may_pass() {
        let document = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        let judged = |status: u16, code: &str| {
            refusal(StatusCode::from_u16(status).unwrap(), document(code).as_bytes())
                .map(|refusal| refusal.to_string())
        };
        assert_eq!(judged(404, "NoSuchKey"), None);
        assert_eq!(judged(503, "SlowDown"), None);
        assert_eq!(judged(429, "x"), None);
        for (status, code) in [(404, "NoSuchBucket"), (403, "AccessDenied"), (507, "XMinioStorageFull")] {
            let said = judged(status, code).unwrap();
            assert!(said.contains(&status.to_string()) && said.contains(code), "{said}");
        }
        assert_eq!(code(b"<Code>a b</Code>"), None);
        assert_eq!(code(b"\xFF<Code>x</Code>"), None);
        assert_eq!(refusal(StatusCode::FORBIDDEN, b"").unwrap().code, None);
    }
}
