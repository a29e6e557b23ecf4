//! Every row of the API's status table over a real socket. No refusal may leave a file or a row.

use serde_json::Value;

use crate::support::{
    BOUNDARY, Server, UPLOAD, card, field, file, file_named, form, photo, read_all, upload_head,
};

fn assert_problem(body: &Value, status: u16) {
    assert_eq!(body["status"], status, "{body}");
    for member in ["type", "title", "detail", "request_id"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
    }
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.ends_with('.'), "the detail must be a sentence: {detail}");
    let leaks = [" /", "data/", "src/", "::", "panicked", "Error"];
    assert!(!leaks.iter().any(|leak| detail.contains(leak)), "{detail}");
}

/// Sends each form to one server and expects its status, a complete problem document, and nothing stored.
async fn refused(settings: &[(&str, &str)], cases: Vec<(&str, Vec<u8>, u16)>) -> Vec<Value> {
    let server = Server::start(settings);
    let mut bodies = Vec::new();
    for (what, form, expected) in cases {
        let response = server.post(form).await;
        assert_eq!(response.status(), expected, "{what}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        assert_problem(&body, expected);
        assert_eq!(body["request_id"], id, "{what}");
        bodies.push(body);
    }
    server.assert_nothing_was_kept().await;
    bodies
}

#[tokio::test]
async fn other_content_type_is_415_and_bad_boundary_is_400() {
    let server = Server::start(&[]);
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for (content_type, expected) in [
        (Some("application/json"), 415),
        (Some("multipart/mixed; boundary=x"), 415),
        (None, 415),
        (Some("multipart/form-data"), 400),
        (Some("multipart/form-data; boundary="), 400),
        (Some("multipart/form-data; boundary=a; boundary=b"), 400),
        (Some(long.as_str()), 400),
    ] {
        let mut request = reqwest::Client::new().post(server.url(UPLOAD)).body(form(&[file(&photo(8, 8))]));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected, "{content_type:?}");
        assert_problem(&response.json().await.unwrap(), expected);
    }
    let no_text = server.raw(
        &[
            format!("POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Type: ").as_bytes(),
            b"\xff\xfe\r\nContent-Length: 0\r\n\r\n",
        ]
        .concat(),
    );
    assert!(no_text.starts_with("HTTP/1.1 415 "), "{no_text}");
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn malformed_or_truncated_body_is_400() {
    let whole = form(&[file(&photo(64, 48)), field("title", b"shoes")]);
    let twice = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"files\"\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
    );
    refused(
        &[],
        vec![
            ("empty body", Vec::new(), 400),
            ("no delimiter", b"hello".to_vec(), 400),
            ("no closing delimiter", whole[..whole.len() - BOUNDARY.len() - 6].to_vec(), 400),
            ("cut in a photo", whole[..400].to_vec(), 400),
            ("endless preamble", vec![b'x'; 100_000], 400),
            ("two dispositions", twice.into_bytes(), 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn form_without_photos_is_400() {
    refused(
        &[],
        vec![
            ("no files part", form(&[field("title", b"shoes")]), 400),
            ("only empty ones", form(&[file(b""), file(b"")]), 400),
            ("another name", form(&[field("file", &photo(8, 8))]), 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn too_many_or_too_large_photos_are_413() {
    let small = photo(64, 48);
    let large = [card(64, 48), vec![0; 1 << 20]].concat();
    let four: Vec<_> = (0..4).map(|_| file(&small)).collect();
    let bodies = refused(
        &[("MAX_UPLOADS_PER_REQUEST", "3"), ("MAX_FILE_SIZE_MB", "1")],
        vec![
            ("a fourth photo", form(&four), 413),
            ("a large second photo", form(&[file(&small), file_named("big.jpg", &large)]), 413),
        ],
    )
    .await;
    assert_eq!((&bodies[1]["file_index"], &bodies[1]["filename"]), (&1.into(), &"big.jpg".into()));
}

#[tokio::test]
async fn photo_of_exactly_the_maximum_size_is_201() {
    let mut photo = photo(64, 48);
    photo.resize(1 << 20, 0);
    let server = Server::start(&[("MAX_UPLOADS_PER_REQUEST", "1"), ("MAX_FILE_SIZE_MB", "1")]);
    assert_eq!(server.upload(form(&[file(&photo)])).await.0, 201);
    photo.push(0);
    assert_eq!(server.upload(form(&[file(&photo)])).await.0, 413);
}

#[tokio::test]
async fn too_large_content_length_is_413_before_the_body() {
    let server = Server::start(&[("MAX_UPLOADS_PER_REQUEST", "1"), ("MAX_FILE_SIZE_MB", "1")]);
    let answer = server.raw(upload_head("Content-Length: 3000000").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer = server.raw(upload_head("Content-Length: 3000000\r\nExpect: 100-continue").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "the refusal must replace 100 Continue: {answer}");
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn expect_100_continue_is_answered() {
    use std::io::Write;
    let server = Server::start(&[]);
    let body = form(&[file(&photo(64, 48))]);
    let mut socket = server.connect();
    socket
        .write_all(upload_head(&format!("Content-Length: {}\r\nExpect: 100-continue", body.len())).as_bytes())
        .unwrap();
    let go = read_all(&mut socket);
    assert!(go.starts_with("HTTP/1.1 100 "), "{go}");
    socket.write_all(&body).unwrap();
    let answer = read_all(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn unsupported_file_type_is_415() {
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let bodies = refused(
        &[],
        vec![
            ("a PDF named .jpg", form(&[file(b"%PDF-1.7 ...")]), 415),
            ("SVG", form(&[file_named("x.svg", svg)]), 415),
            ("PSD", form(&[file(b"8BPS\0\x01\0\0\0\0\0\0\0\x03")]), 415),
            ("HEIC", form(&[file(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")]), 415),
            ("text in a second part", form(&[file(&photo(8, 8)), file_named("notes.txt", b"hello")]), 415),
        ],
    )
    .await;
    assert_eq!((&bodies[4]["file_index"], &bodies[4]["filename"]), (&1.into(), &"notes.txt".into()));
}

#[tokio::test]
async fn type_outside_the_allowed_prefixes_is_415() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0";
    refused(
        &[("ALLOWED_MIME_PREFIXES", r#"["image/jpeg","image/webp"]"#)],
        vec![("a PNG declared image/jpeg", form(&[file(png)]), 415)],
    )
    .await;
}

#[tokio::test]
async fn undecodable_image_is_422() {
    let whole = photo(640, 480);
    let cut = whole[..whole.len() / 2].to_vec();
    let mut flat = photo(64, 48);
    let frame = flat.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    flat[frame + 5..frame + 7].fill(0);
    let gif_of_zero_width =
        b"GIF89a\0\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\0\0\x01\0\0\x02\x02D\x01\0;";
    let bodies = refused(
        &[("MAX_PIXELS", "400000")],
        vec![
            ("magic bytes, then noise", form(&[file(b"\xff\xd8\xff\xe0 and then some prose")]), 422),
            ("over MAX_PIXELS", form(&[file(&photo(800, 501))]), 422),
            ("cut in half", form(&[file_named("cut.jpg", &cut)]), 422),
            ("zero height", form(&[file(&flat)]), 422),
            ("zero width", form(&[file(gif_of_zero_width)]), 422),
            (
                "a bad photo among good ones",
                form(&[file(&card(64, 48)), file(&cut), file(&card(48, 64))]),
                422,
            ),
        ],
    )
    .await;
    assert_eq!((&bodies[2]["file_index"], &bodies[2]["filename"]), (&0.into(), &"cut.jpg".into()));
    assert_eq!(bodies[5]["file_index"], 1);
}

#[tokio::test]
async fn title_that_is_too_long_or_not_text_is_422() {
    let photo = photo(64, 48);
    let long = "ä".repeat(161);
    refused(
        &[],
        vec![
            ("161 characters", form(&[file(&photo), field("title", long.as_bytes())]), 422),
            ("a megabyte", form(&[field("title", &vec![b'x'; 1 << 20]), file(&photo)]), 422),
            ("not UTF-8", form(&[file(&photo), field("title", b"\xff\xfe")]), 422),
        ],
    )
    .await;
    let server = Server::start(&[]);
    let longest = "ä".repeat(160);
    let (status, draft) = server.upload(form(&[file(&photo), field("title", longest.as_bytes())])).await;
    assert_eq!((status, &draft["title"]), (201, &longest.into()));
}

#[tokio::test]
async fn full_disk_is_507_and_not_ready() {
    let server = Server::start(&[("MIN_FREE_DISK_MB", "1048576")]);
    let response = server.post(form(&[file(&photo(64, 48))])).await;
    assert_eq!(response.status(), 507);
    assert_problem(&response.json().await.unwrap(), 507);
    assert_eq!(server.files(), Vec::<String>::new());
    let ready = server.get("/api/v1/ready").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["down"], serde_json::json!(["disk"]));
    assert_eq!(server.get("/api/v1/health").await.status(), 200);
}

#[tokio::test]
async fn client_that_sends_all_before_reading_gets_early_413() {
    use std::io::Write;
    let server = Server::start(&[("MAX_UPLOADS_PER_REQUEST", "8"), ("MAX_FILE_SIZE_MB", "1")]);
    let body = form(&[file(&[photo(64, 48), vec![0; 6 << 20]].concat())]);
    let mut socket = server.connect();
    socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
    for chunk in body.chunks(64 * 1024) {
        socket.write_all(chunk).expect("the connection must not be reset while the client sends");
    }
    let answer = read_all(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
