//! Clients that send requests while servers restart, and count what goes wrong. They have no retries.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{distinct, file, form, upload_head};

/// Clients that send requests at the same time.
const CLIENTS: usize = 8;
/// Longest wait for anything, after which a request has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the clients saw.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) requests: usize,
    /// Descriptions of requests without a complete answer, or with a bad one.
    pub(super) failures: Vec<String>,
    /// The longest time from the beginning of a request, its connection included, to the end of its answer.
    pub(super) longest_wait: Duration,
    /// Requests on a connection that had one before.
    pub(super) on_kept_connections: usize,
}

/// Sends `requests` requests in all to `address`: uploads, drafts and photos, on new and kept connections. `done` counts them.
pub(super) fn run(address: SocketAddr, requests: usize, done: &AtomicUsize) -> Figures {
    let next = AtomicUsize::new(0);
    let uploads: Vec<Vec<u8>> = (0..64).map(|n| form(&[file(&distinct(n))])).collect();
    let mut all = Figures::default();
    std::thread::scope(|scope| {
        let client = || {
            let mut client = Client { address, kept: None, draft: None, figures: Figures::default() };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return client.figures;
                }
                client.send(number, &uploads[number % uploads.len()]);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            let figures = client.join().unwrap();
            all.requests += figures.requests;
            all.failures.extend(figures.failures);
            all.longest_wait = all.longest_wait.max(figures.longest_wait);
            all.on_kept_connections += figures.on_kept_connections;
        }
    });
    all
}

struct Client {
    address: SocketAddr,
    kept: Option<TcpStream>,
    /// The last draft that this client made.
    draft: Option<Value>,
    figures: Figures,
}

impl Client {
    fn send(&mut self, number: usize, upload: &[u8]) {
        let draft = self.draft.take();
        let get = |path: &str| (200, format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes());
        let (expected, request) = match (&draft, number % 4) {
            (Some(draft), 1 | 2) => get(&format!("/api/v1/listings/{}", draft["id"])),
            (Some(draft), 3) => get(draft["photos"][0]["media"]["url"].as_str().unwrap()),
            _ => {
                let head = upload_head(&format!("Content-Length: {}", upload.len()));
                (201, [head.as_bytes(), upload].concat())
            }
        };
        self.draft = draft;
        // Every fifth request is on a new connection.
        if number.is_multiple_of(5) {
            self.kept = None;
        }
        let begun = Instant::now();
        let answer = self.exchange(&request);
        self.figures.longest_wait = self.figures.longest_wait.max(begun.elapsed());
        self.figures.requests += 1;
        match answer {
            Ok((status, body)) if status == expected => {
                if status == 201 {
                    self.draft = Some(serde_json::from_slice(&body).unwrap());
                }
            }
            Ok((status, body)) => {
                self.figures.failures.push(format!("{status}: {}", String::from_utf8_lossy(&body)));
            }
            Err(failure) => self.figures.failures.push(failure),
        }
    }

    /// Sends a request and returns status and body of its answer, or a description of the failure.
    fn exchange(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
        let kept = self.kept.take().filter(is_open);
        self.figures.on_kept_connections += usize::from(kept.is_some());
        let (mut socket, what) = match kept {
            Some(socket) => (socket, "kept"),
            None => {
                let socket =
                    TcpStream::connect(self.address).map_err(|error| format!("not accepted: {error}"))?;
                socket.set_read_timeout(Some(TIMEOUT)).unwrap();
                socket.set_nodelay(true).unwrap();
                (socket, "new")
            }
        };
        let failed = |error| format!("on a {what} connection: {error}");
        socket.write_all(request).map_err(|error| failed(error.to_string()))?;
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
        loop {
            let read = socket.read(&mut chunk).map_err(|error| failed(error.to_string()))?;
            if read == 0 {
                return Err(failed(format!("closed after {} bytes of the answer", bytes.len())));
            }
            bytes.extend_from_slice(&chunk[..read]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let header =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let length: usize = header("content-length").unwrap().parse().unwrap();
            if bytes.len() < end + 4 + length {
                continue;
            }
            if header("connection") != Some("close") {
                self.kept = Some(socket);
            }
            return Ok((head[9..12].parse().unwrap(), bytes.split_off(end + 4)));
        }
    }
}

/// Returns whether the server has not closed a connection, as each client looks before it uses one again.
fn is_open(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let peeked = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
