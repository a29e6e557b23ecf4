//! Request and response bodies.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::min_rate::{MinRate, TimeBudget};
use crate::page_cache;

/// The body of a response.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file. A server that can hand a file to the kernel takes it and sends it itself; else it is read in pieces.
    File(FileRange),
    /// Bytes that become available in pieces.
    Pieces(BoxStream<'static, io::Result<Bytes>>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = loop {
            match &mut *self {
                Self::Empty => break None,
                Self::Bytes(bytes) => {
                    let bytes = std::mem::take(bytes);
                    *self = Self::Empty;
                    break (!bytes.is_empty()).then_some(Ok(bytes));
                }
                Self::File(FileRange { file, range }) => {
                    let pieces = page_cache::read_pieces(Arc::clone(file), range.clone());
                    *self = Self::Pieces(pieces.boxed());
                }
                Self::Pieces(pieces) => break ready!(pieces.poll_next_unpin(cx)),
            }
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(FileRange { range, .. }) => range.is_empty(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(FileRange { range, .. }) => SizeHint::with_exact(range.end - range.start),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A part of an open file.
#[derive(Debug, Clone)]
pub(crate) struct FileRange {
    /// The open file.
    pub file: Arc<File>,
    /// The bytes of the file.
    pub range: Range<u64>,
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
