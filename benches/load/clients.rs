//! The clients of the load test: slow phones and idle connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::photos::{BOUNDARY, Body};

/// Number of steps in which a phone sends its photo.
const STEPS: usize = 30;
/// Time limit of a phone for its response.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Phone {
    pub(crate) number: u64,
    pub(crate) body: Body,
    pub(crate) over: Duration,
}

/// The result of a phone's upload.
pub(crate) struct Answer {
    /// The status, or the reason why there is none.
    pub(crate) status: String,
    /// Time from the last byte of the request to the response.
    pub(crate) wait: Duration,
}

impl Phone {
    pub(crate) async fn send(self, server: SocketAddr) -> Answer {
        let mut sent = None;
        let status = match tokio::time::timeout(self.over + PATIENCE, self.exchange(server, &mut sent)).await
        {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => error.kind().to_string(),
            Err(_) => "no answer".to_owned(),
        };
        Answer { status, wait: sent.map_or(Duration::ZERO, |sent: Instant| sent.elapsed()) }
    }

    async fn exchange(&self, server: SocketAddr, sent: &mut Option<Instant>) -> io::Result<String> {
        let mut socket = connect(server, 1, self.number).await?;
        let length = self.body.len();
        let head = format!(
            "POST /api/v1/ingest/upload HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        let steps = u32::try_from(STEPS).unwrap_or(u32::MAX);
        let mut pace = tokio::time::interval(self.over / steps);
        for piece in self.body.pieces(length.div_ceil(STEPS)) {
            pace.tick().await;
            socket.write_all(piece).await?;
        }
        *sent = Some(Instant::now());
        status(&mut socket).await
    }
}

/// Keeps a connection open, and opens it again when the server closes it.
pub(crate) async fn idle(server: SocketAddr, number: u64, cut: Arc<AtomicU64>) {
    loop {
        let held = async {
            let mut socket = connect(server, 2, number).await?;
            if number % 2 == 1 {
                socket.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: load\r\n\r\n").await?;
            }
            while socket.read(&mut [0; 1024]).await? > 0 {}
            io::Result::Ok(())
        };
        let _closed_or_reset = held.await;
        cut.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100 + number % 1000)).await;
    }
}

/// Connects from the address of a separate client: 127.kind.number.
pub(crate) async fn connect(server: SocketAddr, kind: u8, number: u64) -> io::Result<TcpStream> {
    let [.., high, low] = number.to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, kind, high, low), 0)))?;
    socket.connect(server).await
}

/// Reads a response to its end and returns its status.
pub(crate) async fn status(socket: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::with_capacity(1024);
    socket.read_to_end(&mut answer).await?;
    let line = String::from_utf8_lossy(answer.get(..12).unwrap_or(&answer)).into_owned();
    match line.strip_prefix("HTTP/1.1 ") {
        Some(status) => Ok(status.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
