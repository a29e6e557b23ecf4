//! Slow, disconnected and too many clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::skip;
use crate::support::{
    BOUNDARY, Server, UPLOAD, eventually, file, form, photo, photo_numbered, read_all, upload_head,
};

/// Sends `pieces` with a pause after each until the server responds. Returns the response.
fn drip(server: &Server, pieces: &[&[u8]], pause: Duration) -> String {
    let mut socket = server.connect();
    let begun = Instant::now();
    for piece in pieces {
        if socket.write_all(piece).is_err() {
            break;
        }
        socket.set_read_timeout(Some(pause)).unwrap();
        if socket.peek(&mut [0]).is_ok() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the connection is not closed");
    }
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    read_all(&mut socket)
}

#[test]
fn slow_head_is_408() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-A: {}", "a".repeat(500));
    let answer = drip(&server, &Vec::from_iter(head.as_bytes().chunks(1)), Duration::from_millis(100));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"), "{answer}");
}

#[test]
fn resting_connection_continues_in_the_middle_of_a_head() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "2")]);
    let mut socket = server.connect();
    let request = "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n";
    let half_more = format!("{request}{}", &request[..30]);
    // After a second without a request the connection releases hyper.
    for sent in [request, request, &half_more, &request[30..]] {
        socket.write_all(sent.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(1600));
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer).unwrap();
        assert!(
            answer[..length].starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&answer[..length])
        );
    }
    // Half a head after a response is a slow head, even if it arrived before the connection would have rested.
    socket.write_all(half_more.as_bytes()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let rest = read_all(&mut socket);
    assert!(rest.starts_with("HTTP/1.1 200 ") && rest.contains("HTTP/1.1 408 "), "{rest}");
}

#[test]
fn body_below_min_rate_is_408_and_slow_body_above_it_is_201() {
    fn after_head<'a>(head: &'a str, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
        std::iter::once(head.as_bytes()).chain(pieces).collect()
    }
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "2"), ("BODY_MIN_RATE", "1024")]);
    let patient = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "2"), ("BODY_MIN_RATE", "0")]);
    let body = form(&[file(&photo(160, 120))]);
    let head = upload_head(&format!("Content-Length: {}\r\nConnection: close", body.len()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let answer = drip(&server, &after_head(&head, body.chunks(1)), Duration::from_millis(200));
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        });
        scope.spawn(|| {
            // Pauses of more than half the allowed idle time, above the minimum rate.
            let answer =
                drip(&server, &after_head(&head, body.chunks(body.len() / 3)), Duration::from_millis(1200));
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        });
        scope.spawn(|| {
            let few = body[..12].chunks(1).chain([&body[12..]]);
            let answer = drip(&patient, &after_head(&head, few), Duration::from_millis(400));
            assert!(answer.starts_with("HTTP/1.1 201 "), "BODY_MIN_RATE is 0: {answer}");
        });
    });
}

#[tokio::test]
async fn client_that_reads_its_response_too_slowly_is_disconnected() {
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "1")]);
    let (_, draft) = server.upload(form(&[file(&photo(1600, 1200))])).await;
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    let mut socket = server.connect();
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2000);
    let _ = socket.write_all(request.as_bytes());
    let mut taken = 0;
    eventually("only the connection of the metrics request is open", || {
        taken += socket.read(&mut [0]).unwrap_or(0);
        server.metric("connections") == 1
    })
    .await;
    assert!(taken > 5, "the client read a few bytes: {taken}");
}

/// Makes a connection end with a reset, as of a phone that loses its network, instead of a normal close.
fn reset(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

fn is_spilled(path: &str) -> bool {
    path.contains(".staging") && path.contains("(deleted)")
}

#[tokio::test]
async fn dropped_connection_frees_memory_and_files_at_once() {
    // No timeout ends before the test does, so that only the closed connection can free anything.
    let server = Server::start(&[
        ("MEMORY_BUDGET_MB", "16"),
        ("BODY_IDLE_TIMEOUT_SECONDS", "600"),
        ("BODY_MIN_RATE", "0"),
        ("HEADER_TIMEOUT_SECONDS", "600"),
    ]);
    for resets in [true, false] {
        let mut sockets = Vec::new();
        for n in 0..12 {
            let large = [photo_numbered(64, 48, n), vec![0; 2 << 20]].concat();
            let body = form(&[file(&photo_numbered(640, 480, n)), file(&large)]);
            let mut socket = server.connect();
            socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
            socket.write_all(&body[..body.len() * 3 / 4]).unwrap();
            if resets {
                reset(&socket);
            }
            sockets.push(socket);
        }
        let staged = || server.files().len();
        eventually("photos are held", || {
            server.metric("memory_budget_sources_bytes") > 0
                && server.open_files().values().any(|path| is_spilled(path))
                && staged() == 12
        })
        .await;
        let dropped = Instant::now();
        drop(sockets);
        eventually("nothing is held", || {
            server.metric("memory_budget_sources_bytes") == 0
                && server.metric("memory_budget_images_bytes") == 0
                && !server.open_files().values().any(|path| is_spilled(path))
                && staged() == 0
                && server.metric("connections") == 1
        })
        .await;
        println!("freed within {:?} after {}", dropped.elapsed(), if resets { "RST" } else { "FIN" });
    }
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn queued_photos_of_disconnected_client_are_not_decoded() {
    let server = Server::start(&[("WORKERS", "1")]);
    let forms: Vec<Vec<u8>> = (0..24).map(|n| form(&[file(&photo_numbered(3000, 2000, n))])).collect();
    let mut sockets = Vec::new();
    for (n, body) in forms.iter().enumerate() {
        let mut socket = server.connect();
        socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
        socket.write_all(body).unwrap();
        if n % 2 == 0 {
            reset(&socket);
        }
        sockets.push(socket);
    }
    drop(sockets);
    eventually("the queue is empty", || server.metric("pool_queue_depth") == 0).await;
    eventually("nothing is held", || server.metric("memory_budget_sources_bytes") == 0).await;
    eventually("no other connection is open", || server.metric("connections") == 1).await;
    let stored = server.metric("photos_stored_total");
    println!("{stored} of 24 photos were stored");
    assert!(stored < 24, "photos still in the queue are not decoded");
    assert_eq!(server.files().len() as u64, stored);
}

#[tokio::test]
async fn exhausted_descriptors_give_503_until_some_are_free() {
    let server = Server::start(&[]);
    let pid = format!("--pid={}", server.pid());
    let allow = |files: u64| {
        let status =
            std::process::Command::new("prlimit").args([&pid, &format!("--nofile={files}:")]).status();
        status.is_ok_and(|status| status.success())
    };
    // All requests use one connection, because another one would release a descriptor when it closes.
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    let get = |path: &str| client.get(server.url(path)).send();
    let upload = |number| {
        client
            .post(server.url(UPLOAD))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(form(&[file(&photo_numbered(64, 48, number))]))
            .send()
    };
    let draft: serde_json::Value = upload(0).await.unwrap().json().await.unwrap();
    let media = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    // Descriptors are allocated from the lowest: none is free below the first gap.
    let open = server.open_files();
    let first_free = (0..).find(|number| !open.contains_key(number)).unwrap();
    if !allow(first_free) {
        skip("prlimit cannot lower the limit of open files");
        return;
    }
    // All requests use the existing connection.
    for response in [upload(1).await.unwrap(), get(&media).await.unwrap()] {
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "urn:problem-type:vintedbot:unavailable");
    }
    assert_eq!(get("/api/v1/health").await.unwrap().status(), 200);
    let mut waiting = server.connect();
    waiting.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "the connection cannot be accepted yet");
    assert!(allow(first_free + 64));
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let answer = read_all(&mut waiting);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upload(1).await.unwrap().status(), 201);
    assert_eq!(get(&media).await.unwrap().status(), 200);
}
