//! Forms of real clients, and malformed ones: what is accepted, and which problem the others get.

use serde_json::Value;

use crate::support::{BOUNDARY, Server, UPLOAD, card, field, file, file_named, form, part, photo};

/// Returns a form with one part that has these headers.
fn form_with(headers: &[u8], data: &[u8]) -> Vec<u8> {
    let open = format!("--{BOUNDARY}\r\n");
    let close = format!("\r\n--{BOUNDARY}--\r\n");
    [open.as_bytes(), headers, b"\r\n\r\n", data, close.as_bytes()].concat()
}

fn disposition(parameters: &str) -> String {
    format!("Content-Disposition: form-data; {parameters}")
}

async fn refusal(server: &Server, form: Vec<u8>, status: u16) -> (String, Value) {
    let (got, problem) = server.upload(form).await;
    assert_eq!(got, status, "{problem}");
    (problem["detail"].as_str().unwrap().to_owned(), problem)
}

#[tokio::test]
async fn boundary_with_forbidden_character_is_400_and_names_it() {
    let server = Server::start(&[]);
    let raw = |boundary: &[u8]| {
        let head =
            format!("POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=");
        server
            .raw(&[head.as_bytes(), boundary, b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"].concat())
    };
    for (boundary, named) in [
        (b"{8d9b-1}".as_slice(), "`{`"),
        (b"\"a;b\"", "`;`"),
        ("ä".as_bytes(), "U+00E4"),
        (b"a\xe4", "U+FFFD"),
        (b"", "is empty"),
        (b"\"a \"", "ends in a space"),
        (b"\"a", "not closed"),
        (b"a; boundary=b", "more than one"),
    ] {
        let answer = raw(boundary);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(named), "{named}: {answer}");
    }
}

#[tokio::test]
async fn ungrammatical_file_name_is_201() {
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    let long = format!("filename=\"{}.jpg\"", "x".repeat(5000));
    for name in [
        b"filename=\"caf\xe9.jpg\"".as_slice(),
        b"filename=\"my filename with a quote\" in the middle.jpg\"",
        b"filename=\"C:\\fakepath\\a.jpg\"",
        b"filename=\"a%22b%0D%0A.jpg\"",
        b"filename*=UTF-8''caf%E9.jpg",
        b"filename*=broken%",
        b"filename=\"a\x1b[2J\x7f.jpg\"",
        b"filename=a b.jpg",
        long.as_bytes(),
    ] {
        let headers = [b"Content-Disposition: form-data; name=\"files\"; ".as_slice(), name].concat();
        let (status, answer) = server.upload(form_with(&headers, &photo)).await;
        assert_eq!(status, 201, "{}: {answer}", String::from_utf8_lossy(name));
    }
    let headers = b"Content-Disposition: form-data; name=\"files\"; filename=\"a\x1b[2J\xff.jpg\"";
    let (_, problem) = refusal(&server, form_with(headers, b"\0\x01"), 415).await;
    assert_eq!(problem["filename"], "a\u{FFFD}[2J\u{FFFD}.jpg");
}

#[tokio::test]
async fn part_with_ambiguous_name_is_400() {
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    for parameters in [
        r#"name="x"; filename="a"; name="files""#,
        r#"name="x"; filename="a"; name="files"; x="b""#,
        r#"name="x"; filename="a" b; name="files".jpg""#,
        r#"name="x"; filename="a\"; name="files""#,
        r#"filename="a"b"#,
        "name=\"x\"\r\n ; name=\"files:\"",
        "name=\"x\"\r\nContent-Disposition : form-data; name=\"files\"",
    ] {
        let (detail, _) = refusal(&server, form_with(disposition(parameters).as_bytes(), &photo), 400).await;
        assert!(detail.starts_with("The multipart body is malformed: "), "{parameters}: {detail}");
    }
    let parameters = r#"filename="a"; name="files"; x="b""#;
    assert_eq!(server.upload(form_with(disposition(parameters).as_bytes(), &photo)).await.0, 201);
}

#[tokio::test]
async fn part_with_too_many_headers_or_parameters_is_400() {
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    let parameters: String = (0..2000).map(|n| format!("p{n}=;")).collect();
    let headers = "X-A: b\r\n".repeat(100);
    for (headers, named) in [
        (disposition(&format!("name=\"files\"; {parameters}")), "16 parameters"),
        (headers + &disposition("name=\"files\""), "32 headers"),
    ] {
        let (detail, _) = refusal(&server, form_with(headers.as_bytes(), &photo), 400).await;
        assert!(detail.contains(named), "{detail}");
    }
    let (detail, _) = refusal(&server, Vec::new(), 400).await;
    assert!(detail.contains("empty"), "{detail}");
}

#[tokio::test]
async fn empty_part_beside_a_photo_is_422_unless_no_file_was_chosen() {
    let server = Server::start(&[]);
    let (one, two) = (photo(64, 48), card(64, 48));
    let named = || file_named("IMG_2.jpg", b"");
    let nameless = || part(&disposition("name=\"files\""), b"");
    let (_, problem) = refusal(&server, form(&[file(&one), named(), file(&two)]), 422).await;
    assert_eq!((&problem["file_index"], &problem["filename"]), (&1.into(), &"IMG_2.jpg".into()));
    assert!(problem["detail"].as_str().unwrap().contains("0 bytes"), "{problem}");
    let (_, problem) = refusal(&server, form(&[named(), file(&one)]), 422).await;
    assert_eq!(problem["file_index"], 0);
    refusal(&server, form(&[file(&one), nameless()]), 422).await;
    refusal(&server, form(&[named(), nameless(), field("title", b"shoes")]), 400).await;
    server.assert_nothing_was_kept().await;
    let (status, draft) = server.upload(form(&[file_named("", b""), file(&one), file_named("", b"")])).await;
    assert_eq!((status, draft["photos"].as_array().unwrap().len()), (201, 1), "{draft}");
}

#[tokio::test]
async fn title_with_control_character_is_422_and_names_it() {
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    for (title, code) in
        [(b"Blue\0shoes".as_slice(), "U+0000"), (b"\x1b[2J", "U+001B"), ("a\u{85}".as_bytes(), "U+0085")]
    {
        let (detail, _) = refusal(&server, form(&[field("title", title), file(&photo)]), 422).await;
        assert!(detail.contains("control character") && detail.contains(code), "{detail}");
    }
    let (detail, _) = refusal(&server, form(&[field("title", b"caf\xe9"), file(&photo)]), 422).await;
    assert!(detail.contains("UTF-8"), "{detail}");
    let encoded =
        part("Content-Disposition: form-data; name=\"title\"\r\nContent-Transfer-Encoding: base64", b"YQ==");
    refusal(&server, form(&[encoded, file(&photo)]), 422).await;
    let (status, draft) = server.upload(form(&[file(&photo), field("title", b"a\tb\r\nc")])).await;
    assert_eq!((status, &draft["title"]), (201, &"a\tb\r\nc".into()));
}

#[tokio::test]
async fn file_other_than_an_image_is_415_and_its_type_is_named() {
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    let mut matroska = b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm".to_vec();
    matroska.resize(600, 0);
    for (data, named) in [
        (
            b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8U".as_slice(),
            "text (an image in base64)",
        ),
        (b"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD", "text (a data: URL)"),
        (b"{\"error\": \"token expired\"}", "text (JSON)"),
        (b"<!doctype html><html><body>Log in", "text (an HTML page)"),
        (b"just some words", "text"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (&matroska, "a video"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "not supported"),
        (b"8BPS\0\x01\0\0\0\0\0\0\0\x03", "not supported"),
        (b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", "not supported"),
        (b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0", "not supported"),
        (b"FUJIFILMCCD-RAW 0201FF383501", "not supported"),
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"\0\x01\x02\x03\x04", "not an image"),
    ] {
        let (detail, problem) = refusal(&server, form(&[file(&photo), file_named("a.jpg", data)]), 415).await;
        assert!(detail.contains(named), "{named}: {detail}");
        assert_eq!((&problem["file_index"], &problem["filename"]), (&1.into(), &"a.jpg".into()));
    }
    for encoding in ["base64", "Quoted-Printable"] {
        let headers = disposition("name=\"files\"; filename=\"a.jpg\"");
        let headers = format!("{headers}\r\nContent-Transfer-Encoding: {encoding}");
        let (detail, _) = refusal(&server, form(&[part(&headers, b"/9j/4AAQ")]), 415).await;
        assert!(detail.contains("holds text"), "{detail}");
    }
    server.assert_nothing_was_kept().await;
    let headers = disposition("name=\"files\"; filename=\"a.jpg\"") + "\r\nContent-Transfer-Encoding: binary";
    assert_eq!(server.upload(form(&[part(&headers, &photo)])).await.0, 201);
}

/// Returns a grey TIFF whose pixels start at offset 8 and all have this value.
fn tiff_with_pixels_first(value: u8) -> Vec<u8> {
    const SIDE: u8 = 16;
    let pixels = vec![value; usize::from(SIDE) * usize::from(SIDE)];
    let directory = 8 + u32::try_from(pixels.len()).unwrap();
    let mut tiff = [b"II*\0".as_slice(), &directory.to_le_bytes(), &pixels].concat();
    let entries: [(u16, u32); 8] = [
        (256, SIDE.into()),
        (257, SIDE.into()),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (278, SIDE.into()),
        (279, u32::from(SIDE) * u32::from(SIDE)),
    ];
    tiff.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    for (tag, value) in entries {
        tiff.extend([tag.to_le_bytes(), 4_u16.to_le_bytes()].concat());
        tiff.extend([1_u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    tiff
}

#[tokio::test]
async fn tiff_with_any_first_pixels_is_201() {
    let server = Server::start(&[]);
    for value in [0x00, b'C', b'R'] {
        let (status, answer) = server.upload(form(&[file(&tiff_with_pixels_first(value))])).await;
        assert_eq!(status, 201, "{value:#x}: {answer}");
    }
}
