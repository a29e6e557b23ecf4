//! Restarts: the listener that a supervisor passes, what it hears, and requests that arrive meanwhile.

mod load;
mod supervisor;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use self::load::Figures;
use self::supervisor::{ListenerUnit, Reports, passing};
use crate::instances::Shared;
use crate::support::{Server, UPLOAD, binary, eventually, file, form, photo, read_all, upload_head};

const OFF: [(&str, &str); 2] = [("RATE_LIMIT_GLOBAL", "off"), ("RATE_LIMIT_UPLOAD", "off")];

/// Runs `requests` requests against `unit`, and calls `restart` as often as `restarts` says, evenly spread over them.
fn under_load(
    unit: &ListenerUnit,
    requests: usize,
    restarts: usize,
    mut restart: impl FnMut(usize),
) -> Figures {
    let (address, done) = (unit.address(), AtomicUsize::new(0));
    let figures = std::thread::scope(|scope| {
        let clients = scope.spawn(|| load::run(address, requests, &done));
        for number in 0..restarts {
            while done.load(Ordering::Relaxed) < requests * (number + 1) / (restarts + 1) {
                std::thread::sleep(Duration::from_millis(5));
            }
            restart(number);
        }
        clients.join().unwrap()
    });
    println!(
        "{restarts} restarts during {} requests, {} of them on kept connections: {} failed, longest wait {:?}",
        figures.requests,
        figures.on_kept_connections,
        figures.failures.len(),
        figures.longest_wait
    );
    assert_eq!(figures.requests, requests);
    assert!(figures.failures.is_empty(), "{:?}", figures.failures);
    figures
}

/// Restarts one server on an embedded catalog, as systemd does: the next one starts when the last one has ended.
fn upgrade_under_load(requests: usize, restarts: usize) -> Figures {
    let unit = ListenerUnit::new();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let start = || Server::start_command(unit.command(dir.path()), Arc::clone(&dir), &OFF);
    let mut server = start();
    under_load(&unit, requests, restarts, |_| {
        server.signal(Signal::SIGTERM);
        assert!(server.wait().success());
        server = start();
    })
}

#[test]
fn restarts_under_load_fail_no_request() {
    upgrade_under_load(1000, 2);
}

/// Needs a machine that does nothing else: `make restarts`.
#[test]
#[ignore = "ten thousand requests"]
fn ten_restarts_during_ten_thousand_requests_fail_none_and_delay_none_by_two_seconds() {
    let figures = upgrade_under_load(10_000, 10);
    assert!(figures.longest_wait < Duration::from_secs(2), "{:?}", figures.longest_wait);
}

async fn roll_under_load(requests: usize, restarts: usize) {
    let Some(shared) = Shared::start().await else { return };
    let unit = ListenerUnit::new();
    let start = || {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        shared.instance_of(unit.command(dir.path()), dir, &[])
    };
    let mut servers = [start(), start()];
    tokio::task::block_in_place(|| {
        under_load(&unit, requests, restarts, |number| {
            let server = &mut servers[number % 2];
            server.signal(Signal::SIGTERM);
            assert!(server.wait().success());
            *server = start();
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shared_instances_rolled_under_load_fail_no_request() {
    roll_under_load(600, 2).await;
}

/// See [`ten_restarts_during_ten_thousand_requests_fail_none_and_delay_none_by_two_seconds`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten thousand requests"]
async fn two_shared_instances_rolled_during_ten_thousand_requests_fail_none() {
    roll_under_load(10_000, 10).await;
}

#[test]
fn connection_that_waited_for_the_server_is_answered() {
    let unit = ListenerUnit::new();
    let mut socket = TcpStream::connect(unit.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    // The address of the settings is in use, and so is not bound.
    let port = unit.address().port().to_string();
    let settings = [("HOST", "192.0.2.1"), ("PORT", &port)];
    let server = Server::start_command(unit.command(dir.path()), dir, &settings);
    assert_eq!(server.address, unit.address());
    let log = server.output().join("\n");
    assert!(log.contains("of the supervisor; HOST and PORT are not used"), "{log}");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn passed_sockets_that_cannot_be_used_are_refused_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |passed: OwnedFd, count, expected: &str| {
        let output = passing(passed, count, dir.path()).env("PORT", "0").output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    };
    let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(listener().into(), 2, "passed 2 sockets, but one is expected");
    refused(std::fs::File::open("/dev/null").unwrap().into(), 1, "no TCP socket");
    refused(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), 1, "no TCP socket");
    let unix = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    refused(unix.into(), 1, "no TCP socket");
    let peer = listener();
    let connection = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
    refused(connection.into(), 1, "does not listen");
    // The variables of another process are no concern of this one.
    let server = binary(dir.path());
    let server = Server::start_command(server, Arc::new(dir), &[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]);
    assert!(server.output().iter().any(|line| line.contains("listener=\"own\"")), "{:?}", server.output());
}

#[tokio::test]
async fn supervisor_hears_of_start_reload_and_stop() {
    let reports = Reports::new();
    let settings = [("NOTIFY_SOCKET", reports.path()), ("WATCHDOG_USEC", "200000")];
    let mut server = Server::start(&settings);
    let start = reports.next();
    assert!(
        start[0].starts_with("STATUS=starting") && start[1] == "EXTEND_TIMEOUT_USEC=60000000",
        "{start:?}"
    );
    let serving = format!("STATUS=serving on http://{}", server.address);
    let ready = std::iter::repeat_with(|| reports.next()).find(|report| *report != start).unwrap();
    assert_eq!(ready, ["READY=1", &serving]);
    for _ in 0..3 {
        reports.wait_for_watchdog();
    }
    server.signal(Signal::SIGHUP);
    let reloading = reports.next();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(reports.next(), ["READY=1", &serving]);
    std::fs::write(server.dir().path().join(".env"), "LOG_LEVEL=vintedbot_ingest=much\n").unwrap();
    server.signal(Signal::SIGHUP);
    assert_eq!(reports.next()[0], "RELOADING=1");
    let refused = reports.next();
    assert!(
        refused[0] == "READY=1" && refused[1].starts_with("STATUS=the new settings are not valid"),
        "{refused:?}"
    );
    server.signal(Signal::SIGTERM);
    let stop = reports.next();
    assert_eq!(stop[0], "STOPPING=1");
    // One second to drain, twice SHUTDOWN_TIMEOUT_SECONDS, and ten seconds to exit.
    assert_eq!(stop[2], "EXTEND_TIMEOUT_USEC=71000000");
    assert!(server.wait().success());
}

const GET: &[u8] = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Waits until the server says that it stops.
async fn until_stopping(server: &Server) {
    eventually("the stop begins", || server.output().iter().any(|line| line.contains("open requests may")))
        .await;
}

/// Reads one answer to [`GET`].
fn read_answer(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn open_upload_ends_while_the_next_server_waits() {
    let unit = ListenerUnit::new();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut server = Server::start_command(unit.command(dir.path()), Arc::clone(&dir), &OFF);
    let body = form(&[file(&photo(300, 200))]);
    let mut upload = server.connect();
    upload.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
    upload.write_all(&body[..body.len() / 2]).unwrap();
    eventually("the upload is read", || server.metric("memory_budget_sources_bytes") > 0).await;
    server.signal(Signal::SIGTERM);
    until_stopping(&server).await;
    // Accepted by this process or by the next one, but not refused.
    let mut connections: Vec<TcpStream> = Vec::new();
    eventually("idle connections are closed", || {
        let mut socket = TcpStream::connect(unit.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.write_all(GET).unwrap();
        let is_waiting = socket.read(&mut [0; 1024]).is_err();
        connections.extend(is_waiting.then_some(socket));
        is_waiting
    })
    .await;
    upload.write_all(&body[body.len() / 2..]).unwrap();
    assert!(read_all(&mut upload).starts_with("HTTP/1.1 201 "));
    assert!(server.wait().success());
    let server = Server::start_command(unit.command(dir.path()), dir, &OFF);
    for mut socket in connections {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert!(read_answer(&mut socket).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 200, "{UPLOAD} before the restart");
}
