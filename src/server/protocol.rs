//! Configures hyper's HTTP/1.1 and HTTP/2 with all their limits. `tests/it/http2.rs` tests them with hostile HTTP/2 peers.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::h2_streams::H2Executor;
use super::paced_body::PacedBody;
use super::socket::Socket;
use crate::web::min_rate::MinRate;

/// Maximum size of an HTTP/1.1 request head. It is above the limits of the web stack, so the stack refuses first, with a
/// problem document. hyper itself answers 431, in HTTP/2 without a body.
const READ_BUFFER: usize = 64 * 1024;
/// Maximum size of an HTTP/2 request head. It also limits CONTINUATION frames (CVE-2024-27316).
const HEADER_LIST: u32 = 64 * 1024;
/// Maximum number of open streams per HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Streams that a peer may open and reset before the server handles them. One more ends the connection (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;
/// Streams that the server may reset because of errors of the peer. One more ends the connection (CVE-2025-8671). The limit is
/// above 100, because some clients open a hundred streams before they read the server's limit.
const MAX_FAULTY_STREAMS: usize = 128;
/// Flow-control window of one HTTP/2 stream: bytes of a request body that may arrive before the handler reads them.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Flow-control window of an HTTP/2 connection, shared by its streams.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response that one HTTP/2 stream may buffer while the peer gives no window.
const SEND_BUFFER: usize = 64 * 1024;
/// Interval of HTTP/2 keep-alive pings, and the time allowed for the acknowledgement.
const PING_INTERVAL: Duration = Duration::from_secs(20);

pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<H2Executor>,
}

impl Protocols {
    /// Configures both protocols. A client must read responses at least at `write_rate`.
    pub(super) fn new(write_rate: MinRate) -> Self {
        let mut http1 = http1::Builder::new();
        // The head timeout is in `connection.rs`. hyper's would also run while a slow client reads the previous response.
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(READ_BUFFER);
        let mut http2 = http2::Builder::new(H2Executor::new(write_rate));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADER_LIST)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL);
        Self { http1, http2 }
    }

    pub(super) fn http1<S>(
        &self,
        socket: Box<Socket>,
        service: S,
    ) -> http1::Connection<TokioIo<Box<Socket>>, S>
    where
        S: HttpService<Incoming, ResBody = PacedBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.http1.serve_connection(TokioIo::new(socket), service)
    }

    pub(super) fn http2<S>(
        &self,
        socket: Box<Socket>,
        service: S,
    ) -> http2::Connection<TokioIo<Box<Socket>>, S, H2Executor>
    where
        S: HttpService<Incoming, ResBody = PacedBody>,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.http2.serve_connection(TokioIo::new(socket), service)
    }
}

/// Takes the socket out of an HTTP/1.1 connection and frees hyper's buffers. Bytes that hyper read ahead go back to the socket.
pub(super) fn into_socket<S>(connection: http1::Connection<TokioIo<Box<Socket>>, S>) -> Box<Socket>
where
    S: HttpService<Incoming, ResBody = PacedBody>,
{
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    socket.unread(&parts.read_buf);
    socket
}

pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// Finishes open requests and accepts no new ones.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<S> Graceful for http1::Connection<TokioIo<Box<Socket>>, S>
where
    S: HttpService<Incoming, ResBody = PacedBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::Connection::graceful_shutdown(self);
    }
}

impl<S> Graceful for http2::Connection<TokioIo<Box<Socket>>, S, H2Executor>
where
    S: HttpService<Incoming, ResBody = PacedBody>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}
