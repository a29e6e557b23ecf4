//! Bit rot in stored photos: the hash detects it, the photo is then not served, and an upload repairs it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::support::{PATIENCE, Server, file, form, photo, photo_numbered, sha256};
use crate::{deduplication, s3};

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn url(draft: &Value) -> String {
    draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned()
}

async fn upload(server: &Server) -> String {
    let (status, draft) = server.upload(form(&[file(&photo(1800, 1200))])).await;
    assert_eq!(status, 201, "{draft}");
    url(&draft)
}

async fn is_whole(server: &Server, url: &str) -> bool {
    let answer = server.get(url).await;
    answer.status() == 200 && *url == format!("/media/{}.jpg", sha256(answer.bytes().await.unwrap()))
}

/// Waits until the photo is not served any more.
async fn until_404(server: &Server, url: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get(url).await.status() != 404 {
        assert!(tokio::time::Instant::now() < deadline, "the scrub must find the damage");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the server has checked whether missing photos are back.
async fn until_ready(server: &Server, expected: &Value) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.ready().await != (200, expected.clone()) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", server.ready().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn stored(server: &Server, url: &str) -> PathBuf {
    server.media_root().join(url.strip_prefix("/media/").unwrap())
}

#[tokio::test]
async fn damaged_photo_is_repaired_by_upload() {
    let server = Server::start(&[]);
    let url = upload(&server).await;
    let path = stored(&server, &url);
    flip_a_byte(&path);
    assert!(!is_whole(&server, &url).await);
    assert_eq!(upload(&server).await, url);
    assert!(is_whole(&server, &url).await);
    assert_eq!(deduplication::recognised(&server).await, 0);
    assert_eq!(upload(&server).await, url);
    assert_eq!(deduplication::recognised(&server).await, 1, "an intact photo is recognised");
    assert_eq!(server.metric("media_quarantined_total"), 1);
}

#[tokio::test]
async fn scrub_hides_damaged_photo_and_ready_reports_it_until_repaired() {
    let server = Server::start(&[]);
    let url = upload(&server).await;
    flip_a_byte(&stored(&server, &url));
    // A server does not scrub without maintenance jobs, with the scrub turned off, or in read-only mode.
    let mut dir = server.stop();
    for setting in [("JOBS_ENABLED", "false"), ("SCRUB_HOURS", "0"), ("READ_ONLY", "true")] {
        let server = Server::start_in(dir, &[("SCRUB_HOURS", "1"), setting]);
        assert_eq!(server.ready().await.0, 200);
        dir = server.stop();
    }
    let server = Server::start_in(dir, &[("SCRUB_HOURS", "1")]);
    until_404(&server, &url).await;
    until_ready(&server, &json!({"status": "degraded", "missing_media": 1})).await;
    assert_eq!((server.metric("media_quarantined_total"), server.metric("media_scrubbed_total")), (1, 1));
    assert_eq!(upload(&server).await, url);
    assert!(is_whole(&server, &url).await);
    until_ready(&server, &json!({"status": "ready"})).await;
}

#[tokio::test]
async fn damaged_object_is_repaired_by_upload_and_found_by_scrub() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let settings = s3::settings(&endpoint, &[("SCRUB_HOURS", "1")]);
    let server = Server::start(&settings);
    let url = upload(&server).await;
    flip_a_byte(&bucket.objects("media")[0]);
    assert_eq!(upload(&server).await, url);
    assert!(is_whole(&server, &url).await);
    assert_eq!(deduplication::recognised(&server).await, 0);
    flip_a_byte(&bucket.objects("media")[0]);
    let server = Server::start_in(server.stop(), &settings);
    until_404(&server, &url).await;
    assert_eq!((bucket.objects("media").len(), bucket.objects("quarantine").len()), (0, 2));
    until_ready(&server, &json!({"status": "degraded", "missing_media": 1})).await;
}

#[tokio::test]
async fn pipe_or_directory_instead_of_a_photo_is_404_and_replaced_by_upload() {
    let server = Server::start(&[]);
    let url = upload(&server).await;
    let path = stored(&server, &url);
    let pipe = || nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let directory = || std::fs::create_dir(&path).unwrap();
    let makers: [&dyn Fn(); 2] = [&pipe, &directory];
    for make in makers {
        std::fs::remove_file(&path).unwrap();
        make();
        let asked = tokio::time::timeout(PATIENCE, server.get(&url)).await.unwrap();
        assert_eq!(asked.status(), 404);
        assert_eq!(upload(&server).await, url);
        assert!(is_whole(&server, &url).await);
    }
}

#[tokio::test]
async fn catalog_that_turns_out_damaged_while_it_runs_takes_no_more_uploads() {
    let server = Server::start(&[("RATE_LIMIT_UPLOAD", "off"), ("RATE_LIMIT_GLOBAL", "off")]);
    // With so many drafts the page of the first one is not read at the start.
    for number in [0].into_iter().chain([1; 300]) {
        let (status, draft) = server.upload(form(&[file(&photo_numbered(120, 90, number))])).await;
        assert_eq!(status, 201, "{draft}");
    }
    // Its pages are read from the disk again.
    let server = Server::start_in(server.stop(), &[]);
    let path = server.dir().path().join("data/db/db");
    let bytes = std::fs::read(&path).unwrap();
    let db = std::fs::File::options().write(true).open(&path).unwrap();
    let row = br#""photos":[1]"#;
    for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(row)) {
        db.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    }
    assert_eq!(server.ready().await.0, 200, "nothing has read it");
    assert_eq!(server.get("/api/v1/listings/1").await.status(), 500);
    let (status, problem) = server.ready().await;
    assert_eq!((status, &problem["down"]), (503, &json!(["catalog"])), "{problem}");
    let (status, problem) = server.upload(form(&[file(&photo(1800, 1200))])).await;
    assert_eq!(status, 503, "a draft in a catalog that the next start refuses would be lost: {problem}");
    assert_eq!(server.files().len(), 2, "nothing of it was kept");
    assert_eq!(server.get("/api/v1/listings/301").await.status(), 200, "what can be read is served");
}
