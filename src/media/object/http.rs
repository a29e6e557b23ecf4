//! The HTTP client for buckets: hyper, with a limit on every wait.
//!
//! This is the only place that sees status and error code of an answer. So it separates final refusals, which the library
//! must not repeat, from failures that may pass.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as Connects, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tokio::time::{Sleep, sleep, timeout};

use crate::tls;

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the head of an answer, after the time for sending.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Lowest speed at which a request body may be sent, in bytes a millisecond.
const SLOWEST: u64 = 64;
/// Longest pause within an answer.
const SILENCE: Duration = Duration::from_secs(5);
/// Idle connections that are kept, and for how long. Services close them after about twice that time.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest part of an error document that is read.
const ERROR_BYTES: usize = 16 * 1024;

/// A final refusal: repeating the request would not help.
#[derive(Debug, thiserror::Error)]
#[error("the bucket's service refuses with {status}{}", .code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The service's error code. The answer to a HEAD has none.
    pub(super) code: Option<String>,
}

/// The service sent nothing for too long.
#[derive(Debug, thiserror::Error)]
#[error("the bucket's service is silent")]
struct Silent;

type Pool = Client<HttpsConnector<HttpConnector>, HttpRequestBody>;

/// Builds HTTP clients for the library.
#[derive(Debug)]
pub(super) struct Connector(Arc<rustls::ClientConfig>);

impl Connector {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        Self(Arc::new(tls))
    }
}

impl Connects for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let connector = tls::connector(HttpConnector::new(), (*self.0).clone(), CONNECT_TIMEOUT);
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
                // Other connections of the pool probably lead to the same silent server.
                *self.pool() = pool(&self.connector);
                return Err(HttpError::new(HttpErrorKind::Timeout, Silent));
            }
        };
        let response = response.map(|body| TimedBody { body, silence: None });
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

/// Returns the refusal if an error is final. The absence of one object is not.
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

/// Returns the code in an error document, if it is one plain word.
fn code(body: &[u8]) -> Option<String> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}

/// A body that fails if the service sends nothing for too long. Time in which no reader waits does not count.
struct TimedBody {
    body: Incoming,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Body for TimedBody {
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
    fn final_refusals_are_separated_from_failures_that_may_pass() {
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
