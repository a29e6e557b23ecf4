//! Runs a page in Chromium. The page has another origin than the server under test, so the browser asks what it may do there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::album;

const LONGEST: Duration = Duration::from_secs(120);

/// Opens a page with this script, and returns what it posts to `/done`.
pub(super) fn run(chromium: &str, script: Vec<u8>, query: &str) -> String {
    let (page, done) = serve(script);
    let _browser = Browser::open(chromium, &format!("http://{page}/?{query}"));
    done.recv_timeout(LONGEST).expect("the page must post its result")
}

/// Chromium, which ends on drop.
struct Browser {
    process: Child,
    _profile: TempDir,
}

impl Browser {
    fn open(chromium: &str, url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let process = Command::new(chromium)
            .env("HOME", profile.path())
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Without a debugger the browser ends when the page is loaded.
            .arg("--remote-debugging-port=0")
            // Chromium has no sandbox for root, and the pages are those of the test.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves the page, its script and the photos, and passes on what is posted.
fn serve(script: Vec<u8>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, done) = channel();
    let script = Arc::new(script);
    // The threads end with the process of the tests. Browsers open connections that they use later or never.
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (script, sender) = (Arc::clone(&script), sender.clone());
            std::thread::spawn(move || answer(&socket, &script, &sender));
        }
    });
    (address, done)
}

/// Answers one request, or returns `None` if it is none.
fn answer(socket: &TcpStream, script: &[u8], done: &Sender<String>) -> Option<()> {
    socket.set_read_timeout(Some(LONGEST)).ok()?;
    let mut reader = BufReader::new(socket);
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if target.is_empty() {
            target = line.split(' ').nth(1)?.to_owned();
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let respond = |status: &str, media_type: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut socket = socket;
        socket.write_all(&[head.as_bytes(), body].concat())
    };
    let path = target.split('?').next()?;
    let photo = path.strip_prefix("/photos/").and_then(|at| at.parse().ok());
    let sent = match (path, photo) {
        (_, Some(at)) => respond("200 OK", "image/jpeg", album::photo(at)),
        ("/", _) => respond("200 OK", "text/html", b"<script type=module src=/script.js></script>"),
        ("/script.js", _) => respond("200 OK", "text/javascript", script),
        ("/done", _) => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            // The browser may be killed before it has the response.
            let _ = done.send(String::from_utf8_lossy(&body).into_owned());
            respond("204 No Content", "text/plain", b"")
        }
        _ => respond("404 Not Found", "text/plain", b""),
    };
    sent.ok()
}
