//! Hostile HTTP/2 peers, frame by frame over a raw socket: each attack ends, costs little, and other clients are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Server, eventually, file, form, photo};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a GET of `path` in HPACK without the dynamic table.
fn get(path: &str) -> Vec<u8> {
    let literal =
        |index: u8, text: &str| [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0x82, 0x86], literal(4, path), literal(1, "x")].concat()
}

/// Connects and sends the preface, with this initial window for each stream.
fn peer(server: &Server, window: u32) -> TcpStream {
    let mut socket = server.connect();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let settings = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    socket.write_all(&frame(SETTINGS, 0, 0, &settings)).unwrap();
    socket
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// Reads the next frame, or `None` at the end.
fn next(socket: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length.try_into().unwrap()];
    socket.read_exact(&mut payload).ok()?;
    Some(Frame { kind: head[3], flags: head[4], payload })
}

/// Reads all frames until the server closes.
fn rest(socket: &mut TcpStream) -> Vec<Frame> {
    std::iter::from_fn(|| next(socket)).collect()
}

fn got_goaway(frames: &[Frame], code: u8) -> bool {
    frames.iter().any(|frame| frame.kind == GOAWAY && frame.payload[4..8] == [0, 0, 0, code])
}

/// Runs an attack, and asserts that it costs little processor time and memory and that the server still answers.
fn assert_cheap(server: &Server, attack: impl FnOnce()) {
    let (cpu, memory) = (server.cpu_seconds(), server.peak_memory());
    attack();
    let (cpu, memory) = (server.cpu_seconds() - cpu, server.peak_memory().saturating_sub(memory));
    println!("{cpu:.2} s of processor time, {memory} KiB");
    assert!(cpu < 3.0, "{cpu} s of processor time");
    assert!(memory < 16 << 10, "{memory} KiB");
    let health = server.raw(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
}

const ENHANCE_YOUR_CALM: u8 = 11;

#[test]
fn rapid_reset_ends_the_connection() {
    let server = Server::start(&[]);
    assert_cheap(&server, || {
        let mut socket = peer(&server, 65_535);
        let request = get("/api/v1/health");
        let mut flood = Vec::new();
        for n in 0..20_000 {
            let stream = 2 * n + 1;
            flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &request));
            flood.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        let cut = flood.chunks(64 * 1024).any(|piece| socket.write_all(piece).is_err());
        let frames = rest(&mut socket);
        assert!(cut || got_goaway(&frames, ENHANCE_YOUR_CALM), "{frames:?}");
    });
}

#[test]
fn endless_head_ends_the_connection() {
    let server = Server::start(&[]);
    assert_cheap(&server, || {
        let mut socket = peer(&server, 65_535);
        socket.write_all(&frame(HEADERS, END_STREAM, 1, &get("/api/v1/health"))).unwrap();
        // A header of 100 bytes that is never indexed, repeated.
        let header = [&[0, 1, b'a', 96][..], &[b'b'; 96]].concat();
        let piece = frame(CONTINUATION, 0, 1, &header.repeat(160));
        let sent = (0..2000).take_while(|_| socket.write_all(&piece).is_ok()).count();
        println!("{sent} CONTINUATION frames were sent");
        assert!(sent < 2000, "the server must close");
    });
}

#[test]
fn flood_of_control_frames_without_reading_is_disconnected() {
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "1"), ("HEADER_TIMEOUT_SECONDS", "1")]);
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        assert_cheap(&server, || {
            let mut socket = peer(&server, 65_535);
            let many = flood.repeat(5000);
            let begun = Instant::now();
            // The peer reads nothing, so at some point the server accepts nothing more, and finally it closes the
            // connection.
            socket.set_write_timeout(Some(Duration::from_secs(8))).unwrap();
            while socket.write_all(&many).is_ok() && begun.elapsed() < Duration::from_secs(8) {}
            assert!(begun.elapsed() < Duration::from_secs(8), "the connection is not closed");
        });
    }
}

#[tokio::test]
async fn streams_without_window_are_reset() {
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "1"), ("HEADER_TIMEOUT_SECONDS", "3")]);
    let (_, draft) = server.upload(form(&[file(&photo(1600, 1200))])).await;
    let media = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    for window in [0, 1, 1000] {
        for path in [media.as_str(), "/metrics"] {
            assert_cheap(&server, || {
                let mut socket = peer(&server, window);
                for n in 0..50 {
                    let request = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get(path));
                    socket.write_all(&request).unwrap();
                }
                let mut reset = 0;
                while reset < 50 {
                    let frame = next(&mut socket).expect("every stream must be reset");
                    reset += u32::from(frame.kind == RST_STREAM);
                }
            });
        }
    }
    eventually("the files are closed", || !server.open_files().values().any(|path| path.ends_with(".jpg")))
        .await;
}

#[test]
fn slowly_read_response_is_complete() {
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "2"), ("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut socket = peer(&server, 1000);
    socket.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/metrics"))).unwrap();
    let begun = Instant::now();
    let mut taken = Vec::new();
    loop {
        let frame = next(&mut socket).expect("the response must continue");
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind != DATA {
            continue;
        }
        taken.extend(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
        socket.write_all(&self::frame(WINDOW_UPDATE, 0, 1, &more)).unwrap();
    }
    let text = String::from_utf8(taken).unwrap();
    assert!(text.ends_with('\n') && text.contains("\nprocess_max_fds "), "{text}");
    assert!(begun.elapsed() > Duration::from_secs(1), "longer than the limit for idle connections");
}

#[test]
fn streams_above_the_limit_are_refused_and_others_served() {
    let server = Server::start(&[]);
    assert_cheap(&server, || {
        let mut socket = peer(&server, 0);
        let requests: Vec<u8> = (0..100)
            .flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get("/api/v1/health")))
            .collect();
        let _ = socket.write_all(&requests);
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let frames = rest(&mut socket);
        let answered = frames.iter().filter(|frame| frame.kind == HEADERS).count();
        assert_eq!(answered, 64, "at most 64 streams are open at once");
    });
}

#[test]
fn incomplete_frame_ends_the_connection() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut socket = peer(&server, 65_535);
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/api/v1/health"));
    let begun = Instant::now();
    // A byte now and then, but never the last one.
    for byte in &request[..request.len() - 1] {
        let _ = socket.write_all(&[*byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    rest(&mut socket);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
