use super::scan::MAX_HEAD_BYTES;
use super::*;
use futures_util::stream;
use proptest::prelude::*;

/// Name, file name and data of each part.
type Seen = Vec<(String, Option<String>, Vec<u8>)>;

async fn read(body: &[u8], cut: usize, boundary: &str, max: u64) -> Result<Seen, PartsError> {
    let frames: Vec<_> = body.chunks(cut.max(1)).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let mut parts = Parts::new(stream::iter(frames), boundary, max, 20);
    let mut seen = Vec::new();
    while let Some(mut part) = parts.next().await? {
        let mut data = Vec::new();
        while let Some(chunk) = part.chunk().await? {
            data.extend_from_slice(&chunk);
        }
        seen.push((part.name().to_owned(), part.filename().map(str::to_owned), data));
    }
    Ok(seen)
}

/// The result must not depend on how the bytes are cut into frames.
async fn outcome(body: &[u8]) -> Result<Seen, PartsError> {
    let whole = read(body, body.len(), "b", u64::MAX).await;
    for cut in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(read(body, cut, "b", u64::MAX).await, whole, "in frames of {cut}");
    }
    whole
}

fn part(headers: &str, data: &str) -> String {
    format!("--b\r\n{headers}\r\n\r\n{data}\r\n")
}

const A: &str = "Content-Disposition: form-data; name=\"a\"";

fn is_malformed(result: &Result<Seen, PartsError>) -> bool {
    matches!(result, Err(PartsError::Malformed(_)))
}

#[tokio::test]
async fn parts_come_in_order_with_their_data() {
    let body = format!(
        "preamble\r\n{}{}--b--\r\nepilogue",
        part(
            "Content-Disposition: form-data; name=\"files\"; filename=\"x; y.jpg\"\r\nContent-Type: image/jpeg",
            "1\r\n--2\r\n-"
        ),
        part(A, "")
    );
    let expected = vec![
        ("files".to_owned(), Some("x; y.jpg".to_owned()), b"1\r\n--2\r\n-".to_vec()),
        ("a".to_owned(), None, Vec::new()),
    ];
    assert_eq!(outcome(body.as_bytes()).await, Ok(expected));
}

#[tokio::test]
async fn ambiguous_part_headers_are_refused() {
    for headers in [
        format!("{A}\r\nContent-Disposition: form-data; name=\"files\""),
        format!("{A}\r\ncontent-disposition: form-data; name=\"a\""),
        "Content-Disposition: form-data; name=\"a\"; name=\"files\"".into(),
        "Content-Disposition: form-data; name=\"a\"; filename=\"x\"; filename=\"y\"".into(),
        "Content-Disposition: attachment; name=\"a\"".into(),
        "Content-Disposition: form-data; name=\"a".into(),
        "Content-Disposition: form-data".into(),
        "Content-Disposition: form-data; filename=\"a\"; x=\"; name=b\"".into(),
        "Content-Disposition: form-data; name=\"a\"b".into(),
        format!("{A}\n\nX: y"),
        format!("{A}\r\nno colon"),
        "Content-Type: text/plain".into(),
        format!("{A}\r\n ; name=\"files:\""),
        format!("{A}\r\nContent-Disposition : form-data; name=\"files\""),
        format!("{A}; filename=\"a\\\"; name=\"files\""),
        format!("{A}; filename=\"a\\\"; name=\\\"files\""),
        format!("{A}; filename=\"a\" x; name=\"files\".jpg\""),
        format!("{A}; filename=\"a\"; name=\"files\"; x=\"b\""),
        format!("{A}; filename=\"a\" b"),
    ] {
        let body = part(&headers, "data") + "--b--\r\n";
        assert!(is_malformed(&outcome(body.as_bytes()).await), "{headers}");
    }
}

#[tokio::test]
async fn names_are_read_as_they_are_quoted() {
    for (disposition, name, filename) in [
        (r#"form-data; filename="a; name=files x"; name="title""#, "title", "a; name=files x"),
        (r#"form-data; filename="my name.jpg"; name="files""#, "files", "my name.jpg"),
        (r#"form-data; NAME="files"; FileName="x""#, "files", "x"),
        (r#"form-data; name=files; filename=x"#, "files", "x"),
        (r#"FORM-DATA; name="files"; filename="C:\fakepath\x.jpg""#, "files", r"C:\fakepath\x.jpg"),
        (r#"form-data; name="files"; filename="a\"b.jpg""#, "files", "a\"b.jpg"),
        (r#"form-data; name="files"; filename="x"; filename*=UTF-8''y"#, "files", "x"),
        (r#"form-data; name="files"; filename*=UTF-8''caf%C3%A9"#, "files", "café"),
        (r#"form-data; name="files"; filename="a "b" c.jpg""#, "files", r#"a "b" c.jpg"#),
        (r#"form-data; filename="a"; name="files"; x="b""#, "files", "a"),
        (r#"form-data; name="files"; filename="a%22b%0D.jpg""#, "files", r#"a"b%0D.jpg"#),
        ("form-data; name=\"files\"; filename=\"a\x1b[2Jb\"", "files", "a\u{FFFD}[2Jb"),
    ] {
        let body = part(&format!("Content-Disposition: {disposition}"), "1") + "--b--";
        let expected = vec![(name.to_owned(), Some(filename.to_owned()), b"1".to_vec())];
        assert_eq!(outcome(body.as_bytes()).await, Ok(expected), "{disposition}");
    }
}

#[tokio::test]
async fn header_that_is_not_utf8_is_refused_for_the_field_and_decoded_for_the_file() {
    let body = |disposition: &[u8]| {
        [b"--b\r\nX-Note: \xff\r\nContent-Disposition: form-data; ", disposition, b"\r\n\r\n1\r\n--b--"]
            .concat()
    };
    let read = outcome(&body(b"name=\"files\"; filename=\"caf\xe9.jpg\"")).await;
    assert_eq!(read, Ok(vec![("files".into(), Some("caf\u{FFFD}.jpg".into()), b"1".to_vec())]));
    assert!(is_malformed(&outcome(&body(b"name=\"fil\xe9s\"")).await));
}

#[tokio::test]
async fn headers_and_parameters_of_a_part_are_capped() {
    let headers = |count: usize| part(&(A.to_owned() + &"\r\nX: y".repeat(count - 1)), "") + "--b--";
    assert!(outcome(headers(head::MAX_HEADERS).as_bytes()).await.is_ok());
    assert!(is_malformed(&outcome(headers(head::MAX_HEADERS + 1).as_bytes()).await));
    let parameters = |count: usize| {
        let more: String = (1..count).map(|n| format!("; p{n}=")).collect();
        part(&(A.to_owned() + &more), "") + "--b--"
    };
    assert!(outcome(parameters(head::MAX_PARAMETERS).as_bytes()).await.is_ok());
    let refused = outcome(parameters(head::MAX_PARAMETERS + 1).as_bytes()).await;
    assert_eq!(refused, Err(PartsError::Malformed("a Content-Disposition has more than 16 parameters")));
    assert_eq!(outcome(b"").await, Err(EMPTY));
}

#[tokio::test]
async fn incomplete_bodies_are_refused() {
    let whole = part(A, "data") + &part(A, "more") + "--b--";
    assert!(outcome(whole.as_bytes()).await.is_ok());
    for cut in 0..whole.len() {
        assert!(is_malformed(&outcome(&whole.as_bytes()[..cut]).await), "cut at {cut}");
    }
}

#[tokio::test]
async fn preamble_headers_and_number_of_parts_are_capped() {
    let long = "x".repeat(MAX_HEAD_BYTES * 3);
    assert!(is_malformed(&read(long.as_bytes(), 4096, "b", u64::MAX).await));
    let headers = part(&format!("{A}\r\nX-Long: {long}"), "data") + "--b--";
    for cut in [100, 4096, headers.len()] {
        assert!(is_malformed(&read(headers.as_bytes(), cut, "b", u64::MAX).await), "in frames of {cut}");
    }
    let many = part(A, "").repeat(20 + MAX_OTHER_PARTS) + "--b--";
    assert!(outcome(many.as_bytes()).await.is_ok());
    let too_many = part(A, "") + &many;
    assert_eq!(outcome(too_many.as_bytes()).await, Err(TOO_MANY_PARTS));
}

#[tokio::test]
async fn bytes_are_capped_while_they_stream() {
    let body = part(A, &"x".repeat(1000)) + "--b--";
    assert!(read(body.as_bytes(), 64, "b", body.len() as u64).await.is_ok());
    let short = body.len() as u64 - 1;
    assert_eq!(read(body.as_bytes(), 64, "b", short).await, Err(PartsError::TooLarge { max: short }));
}

#[tokio::test]
async fn body_that_is_always_ready_is_not_read_ahead() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let frames = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&frames);
    let head = format!("--b\r\n{A}\r\n\r\n");
    let endless = stream::unfold(Some(Bytes::from(head)), move |head| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Some((Ok(head.unwrap_or_else(|| Bytes::from(vec![b'x'; 8192]))), None)) }
    });
    let mut parts = Parts::new(endless, "b", u64::MAX, 1);
    let mut part = parts.next().await.unwrap().unwrap();
    for _ in 0..10 {
        part.chunk().await.unwrap().unwrap();
    }
    assert!(
        frames.load(Ordering::Relaxed) <= 13,
        "{} frames were taken for 10 chunks",
        frames.load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn delimiter_lines_follow_the_rfc() {
    let body = |line: &str| format!("--b{line}{A}\r\n\r\ndata\r\n--b--");
    for good in ["\r\n", " \t\r\n"] {
        assert!(outcome(body(good).as_bytes()).await.is_ok(), "{good:?}");
    }
    for bad in ["\n", "\r", "-\r\n", " -\r\n", "\r \r\n", "x\r\n", "--\r\n\0", ""] {
        let read = outcome(body(bad).as_bytes()).await;
        assert!(is_malformed(&read) || read == Ok(Vec::new()), "{bad:?}: {read:?}");
    }
    assert_eq!(outcome(b"x--b\r\n\r\n--b--").await, Ok(Vec::new()), "no delimiter within a line");
    assert!(is_malformed(&outcome(b"--b\r\n\r\n\r\n--b--").await), "without headers");
    assert_eq!(outcome(b"--b--").await, Ok(Vec::new()));
}

#[tokio::test]
async fn unread_data_of_a_part_are_skipped() {
    let body = part(A, "not read") + &part(A, "read") + "--b--";
    let mut parts = Parts::new(stream::iter([Ok(Bytes::from(body))]), "b", u64::MAX, 20);
    assert!(parts.next().await.unwrap().is_some());
    let mut second = parts.next().await.unwrap().unwrap();
    assert_eq!(second.chunk().await.unwrap().unwrap(), "read");
    assert!(second.chunk().await.unwrap().is_none() && second.chunk().await.unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// For any file name, the field keeps its name, or the part is refused.
    #[test]
    fn file_name_changes_no_field_name(pieces in prop::collection::vec(prop_oneof![
        Just("\""), Just("\\"), Just(";"), Just(" "), Just("name="), Just("\"files\""), Just("x"), Just("="),
    ], 0..10)) {
        let filename = pieces.concat();
        let disposition = format!("form-data; name=\"a\"; filename=\"{filename}\"");
        let body = part(&format!("Content-Disposition: {disposition}"), "") + "--b--";
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Ok(seen) = runtime.block_on(read(body.as_bytes(), 4096, "b", u64::MAX)) {
            prop_assert_eq!(&seen[0].0, "a");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any data are returned as they were sent, in frames of any size.
    #[test]
    fn any_data_are_read_as_they_were_sent(data in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..300), cut in 1usize..64) {
        prop_assume!(!data.windows(5).any(|window| window == b"\r\n--b"));
        let mut body = format!("--b\r\n{A}\r\n\r\n").into_bytes();
        body.extend(&data);
        body.extend(b"\r\n--b--\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = runtime.block_on(read(&body, cut, "b", u64::MAX));
        prop_assert_eq!(seen, Ok(vec![("a".to_owned(), None, data)]));
    }

    /// Parts may end anywhere within frames.
    #[test]
    fn parts_of_any_size_are_read_as_they_were_sent(sizes in prop::collection::vec(0usize..40_000, 1..6), cut in prop_oneof![Just(16_384usize), Just(65_536), 1000usize..70_000]) {
        let body = sizes.iter().map(|size| part(A, &"x".repeat(*size))).collect::<String>() + "--b--";
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = runtime.block_on(read(body.as_bytes(), cut, "b", u64::MAX)).unwrap();
        prop_assert_eq!(seen.iter().map(|(_, _, data)| data.len()).collect::<Vec<_>>(), sizes);
    }

    /// An independent parser reads the same parts from every body that is accepted here.
    #[test]
    fn accepted_bodies_are_read_alike_by_another_parser(pieces in prop::collection::vec(prop_oneof![
        Just("--b"), Just("\r\n"), Just("\r\n--b"), Just("\r\n--b\r\n"), Just("--b--"), Just("\r"), Just("\n"), Just("-"), Just(" "),
        Just("Content-Disposition: form-data; name=\"a\"\r\n\r\n"), Just("\r\n\r\n"), Just("x"), Just("b"),
    ], 0..24), cut in 1usize..40) {
        let body = pieces.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // That parser also finds a first delimiter within a line, so these bodies have no preamble.
        let body = format!("--b\r\n{A}\r\n\r\n{body}\r\n--b--");
        if let Ok(seen) = runtime.block_on(read(body.as_bytes(), cut, "b", u64::MAX)) {
            let data: Vec<Vec<u8>> = seen.into_iter().map(|(_, _, data)| data).collect();
            prop_assert_eq!(runtime.block_on(read_with_multer(body.clone())), Ok(data), "{:?}", body);
        }
    }
}

async fn read_with_multer(body: String) -> Result<Vec<Vec<u8>>, String> {
    let whole = stream::iter([Ok::<_, std::io::Error>(Bytes::from(body))]);
    let mut parts = multer::Multipart::new(whole, "b");
    let mut seen = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|error| error.to_string())? {
        seen.push(part.bytes().await.map_err(|error| error.to_string())?.to_vec());
    }
    Ok(seen)
}
