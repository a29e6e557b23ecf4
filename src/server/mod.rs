//! HTTP server: accepts connections up to a limit, serves HTTP/1.1 and HTTP/2 (prior knowledge), drains them at shutdown. It
//! handles sockets and deadlines only. The handler passed to `run` interprets the requests.

mod connection;
mod connection_state;
pub mod descriptors;
mod h2_streams;
mod length_watch;
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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::connection::Connection;
use self::protocol::Protocols;
use self::shares::Shares;
use crate::telemetry::connections::Connections;
use crate::web::body::Body;
use crate::web::min_rate::MinRate;

/// Pause after a failed accept, for example without free descriptors, which only the end of other connections changes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a new connection waits for an evicted one, which closes the next time its task is polled.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Listen backlog (capped by `net.core.somaxconn`), for thousands of phones that reconnect together after an outage.
const LISTEN_QUEUE: u32 = 4096;

/// Limits for connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of open connections. At the limit one is evicted or refused; see `shares.rs`.
    pub connections: usize,
    /// Time allowed for receiving a request head, and for keeping an idle connection open.
    pub head_timeout: Duration,
    /// Minimum rate at which a client must read its response.
    pub write_rate: MinRate,
    /// Time allowed for open requests to finish after shutdown began.
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

/// Binds a listener to `address`. Must be called inside a tokio runtime.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

/// Serves connections from `listener` until `shutdown` completes, then waits for open requests up to `limits.shutdown_timeout`.
/// The per-client share of connections does not apply to peers in `trusted_proxies`.
pub(crate) async fn run<H, F>(
    listener: TcpListener,
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
    let permits = Arc::new(Semaphore::new(limits.connections));
    let shares = Shares::new(limits.connections, trusted_proxies, connections.clone());
    let (stop, stopping) = watch::channel(());
    let protocols = Arc::new(Protocols::new(limits.write_rate));
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.join_next() => {}
            (stream, peer) = accept(&listener) => {
                let Some(slot) = shares.admit(peer.ip()) else { continue };
                let permit = tokio::time::timeout(CLOSING_TIME, Arc::clone(&permits).acquire_owned());
                let Ok(Ok(permit)) = permit.await else {
                    connections.refuse();
                    continue;
                };
                let connection = Connection {
                    slot,
                    protocols: Arc::clone(&protocols),
                    stopping: stopping.clone(),
                    limits,
                    peer,
                    _counted: connections.count(),
                    _permit: permit,
                };
                open.spawn(connection.serve(stream, handler.clone()));
            }
        }
    }
    drop(listener);
    drop(stop);
    let drained = async { while open.join_next().await.is_some() {} };
    match tokio::time::timeout(limits.shutdown_timeout, drained).await {
        Ok(()) => Stopped::Drained,
        Err(_) => Stopped::Aborted(open.len()),
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut is_logged = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // The error is logged once per outage instead of twenty times a second.
                if !is_logged {
                    tracing::warn!(%error, "cannot accept connections; retrying");
                    is_logged = true;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
