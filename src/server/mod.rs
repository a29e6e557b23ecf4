//! HTTP server: accepts connections up to a limit, serves HTTP/1.1 and HTTP/2 (prior knowledge), drains them at shutdown. It
//! handles sockets and deadlines only. The handler passed to `run` interprets the requests.

mod connection;
mod connection_state;
pub mod descriptors;
mod h2_streams;
mod length_watch;
mod listener;
mod paced_body;
mod protocol;
mod sendfile;
mod shares;
mod socket;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::connection::Connection;
use self::connection_state::Phase;
pub(crate) use self::listener::Listener;
use self::protocol::Protocols;
use self::shares::Shares;
use crate::telemetry::connections::Connections;
use crate::web::body::Body;
use crate::web::min_rate::MinRate;

/// How long a new connection waits for an evicted one, which closes the next time its task is polled.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Limits for connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of open connections. At the limit one is evicted or refused; see `shares.rs`.
    pub connections: usize,
    /// Time allowed for receiving a request head, and for keeping an idle connection open.
    pub head_timeout: Duration,
    /// Minimum rate at which a client must read its response.
    pub write_rate: MinRate,
    /// Time for which connections are still accepted and idle ones stay open after shutdown began. Each response then closes its
    /// connection, so a client that sends requests often notices the shutdown by a response, and not by a request that nobody reads.
    pub drain_time: Duration,
    /// Time allowed for open requests to finish after that.
    pub shutdown_timeout: Duration,
}

/// How the server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// All open requests were answered.
    Drained,
    /// This many connections were still open at the deadline and were closed.
    Aborted(usize),
}

/// Serves connections from `listener` until `shutdown` completes, then for `limits.drain_time` or until none is left, and then waits
/// for open requests up to `limits.shutdown_timeout`.
/// The per-client share of connections does not apply to peers in `trusted_proxies`.
pub(crate) async fn run<H, F>(
    listener: Listener,
    handler: H,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    connections: Connections,
    shutdown: impl Future<Output = ()>,
) -> Stopped
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (phase, phases) = watch::channel(Phase::Serving);
    let mut acceptor = Acceptor {
        handler,
        limits,
        permits: Arc::new(Semaphore::new(limits.connections)),
        shares: Shares::new(limits.connections, trusted_proxies, connections.clone()),
        connections,
        phases,
        protocols: Arc::new(Protocols::new(limits.write_rate)),
        open: JoinSet::new(),
    };
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = acceptor.open.join_next() => {}
            (stream, peer) = listener.accept() => acceptor.begin(stream, peer).await,
        }
    }
    phase.send_replace(Phase::Draining);
    let drain_time = tokio::time::sleep(limits.drain_time);
    tokio::pin!(drain_time);
    while !acceptor.open.is_empty() {
        tokio::select! {
            () = &mut drain_time => break,
            Some(_) = acceptor.open.join_next() => {}
            (stream, peer) = listener.accept() => acceptor.begin(stream, peer).await,
        }
    }
    for (stream, peer) in listener.close() {
        acceptor.begin(stream, peer).await;
    }
    phase.send_replace(Phase::Closing);
    let mut open = acceptor.open;
    let drained = async { while open.join_next().await.is_some() {} };
    match tokio::time::timeout(limits.shutdown_timeout, drained).await {
        Ok(()) => Stopped::Drained,
        Err(_) => Stopped::Aborted(open.len()),
    }
}

/// Begins to serve connections.
struct Acceptor<H> {
    handler: H,
    limits: Limits,
    permits: Arc<Semaphore>,
    shares: Arc<Shares>,
    connections: Connections,
    phases: watch::Receiver<Phase>,
    protocols: Arc<Protocols>,
    open: JoinSet<()>,
}

impl<H, F> Acceptor<H>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    /// Serves a connection in a new task, if there is a slot for it.
    async fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.shares.admit(peer.ip()) else { return };
        let permit = tokio::time::timeout(CLOSING_TIME, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            self.connections.refuse();
            return;
        };
        let connection = Connection {
            slot,
            protocols: Arc::clone(&self.protocols),
            phases: self.phases.clone(),
            limits: self.limits,
            peer,
            _counted: self.connections.count(),
            _permit: permit,
        };
        self.open.spawn(connection.serve(stream, self.handler.clone()));
    }
}

#[cfg(test)]
mod shutdown_tests;
#[cfg(test)]
mod tests;
