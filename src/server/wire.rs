//! The socket under hyper, with four things that hyper leaves open.
//!
//! A head that hyper cannot parse is answered by it with a bare status line; here it becomes a whole problem. A client that
//! says nothing, or only the first bytes of an HTTP/2 preface, is not on hyper's clock yet; here it is. And a head that
//! began but did not arrive in time is answered with 408 before the connection closes. And a client that does not read what it
//! asked for cannot hold its connection for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::web::problem::{self, PROBLEM_JSON, Problem};
use crate::web::request_id;

/// The HTTP/2 connection preface (RFC 9113 section 3.4). While the first bytes agree with it hyper cannot tell the
/// protocol yet, and has no clock running.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    fate: Fate,
    /// Runs until the protocol can be told from the first bytes.
    silence: Option<Pin<Box<Sleep>>>,
    /// What of the preface is still to come if this is HTTP/2.
    preface: &'static [u8],
    /// Something was read that no answer followed yet.
    unanswered: bool,
    /// An answer of ours on its way out.
    pending: Bytes,
    /// Longest time that the client may leave an answer unread.
    write_timeout: Duration,
    /// Runs while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

/// Tells a wire, while hyper still owns it, why its connection is about to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<AtomicBool>);

impl Fate {
    /// The connection ends because a request head did not arrive in time.
    pub(super) fn timed_out(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Wire {
    /// Takes over `stream`, whose first bytes must arrive within `timeout`, and whose client must take some of what is
    /// written within `write_timeout`.
    pub(super) fn new(stream: TcpStream, timeout: Duration, write_timeout: Duration) -> (Self, Fate) {
        let fate = Fate::default();
        let silence = Some(Box::pin(sleep(timeout)));
        let wire = Self {
            stream,
            fate: fate.clone(),
            silence,
            preface: PREFACE,
            unanswered: false,
            pending: Bytes::new(),
            write_timeout,
            stall: None,
        };
        (wire, fate)
    }

    /// `written`, or an error once the client has taken nothing for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(timeout)));
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let arrived = &buf.filled()[before..];
        if !arrived.is_empty() {
            self.unanswered = true;
        }
        if let Some(silence) = &mut self.silence {
            if read.is_pending() && silence.as_mut().poll(cx).is_ready() {
                self.silence = None;
                self.fate.timed_out();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            match self.preface.strip_prefix(arrived) {
                Some(rest) if !rest.is_empty() => self.preface = rest,
                _ => self.silence = None,
            }
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        self.unanswered = false;
        if let Some(problem) = in_place_of(buf) {
            self.pending = on_the_wire(&problem);
            return Poll::Ready(Ok(buf.len()));
        }
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
                self.unanswered = false;
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

impl Drop for Wire {
    fn drop(&mut self) {
        if self.unanswered && self.fate.0.load(Ordering::Relaxed) {
            // The socket's buffer is empty, so it takes a few hundred bytes at once or the client is gone.
            let _best_effort = self.stream.try_write(&on_the_wire(&problem::request_timeout()));
        }
    }
}
