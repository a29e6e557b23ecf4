//! hyper's two protocols with every bound set that they have. What a bound is for stands beside it; the tests of hostile
//! HTTP/2 peers are in `tests/it/http2.rs`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::h2_streams::H2Streams;
use super::paced_body::PacedBody;
use super::socket::Socket;
use crate::web::min_rate::MinRate;

/// What is collected of a request head. Above the stack's own limits, so that these speak first with a whole problem;
/// beyond it hyper answers 431 by itself, in HTTP/2 without a body.
const READ_BUFFER: usize = 64 * 1024;
/// The same for HTTP/2, which also limits CONTINUATION frames by it (CVE-2024-27316).
const HEADER_LIST: u32 = 64 * 1024;
/// H2Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;
/// H2Streams that a peer opened and reset before they were looked at; one more ends the connection (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;
/// H2Streams that we reset because of what the peer did on them; one more ends the connection (CVE-2025-8671). Clients that
/// open a hundred before they read how many they may are among them, and are to live.
const MAX_FAULTY_STREAMS: usize = 128;
/// Bytes of a request body that one HTTP/2 stream may send ahead of its reader.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that one HTTP/2 stream may hold while its peer gives no window for them.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<H2Streams>,
}

impl Protocols {
    /// The protocols for clients that may take their answers as slowly as `write_rate`.
    pub(super) fn new(write_rate: MinRate) -> Self {
        let mut http1 = http1::Builder::new();
        // The clock for heads is ours: hyper's would also run while a slow client takes the end of its last answer.
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(READ_BUFFER);
        let mut http2 = http2::Builder::new(H2Streams::new(write_rate));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADER_LIST)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Self { http1, http2 }
    }

    /// `wire` as an HTTP/1.1 connection.
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

    /// `wire` as an HTTP/2 connection.
    pub(super) fn http2<S>(
        &self,
        socket: Box<Socket>,
        service: S,
    ) -> http2::Connection<TokioIo<Box<Socket>>, S, H2Streams>
    where
        S: HttpService<Incoming, ResBody = PacedBody>,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.http2.serve_connection(TokioIo::new(socket), service)
    }
}

/// The socket without hyper, whose buffers are given back.
pub(super) fn taken_back<S>(connection: http1::Connection<TokioIo<Box<Socket>>, S>) -> Box<Socket>
where
    S: HttpService<Incoming, ResBody = PacedBody>,
{
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    socket.unread(&parts.read_buf);
    socket
}

/// A connection of either protocol.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// Finishes what is open and takes nothing new.
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

impl<S> Graceful for http2::Connection<TokioIo<Box<Socket>>, S, H2Streams>
where
    S: HttpService<Incoming, ResBody = PacedBody>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}
