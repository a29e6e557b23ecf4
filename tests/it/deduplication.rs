//! Photos that are uploaded again: recognised by their source, not decoded, and answered as before.

use serde_json::Value;

use crate::support::{Server, file, file_named, form, photo, photo_numbered, without_id};

/// Returns a counter of `/metrics`.
async fn counter(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("vintedbot_{name}_total ")));
    line.unwrap().parse().unwrap()
}

pub(crate) async fn recognised(server: &Server) -> u64 {
    counter(server, "photos_recognised").await
}

async fn upload(server: &Server, photo: &[u8]) -> Value {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    draft
}

async fn bytes(server: &Server, draft: &Value) -> Vec<u8> {
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    let response = server.get(url).await;
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn retry_returns_the_same_photo_without_decoding() {
    let server = Server::start(&[]);
    let photo = photo(1800, 1200);
    let first = upload(&server, &photo).await;
    assert_eq!(recognised(&server).await, 0);
    let stored = bytes(&server, &first).await;
    let again = upload(&server, &photo).await;
    assert_eq!(again["id"], 2);
    assert_eq!(without_id(&again), without_id(&first));
    assert_eq!(bytes(&server, &again).await, stored);
    assert_eq!((recognised(&server).await, counter(&server, "photos_stored").await), (1, 2));
    let (_, twice) = server.upload(form(&[file_named("other name", &photo), file(&photo)])).await;
    assert_eq!(twice["photos"][0]["media"], first["photos"][0]["media"]);
    assert_eq!(twice["photos"][1]["media"], first["photos"][0]["media"]);
    assert_eq!(recognised(&server).await, 3);
    // One byte after the end of the image makes another source with the same output.
    let other = upload(&server, &[photo.as_slice(), b"x"].concat()).await;
    assert_eq!(other["photos"], first["photos"]);
    assert_eq!(recognised(&server).await, 3);
}

#[tokio::test]
async fn photo_is_recognised_after_a_restart() {
    let mut server = Server::start(&[]);
    let photo = photo(300, 200);
    let first = upload(&server, &photo).await;
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let server = Server::start_in(server.dir(), &[]);
    let again = upload(&server, &photo).await;
    assert_eq!(without_id(&again), without_id(&first));
    assert_eq!(recognised(&server).await, 1);
}

#[tokio::test]
async fn photo_with_deleted_file_is_encoded_again() {
    let server = Server::start(&[]);
    let photo = photo(300, 200);
    let first = upload(&server, &photo).await;
    let stored = bytes(&server, &first).await;
    std::fs::remove_file(server.media_root().join(&server.files()[0])).unwrap();
    let again = upload(&server, &photo).await;
    assert_eq!(without_id(&again), without_id(&first));
    assert_eq!(bytes(&server, &again).await, stored);
    assert_eq!(recognised(&server).await, 0);
}

#[tokio::test]
async fn changed_settings_give_another_photo_or_refuse_it() {
    let mut server = Server::start(&[]);
    let photo = photo(300, 200);
    let first = upload(&server, &photo).await;
    for changed in [("JPEG_QUALITY", "60"), ("JPEG_EFFORT", "2")] {
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait();
        server = Server::start_in(server.dir(), &[changed]);
        let smaller = upload(&server, &photo).await;
        assert_ne!(smaller["photos"][0]["media"]["url"], first["photos"][0]["media"]["url"]);
        assert_eq!(recognised(&server).await, 0);
    }
}

#[tokio::test]
async fn known_photo_above_lowered_limits_is_refused() {
    let dir = {
        let mut server = Server::start(&[]);
        upload(&server, &photo(300, 200)).await;
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait();
        server.dir()
    };
    for (settings, expected) in
        [(("MAX_PIXELS", "59999"), 422), (("ALLOWED_MIME_PREFIXES", "image/png"), 415)]
    {
        let mut server = Server::start_in(std::sync::Arc::clone(&dir), &[settings]);
        let (status, problem) = server.upload(form(&[file(&photo(300, 200))])).await;
        assert_eq!(status, expected, "{problem}");
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uploads_of_one_photo_return_the_same_media() {
    let server = Server::start(&[]);
    let photo = photo_numbered(600, 400, 7);
    for _ in 0..2 {
        let uploads = (0..12).map(|_| upload(&server, &photo));
        let drafts = futures_util::future::join_all(uploads).await;
        assert!(drafts.iter().all(|draft| draft["photos"] == drafts[0]["photos"]));
    }
    assert_eq!(server.files().len(), 1);
    assert!(recognised(&server).await >= 12, "at least the second round");
}
