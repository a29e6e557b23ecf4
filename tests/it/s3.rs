//! The API with a bucket on a real S3 server, and its responses when that server fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, redirect};
use serde_json::Value;

use crate::bucket::{ACCESS_KEY, BUCKET, Bucket, Line, SECRET_KEY};
use crate::support::{PATIENCE, Server, binary, eventually, file, form, photo, photo_numbered, sha256};

/// Settings of a server whose photos are in this bucket.
pub(crate) fn settings<'a>(endpoint: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![
        ("MEDIA_STORAGE", "s3"),
        ("S3_BUCKET", BUCKET),
        ("S3_ENDPOINT_URL", endpoint),
        ("S3_ACCESS_KEY", ACCESS_KEY),
        ("S3_SECRET_KEY", SECRET_KEY),
    ];
    settings.extend(more);
    settings
}

fn start(bucket: &Bucket, more: &[(&str, &str)]) -> Server {
    let endpoint = bucket.endpoint();
    Server::start(&settings(&endpoint, more))
}

fn url(draft: &Value) -> String {
    draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned()
}

async fn is_whole(server: &Server, url: &str) -> bool {
    let answer = server.get(url).await;
    answer.status() == 200 && url == format!("/media/{}.jpg", sha256(answer.bytes().await.unwrap()))
}

#[tokio::test]
async fn upload_to_a_bucket_follows_the_api() {
    let bucket = Bucket::start();
    let server = start(&bucket, &[("MEMORY_BUDGET_MB", "32")]);
    assert!(server.output().last().unwrap().contains("| storage=s3 |"));
    let ready = server.get("/api/v1/ready").await;
    assert_eq!(ready.status(), 200);

    let (good, cut) = (photo(800, 600), photo(300, 200));
    let (status, problem) = server.upload(form(&[file(&good), file(&cut[..cut.len() / 2])])).await;
    assert_eq!((status, &problem["file_index"]), (422, &1.into()), "{problem}");
    assert_eq!(bucket.objects("media").len(), 0, "photos are stored all or none");

    let large = [photo(1000, 800), vec![0; 10 << 20]].concat();
    let (status, draft) = server.upload(form(&[file(&good), file(&large), file(&good)])).await;
    assert_eq!(status, 201, "{draft}");
    assert_eq!(draft["photos"][0]["media"], draft["photos"][2]["media"]);
    assert_eq!(bucket.objects("media").len(), 2);
    assert_eq!(server.files(), Vec::<String>::new(), "no file may stay on the local disk");
    assert_eq!(server.get("/api/v1/listings/1").await.json::<Value>().await.unwrap(), draft);

    let url = url(&draft);
    let whole = server.get(&url).await;
    assert_eq!(
        (whole.status().as_u16(), &whole.headers()["content-type"]),
        (200, &"image/jpeg".parse().unwrap())
    );
    assert_eq!(whole.headers()["cache-control"], "public, max-age=31536000, immutable");
    let etag = whole.headers()["etag"].clone();
    let bytes = whole.bytes().await.unwrap();
    assert_eq!(url, format!("/media/{}.jpg", sha256(&bytes)));
    assert_eq!(std::fs::read(bucket.dir().join(BUCKET).join(&url[1..])).unwrap(), bytes);
    let length = bytes.len().to_string();
    for (method, header, status, content_length, content) in [
        (Method::GET, ("range", "bytes=10-19"), 206, "10", bytes.slice(10..20)),
        (Method::GET, ("range", "bytes=-5"), 206, "5", bytes.slice(bytes.len() - 5..)),
        (Method::GET, ("if-none-match", etag.to_str().unwrap()), 304, "", bytes.slice(..0)),
        (Method::GET, ("if-match", "\"other\""), 412, "", bytes.slice(..0)),
        (Method::HEAD, ("range", "bytes=0-9"), 200, &length, bytes.slice(..0)),
    ] {
        let request = Client::new().request(method, server.url(&url)).header(header.0, header.1);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{header:?}");
        if !content_length.is_empty() {
            assert_eq!(answer.headers()["content-length"], content_length, "{header:?}");
        }
        if status != 412 {
            assert_eq!(answer.bytes().await.unwrap(), content, "{header:?}");
        }
    }
    assert_eq!(server.get(&format!("/media/{}.jpg", "0".repeat(64))).await.status(), 404);
    let anonymous = Client::new().get(format!("{}/{BUCKET}{url}", bucket.endpoint())).send().await.unwrap();
    assert_eq!(anonymous.status(), 403, "the bucket must be private");

    // The same photo again: its source identifies it and, in another catalog, its content.
    assert_eq!(server.upload(form(&[file(&good)])).await.1["photos"][0], draft["photos"][0]);
    let other = start(&bucket, &[]);
    assert_eq!(other.upload(form(&[file(&good)])).await.0, 201);
    assert_eq!(bucket.objects("media").len(), 2);
}

#[tokio::test]
async fn redirect_setting_sends_viewers_to_a_signed_url() {
    let bucket = Bucket::start();
    let server = start(&bucket, &[("S3_PRESIGN_SECONDS", "60")]);
    let (_, draft) = server.upload(form(&[file(&photo(300, 200))])).await;
    let url = url(&draft);
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let ask = |method: Method, url: String| client.request(method, url).send();
    let sent = ask(Method::GET, server.url(&url)).await.unwrap();
    assert_eq!(sent.status(), 307);
    assert_eq!(sent.headers()["cache-control"], "private, max-age=30");
    let link = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(link.starts_with(&format!("{}/{BUCKET}/media/", bucket.endpoint())), "{link}");
    let photo = ask(Method::GET, link.clone()).await.unwrap();
    assert_eq!(
        (photo.status().as_u16(), &photo.headers()["content-type"]),
        (200, &"image/jpeg".parse().unwrap())
    );
    assert_eq!(url, format!("/media/{}.jpg", sha256(photo.bytes().await.unwrap())));
    let forged = link.replace(&url[7..20], "0000000000000");
    assert_eq!(ask(Method::GET, forged).await.unwrap().status(), 403);
    assert_eq!(ask(Method::HEAD, server.url(&url)).await.unwrap().status(), 200);
    let unknown = server.url(&format!("/media/{}.jpg", "0".repeat(64)));
    assert_eq!(ask(Method::GET, unknown).await.unwrap().status(), 404);
}

#[tokio::test]
async fn unusable_bucket_stops_startup_with_one_line() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let dir = tempfile::tempdir().unwrap();
    for (change, expected) in [
        (("S3_BUCKET", "nowhere"), "NoSuchBucket"),
        (("S3_SECRET_KEY", "a-wrong-key"), "SignatureDoesNotMatch"),
    ] {
        let output = binary(dir.path()).envs(settings(&endpoint, &[change, ("PORT", "0")])).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(expected) && said.lines().count() == 1 && !said.contains("a-wrong-key"),
            "{said}"
        );
    }
    // A bucket that does not answer may do so later, and several servers must be able to start before.
    bucket.switch(Line::Refusing);
    let server = start(&bucket, &[]);
    let ready = server.get("/api/v1/ready").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["down"][0], "media");
    bucket.switch(Line::Open);
    let (status, _) = until_stored(&server, 0).await;
    assert_eq!(status, 201);
}

/// Uploads until one succeeds, which must be soon.
async fn until_stored(server: &Server, number: usize) -> (u16, Value) {
    let begun = Instant::now();
    loop {
        let stored = server.upload(form(&[file(&photo_numbered(200, 150, number))])).await;
        if stored.0 == 201 || begun.elapsed() > PATIENCE {
            return stored;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_bucket_gives_503_and_loses_nothing_acknowledged() {
    let bucket = Bucket::start();
    let server = Arc::new(start(&bucket, &[]));
    let stop = tokio_util::sync::CancellationToken::new();
    let answered: Arc<[AtomicUsize; 2]> = Arc::default();
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (server, stop, answered) = (Arc::clone(&server), stop.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let (mut stored, mut refused) = (Vec::new(), 0);
                for round in 0.. {
                    if stop.is_cancelled() {
                        break;
                    }
                    let body = form(&[file(&photo_numbered(200 + n, 150 + round % 100, round))]);
                    let begun = Instant::now();
                    let answer = server.post(body).await;
                    assert!(begun.elapsed() < PATIENCE, "no request may hang");
                    match answer.status().as_u16() {
                        201 => {
                            stored.push(url(&answer.json().await.unwrap()));
                            answered[0].fetch_add(1, Ordering::Relaxed);
                        }
                        503 => {
                            assert!(answer.headers().contains_key("retry-after"));
                            assert_eq!(answer.json::<Value>().await.unwrap()["status"], 503);
                            refused += 1;
                            answered[1].fetch_add(1, Ordering::Relaxed);
                        }
                        other => panic!("{other}"),
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (stored, refused)
            })
        })
        .collect();
    eventually("uploads must succeed", || answered[0].load(Ordering::Relaxed) >= 8).await;
    for line in [Line::Refusing, Line::Stalled] {
        let refused = answered[1].load(Ordering::Relaxed);
        bucket.switch(line);
        eventually("uploads must be refused", || answered[1].load(Ordering::Relaxed) >= refused + 40).await;
        let ready = server.get("/api/v1/ready").await;
        assert_eq!(ready.status(), 503);
        assert_eq!(ready.json::<Value>().await.unwrap()["down"][0], "media");
        assert_eq!(server.get("/api/v1/health").await.status(), 200);
    }
    bucket.switch(Line::Open);
    assert_eq!(until_stored(&server, 999).await.0, 201, "within ten seconds");
    stop.cancel();
    for client in clients {
        let (stored, refused) = client.await.unwrap();
        assert!(refused > 0 && !stored.is_empty(), "{} stored, {refused} refused", stored.len());
        for url in stored {
            assert!(is_whole(&server, &url).await, "{url}");
        }
    }
    let opened =
        server.output().iter().filter(|line| line.contains("no requests are sent for a while")).count();
    assert!((1..=12).contains(&opened), "the log must report outages, not requests: {opened}");
}

#[tokio::test]
async fn photo_is_503_while_the_bucket_does_not_answer() {
    let bucket = Bucket::start();
    let server = start(&bucket, &[]);
    let url = url(&server.upload(form(&[file(&photo(300, 200))])).await.1);
    bucket.switch(Line::Refusing);
    let answer = server.get(&url).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    bucket.switch(Line::Open);
    eventually("it is served again", || {
        let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        server.raw(request.as_bytes()).starts_with("HTTP/1.1 200 ")
    })
    .await;
}
