//! Bearer tokens: what their users may do and see.

use std::process::Command;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

use crate::support::{BOUNDARY, Server, UPLOAD, binary, file, form, photo_numbered};

pub(crate) const SECRET: (&str, &str) = ("SECRET_KEY", "of-this-test");

fn issue_with(mut command: Command, arguments: &[&str]) -> (bool, String) {
    let done = command.args(["token", "issue"]).args(arguments).output().unwrap();
    let text = if done.status.success() { done.stdout } else { done.stderr };
    (done.status.success(), String::from_utf8(text).unwrap().trim().to_owned())
}

pub(crate) fn token(server: &Server, user: &str, ttl: &str) -> String {
    let mut command = binary(server.dir().path());
    command.envs([SECRET]);
    let (is_issued, token) = issue_with(command, &["--user", user, "--ttl", ttl]);
    assert!(is_issued, "{token}");
    token
}

/// Sends a GET, or uploads the photo of this number.
async fn ask(server: &Server, path: &str, upload: Option<usize>, authorization: Option<&str>) -> Response {
    let method = if upload.is_some() { Method::POST } else { Method::GET };
    let mut request = Client::new().request(method, server.url(path));
    if let Some(number) = upload {
        request = request
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(form(&[file(&photo_numbered(64, 48, number))]));
    }
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.send().await.unwrap()
}

async fn refusal(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap());
    let challenge = challenge.to_owned();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    (status, challenge, problem["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn user_sees_own_drafts_and_no_others() {
    let server = Server::start(&[SECRET]);
    let [seven, eight] = ["7", "8"].map(|user| format!("Bearer {}", token(&server, user, "1h")));
    let made = ask(&server, UPLOAD, Some(1), Some(&seven)).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    let draft: Value = made.json().await.unwrap();
    // The status does not depend on the scheme or its case.
    for scheme in ["bearer", "BEARER"] {
        let own = ask(&server, &path, None, Some(&seven.replace("Bearer", scheme))).await;
        assert_eq!(own.json::<Value>().await.unwrap(), draft);
    }
    let nothing = ask(&server, "/api/v1/listings/99", None, Some(&eight)).await;
    let (_, _, nothing) = refusal(nothing).await;
    for other in [Some(eight.as_str()), None] {
        let (status, _, detail) = refusal(ask(&server, &path, None, other).await).await;
        assert_eq!((status, &detail), (404, &nothing));
    }
    // Both users share one photo and have a draft each.
    let again: Value = ask(&server, UPLOAD, Some(1), Some(&eight)).await.json().await.unwrap();
    assert_eq!((&again["id"], &again["photos"]), (&2.into(), &draft["photos"]));
    assert_eq!(ask(&server, "/api/v1/listings/2", None, Some(&seven)).await.status(), 404);
    // Everyone may read a draft without an owner.
    assert_eq!(ask(&server, UPLOAD, Some(2), None).await.status(), 201);
    for who in [Some(seven.as_str()), None] {
        assert_eq!(ask(&server, "/api/v1/listings/3", None, who).await.status(), 200);
    }
    // Photos and monitoring endpoints ignore tokens.
    for public in [draft["photos"][0]["media"]["url"].as_str().unwrap(), "/api/v1/health", "/api/v1/ready"] {
        assert_eq!(ask(&server, public, None, Some("Bearer forged")).await.status(), 200, "{public}");
    }
    server.logs(&["user_id=7"]).await;
    server.logs(&["user=7"]).await;
    let log = server.output().join("\n");
    assert!(!log.contains(&seven[7..]), "a token is in the log");
}

#[tokio::test]
async fn invalid_token_is_401_even_where_none_is_required() {
    let server = Server::start(&[SECRET]);
    let strict = Server::start(&[SECRET, ("AUTH_REQUIRED", "true")]);
    let good = token(&server, "7", "1h");
    let (_, theirs) = issue_with(binary(server.dir().path()), &["--user", "7"]);
    let expired = token(&server, "7", "0s");
    let [_, body, signature] = *good.split('.').collect::<Vec<_>>() else { panic!("{good}") };
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    let rs256 = format!("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{body}.{signature}");
    let forged = ["", " ", "x", "a.b.c", &theirs, &expired, &none, &rs256, &good[..good.len() - 2]];
    for server in [&server, &strict] {
        for token in forged {
            for (path, upload) in [(UPLOAD, Some(1)), ("/api/v1/listings/1", None)] {
                let answer = ask(server, path, upload, Some(&format!("Bearer {token}"))).await;
                let (status, challenge, _) = refusal(answer).await;
                assert_eq!((status, challenge.as_str()), (401, "Bearer error=\"invalid_token\""), "{token}");
            }
        }
    }
    server.assert_nothing_was_kept().await;
    assert_eq!(strict.files(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_token_is_401_where_one_is_required() {
    let open = Server::start(&[SECRET]);
    assert_eq!(ask(&open, UPLOAD, Some(1), None).await.status(), 201);
    let dir = open.dir();
    drop(open);
    let server = Server::start_in(dir, &[SECRET, ("AUTH_REQUIRED", "true")]);
    for (path, upload) in [(UPLOAD, Some(2)), ("/api/v1/listings/1", None)] {
        // Credentials for a proxy do not count.
        for other in [None, Some("Basic dXNlcjpwYXNz")] {
            let (status, challenge, _) = refusal(ask(&server, path, upload, other).await).await;
            assert_eq!((status, challenge.as_str()), (401, "Bearer"));
        }
    }
    let seven = format!("Bearer {}", token(&server, "7", "30d"));
    assert_eq!(
        ask(&server, "/api/v1/listings/1", None, Some(&seven)).await.status(),
        404,
        "the draft has no owner"
    );
    assert_eq!(ask(&server, UPLOAD, Some(2), Some(&seven)).await.status(), 201);
    assert_eq!(ask(&server, "/api/v1/health", None, None).await.status(), 200);
}

#[tokio::test]
async fn limits_count_users_with_a_token_and_addresses_without() {
    let server = Server::start(&[SECRET, ("RATE_LIMIT_UPLOAD", "2/hour")]);
    let [seven, eight] = ["7", "8"].map(|user| format!("Bearer {}", token(&server, user, "1h")));
    for (who, expected) in [
        (Some(seven.as_str()), [201, 201, 429]),
        (Some(eight.as_str()), [201, 201, 429]),
        (None, [201, 201, 429]),
        // Requests with invalid tokens count for their address.
        (Some("Bearer forged"), [429, 429, 429]),
    ] {
        for status in expected {
            assert_eq!(ask(&server, UPLOAD, Some(1), who).await.status(), status, "{who:?}");
        }
    }
}

#[tokio::test]
async fn token_of_the_previous_key_is_accepted_until_that_key_is_removed() {
    const OLD: &str = "the old key of this test, of 32 bytes or more";
    const NEW: &str = "the new key of this test, of 32 bytes or more";
    let prod = [("ENV", "prod"), ("AUTH_REQUIRED", "true")];
    let server = Server::start(&[&prod[..], &[("SECRET_KEY", OLD)]].concat());
    let issue = |keys: &[(&str, &str)]| {
        let mut command = binary(server.dir().path());
        command.envs(prod).envs(keys.iter().copied());
        let (is_issued, token) = issue_with(command, &["--user", "7"]);
        assert!(is_issued, "{token}");
        format!("Bearer {token}")
    };
    let of_old = issue(&[("SECRET_KEY", OLD)]);
    let made = ask(&server, UPLOAD, Some(1), Some(&of_old)).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    let rotated = [("SECRET_KEY", NEW), ("SECRET_KEY_PREVIOUS", OLD)];
    let of_rotated = issue(&rotated);
    let dir = server.stop();

    let server = Server::start_in(dir, &[&prod[..], &rotated].concat());
    for token in [&of_old, &of_rotated] {
        assert_eq!(ask(&server, &path, None, Some(token)).await.status(), 200);
        assert_eq!(ask(&server, UPLOAD, Some(1), Some(token)).await.status(), 201);
    }
    assert!(!server.output().join("\n").contains(OLD), "a key is in the log");
    let dir = server.stop();

    let server = Server::start_in(dir, &[&prod[..], &[("SECRET_KEY", NEW)]].concat());
    assert_eq!(ask(&server, &path, None, Some(&of_rotated)).await.status(), 200, "the new key signed it");
    let (status, challenge, _) = refusal(ask(&server, &path, None, Some(&of_old)).await).await;
    assert_eq!((status, challenge.as_str()), (401, "Bearer error=\"invalid_token\""));
}

#[test]
fn token_with_default_key_is_issued_with_a_warning_and_refused_in_prod() {
    let dir = tempfile::tempdir().unwrap();
    let issue = |settings: &[(&str, &str)]| {
        let mut command = binary(dir.path());
        let output =
            command.envs(settings.iter().copied()).args(["token", "issue", "--user", "7"]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for public in [&[][..], &[("SECRET_KEY", "changeme")]] {
        let (code, token, note) = issue(public);
        assert_eq!((code, token.trim().split('.').count()), (Some(0), 3));
        assert!(note.contains("SECRET_KEY is the default or a placeholder"), "{note}");
        for strict in [("ENV", "prod"), ("AUTH_REQUIRED", "true")] {
            let (code, token, error) = issue(&[public, &[strict]].concat());
            assert_eq!((code, token.as_str()), (Some(2), ""));
            assert!(error.starts_with("SECRET_KEY=") && error.lines().count() == 1, "{error}");
        }
    }
    let (code, _, note) = issue(&[SECRET]);
    assert_eq!((code, note.as_str()), (Some(0), ""));
}

#[test]
fn invalid_arguments_of_issue_token_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (["--user", "0", "--ttl", "1d"], "a user id is a number from 1"),
        (["--user", "x", "--ttl", "1d"], "--user"),
        (["--user", "7", "--ttl", "soon"], "--ttl"),
        (["--user", "7", "--ttl", "400000000000y"], "too"),
    ] {
        let (is_issued, text) = issue_with(binary(dir.path()), &arguments);
        assert!(!is_issued && text.contains(expected), "{arguments:?}: {text}");
    }
    let mut prod = binary(dir.path());
    prod.env("ENV", "prod");
    let (is_issued, text) = issue_with(prod, &["--user", "7"]);
    assert!(!is_issued && text.contains("SECRET_KEY"), "{text}");
}
