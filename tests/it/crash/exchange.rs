//! One HTTP/1.1 request on a connection of its own, sent in pieces, whose answer may never come.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time after which a server that runs must have answered.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) type Headers = BTreeMap<String, String>;

/// A request that is being sent.
pub(super) struct Exchange {
    stream: TcpStream,
    has_body: bool,
    received: Vec<u8>,
    /// Interim responses that nobody took yet.
    interim: Vec<Headers>,
    is_closed: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: String,
}

impl Answer {
    /// Returns a header that is a number.
    pub(super) fn number(&self, name: &str) -> u64 {
        let value = self.headers.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Exchange {
    /// Sends the head of a request whose body has `length` bytes.
    pub(super) async fn begin(
        server: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> io::Result<Self> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {length}\r\n\r\n");
        let stream = TcpStream::connect(server).await?;
        let mut exchange = Self {
            stream,
            has_body: method != "HEAD",
            received: Vec::new(),
            interim: Vec::new(),
            is_closed: false,
        };
        exchange.send(head.as_bytes()).await?;
        Ok(exchange)
    }

    /// Sends bytes. Meanwhile it reads what the server answers, so that an acknowledgement is not lost with the connection.
    pub(super) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        while !bytes.is_empty() && !self.is_closed {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.received) => self.is_closed = read? == 0,
                written = timeout(PATIENCE, writer.write(bytes)) => {
                    bytes = &bytes[written.expect("the server must read")?..];
                }
            }
        }
        Ok(())
    }

    /// Returns the interim responses that have come, with the status 104, without those of earlier calls.
    pub(super) fn take_interim(&mut self) -> Vec<Headers> {
        while let Some((status, headers, length)) = head(&self.received) {
            if status >= 200 {
                break;
            }
            self.received.drain(..length);
            if status == 104 {
                self.interim.push(headers);
            }
        }
        std::mem::take(&mut self.interim)
    }

    /// Waits until an interim response has come. Returns false if something else comes.
    pub(super) async fn wait_for_interim(&mut self) -> io::Result<bool> {
        loop {
            self.interim = self.take_interim();
            if !self.interim.is_empty() {
                return Ok(true);
            }
            if self.is_closed || head(&self.received).is_some() {
                return Ok(false);
            }
            self.read().await?;
        }
    }

    /// Returns the answer.
    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        while !self.is_closed {
            self.read().await?;
        }
        self.interim = self.take_interim();
        let (status, headers, length) = head(&self.received).ok_or(ErrorKind::UnexpectedEof)?;
        let body = self.received.split_off(length);
        let expected = headers.get("content-length").and_then(|length| length.parse().ok());
        if self.has_body && expected.is_some_and(|expected: usize| body.len() < expected) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let body = String::from_utf8(body).unwrap();
        Ok(Answer { status, headers, body })
    }

    async fn read(&mut self) -> io::Result<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        self.is_closed = read.expect("the server must answer")? == 0;
        Ok(())
    }
}

/// Returns status, headers and length of a head.
fn head(bytes: &[u8]) -> Option<(u16, Headers, usize)> {
    let length = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..length]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    Some((status, lines.filter_map(field).collect(), length))
}
