//! Framings and versions of HTTP.

use futures_util::stream;
use reqwest::{Body, Client};
use serde_json::Value;

use crate::support::{BOUNDARY, Server, UPLOAD, field, file, form, photo, upload_head};

fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// The same form over HTTP/1.1 and HTTP/2, with a Content-Length and without.
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
            let mut draft: Value = response.json().await.unwrap();
            draft["id"] = 0.into();
            drafts.push(draft);
        }
    }
    assert!(drafts.iter().all(|draft| *draft == drafts[0]), "{drafts:#?}");
    assert_eq!(server.files().len(), 2);
}

#[tokio::test]
async fn many_requests_share_a_connection() {
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
async fn a_body_in_tiny_chunks_is_the_same_body() {
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
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let server = Server::start(&[]);
    let both = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
    assert!(server.raw(both.as_bytes()).starts_with("HTTP/1.1 400 "));
}
