//! Reads photos and listings.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use reqwest::{Client, Method, Response};

use crate::support::{Server, field, file, form, photo, photo_numbered, sha256};

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().request(method, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn photo_is_served_whole_in_ranges_and_conditionally() {
    let server = Server::start(&[]);
    let (_, draft) = server.upload(form(&[file(&photo(3000, 2000))])).await;
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    let whole = server.get(&url).await;
    assert_eq!(whole.status(), 200);
    let headers = whole.headers().clone();
    let bytes = whole.bytes().await.unwrap();
    assert_eq!(url, format!("/media/{}.jpg", sha256(&bytes)));
    assert_eq!(headers["content-type"], "image/jpeg");
    assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["content-length"], bytes.len().to_string());
    let etag = headers["etag"].to_str().unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "the ETag must be strong: {etag}");

    let head = ask(&server, Method::HEAD, &url, &[("range", "bytes=0-9")]).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &headers["content-length"])
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);

    let length = bytes.len();
    for (range, expected) in [
        ("bytes=0-99".to_owned(), 0..100),
        (format!("bytes={}-", length - 7), length - 7..length),
        ("bytes=-5".to_owned(), length - 5..length),
        (format!("bytes={}-{}", length / 3, length * 2), length / 3..length),
    ] {
        let part = ask(&server, Method::GET, &url, &[("range", &range)]).await;
        assert_eq!(part.status(), 206, "{range}");
        let content_range = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
        assert_eq!(part.headers()["content-range"], content_range);
        assert_eq!(part.bytes().await.unwrap(), bytes.slice(expected), "{range}");
    }
    let outside = ask(&server, Method::GET, &url, &[("range", "bytes=99999999-")]).await;
    assert_eq!(outside.status(), 416);
    assert_eq!(outside.headers()["content-range"], format!("bytes */{length}"));
    for (headers, expected) in [
        (&[("range", "bytes=0-1,3-4")][..], 200),
        (&[("range", "bytes=0-1"), ("if-range", etag)], 206),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200),
        (&[("if-none-match", etag)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", &format!("\"x\", {etag}"))], 304),
        (&[("if-none-match", "\"x,*,y\"")], 200),
        (&[("if-none-match", &format!("W/{etag}"))], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-match", etag)], 200),
        (&[("if-match", &format!("W/{etag}"))], 412),
    ] {
        let answer = ask(&server, Method::GET, &url, headers).await;
        assert_eq!(answer.status(), expected, "{headers:?}");
        if expected == 304 {
            assert_eq!(answer.headers()["etag"], etag);
            assert_eq!(answer.bytes().await.unwrap().len(), 0);
        }
    }
}

/// Stores bytes that differ everywhere, as the store would. Returns the path of their photo.
fn store(server: &Server, length: usize) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * at % 251 + at % 3).to_le_bytes()[0]).collect();
    let name = format!("{}.jpg", sha256(&bytes));
    std::fs::write(server.media_root().join(&name), &bytes).unwrap();
    (format!("/media/{name}"), bytes)
}

#[tokio::test]
async fn photos_of_all_lengths_arrive_over_both_protocols() {
    let server = Server::start(&[]);
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for length in [1, 20_000, 65_536, 262_144, 262_145, 1_000_003] {
        let (path, bytes) = store(&server, length);
        for client in [&Client::new(), &http2] {
            let whole = client.get(server.url(&path)).send().await.unwrap();
            assert_eq!(whole.bytes().await.unwrap(), bytes, "{length}");
            let (start, end) = (length / 3, length - length / 5);
            let part =
                client.get(server.url(&path)).header("range", format!("bytes={start}-{}", end.max(1) - 1));
            assert_eq!(part.send().await.unwrap().bytes().await.unwrap(), bytes[start..end], "{length}");
        }
    }
}

#[test]
fn pipelined_requests_get_their_photos_in_order_also_if_one_is_removed_meanwhile() {
    let server = Server::start(&[]);
    let photos = [2_000_003, 1_000_001, 100].map(|length| store(&server, length));
    let mut socket = server.connect();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (path, _) in &photos {
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    }
    let mut socket = BufReader::new(socket);
    for (at, (path, bytes)) in photos.iter().enumerate() {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            socket.read_line(&mut line).unwrap();
        }
        if at == 0 {
            // A response that began continues.
            std::fs::remove_file(server.media_root().join(path.trim_start_matches("/media/"))).unwrap();
        }
        let mut body = vec![0; bytes.len()];
        socket.read_exact(&mut body).unwrap();
        assert!(body == *bytes, "photo {at}");
    }
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", photos[0].0);
    assert!(server.raw(head.as_bytes()).starts_with("HTTP/1.1 404 "), "a removed photo is gone at once");
}

#[tokio::test]
async fn name_other_than_a_hash_is_404() {
    let server = Server::start(&[]);
    server.upload(form(&[file(&photo(64, 48))])).await;
    std::fs::write(server.media_root().join("secret.jpg"), "not yours").unwrap();
    let name = server.files().into_iter().find(|name| name.len() == 68).unwrap();
    for path in [
        "/media/secret.jpg".to_owned(),
        "/media/".to_owned(),
        "/media/..%2f..%2fdb%2fconf".to_owned(),
        "/media/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        format!("/media/{}", name.to_uppercase()),
        format!("/media/{}", name.trim_end_matches(".jpg")),
        format!("/media/{name}%00"),
        format!("/media/.staging/{name}"),
        format!("/media/{}.jpg", "0".repeat(64)),
    ] {
        assert_eq!(server.get(&path).await.status(), 404, "{path}");
    }
    let raw = server.raw(b"GET /media/../../db/conf HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(raw.starts_with("HTTP/1.1 404 "), "{raw}");
}

#[tokio::test]
async fn listing_equals_the_response_of_its_upload() {
    let server = Server::start(&[("MEDIA_BASE_URL", "https://cdn.example/photos/")]);
    let response = server
        .post(form(&[file(&photo(300, 200)), field("title", "Füße".as_bytes()), file(&photo(200, 300))]))
        .await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/api/v1/listings/1");
    let answered = response.text().await.unwrap();
    let url = serde_json::from_str::<serde_json::Value>(&answered).unwrap()["photos"][0]["media"]["url"]
        .to_string();
    assert!(url.starts_with("\"https://cdn.example/photos/"), "{url}");
    assert_eq!(server.get("/api/v1/listings/1").await.text().await.unwrap(), answered);
    assert_eq!(server.get("/api/v1/listings/2").await.status(), 404);
}

#[tokio::test]
async fn photos_are_served_under_media_base_path() {
    let server = Server::start(&[("MEDIA_BASE_URL", "/static/photos")]);
    let (_, draft) = server.upload(form(&[file(&photo(64, 48))])).await;
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    assert!(url.starts_with("/static/photos/"), "{url}");
    assert_eq!(server.get(url).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uploads_of_equal_photos_share_one_media_row() {
    let server = Server::start(&[]);
    let shared = photo(300, 200);
    let own: Vec<Vec<u8>> = (1..=12).map(|n| photo_numbered(200, 300, n)).collect();
    let uploads = own.iter().map(|own| server.upload(form(&[file(&shared), file(own), file(&shared)])));
    let drafts = futures_util::future::join_all(uploads).await;
    let mut own_ids = Vec::new();
    for (status, draft) in &drafts {
        assert_eq!(*status, 201, "{draft}");
        let media = |n: usize| draft["photos"][n]["media"].clone();
        assert_eq!(media(0), drafts[0].1["photos"][0]["media"]);
        assert_eq!(media(0), media(2));
        assert_eq!(
            (&draft["photos"][0]["order_index"], &draft["photos"][2]["order_index"]),
            (&0.into(), &2.into())
        );
        own_ids.push(media(1)["id"].as_u64().unwrap());
    }
    own_ids.sort_unstable();
    own_ids.dedup();
    assert_eq!(own_ids.len(), 12);
    assert_eq!(server.files().len(), 13);
}
