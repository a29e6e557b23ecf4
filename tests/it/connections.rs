//! The limit of connections: every client has its share, and health checks are always answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{Server, eventually, file, form, photo_numbered, read_all, upload_head};

const HEALTH: &[u8] = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const HEALTH_AND_STAY: &[u8] = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n";
/// The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113 section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Time limit of a health check on a busy machine. Without shares a health check waits until idle connections time out.
const SOON: Duration = Duration::from_secs(5);

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const MONITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn connect_from(server: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.into()
}

/// Returns how long a health check from an address takes. If its connection closes before the request is read, it is retried,
/// as a monitor does.
fn health(server: SocketAddr, from: Ipv4Addr) -> Duration {
    let began = Instant::now();
    loop {
        let mut socket = connect_from(server, from);
        let _may_be_closed = socket.write_all(HEALTH);
        let mut answer = Vec::new();
        let _may_be_reset = socket.read_to_end(&mut answer);
        if answer.starts_with(b"HTTP/1.1 200 ") {
            return began.elapsed();
        }
        assert!(answer.is_empty() && began.elapsed() < SOON, "from {from}: {answer:?}");
    }
}

/// Ends an attack on drop, also when the test fails: the thread scope waits for the attack.
struct EndAttack<'a>(&'a AtomicBool);

impl Drop for EndAttack<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns what the server sent on a connection that it closed, or `None` while it is open.
fn closed(socket: &TcpStream) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    socket.set_nonblocking(true).unwrap();
    let read = (&*socket).read_to_end(&mut received);
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        _ => Some(received),
    }
}

/// Holds `count` connections on which `hello` was sent, and replaces those that the server closes. Returns the number
/// of replaced connections and the last bytes received on one.
fn hold(
    server: SocketAddr,
    addresses: impl Fn(usize) -> Ipv4Addr,
    count: usize,
    hello: &[u8],
    is_ended: &AtomicBool,
) -> (usize, Vec<u8>) {
    let open = |n| {
        let mut socket = connect_from(server, addresses(n));
        let _may_be_closed = socket.write_all(hello);
        socket
    };
    let mut sockets: Vec<TcpStream> = (0..count).map(open).collect();
    let (mut replaced, mut last) = (0, Vec::new());
    while !is_ended.load(Ordering::Relaxed) {
        for (n, socket) in sockets.iter_mut().enumerate() {
            if let Some(received) = closed(socket) {
                // One that is closed before the server read its first byte receives nothing.
                if !received.is_empty() {
                    last = received;
                }
                replaced += 1;
                *socket = open(count + replaced + n);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (replaced, last)
}

/// Starts a server whose limit of open files allows 64 connections.
fn server_with_few_files() -> Server {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\"", env!("CARGO_BIN_EXE_vintedbot-ingest")]);
    command.current_dir(dir.path()).env_clear();
    Server::start_command(command, dir, &[])
}

fn closed_for(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("connections_closed_total{{reason=\"{reason}\"}}"))
}

#[test]
fn health_check_is_answered_while_attackers_hold_all_connections() {
    let server = server_with_few_files();
    let many = |n: usize| Ipv4Addr::from(0x7f05_0000 + u32::try_from(n % 100_000).unwrap());
    let attacks: [(&str, bool, &[u8]); 5] = [
        ("one silent", false, b""),
        ("one in a head", false, b"GET / HT"),
        ("one with answers", false, HEALTH_AND_STAY),
        ("one with HTTP/2", false, HTTP2),
        ("many silent", true, b""),
    ];
    for (name, are_many, hello) in attacks {
        let is_ended = AtomicBool::new(false);
        let before = closed_for(&server, "evicted");
        let (replaced, last) = std::thread::scope(|scope| {
            let (address, is_ended) = (server.address, &is_ended);
            let addresses = move |n| if are_many { many(n) } else { ATTACKER };
            let end = EndAttack(is_ended);
            let attack = scope.spawn(move || hold(address, addresses, 150, hello, is_ended));
            while closed_for(&server, "evicted") < before + 150 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut worst = Duration::ZERO;
            for _ in 0..20 {
                worst = worst.max(health(address, MONITOR)).max(health(address, ATTACKER));
            }
            drop(end);
            println!("{name}: the slowest of 40 health checks took {worst:?}");
            assert!(worst < SOON, "{name}: {worst:?}");
            attack.join().unwrap()
        });
        assert!(replaced > 0, "{name}");
        if hello == HTTP2 {
            assert!(
                last.windows(9).any(|frame| frame[..4] == [0, 0, 8, 7]),
                "HTTP/2 connections get a GOAWAY: {last:?}"
            );
        }
    }
}

/// Sends the first half of an upload from each address.
fn half_uploads(server: &Server, from: impl Iterator<Item = Ipv4Addr>) -> Vec<(TcpStream, Vec<u8>)> {
    let start = |(n, from)| {
        let body = form(&[file(&photo_numbered(64, 48, n))]);
        let mut socket = connect_from(server.address, from);
        let head = upload_head(&format!("Content-Length: {}\r\nConnection: close", body.len()));
        let (half, rest) = body.split_at(body.len() / 2);
        socket.write_all(&[head.as_bytes(), half].concat()).unwrap();
        (socket, rest.to_vec())
    };
    from.enumerate().map(start).collect()
}

/// Sends the rest of these uploads and returns their statuses, or "none" for a socket that was closed.
fn finish(uploads: Vec<(TcpStream, Vec<u8>)>) -> Vec<String> {
    let finish = |(mut socket, rest): (TcpStream, Vec<u8>)| {
        let _refused_already = socket.write_all(&rest);
        read_all(&mut socket).split(' ').nth(1).unwrap_or("none").to_owned()
    };
    uploads.into_iter().map(finish).collect()
}

fn count(statuses: &[String], status: &str) -> usize {
    statuses.iter().filter(|have| *have == status).count()
}

/// Waits until `count` requests were refused because their client exceeded its share.
async fn refused_for_shares(server: &Server, count: u64) {
    eventually("requests above the share are refused", || {
        let scrape = server.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let line = "vintedbot_rejects_total{reason=\"too-many-connections\"} ";
        scrape.lines().find_map(|have| have.strip_prefix(line)?.parse().ok()).unwrap_or(0) >= count
    })
    .await;
}

#[tokio::test]
async fn client_over_its_share_of_open_requests_gets_503_and_others_are_served() {
    let server = Server::start(&[("MAX_CONNECTIONS", "64")]);
    // Of 64 slots, four are reserved for new connections and four for idle ones.
    let greedy = half_uploads(&server, std::iter::repeat_n(ATTACKER, 50));
    refused_for_shares(&server, 22).await;
    assert!(health(server.address, ATTACKER).max(health(server.address, MONITOR)) < SOON);
    let others = half_uploads(&server, (1..=10).map(|n| Ipv4Addr::new(127, 0, 1, n)));
    assert_eq!(count(&finish(others), "201"), 10);
    let statuses = finish(greedy);
    assert_eq!(count(&statuses, "201"), 28, "half of 56: {statuses:?}");
    assert_eq!(count(&statuses, "201") + count(&statuses, "503"), 50, "{statuses:?}");
}

#[tokio::test]
async fn health_check_is_answered_while_all_slots_are_active() {
    let server = Server::start(&[("MAX_CONNECTIONS", "64")]);
    let busy = half_uploads(&server, (1..=120).map(|n| Ipv4Addr::new(127, 0, 2, n)));
    // Some connections are evicted before their requests are read.
    refused_for_shares(&server, 1).await;
    for n in 1..=20 {
        assert!(health(server.address, Ipv4Addr::new(127, 0, 3, n)) < SOON);
    }
    let mut late = connect_from(server.address, MONITOR);
    late.write_all(b"GET /api/v1/listings/1 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = read_all(&mut late).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503 ") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("connection: close"), "{answer}");
    let statuses = finish(busy);
    assert_eq!(count(&statuses, "201"), 56, "{statuses:?}");
    assert_eq!(
        count(&finish(half_uploads(&server, std::iter::once(MONITOR))), "201"),
        1,
        "the slots are free again"
    );
}

#[tokio::test]
async fn trusted_proxy_has_no_share_limit() {
    let server = Server::start(&[("MAX_CONNECTIONS", "64"), ("TRUSTED_PROXIES", "127.0.4.1")]);
    // The last request of the proxy may be in progress while another client has one, in either order.
    let proxy = half_uploads(&server, std::iter::repeat_n(Ipv4Addr::new(127, 0, 4, 1), 51));
    assert!(health(server.address, MONITOR) < SOON);
    let direct = half_uploads(&server, std::iter::once(MONITOR));
    assert_eq!(count(&finish(direct), "201"), 1, "a reserve remains for other clients");
    let statuses = finish(proxy);
    assert_eq!(count(&statuses, "201"), 51, "{statuses:?}");
}
