//! Resumable uploads of one photo each (forms: `resumable_forms.rs`), by draft-ietf-httpbis-resumable-upload and by tus, over sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Server, card, file, form, photo_numbered, sha256};

const UPLOADS: &str = "/api/v1/uploads";

/// A response, with the interim responses before it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) interim: Vec<BTreeMap<String, String>>,
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Sends a request, whose connection then ends, and reads all that comes.
pub(crate) fn send(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut socket = begin(server, method, path, headers, body.len());
    socket.write_all(body).unwrap();
    read(&mut socket)
}

/// Sends the head of a request.
pub(crate) fn begin(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> TcpStream {
    let mut socket = server.connect();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

pub(crate) fn read(socket: &mut TcpStream) -> Answer {
    // A response to a request whose body was not read whole comes before the end of the connection.
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = socket.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..read]);
    }
    let mut interim = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let body = bytes.split_off(end + 4);
        let mut lines = head.lines();
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        };
        let headers: BTreeMap<String, String> = lines.map(field).collect();
        if status >= 200 {
            return Answer { interim, status, headers, body };
        }
        if status == 104 {
            interim.push(headers);
        }
        bytes = body;
    }
}

/// A version of the draft, and how it says things.
pub(crate) struct Interop {
    pub(crate) version: &'static str,
    pub(crate) complete: (&'static str, &'static str),
    pub(crate) incomplete: (&'static str, &'static str),
    /// The status of an append that does not complete the upload.
    pub(crate) appended: u16,
    has_limits: bool,
}

pub(crate) const VERSIONS: [Interop; 4] = [
    Interop {
        version: "3",
        complete: ("upload-incomplete", "?0"),
        incomplete: ("upload-incomplete", "?1"),
        appended: 201,
        has_limits: false,
    },
    Interop {
        version: "5",
        complete: ("upload-complete", "?1"),
        incomplete: ("upload-complete", "?0"),
        appended: 201,
        has_limits: false,
    },
    Interop {
        version: "6",
        complete: ("upload-complete", "?1"),
        incomplete: ("upload-complete", "?0"),
        appended: 201,
        has_limits: true,
    },
    Interop {
        version: "8",
        complete: ("upload-complete", "?1"),
        incomplete: ("upload-complete", "?0"),
        appended: 204,
        has_limits: true,
    },
];

impl Interop {
    pub(crate) fn headers<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [&[("upload-draft-interop-version", self.version)], more].concat()
    }

    pub(crate) fn append<'a>(
        &'a self,
        offset: &'a str,
        completeness: (&'a str, &'a str),
    ) -> Vec<(&'a str, &'a str)> {
        let mut headers = self.headers(&[("upload-offset", offset), completeness]);
        if self.has_limits {
            headers.push(("content-type", "application/partial-upload"));
        }
        headers
    }
}

/// Returns the photo of the same bytes as a form uploads it.
async fn by_form(server: &Server, photo: &[u8]) -> Value {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    draft["photos"][0]["media"].clone()
}

#[tokio::test]
async fn each_version_of_the_draft_creates_continues_reads_and_cancels_uploads() {
    let server = Server::start(&[("RATE_LIMIT_GLOBAL", "off")]);
    for (number, interop) in VERSIONS.iter().enumerate() {
        let photo = photo_numbered(400, 300, number);
        let what = interop.version;
        let length = photo.len().to_string();
        // Whole, in one request.
        let whole = send(&server, "POST", UPLOADS, &interop.headers(&[interop.complete]), &photo);
        assert_eq!(whole.status, 201, "{what}: {whole:?}");
        let announced = &whole.interim[0];
        assert_eq!(announced["upload-draft-interop-version"], what);
        let location = whole.header("location").to_owned();
        assert_eq!(announced["location"], location);
        assert_eq!(announced.contains_key("upload-limit"), interop.has_limits, "{announced:?}");
        assert_eq!(whole.header("upload-offset"), length);
        let finished = whole.json();
        assert_eq!(finished["state"], "finished");
        assert_eq!(finished["media"], by_form(&server, &photo).await);
        assert_eq!(location, format!("{UPLOADS}/{}", finished["id"].as_str().unwrap()));
        let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
        assert_eq!((state.status, state.header("upload-offset")), (204, length.as_str()), "{what}");
        assert_eq!(state.header(interop.complete.0), interop.complete.1);
        assert_eq!(state.header("cache-control"), "no-store");
        let again = send(&server, "PATCH", &location, &interop.append(&length, interop.complete), b"");
        assert_eq!(again.status, 400);
        assert!(again.json()["type"].as_str().unwrap().ends_with("#completed-upload"), "{again:?}");

        // In three steps.
        let photo = photo_numbered(400, 300, 100 + number);
        let (first, rest) = photo.split_at(100);
        let (second, third) = rest.split_at(2000);
        let created = send(&server, "POST", UPLOADS, &interop.headers(&[interop.incomplete]), first);
        assert_eq!((created.status, created.header("upload-offset")), (201, "100"), "{what}: {created:?}");
        assert_eq!(created.header(interop.incomplete.0), interop.incomplete.1);
        let location = created.header("location").to_owned();
        let mismatch = send(&server, "PATCH", &location, &interop.append("7", interop.incomplete), second);
        assert_eq!((mismatch.status, mismatch.header("upload-offset")), (409, "100"), "{what}");
        let problem = mismatch.json();
        assert!(problem["type"].as_str().unwrap().ends_with("#mismatching-upload-offset"), "{problem}");
        assert_eq!((&problem["expected-offset"], &problem["provided-offset"]), (&json!(100), &json!(7)));
        let appended = send(&server, "PATCH", &location, &interop.append("100", interop.incomplete), second);
        assert_eq!((appended.status, appended.header("upload-offset")), (interop.appended, "2100"), "{what}");
        assert_eq!(appended.header(interop.incomplete.0), interop.incomplete.1);
        let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
        assert_eq!((state.status, state.header("upload-offset")), (204, "2100"));
        assert_eq!(state.header(interop.incomplete.0), interop.incomplete.1);
        let shown: Value = server.get(&location).await.json().await.unwrap();
        assert_eq!((&shown["state"], &shown["offset"]), (&json!("receiving"), &json!(2100)));
        let last = send(&server, "PATCH", &location, &interop.append("2100", interop.complete), third);
        assert_eq!(last.status, 201, "{what}: {last:?}");
        assert_eq!(last.json()["media"], by_form(&server, &photo).await);

        // Cancelled.
        let created = send(&server, "POST", UPLOADS, &interop.headers(&[interop.incomplete]), first);
        let location = created.header("location").to_owned();
        assert_eq!(send(&server, "DELETE", &location, &interop.headers(&[]), b"").status, 204);
        for method in ["HEAD", "GET", "DELETE"] {
            assert_eq!(send(&server, method, &location, &interop.headers(&[]), b"").status, 404, "{method}");
        }
    }
    assert_eq!(partial_files(&server), Vec::<String>::new(), "no bytes stay");
}

pub(crate) fn partial_files(server: &Server) -> Vec<String> {
    crate::support::files_below(&server.media_root().join(".uploads"))
}

#[tokio::test]
async fn client_that_disconnects_continues_where_the_server_says() {
    let server = Server::start(&[]);
    let photo = card(1600, 1200);
    for interop in &VERSIONS {
        let headers = interop.headers(&[interop.complete]);
        let mut socket = begin(&server, "POST", UPLOADS, &headers, photo.len());
        socket.write_all(&photo[..photo.len() / 2]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let announced = read_interim(&mut socket);
        // Returns once the server has all that was sent.
        read(&mut socket);
        let location = &announced["location"];
        let state = send(&server, "HEAD", location, &interop.headers(&[]), b"");
        assert_eq!(state.header("upload-offset"), (photo.len() / 2).to_string(), "{state:?}");
        let rest = &photo[photo.len() / 2..];
        let append = interop.append(state.header("upload-offset"), interop.complete);
        let last = send(&server, "PATCH", location, &append, rest);
        assert_eq!(last.status, 201, "{last:?}");
        assert_eq!(last.json()["media"], by_form(&server, &photo).await);
    }
}

/// Reads the first interim response.
pub(crate) fn read_interim(socket: &mut TcpStream) -> BTreeMap<String, String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 104 "), "{head}");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    head.lines().filter_map(field).collect()
}

#[tokio::test]
async fn later_request_ends_one_that_hangs() {
    let server = Server::start(&[]);
    let photo = photo_numbered(400, 300, 1);
    let interop = &VERSIONS[3];
    let mut hanging = begin(&server, "POST", UPLOADS, &interop.headers(&[interop.complete]), photo.len());
    hanging.write_all(&photo[..1000]).unwrap();
    let location = read_interim(&mut hanging)["location"].clone();
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    let offset: usize = state.header("upload-offset").parse().unwrap();
    let append = interop.append(state.header("upload-offset"), interop.complete);
    let last = send(&server, "PATCH", &location, &append, &photo[offset..]);
    assert_eq!(last.status, 201, "{last:?}");
    let ended = read(&mut hanging);
    assert_eq!(ended.status, 409, "{ended:?}");
}

#[tokio::test]
async fn tus_client_creates_continues_reads_and_terminates_uploads() {
    let server = Server::start(&[]);
    let tus = ("tus-resumable", "1.0.0");
    let octets = ("content-type", "application/offset+octet-stream");
    let options = send(&server, "OPTIONS", UPLOADS, &[], b"");
    assert_eq!((options.status, options.header("tus-version")), (204, "1.0.0"));
    assert_eq!(
        options.header("tus-extension"),
        "creation,creation-with-upload,termination,expiration,checksum"
    );
    assert_eq!(options.header("tus-max-size"), (15 << 20).to_string());
    let photo = photo_numbered(400, 300, 1);
    let length = photo.len().to_string();
    let metadata = format!("filename {}", STANDARD.encode("shoe.jpg"));
    let create = [tus, ("upload-length", &*length), ("upload-metadata", &*metadata)];
    let created = send(&server, "POST", UPLOADS, &create, b"");
    assert_eq!((created.status, created.header("tus-resumable")), (201, "1.0.0"), "{created:?}");
    assert!(created.header("upload-expires").ends_with(" GMT"), "{created:?}");
    let location = created.header("location").to_owned();
    let sum = |bytes: &[u8]| format!("sha256 {}", STANDARD.encode(Sha256::digest(bytes)));
    let wrong = sum(b"other bytes");
    let append = [tus, octets, ("upload-offset", "0"), ("upload-checksum", &*wrong)];
    let mismatch = send(&server, "PATCH", &location, &append, &photo[..1000]);
    assert_eq!(mismatch.status, 460, "{mismatch:?}");
    let right = sum(&photo[..1000]);
    let append = [tus, octets, ("upload-offset", "0"), ("upload-checksum", &*right)];
    let appended = send(&server, "PATCH", &location, &append, &photo[..1000]);
    assert_eq!((appended.status, appended.header("upload-offset")), (204, "1000"), "{appended:?}");
    assert!(!appended.header("upload-expires").is_empty());
    let state = send(&server, "HEAD", &location, &[tus], b"");
    assert_eq!((state.status, state.header("upload-offset")), (200, "1000"));
    assert_eq!((state.header("upload-length"), state.header("upload-metadata")), (&*length, &*metadata));
    let append = [tus, octets, ("upload-offset", "999")];
    assert_eq!(send(&server, "PATCH", &location, &append, &photo[999..]).status, 409);
    let append = [tus, ("content-type", "image/jpeg"), ("upload-offset", "1000")];
    assert_eq!(send(&server, "PATCH", &location, &append, &photo[1000..]).status, 415);
    let append = [tus, octets, ("upload-offset", "1000")];
    let last = send(&server, "PATCH", &location, &append, &photo[1000..]);
    assert_eq!((last.status, last.header("upload-offset")), (204, &*length), "{last:?}");
    let shown: Value = server.get(&location).await.json().await.unwrap();
    assert_eq!((&shown["state"], &shown["media"]), (&json!("finished"), &by_form(&server, &photo).await));

    let create = [tus, octets, ("upload-length", &*length)];
    let with_upload = send(&server, "POST", UPLOADS, &create, &photo[..500]);
    assert_eq!((with_upload.status, with_upload.header("upload-offset")), (201, "500"));
    let location = with_upload.header("location").to_owned();
    let removed = send(&server, "DELETE", &location, &[tus], b"");
    assert_eq!((removed.status, removed.header("tus-resumable")), (204, "1.0.0"));
    assert_eq!(send(&server, "HEAD", &location, &[tus], b"").status, 404);

    let too_long = (16 << 20).to_string();
    let refused = send(&server, "POST", UPLOADS, &[tus, ("upload-length", &*too_long)], b"");
    assert_eq!(refused.status, 413);
    let old = send(&server, "POST", UPLOADS, &[("tus-resumable", "0.2.2"), ("upload-length", "1")], b"");
    assert_eq!((old.status, old.header("tus-version")), (412, "1.0.0"));
}

#[tokio::test]
async fn photo_that_is_no_photo_is_refused_by_its_first_bytes() {
    let server = Server::start(&[]);
    let tus = ("tus-resumable", "1.0.0");
    let octets = ("content-type", "application/offset+octet-stream");
    let text = vec![b'x'; 3000];
    let create = [tus, octets, ("upload-length", "1000000")];
    let refused = send(&server, "POST", UPLOADS, &create, &text);
    assert_eq!(refused.status, 415, "{refused:?}");
    let plain = send(&server, "POST", UPLOADS, &[("content-type", "image/jpeg")], &text);
    assert_eq!(plain.status, 415);
    // Whole, and corrupt.
    let mut cut = photo_numbered(400, 300, 1);
    cut.truncate(3000);
    let interop = &VERSIONS[3];
    let failed = send(&server, "POST", UPLOADS, &interop.headers(&[interop.complete]), &cut);
    assert_eq!(failed.status, 422, "{failed:?}");
    let shown: Value = server.get(&failed.interim[0]["location"]).await.json().await.unwrap();
    assert_eq!((&shown["state"], &shown["problem"]["status"]), (&json!("failed"), &json!(422)), "{shown}");
    assert_eq!(partial_files(&server), Vec::<String>::new());
    assert_eq!(server.files(), Vec::<String>::new());
}

#[tokio::test]
async fn digests_are_verified() {
    let server = Server::start(&[]);
    let photo = photo_numbered(400, 300, 1);
    let digest = |bytes: &[u8]| format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    let (right, wrong) = (digest(&photo), digest(b"other bytes"));
    for name in ["repr-digest", "content-digest"] {
        let refused = send(&server, "POST", UPLOADS, &[(name, &*wrong)], &photo);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.json()["type"].as_str().unwrap().ends_with("digest-mismatch"));
        assert_eq!(send(&server, "POST", UPLOADS, &[(name, &*right)], &photo).status, 201);
        let interop = &VERSIONS[2];
        let refused =
            send(&server, "POST", UPLOADS, &interop.headers(&[interop.complete, (name, &*wrong)]), &photo);
        assert_eq!(refused.status, 400, "{name}: {refused:?}");
        let taken =
            send(&server, "POST", UPLOADS, &interop.headers(&[interop.complete, (name, &*right)]), &photo);
        assert_eq!(taken.status, 201, "{name}: {taken:?}");
    }
    assert_eq!(send(&server, "POST", UPLOADS, &[("repr-digest", "sha-256=x")], &photo).status, 400);
}

#[tokio::test]
async fn draft_is_assembled_of_finished_uploads() {
    let server = Server::start(&[]);
    let client = Client::new();
    let mut ids = Vec::new();
    for number in 0..3 {
        let body = photo_numbered(200, 100, number);
        let done = client.post(server.url(UPLOADS)).body(body).send().await.unwrap();
        assert_eq!(done.status(), 201);
        let location = done.headers()["location"].to_str().unwrap().to_owned();
        let upload: Value = done.json().await.unwrap();
        assert!(location.ends_with(upload["id"].as_str().unwrap()));
        ids.push(upload["id"].clone());
    }
    let listings = server.url("/api/v1/listings");
    let create = async |uploads: Value| {
        let sent =
            client.post(&listings).json(&json!({"title": "t", "uploads": uploads})).send().await.unwrap();
        (sent.status().as_u16(), sent.json::<Value>().await.unwrap())
    };
    let (status, draft) = create(json!([ids[1], ids[0]])).await;
    assert_eq!((status, draft["photos"].as_array().unwrap().len()), (201, 2), "{draft}");
    let expected = by_form(&server, &photo_numbered(200, 100, 1)).await;
    assert_eq!(draft["photos"][0]["media"], expected);
    for uploads in [json!([ids[2], ids[0]]), json!([ids[2], ids[2]]), json!([ids[2], "x"])] {
        let (status, problem) = create(uploads).await;
        assert_eq!((status, &problem["file_index"]), (422, &json!(1)), "{problem}");
    }
    let (status, _) = create(json!([ids[2]])).await;
    assert_eq!(status, 201);
    let shown: Value =
        server.get(&format!("{UPLOADS}/{}", ids[2].as_str().unwrap())).await.json().await.unwrap();
    assert_eq!(shown["state"], "finished");
}

#[tokio::test]
async fn request_with_the_key_of_an_earlier_one_finds_its_upload() {
    let server = Server::start(&[]);
    let client = Client::new();
    let photo = photo_numbered(200, 100, 1);
    let send = async |body: Vec<u8>| {
        let request = client.post(server.url(UPLOADS)).header("idempotency-key", "k").body(body);
        request.send().await.unwrap()
    };
    let first = send(photo.clone()).await;
    let again = send(photo.clone()).await;
    assert_eq!((first.status().as_u16(), again.status().as_u16()), (201, 201));
    assert_eq!(first.headers()["location"], again.headers()["location"]);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(first.json::<Value>().await.unwrap(), again.json::<Value>().await.unwrap());
    assert_eq!(send(photo[1..].to_vec()).await.status(), 422);
}

#[tokio::test]
async fn acknowledged_bytes_survive_kill_9() {
    let mut server = Server::start(&[]);
    let photo = card(1600, 1200);
    let interop = &VERSIONS[3];
    let (first, rest) = photo.split_at(photo.len() / 3);
    let created = send(&server, "POST", UPLOADS, &interop.headers(&[interop.incomplete]), first);
    let location = created.header("location").to_owned();
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let server = Server::start_in(server.dir(), &[]);
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), first.len().to_string());
    let offset = first.len().to_string();
    let last = send(&server, "PATCH", &location, &interop.append(&offset, interop.complete), rest);
    assert_eq!(last.status, 201, "{last:?}");
    let url = last.json()["media"]["url"].as_str().unwrap().to_owned();
    let stored = server.get(&url).await.bytes().await.unwrap();
    assert!(url.contains(&sha256(&stored)));
}

#[tokio::test]
async fn last_bytes_are_acknowledged_if_the_photo_cannot_be_stored_now() {
    let mut server = Server::start(&[]);
    let photo = card(1600, 1200);
    let (interop, length) = (&VERSIONS[3], photo.len().to_string());
    let (first, rest) = photo.split_at(photo.len() / 2);
    let created = send(&server, "POST", UPLOADS, &interop.headers(&[interop.incomplete]), first);
    let location = created.header("location").to_owned();
    let staging = server.media_root().join(".staging");
    std::fs::remove_dir(&staging).unwrap();
    std::fs::write(&staging, "a file in the place of the directory").unwrap();
    let offset = first.len().to_string();
    let failed = send(&server, "PATCH", &location, &interop.append(&offset, interop.complete), rest);
    assert!(failed.status >= 500, "{failed:?}");
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    std::fs::remove_file(&staging).unwrap();
    let server = Server::start_in(server.dir(), &[]);
    let state = send(&server, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), length, "{state:?}");
    let last = send(&server, "PATCH", &location, &interop.append(&length, interop.complete), b"");
    assert_eq!(last.status, 201, "{last:?}");
    assert_eq!(last.json()["media"], by_form(&server, &photo).await);
    assert_eq!(partial_files(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn uploads_of_others_are_not_found() {
    let secret = "of-this-test-and-of-32-bytes-or-more";
    let server = Server::start(&[("SECRET_KEY", secret)]);
    let token = |user: &str| {
        let issue = crate::support::binary(server.dir().path())
            .env("SECRET_KEY", secret)
            .args(["token", "issue", "--user", user])
            .output()
            .unwrap();
        format!("Bearer {}", String::from_utf8(issue.stdout).unwrap().trim())
    };
    let (owner, other) = (token("7"), token("8"));
    let interop = &VERSIONS[3];
    let photo = photo_numbered(200, 100, 1);
    let with = |token: &str, more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        more.chain([("authorization".to_owned(), token.to_owned())]).collect()
    };
    let call = |method: &str, path: &str, headers: Vec<(String, String)>, body: &[u8]| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        send(&server, method, path, &interop.headers(&headers), body)
    };
    let created = call("POST", UPLOADS, with(&owner, &[interop.complete]), &photo);
    assert_eq!(created.status, 201, "{created:?}");
    let location = created.header("location").to_owned();
    for method in ["GET", "HEAD", "DELETE"] {
        for token in [&*other, ""] {
            let headers = if token.is_empty() { Vec::new() } else { with(token, &[]) };
            assert_eq!(call(method, &location, headers, b"").status, 404, "{method}");
        }
    }
    assert_eq!(call("GET", &location, with(&owner, &[]), b"").status, 200);
}

#[tokio::test]
async fn failed_request_is_forgotten_under_its_key() {
    let server = Server::start(&[]);
    let photo = photo_numbered(200, 100, 1);
    let length = photo.len().to_string();
    let octets = ("content-type", "application/offset+octet-stream");
    let headers = [("tus-resumable", "1.0.0"), octets, ("upload-length", &*length), ("idempotency-key", "k")];
    let refused = send(&server, "POST", UPLOADS, &headers, &vec![b'x'; photo.len()]);
    assert_eq!(refused.status, 415, "{refused:?}");
    let taken = send(&server, "POST", UPLOADS, &headers, &photo);
    assert_eq!((taken.status, taken.header("idempotency-replayed")), (201, ""), "{taken:?}");
    let again = send(&server, "POST", UPLOADS, &headers, b"");
    assert_eq!(again.status, 422, "the length of the body differs: {again:?}");
    let again = send(&server, "POST", UPLOADS, &headers, &photo);
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{again:?}");
    assert_eq!(again.header("location"), taken.header("location"));
}

#[tokio::test]
async fn bytes_that_are_never_acknowledged_count_for_the_quota() {
    let server = Server::start(&[("UPLOAD_QUOTA", "2MB/day"), ("RATE_LIMIT_GLOBAL", "off")]);
    let noise = crate::support::noise(1000, 1000, 1);
    let wrong = format!("sha-256=:{}=:", "A".repeat(43));
    let interop = &VERSIONS[3];
    let headers = interop.headers(&[interop.incomplete, ("content-digest", &*wrong)]);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(send(&server, "POST", UPLOADS, &headers, &noise).status);
    }
    assert!(statuses.contains(&400) && statuses.ends_with(&[429, 429]), "{statuses:?}");
    let root = server.media_root().join(".uploads");
    let kept: u64 = partial_files(&server)
        .iter()
        .map(|file| root.join(&file[..2]).join(file).metadata().unwrap().len())
        .sum();
    assert!(kept <= 2 << 20, "{kept}");
}

#[tokio::test]
async fn offset_is_told_to_a_client_that_names_no_version() {
    let server = Server::start(&[]);
    let created = send(&server, "POST", UPLOADS, &[("upload-complete", "?0")], b"GIF89a");
    assert_eq!((created.status, created.interim.len()), (201, 0), "{created:?}");
    let location = created.header("location");
    let state = send(&server, "HEAD", location, &[], b"");
    assert_eq!(
        (state.status, state.header("upload-offset"), state.header("upload-complete")),
        (204, "6", "?0")
    );
    let missing =
        send(&server, "HEAD", &format!("{UPLOADS}/{}", "0".repeat(32)), &[("tus-resumable", "1.0.0")], b"");
    assert_eq!((missing.status, missing.header("tus-resumable")), (404, "1.0.0"));
}
