//! The listening socket: bound by this process, or inherited from its supervisor.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Listen backlog (capped by `net.core.somaxconn`), for thousands of phones that reconnect together after an outage.
const LISTEN_QUEUE: u16 = 4096;
/// Pause after a failed accept, for example without free descriptors, which only the end of other connections changes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    is_inherited: bool,
}

impl Listener {
    /// Binds a socket to `address`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(LISTEN_QUEUE.into())?, is_inherited: false })
    }

    /// Uses a socket that stays open in another process, which passed it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub(crate) fn inherit(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(socket)?, is_inherited: true })
    }

    /// Returns the address, with its real port.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns the next connection. Dropping the future loses none.
    pub(super) async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut is_logged = false;
        loop {
            match self.socket.accept().await {
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

    /// Closes the socket, and returns the connections in its queue, which the kernel would reset.
    ///
    /// The queue of an inherited socket is left to the next process.
    pub(super) fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        if self.is_inherited {
            return Vec::new();
        }
        let Ok(socket) = self.socket.into_std() else { return Vec::new() };
        let next = || {
            let (stream, peer) = socket.accept().ok()?;
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, peer))
        };
        // Bounded: while this loop runs, other connections may arrive.
        std::iter::from_fn(next).take(LISTEN_QUEUE.into()).collect()
    }
}
