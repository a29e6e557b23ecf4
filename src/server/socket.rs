//! The socket under hyper, with five things that hyper leaves open.
//!
//! A head that hyper cannot parse is answered by it with a bare status line; here it becomes a whole problem. The protocol is
//! told from the first bytes before hyper has anything to do with the connection, so that one which says nothing costs
//! nothing but its socket. A body that is too large for hyper's numbers is refused as such. A head that began but did not arrive in time is answered with 408 before the connection closes.
//! And a client that does not read what it asked for, or hardly, cannot hold its connection for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection_state::ConnectionState;
use super::length_watch::LengthWatch;
use crate::web::min_rate::{MinRate, TimeBudget};
use crate::web::problem::{self, PROBLEM_JSON, Problem};
use crate::web::request_id;

/// The HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the system keeps of an answer that cannot be sent yet. Left alone it takes megabytes for a fast client that stops
/// reading; and it asks for more only when a third of them went, which makes a slow client look like a dead one.
const UNSENT_BYTES: u32 = 64 * 1024;

/// Bytes read at once, of a client that is read faster than it sends. hyper doubles its buffer of 8 KiB whenever a read fills
/// it, and several of such buffers are on their way through an upload: thousands of slow phones would then cost many times
/// the memory for nothing.
const READ_BYTES: u64 = 8 * 1024 - 64;
/// After so many reads in a row that had not to wait, a client is fast, and read as much as hyper has room for.
const FAST_AFTER: u32 = 6;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1, or nothing that is known.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    lengths: LengthWatch,
    /// What was read before hyper had the connection, or had it again, until hyper reads it.
    early: Bytes,
    /// Reads in a row that had not to wait.
    unbroken: u32,
    /// An answer of ours on its way out.
    pending: Bytes,
    /// Of the client's time for taking answers.
    time_budget: TimeBudget,
    /// Fires when that is used up; made when the client is waited for the first time.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Takes over `stream`, whose client may take what is written as slowly as `write_rate`.
    pub(super) fn new(stream: TcpStream, state: Arc<ConnectionState>, write_rate: MinRate) -> Self {
        // Answers are written whole; waiting to fill packets would only delay them.
        let _best_effort = stream.set_nodelay(true);
        let _best_effort = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
        Self {
            stream,
            state,
            lengths: LengthWatch::default(),
            early: Bytes::new(),
            unbroken: 0,
            pending: Bytes::new(),
            time_budget: TimeBudget::new(write_rate),
            stall: None,
        }
    }

    /// Reads until the first bytes tell what the client speaks.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn version(&mut self) -> io::Result<Version> {
        let (mut arrived, mut length) = ([0; PREFACE.len()], 0);
        let version = loop {
            if arrived[..length] == *PREFACE {
                break Version::Http2;
            }
            if !PREFACE.starts_with(&arrived[..length]) {
                break Version::Http1;
            }
            let read = self.stream.read(&mut arrived[length..]).await?;
            if read == 0 {
                // hyper says what there is to say of half a head.
                break Version::Http1;
            }
            length += read;
            self.state.asked(true);
        };
        self.early = Bytes::copy_from_slice(&arrived[..length]);
        Ok(version)
    }

    /// Completes once the client sent something, or closed.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn spoken(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Gives back what hyper had read and not used. As a copy: its buffer is a hundred times as large.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        debug_assert!(self.early.is_empty(), "hyper read past it");
        // They will be read again.
        self.lengths.restart();
        if !bytes.is_empty() {
            self.early = Bytes::copy_from_slice(bytes);
            self.state.asked(true);
        }
    }

    /// `written`, or an error once the client has taken too little for too long.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.stalled(written.is_pending());
        if let Poll::Ready(result) = written {
            if let Ok(bytes) = &result {
                self.time_budget.moved(*bytes as u64, Instant::now());
            }
            return Poll::Ready(result);
        }
        let deadline = self.time_budget.wait(Instant::now());
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if stall.deadline() != deadline {
            stall.as_mut().reset(deadline);
        }
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending.has_remaining() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.pending);
            let written = ready!(self.watch(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// What is said of a length that hyper does not take.
const BEYOND: &str = "The Content-Length is larger than that of any body that is taken.";

/// The problem in place of a bare refusal by hyper, if `head` is one. Our own answers all carry a request id.
fn in_place_of(head: &[u8]) -> Option<Problem> {
    // Of version 1.0 behind a request of that version that kept the connection open.
    let rest = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    if head.len() > 512 || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let fields = std::str::from_utf8(rest).ok()?;
    if fields.contains("x-request-id") || !fields.contains("content-length: 0") {
        return None;
    }
    match fields.get(..3)? {
        "400" => Some(problem::bad_request()),
        "414" => Some(problem::uri_too_long()),
        "431" => Some(problem::headers_too_large()),
        _ => None,
    }
}

/// A whole answer as it goes over the wire, after which the connection closes.
fn on_the_wire(problem: &Problem) -> Bytes {
    let id = request_id::fresh();
    let body = problem.to_json(&id).to_string();
    let status = problem.status();
    tracing::info!(status = status.as_u16(), request_id = id, "a request head was refused");
    let reason = status.canonical_reason().unwrap_or("");
    let code = status.as_str();
    let length = body.len();
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\nx-request-id: {id}\r\ndate: {date}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}"
    )
    .into()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.early.is_empty() {
            // Together with what follows, as a whole head mostly does: hyper doubles its buffer for a second read.
            let take = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(take));
            if buf.remaining() == 0 {
                self.lengths.read(&buf.filled()[before..]);
                return Poll::Ready(Ok(()));
            }
        }
        let most = if self.unbroken < FAST_AFTER { READ_BYTES } else { u64::MAX };
        let read = Pin::new(&mut AsyncReadExt::take(&mut self.stream, most)).poll_read(cx, buf);
        self.unbroken = if read.is_ready() { self.unbroken.saturating_add(1) } else { 0 };
        if buf.filled().len() == before {
            return read;
        }
        self.state.asked(true);
        self.lengths.read(&buf.filled()[before..]);
        match read {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(result) => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        self.state.asked(false);
        if let Some(problem) = in_place_of(buf) {
            let is_body = self.lengths.is_beyond();
            let problem = if is_body { problem::body_too_large(BEYOND) } else { problem };
            self.pending = on_the_wire(&problem);
            return Poll::Ready(Ok(buf.len()));
        }
        self.lengths.restart();
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs.iter().find(|buf| !buf.is_empty()) {
            Some(first) if in_place_of(first).is_some() => self.poll_write(cx, first),
            _ => {
                ready!(self.poll_pending(cx))?;
                self.state.asked(false);
                self.lengths.restart();
                let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
                self.watch(cx, written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.is_asked() && self.state.is_timed_out() {
            // The socket's buffer is empty, so it takes a few hundred bytes at once or the client is gone.
            let _best_effort = self.stream.try_write(&on_the_wire(&problem::request_timeout()));
        }
    }
}
