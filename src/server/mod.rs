//! Connections: accepted within a permit, served as HTTP/1.1 or HTTP/2 (prior knowledge), drained at the end.
//!
//! Knows sockets and deadlines; what a request means is the handler's business.

mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::wire::Wire;
use crate::web::body::Body;

/// What hyper collects of a request head; beyond it answers 431 by itself. Above the stack's own limits, so that these
/// speak first.
const READ_BUFFER: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;
/// Bytes of a request body that one HTTP/2 stream may send ahead of its reader.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(20);
/// Pause when the process is out of file descriptors: closing connections make room, a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at once. Further clients wait in the listen queue.
    pub connections: usize,
    /// For a request head, and for an idle connection.
    pub head_timeout: Duration,
    /// For open requests, once shutdown began.
    pub shutdown_timeout: Duration,
}

/// Counts open connections.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<AtomicU64>);

impl Connections {
    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
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
                    head_timeout: limits.head_timeout,
                    _counted: Counted::new(&connections),
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
    head_timeout: Duration,
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
        let (wire, fate) = Wire::new(stream, self.head_timeout);
        let service = service_fn(move |request| {
            let answer = handler(request, peer);
            async move { Ok::<_, Infallible>(answer.await) }
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
        };
        if let Err(error) = ended {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
                fate.timed_out();
            }
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }
}

/// One open connection in the count, until dropped.
struct Counted(Connections);

impl Counted {
    fn new(connections: &Connections) -> Self {
        connections.0.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
