//! A TCP socket for hyper that adds what hyper lacks.
//!
//! - **Problem documents.** hyper answers a head that it cannot parse with a bare status line. This module replaces it with a
//!   complete problem response.
//! - **Late start.** The HTTP version is detected before hyper is created, so a silent connection costs only its socket.
//! - **413 for huge lengths.** A Content-Length above hyper's limit is refused with 413; see [`LengthWatch`].
//! - **408.** A request head that began but did not arrive in time is answered before the connection closes.
//! - **Interim responses.** hyper sends none but `100 Continue`; see [`Socket::send_interim`].
//! - **Parts of files.** They are sent without being copied into this process; see `sendfile.rs`.
//! - **Minimum read rate.** A client that does not read its response, or reads it too slowly, loses its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use rustix::net::{SendFlags, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection_state::ConnectionState;
use super::length_watch::LengthWatch;
use super::sendfile::is_placeholder;
use crate::web::min_rate::{MinRate, TimeBudget};
use crate::web::problem::{self, PROBLEM_JSON, Problem};
use crate::web::request_id;

/// The HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a response that the kernel buffers unsent (`TCP_NOTSENT_LOWAT`). By default it buffers megabytes for a fast client
/// that stops reading, and asks for more only when a third of them is sent, so a slow client looks disconnected.
const UNSENT_BYTES: u32 = 64 * 1024;

/// Maximum bytes per read from a client that sends slower than the server reads. hyper doubles its buffer of 8 KiB whenever a
/// read fills it, and an upload holds several such buffers, so thousands of slow phones would use many times the memory.
const READ_BYTES: u64 = 8 * 1024 - 64;
/// After this many consecutive reads that did not wait, a client counts as fast, and reads fill all of hyper's buffer.
const FAST_AFTER: u32 = 6;

/// The protocol version that a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1, or unknown bytes, which hyper then refuses.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    lengths: LengthWatch,
    /// Bytes that were read before hyper took over the socket, and that hyper has not read yet.
    prefetched: Bytes,
    /// Consecutive reads that did not wait.
    ready_reads: u32,
    /// Rest of an interim response of which the kernel has accepted a part. It precedes all other bytes.
    interim: Bytes,
    own_response: Bytes,
    /// Time that the client has left for reading responses.
    time_budget: TimeBudget,
    /// Timer for the end of `time_budget`, created when a write first blocks.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Wraps `stream`. The client must read what is written at least at `write_rate`.
    pub(super) fn new(stream: TcpStream, state: Arc<ConnectionState>, write_rate: MinRate) -> Self {
        // Responses are written whole, so Nagle's algorithm would only delay them.
        let _best_effort = stream.set_nodelay(true);
        let _best_effort = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
        Self {
            stream,
            state,
            lengths: LengthWatch::default(),
            prefetched: Bytes::new(),
            ready_reads: 0,
            interim: Bytes::new(),
            own_response: Bytes::new(),
            time_budget: TimeBudget::new(write_rate),
            write_timer: None,
        }
    }

    /// Reads until the first bytes show which version the client uses.
    pub(super) async fn detect_version(&mut self) -> io::Result<Version> {
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
                // hyper handles an incomplete head.
                break Version::Http1;
            }
            length += read;
            self.state.set_unanswered_input(true);
        };
        self.prefetched = Bytes::copy_from_slice(&arrived[..length]);
        Ok(version)
    }

    /// Completes when the client sent something or closed the connection.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Puts back bytes that hyper had read and not used. They are copied, because hyper's buffer is a hundred times as large.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        debug_assert!(self.prefetched.is_empty(), "hyper has read all prefetched bytes");
        // These bytes will be scanned again.
        self.lengths.restart();
        if !bytes.is_empty() {
            self.prefetched = Bytes::copy_from_slice(bytes);
            self.state.set_unanswered_input(true);
        }
    }

    /// Returns `written`, or an error when the client has read too little for too long.
    fn track_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.state.set_write_blocked(written.is_pending());
        if let Poll::Ready(result) = written {
            if let Ok(bytes) = &result {
                self.time_budget.moved(*bytes as u64, Instant::now());
            }
            return Poll::Ready(result);
        }
        let deadline = self.time_budget.wait(Instant::now());
        let write_timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if write_timer.deadline() != deadline {
            write_timer.as_mut().reset(deadline);
        }
        ready!(write_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes what precedes the next bytes of hyper: the rest of an interim response, and a response of this module.
    fn poll_own_responses(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.interim.has_remaining() || self.own_response.has_remaining() {
            let own = if self.interim.has_remaining() { &self.interim } else { &self.own_response };
            let written = Pin::new(&mut self.stream).poll_write(cx, own);
            let written = ready!(self.track_write(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (&mut self.interim).chain(&mut self.own_response).advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what precedes a part of a file, which hyper writes next. The kernel sends both in one segment.
    fn poll_write_before_file(&self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let send = || Ok(send(&self.stream, head, SendFlags::MORE | SendFlags::NOSIGNAL)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Writes interim responses as far as the client reads them.
    ///
    /// This is called from `poll_flush` only. hyper flushes when it has written all that it has, and begins no request before
    /// it has the whole response to the previous one, so at that point the stream is at the start of a response.
    ///
    /// A client may read nothing before it has sent its body, so blocked interim responses neither use up its time for
    /// reading nor make the flush wait. If the write fails, the body is still read to its end.
    fn send_interim(&mut self, cx: &mut Context<'_>) {
        loop {
            while self.interim.has_remaining() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.interim) {
                    Poll::Ready(Ok(written)) if written > 0 => self.interim.advance(written),
                    _ => return,
                }
            }
            match self.state.interim().take(cx) {
                Some(next) => self.interim = next,
                None => return,
            }
        }
    }
}

/// Detail of the problem for a Content-Length that hyper does not accept.
const LENGTH_TOO_LARGE: &str = "The Content-Length exceeds the largest body that the server accepts.";

/// Returns the problem that replaces `head`, if that is hyper's own bare refusal, which has no request id.
fn problem_instead_of(head: &[u8]) -> Option<Problem> {
    // hyper answers with version 1.0 if the previous request was HTTP/1.0 with keep-alive.
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

/// Encodes a complete HTTP/1.1 response that closes the connection.
fn encode(problem: &Problem) -> Bytes {
    let id = request_id::fresh();
    let body = problem.to_json(&id).to_string();
    let status = problem.status();
    tracing::info!(status = status.as_u16(), request_id = id, "request head refused");
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
        if !self.prefetched.is_empty() {
            // Reads on into the same buffer, which usually completes the head. For a second read hyper doubles its buffer.
            let take = self.prefetched.len().min(buf.remaining());
            buf.put_slice(&self.prefetched.split_to(take));
            if buf.remaining() == 0 {
                self.lengths.scan(&buf.filled()[before..]);
                return Poll::Ready(Ok(()));
            }
        }
        let most = if self.ready_reads < FAST_AFTER { READ_BYTES } else { u64::MAX };
        let read = Pin::new(&mut AsyncReadExt::take(&mut self.stream, most)).poll_read(cx, buf);
        self.ready_reads = if read.is_ready() { self.ready_reads.saturating_add(1) } else { 0 };
        if buf.filled().len() == before {
            return read;
        }
        self.state.set_unanswered_input(true);
        self.lengths.scan(&buf.filled()[before..]);
        match read {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(result) => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_own_responses(cx))?;
        self.state.set_unanswered_input(false);
        if let Some(problem) = problem_instead_of(buf) {
            let is_body = self.lengths.exceeds_limit();
            let problem = if is_body { problem::body_too_large(LENGTH_TOO_LARGE) } else { problem };
            self.own_response = encode(&problem);
            return Poll::Ready(Ok(buf.len()));
        }
        self.lengths.restart();
        let written = if is_placeholder(buf) {
            self.state.files().poll_send(&self.stream, buf.len(), cx)
        } else {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        };
        self.track_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bufs = &bufs[bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(bufs.len())..];
        let is_whole =
            |first: &&io::IoSlice<'_>| is_placeholder(first) || problem_instead_of(first).is_some();
        if let Some(first) = bufs.first().filter(is_whole) {
            return self.poll_write(cx, first);
        }
        ready!(self.poll_own_responses(cx))?;
        self.state.set_unanswered_input(false);
        self.lengths.restart();
        let written = if bufs.iter().any(|buf| is_placeholder(buf)) {
            self.poll_write_before_file(cx, &bufs[0])
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        };
        self.track_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.own_response.has_remaining() {
            ready!(self.poll_own_responses(cx))?;
        }
        self.send_interim(cx);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own_responses(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.has_unanswered_input() && self.state.is_timed_out() {
            // The send buffer is empty, so it accepts a few hundred bytes immediately, or the client is gone.
            let _best_effort = self.stream.try_write(&encode(&problem::request_timeout()));
        }
    }
}
