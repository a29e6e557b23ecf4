//! The side of a command.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, Request, advice, path};
use crate::backup::{MAX_LINE_BYTES, Summary};

/// Why the server did not do what a command asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The socket is of another user.
    #[error("{}, the control socket of the server, is for its user and root only: run the command as that user", .0.display())]
    Forbidden(PathBuf),
    /// The server said why.
    #[error("the server answers: {0}")]
    Failed(String),
    /// The server said nothing.
    #[error(
        "the server ended the connection without an answer: it stopped, or this command runs as another user than the server"
    )]
    Lost,
    /// The socket failed.
    #[error("the control socket of the server failed")]
    Socket(#[from] io::Error),
    /// The server sent something else than an answer.
    #[error("the server sent an answer that this program does not know: is it of another version?")]
    Unknown,
}

/// A connection to the server.
pub(crate) struct Client {
    socket: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// A part of an answer.
pub(crate) enum Received<'c> {
    /// A line of the catalog.
    Line(&'c [u8]),
    /// A line for stdout.
    Say(String),
    /// The check ended.
    Checked(Summary),
    /// All lines of the catalog were sent.
    Done,
}

impl Client {
    /// Connects to the server that has the catalog in directory `catalog` open, and sends `request`. Returns `None` if no server
    /// listens.
    ///
    /// # Errors
    /// The socket is there, and cannot be used.
    pub(crate) async fn ask(catalog: &Path, request: Request) -> Result<Option<Self>, ControlError> {
        if advice(catalog).is_some() {
            return Ok(None);
        }
        let path = path(catalog);
        let mut socket = match UnixStream::connect(&path).await {
            Ok(socket) => socket,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                    io::ErrorKind::PermissionDenied => Err(ControlError::Forbidden(path)),
                    _ => Err(error.into()),
                };
            }
        };
        let mut line = serde_json::to_vec(&request).map_err(io::Error::from)?;
        line.push(b'\n');
        // A server that refuses the connection closes it.
        let sent = socket.write_all(&line).await;
        line.clear();
        if sent.is_err() {
            return Err(ControlError::Lost);
        }
        Ok(Some(Self { socket: BufReader::with_capacity(64 << 10, socket), line }))
    }

    /// Returns the next part of the answer.
    ///
    /// # Errors
    /// The server failed, or the connection did.
    pub(crate) async fn receive(&mut self) -> Result<Received<'_>, ControlError> {
        self.line.clear();
        let mut bounded = (&mut self.socket).take(MAX_LINE_BYTES);
        let read = bounded.read_until(b'\n', &mut self.line).await;
        if read.is_err() || self.line.last() != Some(&b'\n') {
            return Err(ControlError::Lost);
        }
        match Answer::read(&self.line) {
            None => Ok(Received::Line(&self.line)),
            Some(Ok(Answer::Say(line))) => Ok(Received::Say(line)),
            Some(Ok(Answer::Checked(summary))) => Ok(Received::Checked(summary)),
            Some(Ok(Answer::Done(()))) => Ok(Received::Done),
            Some(Ok(Answer::Failed(why))) => Err(ControlError::Failed(why)),
            Some(Err(_)) => Err(ControlError::Unknown),
        }
    }
}
