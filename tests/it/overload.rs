//! Overload: 429 and 503, each with a useful Retry-After.

use serde_json::Value;

use crate::support::{Server, file, form, photo, photo_numbered, without_id};

#[tokio::test]
async fn request_above_the_rate_limit_is_429_with_retry_after() {
    let server = Server::start(&[("RATE_LIMIT_UPLOAD", "2/minute"), ("RATE_LIMIT_GLOBAL", "6/minute")]);
    let body = form(&[file(&photo(64, 48))]);
    for left in ["1", "0"] {
        let response = server.post(body.clone()).await;
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["ratelimit-limit"], "2");
        assert_eq!(response.headers()["ratelimit-remaining"], left);
    }
    let response = server.post(body).await;
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(response.json::<Value>().await.unwrap()["status"], 429);
    // Three of six requests are used; other paths share the rest, existing or not.
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 200);
    assert_eq!(server.get("/nowhere").await.status(), 404);
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 200);
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 429);
    assert_eq!(server.get("/nowhere").await.status(), 429);
    for exempt in ["/api/v1/health", "/api/v1/ready", "/metrics"] {
        assert_eq!(server.get(exempt).await.status(), 200, "{exempt}");
    }
    let media = server.get(&format!("/media/{}", server.files()[0])).await;
    assert_eq!(media.status(), 200);
}

#[tokio::test]
async fn clients_of_a_trusted_proxy_have_separate_limits() {
    let client = reqwest::Client::new();
    for (trusted, expected) in [("127.0.0.0/8", [200, 200]), ("10.0.0.0/8", [200, 429])] {
        let server = Server::start(&[("RATE_LIMIT_GLOBAL", "1/hour"), ("TRUSTED_PROXIES", trusted)]);
        let mut got = Vec::new();
        for forwarded in ["203.0.113.1", "203.0.113.2"] {
            let request = client.get(server.url("/api/v1/listings/7")).header("x-forwarded-for", forwarded);
            got.push(if request.send().await.unwrap().status() == 429 { 429 } else { 200 });
        }
        assert_eq!(got, expected, "{trusted}");
    }
}

#[tokio::test]
async fn full_queue_is_503_with_retry_after_and_admitted_uploads_are_201() {
    let server = Server::start(&[("WORKERS", "1"), ("POOL_QUEUE", "1"), ("POOL_WAIT_SECONDS", "1")]);
    let forms: Vec<Vec<u8>> = (0..8).map(|n| form(&[file(&photo_numbered(3000, 2000, n))])).collect();
    let answers = futures_util::future::join_all(forms.into_iter().map(|form| server.post(form))).await;
    let mut served = 0;
    for answer in answers {
        match answer.status().as_u16() {
            201 => served += 1,
            503 => {
                assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
                assert_eq!(answer.json::<Value>().await.unwrap()["status"], 503);
            }
            other => panic!("{other}"),
        }
    }
    assert!((1..8).contains(&served), "{served} of 8 were served");
    assert_eq!(server.files().len(), served, "only admitted uploads leave a file each");
    assert_eq!(server.upload(form(&[file(&photo(64, 48))])).await.0, 201, "the queue accepts uploads again");
}

#[tokio::test]
async fn image_larger_than_the_memory_budget_is_refused_at_once() {
    let server = Server::start(&[("MEMORY_BUDGET_MB", "16")]);
    let (status, problem) = server.upload(form(&[file(&photo(3000, 2500))])).await;
    assert_eq!(status, 422, "{problem}");
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn photos_beyond_source_memory_are_spilled_with_the_same_output() {
    let body = form(&[file(&[photo(1000, 800), vec![0; 10 << 20]].concat())]);
    let (status, roomy) = Server::start(&[]).upload(body.clone()).await;
    let tight = Server::start(&[("MEMORY_BUDGET_MB", "32")]);
    let (again, spilled) = tight.upload(body).await;
    assert_eq!((again, without_id(&spilled)), (status, without_id(&roomy)));
    assert_eq!(tight.files().len(), 1, "the spilled file must be gone");
}

#[tokio::test]
async fn forged_forwarded_for_prefix_gives_no_second_quota() {
    let server = Server::start(&[("RATE_LIMIT_GLOBAL", "1/hour"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let ask = |header: &[u8]| {
        let request =
            [b"GET /api/v1/listings/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", header, b"\r\n\r\n"]
                .concat();
        server.raw(&request)[9..12].to_owned()
    };
    assert_eq!(ask(b"X-Forwarded-For: 203.0.113.7"), "404");
    for header in [
        &b"X-Forwarded-For: \xff, 203.0.113.7"[..],
        b"X-Forwarded-For: 6.6.6.6, \xff\xfe\", 203.0.113.7",
        b"X-Forwarded-For: \xff\r\nX-Forwarded-For: 203.0.113.7",
        b"X-Forwarded-For: , ,203.0.113.7:99",
        b"Forwarded: for=\"\xff, for=6.6.6.6, for=203.0.113.7",
        b"Forwarded: \xff\\\"\r\nForwarded: for=\"203.0.113.7:80\";proto=https",
    ] {
        assert_eq!(ask(header), "429", "{}", header.escape_ascii());
    }
    server.logs(&["client=203.0.113.7"]).await;
    let is_other = |line: &String| line.contains("client=") && !line.contains("client=203.0.113.7");
    assert!(!server.output().iter().any(is_other), "{:?}", server.output());
}
