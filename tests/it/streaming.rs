//! Streaming is real: memory follows what is held, not what is sent.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::support::{BOUNDARY, Server, file, form, photo, photo_numbered, read_all, upload_head};

const PHOTO_BYTES: usize = 15 << 20;

/// Sends `uploads` photos of 15 MiB at once, each over ten seconds, and gives how much the peak memory grew in KiB.
fn growth(uploads: usize) -> u64 {
    let server = Server::start(&[]);
    // The code paths of an upload are in memory before measuring.
    for _ in 0..2 {
        let body = form(&[file(&photo(64, 48))]);
        let request =
            [upload_head(&format!("Content-Length: {}\r\nConnection: close", body.len())).into_bytes(), body]
                .concat();
        assert!(server.raw(&request).starts_with("HTTP/1.1 201 "));
    }
    let before = server.peak_memory();
    std::thread::scope(|scope| {
        for n in 0..uploads {
            let server = &server;
            scope.spawn(move || {
                let mut data = photo_numbered(320, 240, n);
                data.resize(PHOTO_BYTES, 0x5A);
                let body = form(&[file(&data)]);
                let mut socket = server.connect();
                socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                socket
                    .write_all(
                        upload_head(&format!("Content-Length: {}\r\nConnection: close", body.len()))
                            .as_bytes(),
                    )
                    .unwrap();
                for piece in body.chunks(body.len() / 50 + 1) {
                    socket.write_all(piece).unwrap();
                    std::thread::sleep(Duration::from_millis(200));
                }
                let answer = read_all(&mut socket);
                assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
            });
        }
    });
    server.peak_memory() - before
}

#[test]
fn one_large_photo_over_ten_seconds_costs_little_more_than_its_size() {
    let grown = growth(1);
    println!("VmHWM grew by {grown} KiB for 1 photo of 15 MiB");
    assert!(grown <= 20 << 10, "{grown} KiB");
}

#[test]
fn eight_at_once_cost_at_most_eight_times_that() {
    let grown = growth(8);
    println!("VmHWM grew by {grown} KiB for 8 photos of 15 MiB at once");
    assert!(grown <= 8 * (16 << 10), "{grown} KiB");
}

/// A few bytes are enough to know that a picture is too large; its sender is told so at once.
#[test]
fn a_declared_size_is_refused_before_the_photo_has_arrived() {
    let server = Server::start(&[]);
    let bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x06\0\0\0";
    let body = form(&[file(&[bomb.as_slice(), &[0; 100_000]].concat())]);
    let mut socket = server.connect();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
    socket.write_all(&body[..1000]).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 422");
}

/// The second photo never arrives, and still the first is found to be bad: it was decoded meanwhile.
#[test]
fn photos_are_decoded_while_later_parts_arrive() {
    let server = Server::start(&[]);
    let whole = photo(640, 480);
    let bad = &whole[..whole.len() / 2];
    let body = form(&[file(bad), file(&whole)]);
    let second =
        body.windows(BOUNDARY.len()).rposition(|window| window == BOUNDARY.as_bytes()).unwrap() - 1000;
    let mut socket = server.connect();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
    socket.write_all(&body[..second]).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 422");
    socket.write_all(&body[second..]).expect("the rest is read and thrown away");
    assert_eq!(server.files(), Vec::<String>::new());
    drop(socket);
    let refused: Value = serde_json::from_str(
        server
            .raw(b"GET /api/v1/listings/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .split("\r\n\r\n")
            .nth(1)
            .unwrap(),
    )
    .unwrap();
    assert_eq!(refused["status"], 404);
}
