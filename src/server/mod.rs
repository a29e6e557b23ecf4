//! Connections: accepted within a permit, served as HTTP/1.1 or HTTP/2 (prior knowledge), drained at the end.
//!
//! Knows sockets and deadlines; what a request means is the handler's business.

mod connection;
mod connection_state;
pub mod descriptors;
mod h2_streams;
mod length_watch;
mod paced_body;
mod protocol;
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

/// Pause when the process is out of file descriptors: closing connections make room, a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a new connection waits for one that was asked to close. Each closes the next time that a thread polls it.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Connections that the system takes before we do; it lowers this to its own limit. Thousands of phones that come back at
/// once after a gap in their network are not turned away.
const LISTEN_QUEUE: u32 = 4096;

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at once. Beyond that idle ones make room, else new ones are closed: see `shares.rs`.
    pub connections: usize,
    /// For a request head, and for an idle connection.
    pub head_timeout: Duration,
    /// The slowest that a client may take its answer.
    pub write_rate: MinRate,
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

/// Listens on `address`. Called inside a tokio runtime.
///
/// # Errors
/// The address cannot be had.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

/// Serves connections of `listener` until `shutdown` completes, then lets open requests finish within the deadline. A proxy
/// at one of `trusted_proxies` is held to no client's share of the connections.
pub async fn run<H, F>(
    listener: TcpListener,
    handler: H,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    connections: Connections,
    shutdown: impl Future<Output = ()>,
) -> Ended
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
                let Some(place) = shares.admit(peer.ip()) else { continue };
                let permit = tokio::time::timeout(CLOSING_TIME, Arc::clone(&permits).acquire_owned());
                let Ok(Ok(permit)) = permit.await else {
                    connections.refuse();
                    continue;
                };
                let connection = Connection {
                    place,
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
        Ok(()) => Ended::Drained,
        Err(_) => Ended::CutOff(open.len()),
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Once, not twenty times a second until it is over.
                if !is_told {
                    tracing::warn!(%error, "no connection can be accepted at the moment");
                    is_told = true;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
