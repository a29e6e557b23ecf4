//! Provokes each kind of problem over a real socket, or names the test that does.

use std::collections::BTreeMap;

use vintedbot_ingest::ProblemKind;

use crate::support::{BOUNDARY, Server, UPLOAD, card, field, file, form, noise, photo};

/// Where a problem is provoked.
enum Provoked {
    /// By this request, to a server with these settings.
    Here(&'static [(&'static str, &'static str)], Vec<u8>),
    /// By the test of this file and name.
    Elsewhere(&'static str, &'static str),
}

const DEFAULT: &[(&str, &str)] = &[];
/// Limits that small requests exceed.
const SMALL: &[(&str, &str)] =
    &[("MAX_UPLOADS_PER_REQUEST", "2"), ("MAX_FILE_SIZE_MB", "1"), ("MAX_PIXELS", "400000")];
const FETCHES: &[(&str, &str)] = &[("FETCH_ENABLED", "true")];
const FULL: &[(&str, &str)] = &[("MIN_FREE_DISK_MB", "1048576")];

fn request(line: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").as_bytes(), body].concat()
}

fn get(path: &str, fields: &str) -> Vec<u8> {
    request(&format!("GET {path}"), fields, b"")
}

fn upload_as(content_type: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let fields = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n{fields}");
    request(&format!("POST {UPLOAD}"), &fields, body)
}

fn upload(body: &[u8]) -> Vec<u8> {
    upload_as(&format!("multipart/form-data; boundary={BOUNDARY}"), "", body)
}

/// Creates a draft without a form.
fn create(fields: &str, body: &[u8]) -> Vec<u8> {
    create_as("application/json", fields, body)
}

fn create_as(content_type: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let fields = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n{fields}");
    request("POST /api/v1/listings", &fields, body)
}

/// A request for a resumable upload.
fn new_upload(fields: &str, body: &[u8]) -> Vec<u8> {
    request("POST /api/v1/uploads", &format!("Content-Length: {}\r\n{fields}", body.len()), body)
}

/// An upload of one photo by its URL.
fn fetch(url: &str) -> Vec<u8> {
    let body = format!(r#"{{"urls": ["{url}"]}}"#);
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    request("POST /api/v1/ingest/photos", &fields, body.as_bytes())
}

/// An upload without its body.
fn upload_head(fields: &str) -> Vec<u8> {
    let fields = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{fields}");
    request(&format!("POST {UPLOAD}"), &fields, b"")
}

/// Returns how each kind is provoked. The match is exhaustive, so a new kind does not compile without an entry.
fn provoked(kind: ProblemKind) -> Provoked {
    use Provoked::{Elsewhere, Here};
    let photo_of = |data: &[u8]| upload(&form(&[file(data)]));
    match kind {
        ProblemKind::BadRequest => Here(DEFAULT, request("GET /", "Bad Header: x\r\n", b"")),
        ProblemKind::BadBoundary => Here(DEFAULT, upload_as("multipart/form-data", "", b"")),
        ProblemKind::MalformedMultipart => Here(DEFAULT, upload(b"no delimiter")),
        ProblemKind::CutOff => Here(
            DEFAULT,
            [upload_head("Transfer-Encoding: chunked\r\n"), b"not a length\r\n".to_vec()].concat(),
        ),
        ProblemKind::MalformedJson => Here(DEFAULT, create("", b"{")),
        ProblemKind::BadIdempotencyKey => Here(DEFAULT, create("Idempotency-Key: a b\r\n", b"{}")),
        ProblemKind::BadUploadHeader => Here(DEFAULT, new_upload("Tus-Resumable: 1.0.0\r\n", b"")),
        ProblemKind::CompletedUpload => {
            Elsewhere("uploads.rs", "each_version_of_the_draft_creates_continues_reads_and_cancels_uploads")
        }
        ProblemKind::InconsistentUploadLength => Here(
            DEFAULT,
            new_upload(
                "Upload-Draft-Interop-Version: 6\r\nUpload-Complete: ?1\r\nUpload-Length: 9\r\n",
                b"x",
            ),
        ),
        ProblemKind::DigestMismatch => {
            let wrong = format!("Content-Digest: sha-256=:{}=:\r\n", "A".repeat(43));
            Here(DEFAULT, new_upload(&wrong, &photo(64, 48)))
        }
        ProblemKind::NoPhoto => Here(DEFAULT, upload(&form(&[field("title", b"shoes")]))),
        ProblemKind::TokenMissing => Here(
            &[("AUTH_REQUIRED", "true"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")],
            get("/api/v1/listings/1", ""),
        ),
        ProblemKind::InsufficientScope => Elsewhere("provider.rs", "token_does_what_its_scopes_say"),
        ProblemKind::KeysPending => {
            Elsewhere("provider.rs", "provider_that_is_down_at_the_start_costs_503_until_it_is_back")
        }
        ProblemKind::TokenInvalid => {
            Here(DEFAULT, get("/api/v1/listings/1", "Authorization: Bearer forged\r\n"))
        }
        ProblemKind::FetchDisabled => Here(DEFAULT, fetch("https://photos.example/")),
        ProblemKind::NotFound => Here(DEFAULT, get("/nowhere", "")),
        ProblemKind::MethodNotAllowed => Here(DEFAULT, get(UPLOAD, "")),
        ProblemKind::RequestTimeout => {
            Here(&[("BODY_IDLE_TIMEOUT_SECONDS", "1")], upload_head("Content-Length: 100\r\n"))
        }
        ProblemKind::InProgress => {
            Elsewhere("idempotency.rs", "second_request_while_the_first_is_in_progress_is_409")
        }
        ProblemKind::MismatchingUploadOffset => {
            Elsewhere("uploads.rs", "each_version_of_the_draft_creates_continues_reads_and_cancels_uploads")
        }
        ProblemKind::UploadSuperseded => Elsewhere("uploads.rs", "later_request_ends_one_that_hangs"),
        ProblemKind::TusVersion => Here(DEFAULT, new_upload("Tus-Resumable: 0.2.2\r\n", b"")),
        ProblemKind::NotPartialUpload => Here(
            DEFAULT,
            new_upload("Tus-Resumable: 1.0.0\r\nUpload-Length: 1\r\nContent-Type: image/png\r\n", b"x"),
        ),
        ProblemKind::PreconditionFailed => {
            Elsewhere("media.rs", "photo_is_served_whole_in_ranges_and_conditionally")
        }
        ProblemKind::BadRange => Elsewhere("media.rs", "photo_is_served_whole_in_ranges_and_conditionally"),
        ProblemKind::BodyTooLarge => Here(SMALL, upload_head("Content-Length: 5000000\r\n")),
        ProblemKind::DraftFull => Elsewhere("listings.rs", "photos_are_appended_up_to_the_limit_of_a_draft"),
        ProblemKind::TooManyPhotos => {
            let photo = photo(64, 48);
            Here(SMALL, upload(&form(&[file(&photo), file(&photo), file(&photo)])))
        }
        ProblemKind::PhotoTooLarge => Here(SMALL, photo_of(&[card(64, 48), vec![0; 1 << 20]].concat())),
        ProblemKind::UriTooLong => Here(DEFAULT, get(&format!("/{}", "a".repeat(9000)), "")),
        ProblemKind::NotMultipart => Here(DEFAULT, upload_as("application/json", "", b"{}")),
        ProblemKind::NotJson => Here(DEFAULT, create_as("text/plain", "", b"{}")),
        ProblemKind::EncodedBody => {
            let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
            Here(DEFAULT, upload_as(&content_type, "Content-Encoding: gzip\r\n", b"x"))
        }
        ProblemKind::UnsupportedImage => Here(DEFAULT, photo_of(b"%PDF-1.7 ...")),
        ProblemKind::BadTitle => {
            Here(DEFAULT, upload(&form(&[file(&photo(64, 48)), field("title", &[b'x'; 161])])))
        }
        ProblemKind::BadMember => Here(DEFAULT, create("", br#"{"price": 1}"#)),
        ProblemKind::BadOrder => Elsewhere("listings.rs", "order_that_is_no_permutation_is_422"),
        ProblemKind::BadParameter => Here(DEFAULT, get("/api/v1/listings?limit=0", "")),
        ProblemKind::KeyReused => Elsewhere("idempotency.rs", "key_of_another_request_is_422"),
        ProblemKind::UnknownUpload => Here(DEFAULT, create("", br#"{"uploads": ["a"]}"#)),
        ProblemKind::FetchRefused => Here(FETCHES, fetch("http://photos.example/")),
        ProblemKind::FetchFailed => Here(FETCHES, fetch("https://127.0.0.1/")),
        ProblemKind::EmptyImage => {
            let gif = b"GIF89a\0\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\0\0\x01\0\0\x02\x02D\x01\0;";
            Here(DEFAULT, photo_of(gif))
        }
        ProblemKind::TooManyPixels => Here(SMALL, photo_of(&photo(800, 501))),
        ProblemKind::TruncatedImage => {
            let whole = photo(640, 480);
            Here(DEFAULT, photo_of(&whole[..whole.len() / 2]))
        }
        ProblemKind::CorruptImage => Here(DEFAULT, photo_of(b"\xff\xd8\xff\xe0 and then some prose")),
        ProblemKind::ImageTooComplex => Here(&[("MEMORY_BUDGET_MB", "16")], photo_of(&photo(3000, 2500))),
        ProblemKind::Abandoned => {
            Elsewhere("../../src/api/errors.rs", "errors_that_no_request_provokes_have_their_kinds")
        }
        ProblemKind::PreconditionRequired => {
            Elsewhere("listings.rs", "photo_is_removed_and_the_rest_moves_up")
        }
        ProblemKind::RateLimited => {
            Elsewhere("overload.rs", "request_above_the_rate_limit_is_429_with_retry_after")
        }
        ProblemKind::UploadQuota => Here(&[("UPLOAD_QUOTA", "1MB/day")], photo_of(&noise(1600, 1600, 1))),
        ProblemKind::HeadersTooLarge => Here(DEFAULT, get("/", &format!("X-A: {}\r\n", "a".repeat(40_000)))),
        ProblemKind::Internal => Elsewhere(
            "../../src/web/stack/tests.rs",
            "panic_is_a_500_without_details_and_the_server_continues",
        ),
        ProblemKind::StorageFailed => {
            Elsewhere("../../src/api/errors.rs", "errors_that_no_request_provokes_have_their_kinds")
        }
        ProblemKind::UnknownTransferCoding => {
            Here(DEFAULT, upload_head("Transfer-Encoding: gzip, chunked\r\n"))
        }
        ProblemKind::Busy => {
            Elsewhere("overload.rs", "full_queue_is_503_with_retry_after_and_admitted_uploads_are_201")
        }
        ProblemKind::NotReady => Here(FULL, get("/api/v1/ready", "")),
        ProblemKind::ReadOnly => Here(&[("READ_ONLY", "true")], upload(b"")),
        ProblemKind::TooManyConnections => Elsewhere(
            "connections.rs",
            "client_over_its_share_of_open_requests_gets_503_and_others_are_served",
        ),
        ProblemKind::Unavailable => {
            Elsewhere("slow_clients.rs", "exhausted_descriptors_give_503_until_some_are_free")
        }
        ProblemKind::StorageFull => Here(FULL, photo_of(&photo(64, 48))),
    }
}

#[test]
fn each_kind_of_problem_is_provoked() {
    let mut servers = BTreeMap::new();
    for &kind in ProblemKind::ALL {
        let slug = kind.slug();
        match provoked(kind) {
            Provoked::Here(settings, request) => {
                let server = servers.entry(settings).or_insert_with(|| Server::start(settings));
                let answer = server.raw(&request);
                let status = format!("HTTP/1.1 {} ", kind.status().as_u16());
                assert!(answer.starts_with(&status), "{slug}: {answer}");
                assert!(answer.contains(&format!(r#""type":"{}""#, kind.uri())), "{slug}: {answer}");
                assert!(answer.contains("application/problem+json"), "{slug}: {answer}");
            }
            Provoked::Elsewhere(file, test) => {
                let path = format!("{}/tests/it/{file}", env!("CARGO_MANIFEST_DIR"));
                let source = std::fs::read_to_string(&path).unwrap();
                assert!(source.contains(&format!("fn {test}()")), "{slug}: {path} has no test {test}");
            }
        }
    }
}
