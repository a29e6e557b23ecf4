//! A listener that the supervisor opened and passes to each process that it starts. It stays open between two of them.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// Why what the supervisor passed cannot be used. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// There are several sockets.
    #[error(
        "the supervisor passed {0} sockets, but one is expected: the socket unit must have one ListenStream="
    )]
    Several(usize),
    /// The file descriptor is no TCP socket.
    #[error(
        "the supervisor passed something that is no TCP socket ({0}): the socket unit must have a port or an IP address with \
         a port as its ListenStream="
    )]
    Kind(io::Error),
    /// It is a socket of one connection.
    #[error("the supervisor passed a TCP socket that does not listen: the socket unit must have Accept=no")]
    NotListening,
}

/// Returns the listener that the supervisor passed to this process, or `None` if it passed none.
///
/// Only the first call returns it. Call it before the process has a second thread, because it removes the variables `LISTEN_FDS`
/// and `LISTEN_PID` from the environment.
///
/// # Errors
/// See [`PassedError`].
pub fn passed_listener() -> Result<Option<TcpListener>, PassedError> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(PassedError::Several(passed.len()));
    }
    let listener = passed.take_tcp_listener(0).map_err(PassedError::Kind)?;
    match &listener {
        Some(listener) if !SockRef::from(listener).is_listener().map_err(PassedError::Kind)? => {
            Err(PassedError::NotListening)
        }
        _ => Ok(listener),
    }
}
