//! The fuzz target that sends bytes to a complete server through a TCP socket, because the code under hyper works on sockets.
//! Each process has one server with its own directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::app::App;
use crate::config::{Settings, Source};

/// Time limit for a response to a request that looks complete.
const RESPONSE_TIME: Duration = Duration::from_secs(2);
/// Time limit for background clean-up.
const CLEANUP_TIME: Duration = Duration::from_secs(60);

struct Service {
    runtime: Runtime,
    address: SocketAddr,
    staging: PathBuf,
    _dir: TempDir,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let media = dir.path().join("media");
        let pairs = [
            ("PORT", "0".to_owned()),
            ("DATABASE_URL", format!("sled:{}", dir.path().join("db").display())),
            ("MEDIA_ROOT", media.display().to_string()),
            ("MEMORY_BUDGET_MB", "32".to_owned()),
            ("MAX_FILE_SIZE_MB", "1".to_owned()),
            ("MAX_UPLOADS_PER_REQUEST", "3".to_owned()),
            ("MAX_DIM_PX", "64".to_owned()),
            ("MAX_PIXELS", "1000000".to_owned()),
            ("STRIP_GPS", "false".to_owned()),
            ("WORKERS", "1".to_owned()),
            ("MIN_FREE_DISK_MB", "0".to_owned()),
            ("RATE_LIMIT_GLOBAL", "off".to_owned()),
            ("RATE_LIMIT_UPLOAD", "off".to_owned()),
        ];
        let settings = Settings::load(&Source::from_pairs(pairs)).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = runtime.block_on(App::start(&settings, None)).unwrap();
        let address = app.address();
        runtime.spawn(app.run(std::future::pending()));
        Self { runtime, address, staging: media.join(".staging"), _dir: dir }
    }
}

/// Sends `data` on one connection. The server must answer correctly, all errors must be complete problem documents, and no
/// staged file may remain.
pub fn upload_request(data: &[u8]) {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    super::net::install_panic_filter();
    let service = SERVICE.get_or_init(Service::start);
    let responses = service.runtime.block_on(exchange(service.address, data));
    // HTTP/2 responses are binary frames.
    if !data.starts_with(b"PRI ") {
        check(&responses, data);
    }
    let deadline = Instant::now() + CLEANUP_TIME;
    while std::fs::read_dir(&service.staging).unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "a staged file remains");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends `data` and reads until the server closes.
async fn exchange(server: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut socket = connect(server).await;
    let mut responses = Vec::new();
    // A server that has already responded may not read the rest.
    let _sent = timeout(RESPONSE_TIME, socket.write_all(data)).await;
    if looks_complete(data) {
        // Waits for the response, because a client that closes its sending side earlier counts as gone.
        let mut chunk = [0; 4096];
        while !has_final_response(&responses) {
            match timeout(RESPONSE_TIME, socket.read(&mut chunk)).await {
                Ok(Ok(length)) if length > 0 => responses.extend_from_slice(&chunk[..length]),
                _ => break,
            }
        }
    }
    let _gone = socket.shutdown().await;
    let _rest = timeout(CLEANUP_TIME, socket.read_to_end(&mut responses)).await;
    responses
}

/// Connects from a different loopback address each time, because one address would run out of ports.
async fn connect(server: SocketAddr) -> TcpStream {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let [_, b, c, d] = CLIENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, b, c, d.clamp(1, 254)), 0))).unwrap();
    socket.connect(server).await.unwrap()
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// Returns the value of a header in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    Some(line[name.len() + 1..].trim())
}

/// Guesses whether the bytes contain a complete request. A wrong guess only costs time.
fn looks_complete(data: &[u8]) -> bool {
    let Some(end) = find(data, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&data[..end]).to_ascii_lowercase();
    let body = &data[end + 4..];
    if header(&head, "transfer-encoding").is_some() {
        return find(body, b"0\r\n\r\n").is_some();
    }
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_none_or(|length| length <= body.len())
}

/// Parses the first response in `bytes` and returns it with the rest, or `None` if it is incomplete.
fn response(bytes: &[u8], is_head_request: bool) -> Option<(u16, String, &[u8], &[u8])> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a response head is text").to_ascii_lowercase();
    let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head}"));
    let rest = &bytes[end + 4..];
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let has_none = matches!(status, 100..200 | 204 | 304)
        || (is_head_request && (rest.is_empty() || rest.starts_with(b"HTTP/1.")));
    let (body, rest) = rest.split_at_checked(if has_none { 0 } else { length })?;
    Some((status, head, body, rest))
}

fn has_final_response(bytes: &[u8]) -> bool {
    match response(bytes, true) {
        Some((100..200, .., rest)) => has_final_response(rest),
        Some(_) => true,
        None => false,
    }
}

fn check(mut responses: &[u8], data: &[u8]) {
    let is_head_request = find(data, b"HEAD ").is_some();
    while let Some((status, head, body, rest)) = response(responses, is_head_request) {
        responses = rest;
        if status < 200 {
            continue;
        }
        assert!(
            status < 500 || matches!(status, 501 | 503 | 507),
            "{head}\n{}",
            String::from_utf8_lossy(body)
        );
        assert!(status != 503 || header(&head, "retry-after").is_some(), "{head}");
        assert!(header(&head, "x-request-id").is_some(), "{head}");
        if status >= 400 && !(is_head_request && body.is_empty()) {
            assert_eq!(header(&head, "content-type"), Some("application/problem+json"), "{head}");
            let problem: Value = serde_json::from_slice(body).expect("a problem is JSON");
            assert_eq!(problem["status"], status, "{problem}");
            let texts = ["type", "title", "detail", "request_id"];
            assert!(texts.iter().all(|name| problem[name].is_string()), "{problem}");
        }
    }
}
