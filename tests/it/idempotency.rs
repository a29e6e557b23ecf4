//! `Idempotency-Key`: one draft for one attempt.

use std::io::Write;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::{
    BOUNDARY, Server, UPLOAD, eventually, file, form, photo_numbered, read_all, upload_head,
};

const KEY: &str = "idempotency-key";

async fn post(server: &Server, path: &str, key: &str, form: Vec<u8>) -> Response {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = Client::new().post(server.url(path)).header("content-type", content_type).header(KEY, key);
    request.body(form).send().await.unwrap()
}

async fn json_of(response: Response) -> (u16, bool, Value) {
    let status = response.status().as_u16();
    let is_replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    (status, is_replayed, response.json().await.unwrap())
}

fn one(number: usize) -> Vec<u8> {
    form(&[file(&photo_numbered(64, 48, number))])
}

#[tokio::test]
async fn retry_with_same_key_returns_first_draft() {
    let server = Server::start(&[]);
    let first = post(&server, UPLOAD, "k-1", one(1)).await;
    assert_eq!(first.headers()["location"], "/api/v1/listings/1");
    let (status, is_replayed, draft) = json_of(first).await;
    assert_eq!((status, is_replayed), (201, false));
    for key in ["k-1", "\"k-1\""] {
        let again = post(&server, UPLOAD, key, one(1)).await;
        assert_eq!(again.headers()["location"], "/api/v1/listings/1");
        assert!(again.headers().contains_key("etag"));
        assert_eq!(json_of(again).await, (201, true, draft.clone()));
    }
    assert_eq!(json_of(post(&server, UPLOAD, "k-2", one(1)).await).await.2["id"], 2);
    assert_eq!(server.upload(one(1)).await.1["id"], 3, "without a key each request is a draft");
    // The answer is that of the first time, whatever became of the draft, and survives a restart.
    Client::new()
        .patch(server.url("/api/v1/listings/1"))
        .json(&json!({"title": "new"}))
        .send()
        .await
        .unwrap();
    let server = Server::start_in(server.stop(), &[]);
    assert_eq!(json_of(post(&server, UPLOAD, "k-1", one(1)).await).await, (201, true, draft.clone()));
    Client::new().delete(server.url("/api/v1/listings/1")).send().await.unwrap();
    assert_eq!(json_of(post(&server, UPLOAD, "k-1", one(1)).await).await, (201, true, draft));
}

#[tokio::test]
async fn retry_is_answered_before_its_body_is_read() {
    let server = Server::start(&[]);
    assert_eq!(post(&server, UPLOAD, "k", one(1)).await.status(), 201);
    let length = one(1).len();
    let head =
        upload_head(&format!("Content-Length: {length}\r\nIdempotency-Key: k\r\nExpect: 100-continue"));
    let answer = server.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("idempotency-replayed: true"), "{answer}");
}

#[tokio::test]
async fn second_request_while_the_first_is_in_progress_is_409() {
    let server = Server::start(&[]);
    let body = one(1);
    let head = upload_head(&format!("Content-Length: {}\r\nIdempotency-Key: k", body.len()));
    let mut first = server.connect();
    first.write_all(head.as_bytes()).unwrap();
    let (most, rest) = body.split_at(body.len() - 50);
    first.write_all(most).unwrap();
    let holds_memory = || server.metric("memory_budget_sources_bytes") > 0;
    eventually("the first request is in progress", holds_memory).await;
    let second = post(&server, UPLOAD, "k", body.clone()).await;
    assert_eq!(second.status(), 409);
    assert!(second.headers().contains_key("retry-after"));
    let problem: Value = second.json().await.unwrap();
    assert_eq!(problem["type"], "urn:problem-type:vintedbot:in-progress");
    first.write_all(rest).unwrap();
    assert!(read_all(&mut first).starts_with("HTTP/1.1 201 "));
    let (status, is_replayed, draft) = json_of(post(&server, UPLOAD, "k", body).await).await;
    assert_eq!((status, is_replayed, &draft["id"]), (201, true, &json!(1)));
    assert_eq!(server.get("/api/v1/listings/2").await.status(), 404);
}

#[tokio::test]
async fn request_that_failed_or_broke_off_is_forgotten() {
    let server = Server::start(&[]);
    assert_eq!(post(&server, UPLOAD, "k", form(&[file(b"%PDF-1.7")])).await.status(), 415);
    let mut first = server.connect();
    first.write_all(upload_head("Content-Length: 5000\r\nIdempotency-Key: k").as_bytes()).unwrap();
    first.write_all(b"--").unwrap();
    drop(first);
    // The server notices a moment later that the client is gone.
    let (status, is_replayed, draft) = loop {
        let answer = json_of(post(&server, UPLOAD, "k", one(1)).await).await;
        if answer.0 != 409 {
            break answer;
        }
    };
    assert_eq!((status, is_replayed, &draft["id"]), (201, false, &json!(1)));
}

#[tokio::test]
async fn key_of_another_request_is_422() {
    let server = Server::start(&[]);
    assert_eq!(post(&server, UPLOAD, "k", one(1)).await.status(), 201);
    let longer = form(&[file(&photo_numbered(64, 48, 1)), file(&photo_numbered(64, 48, 2))]);
    let (status, _, problem) = json_of(post(&server, UPLOAD, "k", longer).await).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:problem-type:vintedbot:key-reused")));
    let (status, _, problem) = json_of(post(&server, "/api/v1/listings/1/photos", "k", one(1)).await).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:problem-type:vintedbot:key-reused")));
}

#[tokio::test]
async fn key_counts_for_appended_photos_and_drafts_without_a_form() {
    let server = Server::start(&[]);
    let create = async |key: &str| {
        let request = Client::new().post(server.url("/api/v1/listings")).header(KEY, key);
        json_of(request.json(&json!({"title": "coat"})).send().await.unwrap()).await
    };
    let (status, is_replayed, draft) = create("c").await;
    assert_eq!((status, is_replayed), (201, false));
    assert_eq!(create("c").await, (201, true, draft));
    let path = "/api/v1/listings/1/photos";
    let (status, is_replayed, draft) = json_of(post(&server, path, "a", one(1)).await).await;
    assert_eq!((status, is_replayed), (200, false));
    assert_eq!(json_of(post(&server, path, "a", one(1)).await).await, (200, true, draft.clone()));
    assert_eq!(draft["photos"].as_array().unwrap().len(), 1);
    let read: Value = server.get("/api/v1/listings/1").await.json().await.unwrap();
    assert_eq!(read, draft, "the second request added nothing");
}

#[tokio::test]
async fn rejected_photos_are_part_of_the_replayed_answer() {
    let server = Server::start(&[]);
    let body = form(&[file(b"%PDF-1.7"), file(&photo_numbered(64, 48, 1))]);
    let path = format!("{UPLOAD}?on_error=skip");
    let (status, _, draft) = json_of(post(&server, &path, "k", body.clone()).await).await;
    assert_eq!((status, draft["rejected"].as_array().unwrap().len()), (201, 1));
    assert_eq!(json_of(post(&server, &path, "k", body).await).await, (201, true, draft));
}

#[tokio::test]
async fn each_request_sent_by_many_at_once_makes_one_draft() {
    let server = Server::start(&[]);
    let attempt = async |number: usize| {
        let key = format!("key-{}", number / 4);
        loop {
            let (status, _, draft) = json_of(post(&server, UPLOAD, &key, one(number / 4)).await).await;
            match status {
                201 => return draft["id"].as_u64().unwrap(),
                409 => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                other => panic!("{other}: {draft}"),
            }
        }
    };
    let ids = futures_util::future::join_all((0..32).map(attempt)).await;
    for attempt in ids.chunks(4) {
        assert!(attempt.iter().all(|id| *id == attempt[0]), "{ids:?}");
    }
    assert_eq!(server.get("/api/v1/listings/9").await.status(), 404);
}

#[tokio::test]
async fn keys_of_users_are_their_own() {
    let server = Server::start(&[("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")]);
    let token = |user: &str| {
        let mut command = crate::support::binary(server.dir().path());
        command.env("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more");
        let output = command.args(["token", "issue", "--user", user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let create = async |token: Option<String>| {
        let mut request =
            Client::new().post(server.url("/api/v1/listings")).header(KEY, "k").json(&json!({}));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        json_of(request.send().await.unwrap()).await.2["id"].as_u64().unwrap()
    };
    let (one, two) = (token("1"), token("2"));
    assert_eq!(create(Some(one.clone())).await, 1);
    assert_eq!(create(Some(two)).await, 2);
    assert_eq!(create(None).await, 3);
    assert_eq!(create(Some(one)).await, 1);
}
