//! Request and response bodies.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::min_rate::{MinRate, TimeBudget};

/// The body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Returns a body of these bytes.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body that streams.
pub(crate) fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// Bounds on reading a request body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    /// The slowest rate at which the client may send.
    pub min_rate: MinRate,
    /// Bytes that are still read and discarded after the response is known: as many as in an acceptable body, so that a refused
    /// request costs no more than an accepted one.
    pub drain_bytes: u64,
}

/// Longest time for which an unwanted rest of a body is read.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Longest pause of the client while an unwanted rest is read.
const DRAIN_IDLE: Duration = Duration::from_secs(5);

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The client sent nothing, or too little, for too long: see [`ReadLimits::min_rate`].
    Slow,
    /// The client disconnected or broke the framing.
    Aborted,
}

/// The body of a request, as a stream of its data.
///
/// If it is dropped before its end, a background task reads on for a bounded time and size: closing a connection with unread
/// data resets it, and the reset can arrive before the response (RFC 9112 section 9.6). A client that still waits for
/// `100 Continue` sends nothing, so nothing is read from it.
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    limits: ReadLimits,
    /// Charged only while the server waits for the client, because the handler may pause between reads.
    time_budget: TimeBudget,
    /// Fires when the time budget is used up. Created when the server first waits for the client.
    clock: Option<Pin<Box<Sleep>>>,
    /// True if the client may be waiting for `100 Continue`, which the first read sends.
    awaits_continue: bool,
    received: ByteCount,
}

/// Counts the bytes of a body, and outlives it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// Returns the number of bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// Wraps the body of a request. `awaits_continue` is true if the request has `Expect: 100-continue`.
    pub(crate) fn new(incoming: Incoming, limits: ReadLimits, awaits_continue: bool) -> Self {
        Self {
            incoming: Some(incoming),
            limits,
            time_budget: TimeBudget::new(limits.min_rate),
            clock: None,
            awaits_continue,
            received: ByteCount::default(),
        }
    }

    /// Returns the counter of this body's bytes.
    pub(crate) fn received(&self) -> ByteCount {
        self.received.clone()
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(incoming) = &mut self.incoming else {
                return Poll::Ready(None);
            };
            let polled = Pin::new(incoming).poll_frame(cx);
            self.awaits_continue = false;
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not used.
                    let Ok(data) = frame.into_data() else { continue };
                    self.time_budget.moved(data.len() as u64, Instant::now());
                    self.received.0.fetch_add(data.len() as u64, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(_))) => {
                    self.incoming = None;
                    return Poll::Ready(Some(Err(ReadError::Aborted)));
                }
                Poll::Ready(None) => {
                    self.incoming = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let deadline = self.time_budget.wait(Instant::now());
                    let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                    if clock.deadline() != deadline {
                        clock.as_mut().reset(deadline);
                    }
                    ready!(clock.as_mut().poll(cx));
                    // The rest of a slow body is not drained.
                    self.incoming = None;
                    return Poll::Ready(Some(Err(ReadError::Slow)));
                }
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        if incoming.is_end_stream() || self.awaits_continue {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let bytes = self.limits.drain_bytes.saturating_sub(self.received.bytes());
            runtime.spawn(timeout(DRAIN_TIME, drain(incoming, bytes)));
        }
    }
}

async fn drain(incoming: Incoming, mut bytes: u64) {
    let mut data = incoming.into_data_stream();
    while let Ok(Some(Ok(chunk))) = timeout(DRAIN_IDLE, data.next()).await {
        match bytes.checked_sub(chunk.len() as u64) {
            Some(left) => bytes = left,
            None => return,
        }
    }
}
