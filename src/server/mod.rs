//! Connections: accepted within a permit, served as HTTP/1.1 or HTTP/2 (prior knowledge), drained at the end.
//!
//! Knows sockets and deadlines; what a request means is the handler's business.

mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::wire::Wire;
use crate::telemetry::connections::{Connections, Counted};
use crate::web::body::Body;

/// What is collected of a request head. Above the stack's own limits, so that these speak first with a whole problem;
/// beyond it hyper answers 431 by itself, in HTTP/2 without a body.
const READ_BUFFER: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;
/// Bytes of a request body that one HTTP/2 stream may send ahead of its reader.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(20);
/// By how much our clock for idle connections is behind hyper's, whose answer to a half-sent head goes first.
const IDLE_SLACK: Duration = Duration::from_secs(1);
/// Pause when the process is out of file descriptors: closing connections make room, a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at once. Further clients wait in the listen queue.
    pub connections: usize,
    /// For a request head, and for an idle connection.
    pub head_timeout: Duration,
    /// For a client that takes nothing of its answer.
    pub write_timeout: Duration,
    /// For open requests, once shutdown began.
    pub shutdown_timeout: Duration,
}

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every open request was answered.
    Drained,
    /// So many connections were cut off at the deadline.
    CutOff(usize),
}

/// Serves connections of `listener` until `shutdown` completes, then lets open requests finish within the deadline.
pub async fn run<H, F>(
    listener: TcpListener,
    handler: H,
    limits: Limits,
    connections: Connections,
    shutdown: impl Future<Output = ()>,
) -> Ended
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(());
    let builder = Arc::new(protocol(limits));
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.join_next() => {}
            // The permit first: a client that cannot be served now stays in the listen queue and costs nothing.
            (stream, peer, permit) = accept(&listener, &permits) => {
                let connection = Connection {
                    builder: Arc::clone(&builder),
                    stopping: stopping.clone(),
                    limits,
                    _counted: connections.count(),
                    _permit: permit,
                };
                open.spawn(connection.serve(stream, peer, handler.clone()));
            }
        }
    }
    drop(listener);
    drop(stop);
    let drained = async { while open.join_next().await.is_some() {} };
    match tokio::time::timeout(limits.shutdown_timeout, drained).await {
        Ok(()) => Ended::Drained,
        Err(_) => Ended::CutOff(open.len()),
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn protocol(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(READ_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(READ_BUFFER).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    stopping: watch::Receiver<()>,
    limits: Limits,
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve<H, F>(mut self, stream: TcpStream, peer: SocketAddr, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        // Answers are written whole; waiting to fill packets would only delay them.
        let _best_effort = stream.set_nodelay(true);
        let (wire, fate) = Wire::new(stream, self.limits.head_timeout, self.limits.write_timeout);
        let open = Arc::new(Activity::default());
        let activity = Arc::clone(&open);
        let service = service_fn(move |request| {
            let (answer, busy) = (handler(request, peer), Activity::begin(&activity));
            async move {
                let answer = answer.await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(wire), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // Fails when the sender is dropped, which is the signal.
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
            () = open.idle_for(self.limits.head_timeout + IDLE_SLACK) => {
                connection.as_mut().graceful_shutdown();
                // A peer that does not agree to part is left.
                let parting = tokio::time::timeout(self.limits.head_timeout, connection.as_mut()).await;
                parting.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
                fate.timed_out();
            }
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }
}

/// Requests that a connection has open. hyper has a clock for an idle HTTP/1.1 connection, but none for HTTP/2.
#[derive(Debug, Default)]
struct Activity {
    open: AtomicUsize,
    changed: Notify,
}

impl Activity {
    /// Counts a request until the result is dropped.
    fn begin(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Busy(Arc::clone(self))
    }

    /// Completes once no request was open for so long.
    async fn idle_for(&self, time: Duration) {
        loop {
            let quiet = tokio::time::timeout(time, self.changed.notified()).await.is_err();
            if quiet && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
