//! Streaming: memory depends on the bytes that are held, not on those that are sent.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::support::{BOUNDARY, Server, file, form, photo, photo_numbered, read_all, upload_head};

const PHOTO_BYTES: usize = 15 << 20;

/// Uploads `uploads` photos of 15 MiB in parallel, each over ten seconds. Returns the growth of peak memory in KiB.
fn growth(uploads: usize) -> u64 {
    let server = Server::start(&[]);
    // Loads the code of an upload into memory before measuring.
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
fn slow_large_upload_costs_little_more_memory_than_its_size() {
    let grown = growth(1);
    println!("VmHWM grew by {grown} KiB for 1 photo of 15 MiB");
    assert!(grown <= 20 << 10, "{grown} KiB");
}

#[test]
fn eight_large_uploads_cost_at_most_eight_times_as_much() {
    let grown = growth(8);
    println!("VmHWM grew by {grown} KiB for 8 photos of 15 MiB at once");
    assert!(grown <= 8 * (16 << 10), "{grown} KiB");
}

/// The first bytes declare the size of a picture, so one that is too large is refused immediately.
#[test]
fn too_large_declared_size_is_refused_before_the_photo_has_arrived() {
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

/// The second photo never arrives, yet the first is refused as corrupt: it was decoded meanwhile.
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
    socket.write_all(&body[second..]).expect("the rest must be read and discarded");
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
