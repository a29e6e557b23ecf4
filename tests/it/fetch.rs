//! Photos that the server fetches by their URLs.

mod attempts;
mod namespace;
mod origin;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Client, Response};
use serde_json::{Value, json};

use self::origin::{Origin, PHOTOS, photo};
use crate::common::ReservedPort;
use crate::support::{Server, eventually, field, file, form, without_id};

const FETCH: &str = "/api/v1/ingest/photos";

/// Starts a server that may fetch from these origins.
fn server_for(origins: &[&str], settings: &[(&str, &str)]) -> Server {
    let allowed = json!(origins).to_string();
    let fetches = [("FETCH_ENABLED", "true"), ("FETCH_ALLOW", allowed.as_str())];
    Server::start(&[&fetches, settings].concat())
}

async fn post(server: &Server, query: &str, body: &Value) -> Response {
    Client::new().post(server.url(&format!("{FETCH}{query}"))).json(body).send().await.unwrap()
}

/// Makes a draft of these URLs and returns status and JSON.
async fn fetch<S: AsRef<str>>(server: &Server, query: &str, urls: &[S]) -> (u16, Value) {
    let urls: Vec<&str> = urls.iter().map(AsRef::as_ref).collect();
    let response = post(server, query, &json!({"urls": urls})).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Fetches URLs after a good one. Returns the problem of each.
async fn problems_of(server: &Server, good: &str, urls: &[String]) -> Vec<Value> {
    let mut problems = Vec::new();
    for urls in urls.chunks(19) {
        let all: Vec<&str> = std::iter::once(good).chain(urls.iter().map(String::as_str)).collect();
        let (status, draft) = fetch(server, "?on_error=skip", &all).await;
        assert_eq!((status, draft["photos"].as_array().map(Vec::len)), (201, Some(1)), "{urls:?}: {draft}");
        let rejected = draft["rejected"].as_array().unwrap();
        let indices: Vec<_> = rejected.iter().map(|photo| photo["file_index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (1..=urls.len() as u64).collect::<Vec<_>>());
        problems.extend(rejected.iter().map(|photo| photo["problem"].clone()));
    }
    problems
}

fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap().rsplit(':').next().unwrap()
}

/// Asserts that all these problems are refusals, and that those after the look at the text are one and the same.
fn assert_refused(problems: &[Value]) {
    let failed: Vec<_> = problems.iter().filter(|problem| kind(problem) == "fetch-failed").collect();
    assert!(failed.iter().all(|problem| *problem == failed[0]), "{failed:?}");
    assert!(problems.iter().all(|it| ["fetch-failed", "fetch-refused"].contains(&kind(it))), "{problems:?}");
}

/// Returns how many URLs had this outcome.
fn fetches(server: &Server, outcome: &str) -> u64 {
    let scrape = server.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let name = format!("vintedbot_fetches_total{{outcome=\"{outcome}\"}} ");
    scrape.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn photos_by_url_become_the_draft_of_the_same_photos_in_a_form() {
    let origin = Origin::start();
    let server = server_for(&[&origin.name()], &[]);
    let photos: Vec<_> = (0..PHOTOS).map(photo).collect();
    let mut parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
    parts.push(field("title", b"Blue shoes"));
    let (status, by_form) = server.upload(form(&parts)).await;
    assert_eq!(status, 201);
    let paths = ["/photo/0?a=b%20c#d", "/redirect/3/1", "/chunked/2", "/slow/3", "/close/4", "/accent/5"];
    let urls = paths.map(|path| origin.url(path));
    let response = post(&server, "", &json!({"urls": urls, "title": "Blue shoes"})).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/api/v1/listings/2");
    let by_url: Value = response.json().await.unwrap();
    assert_eq!(without_id(&by_url), without_id(&by_form));
    assert_eq!(server.get("/api/v1/listings/2").await.json::<Value>().await.unwrap(), by_url);
    assert_eq!(fetches(&server, "fetched"), 6);

    let heads = origin.heads();
    assert_eq!(heads.len(), 10);
    let host = format!("host: {}\r\n", &origin.name()["http://".len()..]);
    for head in &heads {
        let head = head.to_ascii_lowercase();
        for expected in
            ["get /", &host, "accept: image/*\r\n", "accept-encoding: identity\r\n", "user-agent: "]
        {
            assert!(head.contains(expected), "{expected} in {head}");
        }
        assert_eq!(head.lines().filter(|line| !line.is_empty()).count(), 5, "{head}");
    }
    assert!(heads.iter().any(|head| head.starts_with("GET /photo/0?a=b%20c HTTP/1.1\r\n")), "{heads:?}");
}

#[tokio::test]
async fn photos_of_one_source_are_decoded_once_and_stored_in_order() {
    let origin = Origin::start();
    let server = server_for(&[&origin.name()], &[("MEMORY_BUDGET_MB", "16")]);
    let paths = ["/slow/1", "/photo/0", "/photo/1", "/photo/0", "/chunked/2", "/photo/1"];
    let (status, draft) = fetch(&server, "", &paths.map(|path| origin.url(path))).await;
    assert_eq!(status, 201, "{draft}");
    let ids: Vec<_> = (0..6).map(|index| draft["photos"][index]["media"]["id"].as_u64().unwrap()).collect();
    assert_eq!((ids[0], ids[1], ids[0]), (ids[2], ids[3], ids[5]));
    assert_eq!(server.files().len(), 3);
}

#[tokio::test]
async fn bad_photo_ends_the_upload_or_is_left_out() {
    let origin = Origin::start();
    let closed = ReservedPort::new();
    let nobody = format!("http://127.0.0.1:{}", closed.number());
    let server = server_for(&[&origin.name(), &nobody, "https://*"], &[("MAX_FILE_SIZE_MB", "1")]);
    let too_far = origin.url("/redirect/4/1");
    let bad = [
        (origin.url("/page"), 415, "unsupported-image"),
        (origin.url("/half/1"), 422, "truncated-image"),
        (origin.url("/empty"), 422, "empty-image"),
        (origin.url("/declared/1"), 413, "photo-too-large"),
        (origin.url("/endless/1"), 413, "photo-too-large"),
        (origin.url("/404"), 422, "fetch-failed"),
        (origin.url("/500"), 422, "fetch-failed"),
        (origin.url("/cut/1"), 422, "fetch-failed"),
        (origin.url("/cut-chunked/1"), 422, "fetch-failed"),
        (origin.url("/gzip/1"), 422, "fetch-failed"),
        (origin.url("/no-http"), 422, "fetch-failed"),
        (too_far, 422, "fetch-failed"),
        (origin.url("/to/302?http://photos.example/"), 422, "fetch-failed"),
        (origin.url("/to/302?https://10.0.0.1/"), 422, "fetch-failed"),
        (format!("{nobody}/photo.jpg"), 422, "fetch-failed"),
        ("https://10.0.0.1/photo.jpg".to_owned(), 422, "fetch-failed"),
        ("http://photos.example/photo.jpg".to_owned(), 422, "fetch-refused"),
        ("photo.jpg".to_owned(), 422, "fetch-refused"),
    ];
    let good = origin.url("/photo/0");
    for (url, status, slug) in &bad {
        let (got, problem) = fetch(&server, "", &[&good, url]).await;
        assert_eq!((got, kind(&problem)), (*status, *slug), "{url}: {problem}");
        assert_eq!((&problem["file_index"], &problem["filename"]), (&1.into(), &Value::Null), "{url}");
    }
    server.assert_nothing_was_kept().await;
    let urls: Vec<String> = bad.iter().map(|(url, ..)| url.clone()).collect();
    let problems = problems_of(&server, &good, &urls).await;
    let got: Vec<_> = problems.iter().map(|it| (it["status"].as_u64().unwrap(), kind(it))).collect();
    let expected: Vec<_> = bad.iter().map(|(_, status, slug)| (u64::from(*status), *slug)).collect();
    assert_eq!(got, expected);
    assert_refused(&problems[5..]);
    // The log says what the answer does not.
    for cause in ["404 Not Found", "Connection refused", "no address on the public internet"] {
        server.logs(&[cause]).await;
    }
    assert!(server.output().iter().all(|line| !line.contains("/photo.jpg")), "URLs have secrets");
}

#[tokio::test]
async fn body_of_another_form_is_refused_with_its_member() {
    let server = server_for(&["https://*"], &[("MAX_UPLOADS_PER_REQUEST", "2")]);
    let url = "https://photos.example/";
    for (body, status, slug) in [
        (json!({}), 422, "bad-member"),
        (json!({"urls": url}), 422, "bad-member"),
        (json!({"urls": [url, 1]}), 422, "bad-member"),
        (json!({"urls": [url], "files": []}), 422, "bad-member"),
        (json!({"urls": [url], "title": "x".repeat(161)}), 422, "bad-title"),
        (json!({"urls": []}), 400, "no-photo"),
        (json!({"urls": [url, url, url]}), 413, "too-many-photos"),
        (json!({"urls": ["x".repeat(70_000)]}), 413, "body-too-large"),
    ] {
        let response = post(&server, "", &body).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(kind(&response.json().await.unwrap()), slug, "{body}");
    }
    assert_eq!(post(&server, "?on_error=x", &json!({"urls": [url]})).await.status(), 422);
}

#[tokio::test]
async fn repeated_key_gets_the_first_draft_and_fetches_nothing() {
    let origin = Origin::start();
    let server = server_for(&[&origin.name()], &[]);
    let send = async |paths: [&str; 2]| {
        let request = Client::new().post(server.url(&format!("{FETCH}?on_error=skip")));
        let body = json!({"urls": paths.map(|path| origin.url(path))});
        let response = request.header("idempotency-key", "k").json(&body).send().await.unwrap();
        let is_replayed = response.headers().contains_key("idempotency-replayed");
        (response.status().as_u16(), is_replayed, response.json::<Value>().await.unwrap())
    };
    let (status, is_replayed, draft) = send(["/photo/0", "/404/0000"]).await;
    assert_eq!((status, is_replayed, draft["rejected"][0]["file_index"].as_u64()), (201, false, Some(1)));
    assert_eq!(send(["/photo/0", "/404/0000"]).await, (201, true, draft));
    assert_eq!(origin.heads().len(), 2);
    assert_eq!(send(["/photo/0", "/404/00000"]).await.0, 422, "the length differs");
}

#[tokio::test]
async fn client_that_leaves_ends_its_fetches() {
    let origin = Origin::start();
    let server = server_for(&[&origin.name()], &[]);
    let body = json!({"urls": [origin.url("/photo/0"), origin.url("/hang")]}).to_string();
    let mut socket: TcpStream = server.connect();
    let length = body.len();
    write!(
        socket,
        "POST {FETCH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    eventually("both are asked for", || origin.heads().len() == 2).await;
    drop(socket);
    eventually("the fetch is abandoned", || fetches(&server, "abandoned") == 1).await;
    eventually("the other photo is removed", || server.files().is_empty()).await;
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn no_attempt_by_url_or_redirect_connects_to_a_private_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let listeners = [Some(listener), TcpListener::bind(("::1", port)).ok()];
    for listener in listeners.into_iter().flatten() {
        let count = Arc::clone(&count);
        std::thread::spawn(move || {
            listener.incoming().for_each(|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
    }
    let origin = Origin::start();
    let server = server_for(&[&origin.name(), "https://*"], &[]);
    let good = origin.url("/photo/0");
    let direct = [attempts::urls(Some(port)), attempts::urls(None)].concat();
    // A Location is one line of ASCII.
    let lines = direct.iter().filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic()));
    let redirects = lines.enumerate().map(|(number, url)| {
        let status = [301, 302, 303, 307, 308][number % 5];
        origin.url(&format!("/to/{status}?{url}"))
    });
    let redirects: Vec<String> = redirects.collect();
    let problems = problems_of(&server, &good, &direct).await;
    assert_refused(&problems);
    let redirected = problems_of(&server, &good, &redirects).await;
    assert_refused(&redirected);
    assert!(redirected.iter().all(|problem| kind(problem) == "fetch-failed"));
    println!("{} URLs and {} redirects", direct.len(), redirects.len());
    assert!(direct.len() + redirects.len() > 300);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
