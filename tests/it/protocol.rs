//! HTTP versions and message framing.

use futures_util::stream;
use reqwest::{Body, Client};

use crate::support::{BOUNDARY, Server, UPLOAD, field, file, form, photo, upload_head, without_id};

fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// Sends the same form over HTTP/1.1 and HTTP/2, with and without a Content-Length.
#[tokio::test]
async fn versions_and_framings_give_the_same_draft() {
    let server = Server::start(&[]);
    let (a, b) = (photo(300, 200), photo(200, 300));
    let body = form(&[file(&a), field("title", b"same"), file(&b)]);
    let h2 = || Client::builder().http2_prior_knowledge().build().unwrap();
    let mut drafts = Vec::new();
    for client in [Client::new(), h2()] {
        for streamed in [false, true] {
            let pieces: Vec<std::io::Result<Vec<u8>>> =
                body.chunks(1000).map(|piece| Ok(piece.to_vec())).collect();
            let body = if streamed { Body::wrap_stream(stream::iter(pieces)) } else { body.clone().into() };
            let response = client
                .post(server.url(UPLOAD))
                .header("content-type", content_type())
                .body(body)
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 201);
            assert!(response.headers().contains_key("x-request-id"));
            drafts.push(without_id(&response.json().await.unwrap()));
        }
    }
    assert!(drafts.iter().all(|draft| *draft == drafts[0]), "{drafts:#?}");
    assert_eq!(server.files().len(), 2);
}

#[tokio::test]
async fn connection_serves_many_requests() {
    let server = Server::start(&[]);
    for client in [Client::new(), Client::builder().http2_prior_knowledge().build().unwrap()] {
        for _ in 0..5 {
            assert_eq!(client.get(server.url("/api/v1/health")).send().await.unwrap().status(), 200);
            let refused = client
                .post(server.url(UPLOAD))
                .header("content-type", content_type())
                .body("x")
                .send()
                .await
                .unwrap();
            assert_eq!(refused.status(), 400);
        }
    }
    let pipelined = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = server.raw(pipelined);
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 404 "), "{answers}");
}

#[tokio::test]
async fn body_in_tiny_chunks_gives_the_same_draft() {
    use std::io::Write;
    let server = Server::start(&[]);
    let body = form(&[file(&photo(16, 16))]);
    let mut socket = server.connect();
    socket.write_all(upload_head("Transfer-Encoding: chunked").as_bytes()).unwrap();
    for byte in &body {
        socket.write_all(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']).unwrap();
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let answer = crate::support::read_all(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn ambiguous_request_is_refused() {
    let server = Server::start(&[]);
    let both = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
    assert!(server.raw(both.as_bytes()).starts_with("HTTP/1.1 400 "));
}

/// Returns the status of the response to these bytes, and the whole response.
fn status(server: &Server, request: &str) -> (String, String) {
    let answer = server.raw(request.as_bytes());
    (answer.get(9..12).unwrap_or("none").to_owned(), answer)
}

#[tokio::test]
async fn transfer_coding_other_than_chunked_is_refused() {
    let server = Server::start(&[]);
    for (framing, expected) in [
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "501"),
        ("Transfer-Encoding: identity, chunked", "501"),
        ("Transfer-Encoding: chunked;q=1, chunked", "501"),
        ("Transfer-Encoding: chunked, chunked", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: chunked, gzip", "400"),
        ("Transfer-Encoding: gzip", "400"),
        ("Transfer-Encoding: identity", "400"),
        ("Transfer-Encoding: xchunked", "400"),
        ("Transfer-Encoding: \"chunked\"", "400"),
        ("Transfer-Encoding:", "400"),
    ] {
        for start in [format!("POST {UPLOAD}"), "GET /api/v1/health".to_owned(), "POST /nowhere".to_owned()] {
            let request = format!(
                "{start} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\n{framing}\r\n\r\n0\r\n\r\n\
                 GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
                content_type()
            );
            let (got, answer) = status(&server, &request);
            assert_eq!(got, expected, "{start}: {framing}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "the bytes after it are not a request: {answer}"
            );
        }
    }
    let old = "GET /api/v1/health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&server, old).0, "400");
}

#[tokio::test]
async fn chunked_body_with_content_length_is_read_as_chunked_and_closes_the_connection() {
    let server = Server::start(&[]);
    let body = form(&[file(&photo(64, 48))]);
    for (n, framing) in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: Chunked\r\nContent-Length: 3",
        "Transfer-Encoding: chunked",
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = upload_head(framing).into_bytes();
        request.extend(format!("{:x}\r\n", body.len()).as_bytes());
        request.extend(&body);
        request.extend(b"\r\n0\r\n\r\nGET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = server.raw(&request);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{n}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn content_length_above_64_bits_is_413_for_any_path() {
    let server = Server::start(&[]);
    let ask = |start: &str, length: &str| {
        let request = format!(
            "{start} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
            content_type()
        );
        status(&server, &request)
    };
    let upload = format!("POST {UPLOAD}");
    for length in ["18446744073709551614", "18446744073709551615", "18446744073709551616", &"9".repeat(60)] {
        for start in [upload.as_str(), "GET /api/v1/health", "POST /nowhere"] {
            let (got, answer) = ask(start, length);
            assert_eq!(got, "413", "{start} {length}: {answer}");
            assert!(answer.contains("body-too-large") && answer.contains("x-request-id: "), "{answer}");
        }
    }
    assert_eq!(ask(&upload, "18446744073709551613").0, "413");
    assert_eq!(ask("GET /api/v1/health", "18446744073709551613").0, "200");
    for length in ["-1", "+5", "0x10", "1e3", "5, 6", ""] {
        assert_eq!(ask(&upload, length).0, "400", "{length}");
    }
}
