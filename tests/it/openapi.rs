//! The OpenAPI document is valid, and responses conform to it.

use std::path::Path;
use std::process::Command;

use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::http_clients::program;
use crate::support::{Server, file, form, photo};

const DOCUMENT: &str = "/api/v1/openapi.json";
/// Drafts of which the hook of schemathesis uses some.
const DRAFTS: usize = 400;
/// What the hook makes the server accept.
const ACCEPTED: [(&str, &str, u16); 10] = [
    ("POST", "upload", 201),
    ("GET", "listings", 200),
    ("POST", "listings_create", 201),
    ("GET", "listing", 200),
    ("PATCH", "listing_change", 200),
    ("DELETE", "listing_delete", 204),
    ("POST", "photos_append", 200),
    ("DELETE", "photo_remove", 200),
    ("PUT", "photos_order", 200),
    ("GET", "media", 200),
];

/// Runs a Python module in the server's directory and returns its output, unless it fails.
fn python(
    server: &Server,
    interpreter: &str,
    module: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let mut command = Command::new(interpreter);
    command.args(["-m", module]).args(arguments).envs(environment.iter().copied());
    // schemathesis keeps a cache there.
    command.current_dir(server.dir().path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{module}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn document_is_valid_openapi_and_its_etag_gives_304() {
    let server =
        Server::start(&[("AUTH_REQUIRED", "true"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")]);
    let response = server.get(DOCUMENT).await;
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert!(response.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age="));
    let etag = response.headers()["etag"].clone();
    let text = response.text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let again = Client::new().get(server.url(DOCUMENT)).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((again.status(), &again.headers()["etag"]), (StatusCode::NOT_MODIFIED, &etag));
    let Some(interpreter) = program("VINTEDBOT_TEST_PYTHON") else {
        return;
    };
    let path = server.dir().path().join("openapi.json");
    std::fs::write(&path, text).unwrap();
    python(
        &server,
        &interpreter,
        "openapi_spec_validator",
        &["--schema", "3.1", path.to_str().unwrap()],
        &[],
    );
}

#[tokio::test]
async fn responses_conform_to_the_document() {
    let Some(interpreter) = program("VINTEDBOT_TEST_PYTHON") else {
        return;
    };
    let server = Server::start(&[]);
    let photo = photo(64, 48);
    let three = form(&[file(&photo), file(&photo), file(&photo)]);
    for _ in 0..DRAFTS {
        assert_eq!(server.upload(three.clone()).await.0, 201);
    }
    let mut before = Vec::new();
    for route in ACCEPTED {
        before.push(accepted(&server, route).await);
    }
    let sent = server.dir().path().join("photo.jpg");
    std::fs::write(&sent, photo).unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/schemathesis_hooks.py");
    let stored = &server.files()[0];
    let report = python(
        &server,
        &interpreter,
        "schemathesis.cli",
        &[
            "run",
            &server.url(DOCUMENT),
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,\
             response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=25",
            "--seed=12",
            "--continue-on-failure",
            "--no-color",
        ],
        &[
            ("SCHEMATHESIS_HOOKS", hooks.to_str().unwrap()),
            ("VINTEDBOT_PHOTO", sent.to_str().unwrap()),
            ("VINTEDBOT_STORED", stored),
            ("VINTEDBOT_DRAFTS", &DRAFTS.to_string()),
        ],
    );
    println!("{report}");
    // The server would only refuse random requests.
    for (route, before) in ACCEPTED.into_iter().zip(before) {
        let after = accepted(&server, route).await;
        assert!(
            after > before + 1,
            "{route:?}: {before} requests were accepted before, and {after} afterwards"
        );
    }
}

/// Returns how many requests with this method, route and status the server answered.
async fn accepted(server: &Server, (method, route, status): (&str, &str, u16)) -> u64 {
    let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
    server.labelled_metric(&format!("http_requests_total{{{labels}}}")).await
}

#[tokio::test]
async fn document_counts_against_the_global_rate_limit() {
    let server = Server::start(&[("RATE_LIMIT_GLOBAL", "3/minute")]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(server.get(DOCUMENT).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
}
