//! Smaller copies of photos: `GET /media/{sha256}/{side}.jpg`.

use std::path::PathBuf;

use reqwest::{Client, Method, Response, redirect};
use serde_json::Value;

use crate::bucket::{BUCKET, Bucket};
use crate::s3;
use crate::support::{Server, binary, file, form, noise, photo, photo_numbered};

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let mut request = client.request(method, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Uploads a photo and returns the start of the URLs of its renditions.
async fn upload(server: &Server, photo: &[u8]) -> String {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    draft["photos"][0]["media"]["url"].as_str().unwrap().strip_suffix(".jpg").unwrap().to_owned()
}

/// Returns the file of a rendition in the media root.
fn stored(server: &Server, base: &str, side: u32) -> PathBuf {
    server.media_root().join(base.strip_prefix("/media/").unwrap()).join(format!("{side}.jpg"))
}

fn sides(jpeg: &[u8]) -> (usize, usize) {
    let header = turbojpeg::read_header(jpeg).unwrap();
    (header.width, header.height)
}

async fn made(server: &Server) -> u64 {
    server.labelled_metric("renditions_made_total").await
}

#[tokio::test]
async fn rendition_is_made_once_and_served_as_photos_are() {
    let server = Server::start(&[]);
    let base = upload(&server, &photo(2000, 1500)).await;
    let url = format!("{base}/320.jpg");
    let whole = server.get(&url).await;
    assert_eq!(whole.status(), 200);
    let headers = whole.headers().clone();
    let bytes = whole.bytes().await.unwrap();
    assert_eq!(sides(&bytes), (320, 240));
    assert_eq!(headers["content-type"], "image/jpeg");
    assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["content-length"], bytes.len().to_string());
    let etag = headers["etag"].to_str().unwrap();
    assert!(etag.starts_with("\"320-") && etag.ends_with('"'), "the ETag must be strong: {etag}");
    let photo = server.get(&format!("{base}.jpg")).await;
    assert_ne!(photo.headers()["etag"], etag);

    let head = ask(&server, Method::HEAD, &url, &[]).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &headers["content-length"])
    );
    assert_eq!(head.headers()["etag"], etag);
    let part = ask(&server, Method::GET, &url, &[("range", "bytes=10-19")]).await;
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap()), (206, bytes.slice(10..20)));
    for (headers, expected) in [
        (&[("range", "bytes=99999999-")][..], 416),
        (&[("if-none-match", etag)], 304),
        (&[("if-none-match", "\"320-other\"")], 200),
        (&[("if-match", "\"320-other\"")], 412),
    ] {
        assert_eq!(ask(&server, Method::GET, &url, headers).await.status(), expected, "{headers:?}");
    }
    assert_eq!(server.get(&url).await.bytes().await.unwrap(), bytes);
    assert_eq!(made(&server).await, 1);
    assert_eq!(std::fs::read(stored(&server, &base, 320)).unwrap(), bytes);
    let head = ask(&server, Method::HEAD, &format!("{base}/1080.jpg"), &[]).await;
    assert_eq!(head.status(), 200, "HEAD makes it too, as it names the length");
    assert_eq!(made(&server).await, 2);
}

#[tokio::test]
async fn size_that_is_not_offered_or_not_smaller_is_404() {
    let server = Server::start(&[("RENDITION_WIDTHS", "64, 100,200")]);
    let base = upload(&server, &photo(150, 200)).await;
    let upright = server.get(&format!("{base}/100.jpg")).await.bytes().await.unwrap();
    assert_eq!(sides(&upright), (75, 100));
    let unknown = format!("/media/{}", "0".repeat(64));
    for path in [
        format!("{base}/200.jpg"),
        format!("{base}/320.jpg"),
        format!("{base}/0100.jpg"),
        format!("{base}/100"),
        format!("{base}/100.jpg/"),
        format!("{base}/100.jpg%00"),
        format!("{base}.jpg/100.jpg"),
        format!("{}/100.jpg", base.to_uppercase()),
        format!("{unknown}/100.jpg"),
        "/media/..%2f..%2fdb/100.jpg".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status(), 404, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:problem-type:vintedbot:not-found", "{path}");
    }
    assert_eq!(made(&server).await, 1);
    let server = Server::start(&[("RENDITION_WIDTHS", "[]")]);
    let base = upload(&server, &photo(800, 600)).await;
    assert_eq!(server.get(&format!("{base}/320.jpg")).await.status(), 404);
    let under = Server::start(&[("MEDIA_BASE_URL", "/static/photos")]);
    let base = upload(&under, &photo(800, 600)).await;
    assert_eq!(under.get(&format!("{base}/320.jpg")).await.status(), 200, "{base}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_first_requests_share_one_computation() {
    let server = Server::start(&[]);
    let base = upload(&server, &noise(1600, 1200, 1)).await;
    let url = format!("{base}/640.jpg");
    let answers = futures_util::future::join_all((0..64).map(|_| server.get(&url))).await;
    let mut bodies = Vec::new();
    for answer in answers {
        assert_eq!(answer.status(), 200);
        bodies.push(answer.bytes().await.unwrap());
    }
    assert!(bodies.iter().all(|body| *body == bodies[0] && sides(body) == (640, 480)));
    assert_eq!(made(&server).await, 1);
}

#[tokio::test]
async fn lost_or_cut_off_rendition_is_made_again() {
    let server = Server::start(&[]);
    let base = upload(&server, &photo(1000, 800)).await;
    let url = format!("{base}/320.jpg");
    let first = server.get(&url).await;
    let etag = first.headers()["etag"].clone();
    let bytes = first.bytes().await.unwrap();
    let path = stored(&server, &base, 320);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(server.get(&url).await.bytes().await.unwrap(), bytes);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let again = server.get(&url).await;
    assert_ne!(again.headers()["etag"], etag, "each file has its own ETag");
    assert_eq!(again.bytes().await.unwrap(), bytes);
    assert_eq!(made(&server).await, 3);
}

#[tokio::test]
async fn rendition_of_a_removed_photo_is_404() {
    let server = Server::start(&[]);
    let base = upload(&server, &photo(1000, 800)).await;
    assert_eq!(server.get(&format!("{base}/320.jpg")).await.status(), 200);
    let photo = server.media_root().join(format!("{}.jpg", base.strip_prefix("/media/").unwrap()));
    std::fs::remove_file(photo).unwrap();
    for side in [320, 640] {
        assert_eq!(server.get(&format!("{base}/{side}.jpg")).await.status(), 404);
    }
}

#[tokio::test]
async fn damaged_photo_gives_404_and_goes_to_quarantine_until_it_is_uploaded_again() {
    let server = Server::start(&[]);
    let original = photo(1000, 800);
    let base = upload(&server, &original).await;
    let path = server.media_root().join(format!("{}.jpg", base.strip_prefix("/media/").unwrap()));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let answer = server.get(&format!("{base}/320.jpg")).await;
    assert_eq!(answer.status(), 404);
    let problem: Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("damaged") && !detail.contains('/'), "{detail}");
    assert!(!path.exists(), "it is in quarantine");
    assert_eq!(server.get(&format!("{base}.jpg")).await.status(), 404);
    assert_eq!(upload(&server, &original).await, base);
    assert_eq!(server.get(&format!("{base}/320.jpg")).await.status(), 200);
}

#[tokio::test]
async fn read_only_server_makes_renditions_and_keeps_none() {
    let server = Server::start(&[]);
    let base = upload(&server, &photo(1000, 800)).await;
    let server = Server::start_in(server.stop(), &[("READ_ONLY", "true")]);
    let url = format!("{base}/320.jpg");
    let first = server.get(&url).await;
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(sides(&first.bytes().await.unwrap()), (320, 256));
    let part = ask(&server, Method::GET, &url, &[("range", "bytes=0-1"), ("if-range", &etag)]).await;
    assert_eq!((part.status().as_u16(), &part.bytes().await.unwrap()[..]), (206, &[0xFF, 0xD8][..]));
    assert!(!stored(&server, &base, 320).exists());
    assert_eq!(server.labelled_metric("renditions_not_kept_total").await, 2);
}

#[tokio::test]
async fn busy_server_refuses_new_renditions_with_503_and_serves_kept_ones() {
    let settings =
        [("WORKERS", "1"), ("POOL_QUEUE", "1"), ("POOL_WAIT_SECONDS", "1"), ("RENDITION_WIDTHS", "[64,900]")];
    let server = Server::start(&settings);
    let mut bases = Vec::new();
    for number in 0..8 {
        bases.push(upload(&server, &photo_numbered(1600, 1200, number)).await);
        assert_eq!(server.get(&format!("{}/64.jpg", bases[number])).await.status(), 200);
    }
    let urls: Vec<String> = bases.iter().map(|base| format!("{base}/900.jpg")).collect();
    let answers = futures_util::future::join_all(urls.iter().map(|url| server.get(url))).await;
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(answer.status().as_u16());
        if answer.status() == 503 {
            assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["type"], "urn:problem-type:vintedbot:busy");
        }
    }
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    for base in &bases {
        assert_eq!(server.get(&format!("{base}/64.jpg")).await.status(), 200);
        assert_eq!(server.get(&format!("{base}/900.jpg")).await.status(), 200, "later there is room");
    }
}

#[tokio::test]
async fn rendition_is_kept_in_the_bucket_and_linked_to() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let server = Server::start(&s3::settings(&endpoint, &[]));
    let base = upload(&server, &photo(1000, 800)).await;
    let url = format!("{base}/320.jpg");
    let first = server.get(&url).await;
    let etag = first.headers()["etag"].clone();
    let bytes = first.bytes().await.unwrap();
    assert_eq!(sides(&bytes), (320, 256));
    let object = bucket.dir().join(BUCKET).join(url.strip_prefix('/').unwrap());
    assert_eq!(std::fs::read(object).unwrap(), bytes, "where a CDN finds it");
    let again = ask(&server, Method::GET, &url, &[("range", "bytes=1-3")]).await;
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (206, &etag));
    assert_eq!(again.bytes().await.unwrap(), bytes.slice(1..4));
    assert_eq!(
        ask(&server, Method::GET, &url, &[("if-none-match", etag.to_str().unwrap())]).await.status(),
        304
    );
    assert_eq!(made(&server).await, 1);

    let linking = Server::start(&s3::settings(&endpoint, &[("S3_PRESIGN_SECONDS", "60")]));
    for (side, expected) in [(320, 307), (640, 307), (1080, 404)] {
        let answer = ask(&linking, Method::GET, &format!("{base}/{side}.jpg"), &[]).await;
        assert_eq!(answer.status(), expected, "{side}");
        if expected == 307 {
            assert_eq!(answer.headers()["cache-control"], "private, max-age=30");
            let link = answer.headers()["location"].to_str().unwrap();
            let linked = Client::new().get(link).send().await.unwrap();
            assert_eq!(linked.headers()["content-type"], "image/jpeg");
            assert_eq!(sides(&linked.bytes().await.unwrap()).0, side);
        }
    }
    assert_eq!(ask(&linking, Method::HEAD, &url, &[]).await.status(), 200);
    assert_eq!(made(&linking).await, 1, "the one that the other instance had not made");
}

#[tokio::test]
async fn command_makes_the_renditions_that_the_store_lacks() {
    let server = Server::start(&[]);
    let large = upload(&server, &photo(1000, 800)).await;
    let small = upload(&server, &photo(330, 200)).await;
    let damaged = upload(&server, &photo_numbered(400, 300, 1)).await;
    assert_eq!(server.get(&format!("{large}/320.jpg")).await.status(), 200);
    let (paths, lost) =
        ([stored(&server, &large, 640), stored(&server, &small, 320)], stored(&server, &damaged, 320));
    let file = lost.parent().unwrap().with_extension("jpg");
    let dir = server.stop();
    let run = || {
        let output = binary(dir.path()).args(["renditions", "make"]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(
        run(),
        (Some(0), String::new(), "Looked at 3 photos and made 3 renditions; 0 cannot be made.\n".to_owned())
    );
    assert!(paths.iter().all(|path| path.is_file()));
    assert_eq!(run().2, "Looked at 3 photos and made 0 renditions; 0 cannot be made.\n");
    std::fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    std::fs::write(file, "no photo").unwrap();
    let (code, said, _) = run();
    assert!(code == Some(1) && said.starts_with("rendition-missing ") && said.contains("damaged"), "{said}");
}
