//! Real HTTP clients: each uploads the same three photos, chunked and with a Content-Length, over each HTTP version
//! that it supports, and all get the same draft.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::skip;
use crate::support::{Server, UPLOAD, photo_numbered, with_exif};

/// Returns the program that a variable names, as `make test` sets it. If it is missing, the test is reported as skipped, or
/// fails where nothing may be skipped.
pub(crate) fn program(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if found.is_none() {
        skip(&format!("{variable} is not set; `make test` sets it"));
    }
    found
}

struct Photos {
    paths: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

fn photos() -> Photos {
    let dir = tempfile::tempdir().unwrap();
    let write = |n: usize| {
        let path = dir.path().join(format!("photo {n}.jpg"));
        let orientation = u8::try_from(n).unwrap() + 1;
        std::fs::write(&path, with_exif(&photo_numbered(900, 600, n), orientation)).unwrap();
        path
    };
    Photos { paths: (0..3).map(write).collect(), _dir: dir }
}

fn drafts(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stdout)))
}

/// Asserts that every client got three photos in order, equal except for the draft's id.
fn assert_same(server: &Server, drafts: Vec<Value>) {
    let names = server.files();
    assert_eq!(names.len(), 3);
    for mut draft in drafts {
        draft["id"] = 0.into();
        let photos = draft["photos"].as_array().unwrap();
        let sizes: Vec<_> = photos.iter().map(|photo| photo["media"]["width"].clone()).collect();
        assert_eq!(sizes, [900, 900, 900]);
        let ids: Vec<_> = photos.iter().map(|photo| photo["media"]["id"].clone()).collect();
        assert_eq!(ids, [1, 2, 3], "photos are in the order of the upload");
        assert_eq!((&draft["title"], &draft["status"]), (&"same".into(), &"draft".into()));
        assert_eq!((&draft["description"], &draft["price_suggested"]), (&"".into(), &Value::Null));
    }
}

fn script(variable: &str, name: &str, runs: usize) {
    let Some(interpreter) = program(variable) else {
        return;
    };
    let server = Server::start(&[("WORKERS", "1")]);
    let photos = photos();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let drafts = drafts(Command::new(interpreter).arg(path).arg(server.url(UPLOAD)).args(&photos.paths));
    assert_eq!(drafts.len(), runs);
    assert_same(&server, drafts);
}

#[test]
fn python_requests_upload_gives_the_same_draft() {
    script("VINTEDBOT_TEST_PYTHON", "with_requests.py", 2);
}

#[test]
fn python_httpx_upload_gives_the_same_draft() {
    script("VINTEDBOT_TEST_PYTHON", "with_httpx.py", 4);
}

#[test]
fn python_aiohttp_upload_gives_the_same_draft() {
    script("VINTEDBOT_TEST_PYTHON", "with_aiohttp.py", 2);
}

#[test]
fn node_fetch_upload_gives_the_same_draft() {
    script("VINTEDBOT_TEST_NODE", "with_fetch.mjs", 2);
}

#[test]
fn curl_upload_gives_the_same_draft() {
    let Some(curl) = program("VINTEDBOT_TEST_CURL") else {
        return;
    };
    let server = Server::start(&[("WORKERS", "1")]);
    let photos = photos();
    let mut got = Vec::new();
    // HTTP/2 sends each body in frames. Only HTTP/1.1 has chunks (RFC 9113 section 8.1).
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    for framing in [&["--http1.1"][..], &["--http1.1", chunked[0], chunked[1]], &["--http2-prior-knowledge"]]
    {
        let mut command = Command::new(&curl);
        command.args(["-sS", "-F", "title=same"]).args(framing);
        for path in &photos.paths {
            command.arg("-F").arg(format!("files=@{};type=image/jpeg", path.display()));
        }
        let output = command.arg(server.url(UPLOAD)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        got.push(serde_json::from_str(&text).unwrap_or_else(|_| panic!("{framing:?}: {text} {output:?}")));
    }
    assert_same(&server, got);
}

#[tokio::test]
async fn rust_reqwest_upload_gives_the_same_draft() {
    let server = Server::start(&[("WORKERS", "1")]);
    let photos = photos();
    let mut got = Vec::new();
    for http2 in [false, true] {
        for chunked in [false, true] {
            let builder = reqwest::Client::builder();
            let client = if http2 { builder.http2_prior_knowledge() } else { builder }.build().unwrap();
            let mut form = reqwest::multipart::Form::new().text("title", "same");
            for path in &photos.paths {
                let bytes = std::fs::read(path).unwrap();
                let part = if chunked {
                    // A part of unknown length makes the length of the form unknown.
                    let pieces: Vec<std::io::Result<Vec<u8>>> =
                        bytes.chunks(5000).map(|piece| Ok(piece.to_vec())).collect();
                    reqwest::multipart::Part::stream(reqwest::Body::wrap_stream(futures_util::stream::iter(
                        pieces,
                    )))
                } else {
                    reqwest::multipart::Part::bytes(bytes)
                };
                form = form.part("files", part.file_name("photo.jpg").mime_str("image/jpeg").unwrap());
            }
            let response = client.post(server.url(UPLOAD)).multipart(form).send().await.unwrap();
            assert_eq!(response.status(), 201);
            got.push(response.json().await.unwrap());
        }
    }
    assert_same(&server, got);
}
