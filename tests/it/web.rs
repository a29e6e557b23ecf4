//! Rules that hold for every request.

use std::io::Write;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::Value;

use crate::support::{BOUNDARY, Server, eventually, file, form, photo, read_all, upload_head};

#[tokio::test]
async fn unknown_path_or_method_is_a_problem() {
    let server = Server::start(&[]);
    for (method, path, status) in [
        (Method::GET, "/", 404),
        (Method::GET, "/api/v1/listings/0", 404),
        (Method::GET, "/api/v1/listings/01", 404),
        (Method::GET, "/api/v1/listings/-1", 404),
        (Method::GET, "/api/v1/listings/99999999999999999999999", 404),
        (Method::GET, "/api/v1/health/", 404),
        (Method::DELETE, "/api/v1/health", 405),
        (Method::GET, "/api/v1/ingest/upload", 405),
    ] {
        let response = Client::new().request(method.clone(), server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        if status == 405 {
            let allow = if path.ends_with("upload") { "POST" } else { "GET, HEAD" };
            assert_eq!(response.headers()["allow"], allow);
        }
        assert_eq!(response.json::<Value>().await.unwrap()["status"], status);
    }
}

#[tokio::test]
async fn valid_request_id_is_kept_in_response_and_log() {
    let server = Server::start(&[]);
    let ask = |id: &str| Client::new().get(server.url("/nowhere")).header("x-request-id", id).send();
    let response = ask("app-4711").await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "app-4711");
    assert_eq!(response.json::<Value>().await.unwrap()["request_id"], "app-4711");
    let is_logged = |line: &String| line.contains("app-4711") && line.contains("status=404");
    eventually("the id is logged", || server.output().iter().any(is_logged)).await;
    let other = ask("not sane").await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(other.len(), 36);
}

#[tokio::test]
async fn trace_of_the_client_is_continued_in_response_and_log() {
    let server = Server::start(&[("ENV", "prod"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let sent = format!("00-{trace}-00f067aa0ba902b7-01");
    let response =
        Client::new().get(server.url("/nowhere")).header("traceparent", &sent).send().await.unwrap();
    let answered = response.headers()["traceparent"].to_str().unwrap().to_owned();
    let fields: Vec<&str> = answered.split('-').collect();
    assert_eq!((fields[0], fields[1], fields[3]), ("00", trace, "01"), "{answered}");
    assert_ne!(fields[2], "00f067aa0ba902b7", "the server has a span of its own");
    let span = format!("\"span_id\":\"{}\"", fields[2]);
    let is_logged = |line: &String| line.contains(&span) && line.contains(trace) && line.contains("404");
    eventually("the trace is logged", || server.output().iter().any(is_logged)).await;
    let response = server.get("/nowhere").await;
    let fresh = response.headers()["traceparent"].to_str().unwrap();
    assert!(fresh.len() == 55 && fresh.ends_with("-00") && !fresh.contains(trace), "{fresh}");
}

#[tokio::test]
async fn access_log_has_each_photo_and_is_json_in_production() {
    let server = Server::start(&[("ENV", "prod"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")]);
    let photo = photo(64, 48);
    let (_, draft) = server.upload(form(&[file(&photo)])).await;
    let sha = draft["photos"][0]["media"]["url"].as_str().unwrap()[7..71].to_owned();
    let is_last = |line: &String| line.contains("\"status\":201");
    eventually("the request is logged", || server.output().iter().any(is_last)).await;
    let lines: Vec<Value> =
        server.output().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["sha"] == sha.as_str()).unwrap();
    assert_eq!((&line["mime"], &line["size"]), (&"image/jpeg".into(), &photo.len().into()));
    assert!(line["user_id"].is_string() && line["span"]["request_id"].is_string(), "{line}");
    assert!(
        lines
            .iter()
            .any(|line| line["status"] == 201 && line["bytes_in"].as_u64() > Some(photo.len() as u64))
    );
}

#[tokio::test]
async fn browsers_of_listed_origins_may_call() {
    let preflight = |server: &Server, origin: &'static str| {
        Client::new()
            .request(Method::OPTIONS, server.url("/api/v1/ingest/upload"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .send()
    };
    let open = Server::start(&[]);
    let response = preflight(&open, "https://anywhere.example").await.unwrap();
    assert!(response.status().is_success());
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let listed = Server::start(&[("CORS_ORIGINS", "https://app.example")]);
    let response = preflight(&listed, "https://app.example").await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example");
    assert!(response.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    assert!(response.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    assert!(
        !preflight(&listed, "https://evil.example")
            .await
            .unwrap()
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let refused =
        Client::new().get(open.url("/nowhere")).header("origin", "https://x.example").send().await.unwrap();
    assert_eq!(refused.headers()["access-control-allow-origin"], "*", "errors can be read as well");
}

#[tokio::test]
async fn browsers_may_change_drafts_and_read_what_they_need_for_it() {
    let server = Server::start(&[]);
    server.upload(form(&[file(&photo(64, 48))])).await;
    let client = Client::new();
    let preflight = client
        .request(Method::OPTIONS, server.url("/api/v1/listings/1"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PATCH")
        .header(
            "access-control-request-headers",
            "if-match,idempotency-key,content-type,traceparent,content-digest",
        );
    let preflight = preflight.send().await.unwrap();
    assert!(preflight.status().is_success());
    let names = |headers: &reqwest::header::HeaderMap, name: &str| -> Vec<String> {
        let list = headers[name].to_str().unwrap().to_ascii_lowercase();
        list.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let methods = names(preflight.headers(), "access-control-allow-methods");
    for method in ["get", "post", "put", "patch", "delete"] {
        assert!(methods.iter().any(|name| name == method), "{method}: {methods:?}");
    }
    let allowed = names(preflight.headers(), "access-control-allow-headers");
    for header in
        ["if-match", "if-none-match", "idempotency-key", "content-type", "traceparent", "content-digest"]
    {
        assert!(allowed.iter().any(|name| name == header), "{header}: {allowed:?}");
    }
    let change = client.patch(server.url("/api/v1/listings/1")).header("origin", "https://app.example");
    let changed = change.json(&serde_json::json!({"title": "coat"})).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.headers()["access-control-allow-origin"], "*");
    let exposed = names(changed.headers(), "access-control-expose-headers");
    for header in ["etag", "location", "idempotency-replayed", "retry-after", "x-request-id"] {
        assert!(exposed.iter().any(|name| name == header), "{header}: {exposed:?}");
    }
}

#[tokio::test]
async fn browsers_may_use_resumable_uploads() {
    let server = Server::start(&[]);
    let client = Client::new();
    let list = |headers: &reqwest::header::HeaderMap, name: &str| -> Vec<String> {
        let list = headers[name].to_str().unwrap().to_ascii_lowercase();
        list.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let sent = "content-type,tus-resumable,upload-checksum,upload-complete,upload-draft-interop-version,upload-length,\
        upload-metadata,upload-offset,x-http-method-override";
    let options = |header: Option<(&str, &str)>| {
        let request = client.request(Method::OPTIONS, server.url("/api/v1/uploads"));
        let request = request.header("origin", "https://app.example");
        header.into_iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let preflight = options(Some(("access-control-request-method", "PATCH"))).await.unwrap();
    let allowed = list(preflight.headers(), "access-control-allow-headers");
    for header in sent.split(',') {
        assert!(allowed.iter().any(|name| name == header), "{header}: {allowed:?}");
    }
    // What the script sends after a preflight for it.
    let options = options(None).await.unwrap();
    assert_eq!(
        (options.status().as_u16(), &options.headers()["tus-version"]),
        (204, &"1.0.0".parse().unwrap())
    );
    assert_eq!(options.headers()["access-control-allow-origin"], "*");
    let exposed = list(options.headers(), "access-control-expose-headers");
    for header in [
        "location",
        "tus-extension",
        "tus-max-size",
        "tus-resumable",
        "tus-version",
        "upload-complete",
        "upload-expires",
        "upload-length",
        "upload-limit",
        "upload-metadata",
        "upload-offset",
    ] {
        assert!(exposed.iter().any(|name| name == header), "{header}: {exposed:?}");
    }
}

#[tokio::test]
async fn post_counts_as_the_method_that_overrides_it() {
    let server = Server::start(&[]);
    let (status, _) = server.upload(form(&[file(&photo(64, 48))])).await;
    assert_eq!(status, 201);
    let post = |method: &'static str| {
        let request = Client::new().post(server.url("/api/v1/listings/1"));
        request.header("x-http-method-override", method)
    };
    let changed = post("PATCH").json(&serde_json::json!({"title": "coat"})).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    // Neither another method nor another request than a POST is overridden.
    for refused in ["GET", "PUT", "patch"] {
        assert_eq!(post(refused).send().await.unwrap().status(), 405, "{refused}");
    }
    let read = Client::new().get(server.url("/api/v1/listings/1")).header("x-http-method-override", "DELETE");
    assert_eq!(read.send().await.unwrap().status(), 200);
    assert_eq!(post("DELETE").send().await.unwrap().status(), 204);
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 404);
}

#[tokio::test]
async fn every_response_has_security_headers() {
    let server = Server::start(&[]);
    server.upload(form(&[file(&photo(64, 48))])).await;
    let media = format!("/media/{}", server.files()[0]);
    for path in ["/api/v1/health", "/nowhere", &media, "/api/v1/listings/1"] {
        let headers = server.get(path).await.headers().clone();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(
            headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"),
            "{path}"
        );
        assert!(headers.contains_key("x-request-id") && headers.contains_key("cache-control"), "{path}");
    }
}

#[tokio::test]
async fn health_ready_and_metrics_are_200() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/api/v1/health").await.text().await.unwrap(), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/api/v1/ready").await.status(), 200);
    server.upload(form(&[file(&photo(64, 48))])).await;
    server.upload(form(&[file(b"%PDF-")])).await;
    let metrics = server.get("/metrics").await.text().await.unwrap();
    for line in [
        r#"vintedbot_http_requests_total{method="POST",route="upload",status="201"} 1"#,
        r#"vintedbot_rejects_total{reason="unsupported-image"} 1"#,
        "vintedbot_photos_stored_total 1",
        "vintedbot_pool_queue_depth 0",
        "vintedbot_pool_busy_workers 0",
        "vintedbot_memory_budget_sources_bytes 0",
        "vintedbot_memory_budget_images_bytes 0",
        r#"vintedbot_http_request_duration_seconds_count{route="upload"} 2"#,
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn head_beyond_the_limits_is_a_problem_with_an_id() {
    let server = Server::start(&[]);
    let long_uri = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    let huge_uri = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(80_000));
    let long_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(40_000));
    let huge_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(200_000));
    let many_headers = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(150));
    for (head, expected) in [
        (long_uri.as_str(), &["414"][..]),
        (&huge_uri, &["414", "431"]),
        (&long_header, &["431"]),
        (&huge_header, &["431"]),
        (&many_headers, &["431"]),
        ("NOT HTTP AT ALL\r\n\r\n", &["400"]),
        ("GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", &["400"]),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n", &["400"]),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &["400"]),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n", &["400"]),
    ] {
        let mut socket = server.connect();
        // The server may answer and close before it has read all of a too large head.
        let _ = socket.write_all(head.as_bytes());
        let answer = read_all(&mut socket);
        let first = head.get(..20).unwrap_or(head);
        assert!(
            expected.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))),
            "{first}: {answer}"
        );
        assert!(answer.to_ascii_lowercase().contains("x-request-id: "), "{first}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{first}: {answer}"));
        assert_eq!(body["status"].to_string(), answer[9..12]);
    }
}

#[tokio::test]
async fn silent_or_slow_client_is_disconnected_in_time() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1"), ("BODY_IDLE_TIMEOUT_SECONDS", "1")]);
    let timed = |sent: &[u8]| {
        let mut socket = server.connect();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.write_all(sent).unwrap();
        let started = Instant::now();
        let answer = read_all(&mut socket);
        let took = started.elapsed();
        assert!(took > Duration::from_millis(700) && took < Duration::from_secs(6), "{took:?}: {answer}");
        answer
    };
    assert_eq!(timed(b""), "", "a silent client gets no response");
    for head in [&b"GET / HT"[..], b"P", b"PRI * HTTP/2.0\r\n"] {
        let answer = timed(head);
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"),
            "{head:?}: {answer}"
        );
    }
    let body = form(&[file(&photo(64, 48))]);
    let mut half = upload_head(&format!("Content-Length: {}", body.len())).into_bytes();
    half.extend_from_slice(&body[..body.len() / 2]);
    let answer = timed(&half);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"), "{answer}");
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn disconnected_client_leaves_nothing() {
    let server = Server::start(&[]);
    let body = form(&[file(&photo(800, 600)), file(&photo(640, 480))]);
    for cut in [0, 100, body.len() / 2, body.len() - BOUNDARY.len() - 10] {
        let mut socket = server.connect();
        socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
        socket.write_all(&body[..cut]).unwrap();
        drop(socket);
    }
    let abandoned = || server.output().iter().filter(|line| line.contains("status=4")).count() == 4;
    eventually("all four requests have ended", abandoned).await;
    eventually("staged files are gone", || server.files().is_empty()).await;
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn idle_http2_connection_is_closed() {
    use std::io::Read;
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut socket = server.connect();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // The preface and an empty SETTINGS frame (RFC 9113 section 3.4), followed by nothing.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let started = Instant::now();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).expect("the server closes");
    assert!(started.elapsed() < Duration::from_secs(6));
    let is_goaway = |frame: &[u8]| frame.len() > 3 && frame[3] == 7;
    assert!(said.windows(9).any(is_goaway), "it says goodbye: {said:?}");
}

#[tokio::test]
async fn client_that_does_not_read_its_response_is_disconnected() {
    let server = Server::start(&[("BODY_IDLE_TIMEOUT_SECONDS", "1")]);
    let (_, draft) = server.upload(form(&[file(&photo(1600, 1200))])).await;
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    let mut socket = server.connect();
    // Many pipelined requests, so that the responses fill every buffer between client and server.
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2000);
    let _ = socket.write_all(request.as_bytes());
    let connections = || {
        let scrape = server.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        scrape.lines().find_map(|line| line.strip_prefix("vintedbot_connections ")?.parse::<u64>().ok())
    };
    eventually("only the one who asks is connected", || connections() == Some(1)).await;
}
