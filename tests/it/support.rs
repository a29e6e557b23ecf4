//! Runs a server, makes photos and forms, and sends them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::report_skipped;

/// How long a test waits for what must happen. Much longer than it takes, because a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const UPLOAD: &str = "/api/v1/ingest/upload";
pub(crate) const BOUNDARY: &str = "----test-boundary";

/// The server under test, on a free port, in its own directory. Killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: Arc<TempDir>,
    output: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server with these settings and without rate limits.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), settings)
    }

    /// Starts a server on the data of an earlier one.
    pub(crate) fn start_in(dir: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        Self::start_command(binary(dir.path()), dir, settings)
    }

    /// Starts a server by a command that executes the binary.
    pub(crate) fn start_command(mut command: Command, dir: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        command.envs([("PORT", "0"), ("RATE_LIMIT_GLOBAL", "off"), ("RATE_LIMIT_UPLOAD", "off")]);
        let mut child = command.envs(settings.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::clone(&output);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let is_last = line.starts_with('✅');
                lines.lock().unwrap().push(line);
                if is_last {
                    let _ = ready.send(());
                }
            }
        });
        is_ready.recv_timeout(PATIENCE).expect("the ready line must appear");
        let port = output.lock().unwrap().iter().find_map(|line| {
            let (_, rest) = line.split_once("listening on http://127.0.0.1:")?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("the log must contain the port")));
        Self { child, address, dir, output }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// Waits until a line of the log has all of `texts`. Lines are written by a thread of their own, maybe after the response.
    pub(crate) async fn logs(&self, texts: &[&str]) {
        let is_logged = || self.output().iter().any(|line| texts.iter().all(|text| line.contains(text)));
        eventually(&format!("a line with {texts:?}"), is_logged).await;
    }

    pub(crate) fn media_root(&self) -> PathBuf {
        self.dir.path().join("data/uploads")
    }

    /// Returns the names of all files below the media root, including staged ones.
    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.media_root())
    }

    /// Returns the peak memory of the process in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Returns the memory of the process in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Returns the processor time of the process in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |field: &str| field.parse::<f64>().unwrap();
        // User and system time in USER_HZ, which is 100 wherever Linux runs.
        (ticks(fields[11]) + ticks(fields[12])) / 100.0
    }

    /// Returns the open files of the process, by descriptor.
    pub(crate) fn open_files(&self) -> BTreeMap<u64, String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().map(Result::unwrap);
        let target = |path: PathBuf| Some(std::fs::read_link(path).ok()?.to_string_lossy().into_owned());
        entries
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, target(entry.path())?)))
            .collect()
    }

    /// Returns a value of `/metrics` without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let scrape = || self.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        // During an attack the server may close a connection before it reads the head. Its client should try again.
        let scrape = std::iter::repeat_with(scrape).take(100).find(|scrape| !scrape.is_empty());
        let scrape = scrape.unwrap_or_default();
        let line = scrape.lines().find_map(|line| line.strip_prefix(&format!("vintedbot_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {scrape}")).parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Stops the server with SIGTERM and returns its directory.
    pub(crate) fn stop(mut self) -> Arc<TempDir> {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait().code(), Some(0));
        self.dir()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).send().await.unwrap()
    }

    /// Returns the value of `/metrics` with this name and labels, or 0 if there is none yet.
    pub(crate) async fn labelled_metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("vintedbot_{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Returns status and JSON of `/api/v1/ready`.
    pub(crate) async fn ready(&self) -> (u16, Value) {
        let response = self.get("/api/v1/ready").await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Uploads a form and returns status and JSON.
    pub(crate) async fn upload(&self, form: Vec<u8>) -> (u16, Value) {
        let response = self.post(form).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn post(&self, form: Vec<u8>) -> Response {
        self.request(&Client::new(), form).send().await.unwrap()
    }

    /// Uploads a form and returns its status, whether it has a Retry-After, and its JSON. Returns `None` without a complete
    /// response, for example from a killed server.
    pub(crate) async fn try_upload(&self, client: &Client, form: Vec<u8>) -> Option<(u16, bool, Value)> {
        let response = self.request(client, form).send().await.ok()?;
        let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        Some((status, retry, response.json().await.ok()?))
    }

    fn request(&self, client: &Client, form: Vec<u8>) -> RequestBuilder {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        client.post(self.url(UPLOAD)).header("content-type", content_type).body(form)
    }

    /// Asserts that refused uploads left no file, no temporary file and no row, so that the next draft and photo get the first
    /// ids.
    pub(crate) async fn assert_nothing_was_kept(&self) {
        assert_eq!(self.files(), Vec::<String>::new());
        assert_eq!(self.get("/api/v1/listings/1").await.status(), 404);
        let (status, draft) = self.upload(form(&[file(&photo(64, 48))])).await;
        assert_eq!(status, 201, "{draft}");
        assert_eq!((&draft["id"], &draft["photos"][0]["media"]["id"]), (&1.into(), &1.into()));
    }

    /// Sends raw bytes and reads until the server closes or sends nothing for a while.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut socket = self.connect();
        socket.write_all(request).unwrap();
        read_all(&mut socket)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command for the binary in directory `dir`, with an empty environment. `VINTEDBOT_TEST_BINARY` names another binary,
/// such as a release build that is to be measured.
pub(crate) fn binary(dir: &Path) -> Command {
    let binary = std::env::var_os("VINTEDBOT_TEST_BINARY");
    let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_vintedbot-ingest").into()));
    // With a terminal, SIGHUP would stop a server.
    command.current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// Returns a draft without what differs from one upload to the next: its id and its dates.
pub(crate) fn without_id(draft: &Value) -> Value {
    let mut draft = draft.clone();
    for member in ["id", "created_at", "updated_at"] {
        draft[member] = Value::Null;
    }
    draft
}

/// Returns the SHA-256 in hexadecimal, as in the names of photos.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files_below(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

/// Reads until the end, or until nothing arrives for the socket's read timeout.
pub(crate) fn read_all(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read) = socket.read(&mut chunk) {
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until `condition` is true, or a minute: far longer than any condition takes on a loaded machine.
pub(crate) async fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// Waits at most `limit` until `condition` is true.
pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) struct Part<'a> {
    headers: String,
    data: &'a [u8],
}

/// Returns a part with a photo in the field `files`.
pub(crate) fn file(data: &[u8]) -> Part<'_> {
    file_named("photo.jpg", data)
}

pub(crate) fn file_named<'a>(name: &str, data: &'a [u8]) -> Part<'a> {
    let headers = format!(
        "Content-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\nContent-Type: image/jpeg"
    );
    Part { headers, data }
}

pub(crate) fn field<'a>(name: &str, data: &'a [u8]) -> Part<'a> {
    Part { headers: format!("Content-Disposition: form-data; name=\"{name}\""), data }
}

/// Returns a part with these headers.
pub(crate) fn part<'a>(headers: &str, data: &'a [u8]) -> Part<'a> {
    Part { headers: headers.to_owned(), data }
}

/// Returns a body with these parts, delimited by [`BOUNDARY`].
pub(crate) fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{}\r\n\r\n", part.headers).as_bytes());
        body.extend_from_slice(part.data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// Returns the head of an upload over a raw socket; `framing` is a Content-Length or Transfer-Encoding line.
pub(crate) fn upload_head(framing: &str) -> String {
    format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n{framing}\r\n\r\n"
    )
}

/// Returns a photo-like JPEG: smooth gradients with some texture.
pub(crate) fn photo(width: usize, height: usize) -> Vec<u8> {
    photo_numbered(width, height, 0)
}

/// Returns one of several different photos.
pub(crate) fn photo_numbered(width: usize, height: usize, number: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let texture = (x * 7 + y * 13 + number * 31) % 17;
            let scale = |value: usize, of: usize| u8::try_from(value * 200 / of + texture).unwrap();
            pixels.extend([scale(x, width), scale(y, height), scale(number % 50, 50)]);
        }
    }
    encode_jpeg(&pixels, width, height)
}

/// Returns one of thousands of different small photos.
pub(crate) fn distinct(number: usize) -> Vec<u8> {
    photo_numbered(60 + number % 50, 40 + number / 50, number)
}

/// Returns a JPEG of noise, with about as many bytes as pixels at any quality.
pub(crate) fn noise(width: usize, height: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        // Xorshift by Marsaglia.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    let pixels: Vec<u8> = (0..width * height * 3).map(|_| next()).collect();
    encode_jpeg(&pixels, width, height)
}

/// Returns a JPEG of four quadrants: red, green, blue and white in reading order.
pub(crate) fn card(width: usize, height: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            pixels.extend(match (x < width / 2, y < height / 2) {
                (true, true) => [255, 0, 0],
                (false, true) => [0, 255, 0],
                (true, false) => [0, 0, 255],
                (false, false) => [255, 255, 255],
            });
        }
    }
    encode_jpeg(&pixels, width, height)
}

fn encode_jpeg(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let image =
        turbojpeg::Image { pixels, width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    turbojpeg::compress(image, 92, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

/// Adds an EXIF segment with an orientation and a GPS version to a JPEG.
pub(crate) fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x02".to_vec();
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    tiff.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
    tiff.extend([0, 0, 0, 0]);
    tiff.extend([0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 2, 3, 0, 0, 0, 0, 0, 0]);
    let payload = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &payload, &jpeg[2..]].concat()
}

/// Returns the directory of real and hostile test files. If it is missing, the skipped test is reported.
pub(crate) fn corpus() -> Option<PathBuf> {
    let dir = std::env::var_os("VINTEDBOT_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    report_skipped(&format!("there is no corpus at {}; VINTEDBOT_CORPUS names another place", dir.display()));
    None
}
