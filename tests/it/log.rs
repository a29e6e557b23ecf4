//! The log's reader never delays a request.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::ReservedPort;
use crate::support::{binary, eventually};

/// Time limit for a response or an exit, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A server whose stdout the test reads, or does not. Killed on drop.
struct Logging {
    child: Child,
    address: SocketAddr,
    _port: ReservedPort,
    _dir: TempDir,
}

impl Logging {
    fn start(stdout: impl Into<Stdio>, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Reserved, because not every test reads the log, which names the port.
        let port = ReservedPort::new();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let mut command = binary(dir.path());
        command.env("PORT", port.number().to_string()).env("RATE_LIMIT_GLOBAL", "off");
        let child = command.envs(settings.iter().copied()).stdout(stdout).spawn().unwrap();
        Self { child, address, _port: port, _dir: dir }
    }

    /// Sends a GET for each path on one connection, and returns the last response.
    fn get(&self, paths: impl Iterator<Item = String>) -> String {
        let mut socket = BufReader::new(TcpStream::connect(self.address).unwrap());
        socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
        let mut answer = String::new();
        for path in paths {
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            socket.get_mut().write_all(head.as_bytes()).unwrap();
            answer.clear();
            while !answer.ends_with("\r\n\r\n") {
                assert_ne!(socket.read_line(&mut answer).expect("the response must arrive"), 0);
            }
            let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            socket.read_exact(&mut body).unwrap();
            answer += std::str::from_utf8(&body).unwrap();
        }
        answer
    }

    fn dropped_lines(&self) -> u64 {
        let metrics = self.get(std::iter::once("/metrics".to_owned()));
        let line = metrics.lines().find_map(|line| line.strip_prefix("vintedbot_log_lines_dropped_total "));
        line.unwrap().parse().unwrap()
    }

    fn stop(mut self) {
        let began = Instant::now();
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a long path with a number, which appears in the log.
fn long_path(number: usize) -> String {
    format!("/long/{number}/{}", "x".repeat(7000))
}

/// Returns the numbers of these paths in the order of the log.
fn numbers(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.split_once("/long/")?.1.split('/').next()?.parse().ok();
    lines.iter().filter_map(number).collect()
}

/// Reads lines up to one that contains all of `words`.
fn read_to(reader: &mut impl BufRead, words: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in reader.lines() {
        lines.push(line.unwrap());
        if words.iter().all(|word| lines[lines.len() - 1].contains(word)) {
            return lines;
        }
    }
    panic!("{words:?} is not in the log");
}

#[test]
fn paused_reader_of_stdout_delays_neither_requests_nor_stop() {
    for settings in [&[][..], &[("ENV", "prod"), ("SECRET_KEY", "of-our-own-and-of-some-length-too")]] {
        let mut server = Logging::start(Stdio::piped(), settings);
        let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
        read_to(&mut stdout, &["✅ /ingest/upload ready"]);
        // The reader stops after the ready line. A pipe holds 64 KiB.
        let sent = 600;
        let began = Instant::now();
        let last = server.get((0..sent).map(long_path).chain(["/api/v1/health".to_owned()]));
        assert!(last.starts_with("HTTP/1.1 200 "), "{last}");
        println!("{} requests took {:?}", sent + 1, began.elapsed());
        let dropped = server.dropped_lines();
        assert!(dropped > 200, "{dropped}");
        let memory = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        println!(
            "{dropped} lines were dropped; {}",
            memory.lines().find(|line| line.starts_with("VmRSS")).unwrap()
        );
        // The reader continues.
        let mut lines = read_to(&mut stdout, &["log lines were dropped", "lines"]);
        let notice = lines.pop().unwrap();
        let kept = numbers(&lines);
        assert_eq!(kept, Vec::from_iter(0..kept.len()), "lines must be in order and without a gap");
        // The lines of the health check and the metrics have the level debug.
        let missing = sent - kept.len();
        let is_json = notice.starts_with('{');
        assert_eq!(is_json, !settings.is_empty());
        if is_json {
            let notice: serde_json::Value = serde_json::from_str(&notice).unwrap();
            assert_eq!((&notice["lines"], &notice["level"]), (&missing.into(), &"WARN".into()));
        } else {
            assert!(notice.ends_with(&format!(" lines={missing}")), "{notice}");
        }
        server.get((0..20).map(long_path));
        let after = read_to(&mut stdout, &["/long/19/"]);
        assert_eq!(numbers(&after), Vec::from_iter(0..20), "no line is lost while the reader reads");
        // The reader stops again.
        server.get((0..sent).map(long_path));
        server.stop();
    }
}

#[tokio::test]
async fn full_pipe_does_not_delay_startup_and_keeps_the_ready_line() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut writer = File::from(OwnedFd::from(writer));
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'-'; 4096]).is_ok() {}
    while writer.write(b"-").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let server = Logging::start(writer, &[]);
    eventually("it serves", || TcpStream::connect(server.address).is_ok()).await;
    assert!(server.get(std::iter::once("/api/v1/health".to_owned())).starts_with("HTTP/1.1 200 "));
    let mut reader = BufReader::new(reader);
    let lines =
        read_to(&mut reader, &["✅ /ingest/upload ready | storage=local | MAX_DIM=1600 | JPEG_QUALITY=80"]);
    assert!(lines.iter().any(|line| line.contains("listening on http://127.0.0.1:")), "{lines:?}");
    server.stop();
}

#[test]
fn closed_stdout_does_not_affect_requests() {
    let mut server = Logging::start(Stdio::piped(), &[]);
    let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
    read_to(&mut stdout, &["✅"]);
    drop(stdout);
    let health = || server.get((0..50).map(long_path).chain(["/api/v1/health".to_owned()]));
    assert!(health().starts_with("HTTP/1.1 200 "));
    assert!(server.dropped_lines() > 0);
    assert!(health().starts_with("HTTP/1.1 200 "));
    server.stop();
}
