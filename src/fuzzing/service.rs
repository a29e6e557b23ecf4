//! The target that sends bytes to a whole server, through a socket as any client does.
//!
//! Not over a pipe in memory: the wire under hyper is of sockets, and is to be reached as well. Each process has one
//! server, on a directory of its own.

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

/// Longest wait for an answer to what looks like a whole request.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Longest wait for what is undone in the background.
const UNDO_TIME: Duration = Duration::from_secs(60);

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
        let app = runtime.block_on(App::start(&settings)).unwrap();
        let address = app.address();
        runtime.spawn(app.run(std::future::pending()));
        Self { runtime, address, staging: media.join(".staging"), _dir: dir }
    }
}

/// The bytes of a connection: no answer is a fault of the server, all errors are whole problems, and nothing stays staged.
pub fn upload_request(data: &[u8]) {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    super::net::spread();
    let service = SERVICE.get_or_init(Service::start);
    let answers = service.runtime.block_on(exchange(service.address, data));
    // HTTP/2 answers in frames.
    if !data.starts_with(b"PRI ") {
        check(&answers, data);
    }
    let deadline = Instant::now() + UNDO_TIME;
    while std::fs::read_dir(&service.staging).unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "something stays staged");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends everything and reads until the server closes.
async fn exchange(server: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut socket = connect(server).await;
    let mut answers = Vec::new();
    // A server that has answered already may not read the rest.
    let _sent = timeout(ANSWER_TIME, socket.write_all(data)).await;
    if looks_whole(data) {
        // Until the answer is here: a client that stops sending before it counts as gone.
        let mut chunk = [0; 4096];
        while !has_final_answer(&answers) {
            match timeout(ANSWER_TIME, socket.read(&mut chunk)).await {
                Ok(Ok(length)) if length > 0 => answers.extend_from_slice(&chunk[..length]),
                _ => break,
            }
        }
    }
    let _gone = socket.shutdown().await;
    let _rest = timeout(UNDO_TIME, socket.read_to_end(&mut answers)).await;
    answers
}

/// Connects from another address of this machine each time: one alone would run out of ports.
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

/// The value of a header in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    Some(line[name.len() + 1..].trim())
}

/// Whether the bytes hold a whole request, by a look at them; a wrong guess costs time alone.
fn looks_whole(data: &[u8]) -> bool {
    let Some(end) = find(data, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&data[..end]).to_ascii_lowercase();
    let body = &data[end + 4..];
    if header(&head, "transfer-encoding").is_some() {
        return find(body, b"0\r\n\r\n").is_some();
    }
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_none_or(|length| length <= body.len())
}

/// One answer at the front of `bytes`, and what follows it; `None` if it is cut off.
fn answer(bytes: &[u8], to_head: bool) -> Option<(u16, String, &[u8], &[u8])> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("an answer's head is text").to_ascii_lowercase();
    let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head}"));
    let rest = &bytes[end + 4..];
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let has_none = matches!(status, 100..200 | 204 | 304)
        || (to_head && (rest.is_empty() || rest.starts_with(b"HTTP/1.")));
    let (body, rest) = rest.split_at_checked(if has_none { 0 } else { length })?;
    Some((status, head, body, rest))
}

fn has_final_answer(bytes: &[u8]) -> bool {
    match answer(bytes, true) {
        Some((100..200, .., rest)) => has_final_answer(rest),
        Some(_) => true,
        None => false,
    }
}

fn check(mut answers: &[u8], data: &[u8]) {
    let to_head = find(data, b"HEAD ").is_some();
    while let Some((status, head, body, rest)) = answer(answers, to_head) {
        answers = rest;
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
        if status >= 400 && !(to_head && body.is_empty()) {
            assert_eq!(header(&head, "content-type"), Some("application/problem+json"), "{head}");
            let problem: Value = serde_json::from_slice(body).expect("a problem is JSON");
            assert_eq!(problem["status"], status, "{problem}");
            let texts = ["type", "title", "detail", "request_id"];
            assert!(texts.iter().all(|name| problem[name].is_string()), "{problem}");
        }
    }
}
