//! Forms that come over several connections, by draft-ietf-httpbis-resumable-upload, over sockets.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    BOUNDARY, Server, UPLOAD, eventually, field, file, file_named, files_below, form, photo_numbered,
    without_id,
};
use crate::uploads::{Answer, Interop, VERSIONS, begin, partial_files, read, read_interim, send};

fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// Creates an upload of a form at `path`, and sends `first`. Returns where it continues.
pub(crate) fn created(
    server: &Server,
    path: &str,
    interop: &Interop,
    more: &[(&str, &str)],
    first: &[u8],
) -> String {
    let content_type = content_type();
    let headers = interop.headers(&[&[("content-type", &*content_type), interop.incomplete], more].concat());
    let created = send(server, "POST", path, &headers, first);
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("upload-offset"), first.len().to_string(), "{created:?}");
    created.header("location").to_owned()
}

/// Sends the last bytes of an upload.
pub(crate) fn complete(
    server: &Server,
    location: &str,
    interop: &Interop,
    offset: usize,
    rest: &[u8],
) -> Answer {
    let offset = offset.to_string();
    send(server, "PATCH", location, &interop.append(&offset, interop.complete), rest)
}

/// Returns what a draft has of its photos.
fn media(draft: &Value) -> Vec<&Value> {
    draft["photos"].as_array().unwrap().iter().map(|photo| &photo["media"]).collect()
}

/// Returns different photos.
fn photos(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| photo_numbered(320, 240, number)).collect()
}

fn form_of(photos: &[Vec<u8>]) -> Vec<u8> {
    let title = field("title", "Coat".as_bytes());
    let files = photos.iter().map(|photo| file(photo));
    form(&std::iter::once(title).chain(files).collect::<Vec<_>>())
}

#[tokio::test]
async fn last_byte_of_a_form_gets_the_answer_of_a_plain_request() {
    let server = Server::start(&[]);
    let body = form_of(&photos(3));
    let (status, plain) = server.upload(body.clone()).await;
    assert_eq!(status, 201, "{plain}");
    for interop in &VERSIONS {
        let cut = body.len() / 2;
        let location = created(&server, UPLOAD, interop, &[], &body[..cut]);
        let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
        assert_eq!((state.status, state.header("upload-offset")), (204, &*cut.to_string()), "{state:?}");
        let last = complete(&server, &location, interop, cut, &body[cut..]);
        assert_eq!(last.status, 201, "{}: {last:?}", interop.version);
        let draft = last.json();
        assert_eq!(media(&draft), media(&plain));
        assert_eq!((&draft["title"], draft["photos"].as_array().unwrap().len()), (&json!("Coat"), 3));
        assert_eq!(last.header("location"), format!("/api/v1/listings/{}", draft["id"]));
        assert_eq!(last.header(interop.complete.0), interop.complete.1);
        let shown: Value = server.get(&location).await.json().await.unwrap();
        assert_eq!((&shown["state"], &shown["draft"]["id"]), (&json!("finished"), &draft["id"]), "{shown}");
        let again = complete(&server, &location, interop, body.len(), b"");
        assert_eq!(again.status, 400, "{again:?}");
        assert_eq!(send(&server, "DELETE", &location, &interop.headers(&[]), b"").status, 204);
        let kept = server.get(&format!("/api/v1/listings/{}", draft["id"])).await;
        assert_eq!(kept.status(), 200, "the draft is no part of the upload");
    }
    assert_eq!(partial_files(&server), Vec::<String>::new());
}

#[tokio::test]
async fn form_in_one_request_is_announced_and_answered_with_its_draft() {
    let server = Server::start(&[]);
    let body = form_of(&photos(2));
    let content_type = content_type();
    for interop in &VERSIONS {
        let headers = interop.headers(&[("content-type", &content_type), interop.complete]);
        let answer = send(&server, "POST", UPLOAD, &headers, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["photos"].as_array().unwrap().len(), 2);
        assert!(answer.interim[0]["location"].starts_with("/api/v1/uploads/"), "{answer:?}");
    }
}

#[tokio::test]
async fn photos_that_are_whole_are_decoded_while_the_client_is_away() {
    let server = Server::start(&[]);
    let photos = photos(4);
    let body = form_of(&photos);
    let (cut, interop) = (form_of(&photos[..3]).len(), &VERSIONS[3]);
    let idle = files_below(&server.media_root().join(".staging")).len();
    let content_type = content_type();
    let headers = interop.headers(&[("content-type", &content_type), interop.complete]);
    let mut socket = begin(&server, "POST", UPLOAD, &headers, body.len());
    socket.write_all(&body[..cut]).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let location = read_interim(&mut socket)["location"].clone();
    // Returns once the server has all that was sent.
    read(&mut socket);
    let staging = server.media_root().join(".staging");
    let inodes = || -> BTreeSet<u64> {
        let names = files_below(&staging).into_iter();
        names.filter_map(|name| Some(std::fs::metadata(staging.join(name)).ok()?.ino())).collect()
    };
    eventually("three photos are encoded", || inodes().len() >= idle + 3).await;
    let staged = inodes();
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), cut.to_string());
    let last = complete(&server, &location, interop, cut, &body[cut..]);
    assert_eq!(last.status, 201, "{last:?}");
    let is_staged = |media: &&Value| {
        let name = media["url"].as_str().unwrap().strip_prefix("/media/").unwrap().to_owned();
        let all = files_below(&server.media_root());
        let path = all.iter().find(|path| path.ends_with(&name)).unwrap();
        staged.contains(&std::fs::metadata(server.media_root().join(path)).unwrap().ino())
    };
    let draft = last.json();
    assert_eq!(media(&draft).iter().map(is_staged).collect::<Vec<_>>(), [true, true, true, false]);
}

#[tokio::test]
async fn form_is_continued_after_kill_9() {
    let mut server = Server::start(&[]);
    let body = form_of(&photos(3));
    let (cut, interop) = (body.len() * 2 / 3, &VERSIONS[2]);
    let location = created(&server, UPLOAD, interop, &[], &body[..cut]);
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = Server::start_in(server.dir(), &[]);
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), cut.to_string());
    let last = complete(&server, &location, interop, cut, &body[cut..]);
    assert_eq!(last.status, 201, "{last:?}");
    let (_, plain) = server.upload(body).await;
    assert_eq!(media(&last.json()), media(&plain));
}

#[tokio::test]
async fn photos_are_added_to_a_draft() {
    let server = Server::start(&[]);
    let (_, draft) = server.upload(form_of(&photos(1))).await;
    let path = format!("/api/v1/listings/{}/photos", draft["id"]);
    let (body, interop) = (form_of(&photos(3)[1..]), &VERSIONS[1]);
    let location = created(&server, &path, interop, &[], &body[..100]);
    let last = complete(&server, &location, interop, 100, &body[100..]);
    assert_eq!(last.status, 200, "{last:?}");
    assert_eq!(last.json()["photos"].as_array().unwrap().len(), 3);
    // Without a draft there is no upload.
    let content_type = content_type();
    let headers = interop.headers(&[("content-type", &content_type), interop.incomplete]);
    assert_eq!(send(&server, "POST", "/api/v1/listings/999/photos", &headers, b"").status, 404);
    // A draft that was changed in the meantime refuses the photos.
    let found = server.get(&format!("/api/v1/listings/{}", draft["id"])).await;
    let etag = found.headers()["etag"].to_str().unwrap().to_owned();
    let location = created(&server, &path, interop, &[("if-match", &etag)], &body[..100]);
    let changed = Client::new().patch(server.url(&format!("/api/v1/listings/{}", draft["id"])));
    assert_eq!(changed.json(&json!({"title": "Hat"})).send().await.unwrap().status(), 200);
    let last = complete(&server, &location, interop, 100, &body[100..]);
    assert_eq!(last.status, 412, "{last:?}");
    let shown: Value = server.get(&location).await.json().await.unwrap();
    assert_eq!((&shown["state"], &shown["problem"]["status"]), (&json!("failed"), &json!(412)), "{shown}");
}

#[tokio::test]
async fn bad_photo_ends_the_upload_as_it_ends_a_form() {
    let server = Server::start(&[]);
    let (good, bad, interop) = (photos(2), vec![b'x'; 5000], &VERSIONS[3]);
    let body = form(&[file(&good[0]), file_named("notes.jpg", &bad), file(&good[1])]);
    let (status, plain) = server.upload(body.clone()).await;
    assert_eq!(status, 415);
    let cut = form(&[file(&good[0])]).len();
    let location = created(&server, UPLOAD, interop, &[], &body[..cut]);
    let refused = complete(&server, &location, interop, cut, &body[cut..]);
    let without_request = |mut problem: Value| {
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    assert_eq!(refused.status, 415, "{refused:?}");
    assert_eq!(without_request(refused.json()), without_request(plain));
    let shown: Value = server.get(&location).await.json().await.unwrap();
    let problem = &shown["problem"];
    assert_eq!((&shown["state"], &problem["file_index"]), (&json!("failed"), &json!(1)), "{shown}");
    assert_eq!(send(&server, "HEAD", &location, &interop.headers(&[]), b"").status, 404);
    assert_eq!(partial_files(&server), Vec::<String>::new(), "no bytes stay");
    // With on_error=skip the others make a draft.
    let path = format!("{UPLOAD}?on_error=skip");
    let location = created(&server, &path, interop, &[], &body[..cut]);
    let last = complete(&server, &location, interop, cut, &body[cut..]);
    assert_eq!(last.status, 201, "{last:?}");
    let draft = last.json();
    assert_eq!((media(&draft).len(), &draft["rejected"][0]["filename"]), (2, &json!("notes.jpg")), "{draft}");
}

#[tokio::test]
async fn photo_that_is_refused_while_the_client_pauses_is_answered_at_once() {
    let server = Server::start(&[]);
    let body = form(&[file(&vec![b'x'; 5000])]);
    let (content_type, interop) = (content_type(), &VERSIONS[3]);
    let headers = interop.headers(&[("content-type", &content_type), interop.complete]);
    let mut socket = begin(&server, "POST", UPLOAD, &headers, body.len());
    socket.write_all(&body[..2000]).unwrap();
    let refused = read(&mut socket);
    assert_eq!(refused.status, 415, "{refused:?}");
}

#[tokio::test]
async fn form_with_a_key_makes_one_draft() {
    let server = Server::start(&[]);
    let (body, interop) = (form_of(&photos(2)), &VERSIONS[3]);
    let key = ("idempotency-key", "k1");
    let (content_type, cut) = (content_type(), body.len() / 2);
    let headers = interop.headers(&[("content-type", &content_type), interop.complete, key]);
    let mut socket = begin(&server, "POST", UPLOAD, &headers, body.len());
    socket.write_all(&body[..cut]).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let location = read_interim(&mut socket)["location"].clone();
    // Returns once the server has all that was sent.
    read(&mut socket);
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), cut.to_string());
    let last = complete(&server, &location, interop, cut, &body[cut..]);
    assert_eq!(last.status, 201, "{last:?}");
    // The answer was lost: a plain request and a resumable one with the key get it again, from their heads alone.
    let plain = [("content-type", &*content_type), key];
    for headers in [headers.as_slice(), plain.as_slice()] {
        let mut again = begin(&server, "POST", UPLOAD, headers, body.len());
        let again = read(&mut again);
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{again:?}");
        assert_eq!(without_id(&again.json()), without_id(&last.json()));
        assert_eq!(again.json()["id"], last.json()["id"]);
        let is_resumable = headers.iter().any(|(name, _)| *name == interop.complete.0);
        assert_eq!(again.header("upload-complete"), if is_resumable { "?1" } else { "" }, "{again:?}");
    }
    let other = interop.headers(&[("content-type", &content_type), interop.incomplete, key]);
    assert_eq!(
        send(&server, "POST", "/api/v1/uploads", &other, b"").status,
        422,
        "the key is of another path"
    );
}

#[tokio::test]
async fn key_of_another_request_does_not_answer_for_a_form() {
    let server = Server::start(&[]);
    let (_, draft) = server.upload(form_of(&photos(1))).await;
    let path = format!("/api/v1/listings/{}/photos", draft["id"]);
    let (body, interop, key) = (form_of(&photos(3)[1..]), &VERSIONS[3], ("idempotency-key", "k1"));
    let location = created(&server, &path, interop, &[key], &body[..100]);
    // The form goes on with another boundary.
    let other =
        interop.headers(&[("content-type", "multipart/form-data; boundary=b"), interop.incomplete, key]);
    let other = send(&server, "POST", &path, &other, &body[..100]);
    assert_eq!(other.status, 422, "{other:?}");
    let plain = [("content-type", &*content_type()), key];
    assert_eq!(send(&server, "POST", UPLOAD, &plain, &body).status, 201);
    let last = complete(&server, &location, interop, 100, &body[100..]);
    assert_eq!(last.status, 422, "{last:?}");
    let kept: Value = server.get(&format!("/api/v1/listings/{}", draft["id"])).await.json().await.unwrap();
    assert_eq!(kept["photos"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn form_that_is_sent_again_whole_starts_again() {
    let server = Server::start(&[]);
    let (body, interop) = (form_of(&photos(2)), &VERSIONS[3]);
    let key = ("idempotency-key", "k1");
    let content_type = content_type();
    let headers = interop.headers(&[("content-type", &content_type), interop.complete, key]);
    let mut socket = begin(&server, "POST", UPLOAD, &headers, body.len());
    socket.write_all(&body[..1000]).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let location = read_interim(&mut socket)["location"].clone();
    // Returns once the server has all that was sent.
    read(&mut socket);
    assert_eq!(send(&server, "HEAD", &location, &interop.headers(&[]), b"").status, 204);
    let again = send(&server, "POST", UPLOAD, &headers, &body);
    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(again.interim[0]["location"], location);
    assert_eq!(media(&again.json()).len(), 2);
}

#[tokio::test]
async fn lost_answer_of_the_last_byte_is_found_at_the_upload() {
    let server = Server::start(&[]);
    let (body, interop) = (form_of(&photos(2)), &VERSIONS[3]);
    let location = created(&server, UPLOAD, interop, &[], &body[..1000]);
    let headers = interop.append("1000", interop.complete);
    let mut socket = begin(&server, "PATCH", &location, &headers, body.len() - 1000);
    socket.write_all(&body[1000..]).unwrap();
    drop(socket);
    eventually("the draft is recorded", || {
        send(&server, "GET", &location, &[], b"").json()["state"] == "finished"
    })
    .await;
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!((state.header("upload-complete"), state.status), ("?1", 204), "{state:?}");
    let listed: Value = server.get("/api/v1/listings").await.json().await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn digest_of_the_whole_form_is_verified() {
    use base64::Engine;
    let server = Server::start(&[]);
    // Bytes after the last part count, too.
    let body = [form_of(&photos(2)), b"epilogue".to_vec()].concat();
    let interop = &VERSIONS[3];
    let digest = |bytes: &[u8]| {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes));
        format!("sha-256=:{hash}:")
    };
    for (of, status) in [(&body[..], 201), (&body[1..], 400)] {
        let digest = digest(of);
        let location = created(&server, UPLOAD, interop, &[("repr-digest", &digest)], &body[..5000]);
        let last = complete(&server, &location, interop, 5000, &body[5000..]);
        assert_eq!(last.status, status, "{last:?}");
    }
    // So is that of a form that comes in one piece.
    let content_type = content_type();
    for (name, of, status) in [
        ("content-digest", &body[..], 201),
        ("content-digest", &body[1..], 400),
        ("repr-digest", b"".as_slice(), 400),
    ] {
        let digest = digest(of);
        let headers = [("content-type", &*content_type), (name, &digest)];
        let answer = send(&server, "POST", UPLOAD, &headers, &body);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let listed: Value = server.get("/api/v1/listings").await.json().await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let location = created(&server, UPLOAD, interop, &[], &body[..5000]);
    let (wrong, right) = (digest(b"x"), digest(&body[5000..]));
    for (digest, status) in [(wrong, 400), (right, 201)] {
        let mut headers = interop.append("5000", interop.complete);
        headers.push(("content-digest", &digest));
        let last = send(&server, "PATCH", &location, &headers, &body[5000..]);
        assert_eq!(last.status, status, "{last:?}");
    }
}

#[tokio::test]
async fn cut_off_form_is_refused_when_it_is_declared_complete() {
    let server = Server::start(&[]);
    let (body, interop) = (form_of(&photos(2)), &VERSIONS[3]);
    let location = created(&server, UPLOAD, interop, &[], &body[..5000]);
    let last = complete(&server, &location, interop, 5000, &body[5000..6000]);
    assert_eq!(last.status, 400, "{last:?}");
    assert!(last.json()["type"].as_str().unwrap().ends_with("malformed-multipart"), "{last:?}");
}
