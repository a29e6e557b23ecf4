//! Events: each change of a draft is delivered to the operator's receiver, signed and in order.

use std::net::{SocketAddr, TcpListener};

use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::common::ReservedPort;
use crate::support::{Server, binary, eventually, file, form, photo_numbered};
use crate::webhook::{FAILED, OK, REDIRECT, Receiver, SECRET, settings};

fn start(settings: &[(String, String)]) -> Server {
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Server::start(&settings)
}

async fn upload(server: &Server, number: usize) -> Value {
    let (status, draft) = server.upload(form(&[file(&photo_numbered(64, 48, number))])).await;
    assert_eq!(status, 201);
    draft
}

async fn change(server: &Server, method: Method, id: u64, body: Value) -> Value {
    let url = server.url(&format!("/api/v1/listings/{id}"));
    let response = Client::new().request(method, url).json(&body).send().await.unwrap();
    assert!(response.status().is_success());
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}

#[tokio::test]
async fn each_change_is_delivered_once_in_order_with_the_draft_as_it_was() {
    let receiver = Receiver::start(|_, _| OK);
    let server = start(&receiver.settings());
    let made = upload(&server, 1).await;
    let patched = change(&server, Method::PATCH, 1, json!({"title": "coat"})).await;
    // A change of nothing is no event, and neither is a refused one.
    change(&server, Method::PATCH, 1, json!({"title": "coat"})).await;
    assert_eq!(server.upload(form(&[file(b"%PDF-1.7")])).await.0, 415);
    change(&server, Method::DELETE, 1, json!({})).await;
    upload(&server, 1).await;
    let got = receiver.got_all(4).await;
    let first: Vec<_> = got.iter().filter(|delivery| delivery.subject() == 1).collect();
    assert_eq!(
        first.iter().map(|it| it.kind()).collect::<Vec<_>>(),
        ["draft.created", "draft.updated", "draft.deleted"]
    );
    assert_eq!((&first[0].body["data"], &first[1].body["data"]), (&made, &patched));
    assert_eq!(first[2].body["data"], json!({"id": 1}));
    assert!(first[0].body["timestamp"].as_str().unwrap().ends_with('Z'));
    let ids: std::collections::BTreeSet<_> = got.iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids.len(), 4);
    eventually("all are counted", || server.metric("events_delivered_total") == 4).await;
    eventually("nothing is left", || server.metric("events_oldest_age") == 0).await;
    assert_eq!(receiver.got().len(), 4);
}

#[tokio::test]
async fn failed_delivery_is_repeated_with_the_same_id_and_holds_back_only_its_draft() {
    // The first draft's events fail twice, once by a redirect, which is not followed.
    let receiver = Receiver::start(|delivery, _| match delivery.subject() {
        1 => FAILED,
        _ => OK,
    });
    let server = start(&receiver.settings());
    upload(&server, 1).await;
    change(&server, Method::PATCH, 1, json!({"title": "a"})).await;
    for number in 2..5 {
        upload(&server, number).await;
    }
    eventually("other drafts are delivered", || {
        receiver.got().iter().filter(|it| it.subject() > 1).count() == 3
    })
    .await;
    eventually("the failed one is repeated", || {
        receiver.got().iter().filter(|it| it.subject() == 1).count() >= 2
    })
    .await;
    let failed: Vec<_> = receiver.got().into_iter().filter(|it| it.subject() == 1).collect();
    assert!(failed.iter().all(|it| it.kind() == "draft.created" && it.id == failed[0].id), "{failed:?}");
    assert!(server.metric("events_failed_total") >= 2);
}

#[tokio::test]
async fn redirect_is_a_failure_and_not_followed() {
    let receiver = Receiver::start(|_, number| if number == 0 { REDIRECT } else { OK });
    let server = start(&receiver.settings());
    upload(&server, 1).await;
    let got = receiver.got_all(2).await;
    assert_eq!((&got[0].id, got[0].kind()), (&got[1].id, got[1].kind()));
}

#[tokio::test]
async fn events_wait_for_a_receiver_that_is_down_and_survive_kill_9() {
    let port = ReservedPort::new();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let settings = settings(address);
    let mut server = start(&settings);
    upload(&server, 1).await;
    change(&server, Method::PATCH, 1, json!({"status": "ready"})).await;
    upload(&server, 2).await;
    server.signal(Signal::SIGKILL);
    server.wait();
    let dir = server.dir();
    let known: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::start_in(dir, &known);
    change(&server, Method::DELETE, 1, json!({})).await;
    drop(port);
    let receiver = Receiver::on(TcpListener::bind(address).unwrap(), |_, _| OK);
    let got = receiver.got_all(4).await;
    let of = |id: u64| -> Vec<String> {
        got.iter().filter(|it| it.subject() == id).map(|it| it.kind().to_owned()).collect()
    };
    assert_eq!(of(1), ["draft.created", "draft.updated", "draft.deleted"]);
    assert_eq!(of(2), ["draft.created"]);
}

#[tokio::test]
async fn receiver_that_hangs_costs_uploads_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start(&settings(listener.local_addr().unwrap()));
    for number in 0..30 {
        upload(&server, number).await;
    }
    assert_eq!(server.get("/api/v1/ready").await.status(), 200);
    assert_eq!(server.get("/api/v1/listings/30").await.status(), 200);
    // The stop waits for a delivery, but not longer than for requests.
    server.stop();
}

#[test]
fn webhook_without_a_secret_or_with_a_wrong_url_stops_the_start() {
    for (settings, wrong) in [
        ([("WEBHOOK_URL", "http://127.0.0.1:1/"), ("PORT", "0")], "WEBHOOK_SECRET"),
        ([("WEBHOOK_URL", "ftp://a/"), ("WEBHOOK_SECRET", SECRET)], "WEBHOOK_URL"),
        ([("WEBHOOK_URL", "http://u:p@a/"), ("WEBHOOK_SECRET", SECRET)], "WEBHOOK_URL"),
        ([("WEBHOOK_URL", "http://a/"), ("WEBHOOK_SECRET", "whsec_no base64")], "WEBHOOK_SECRET"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = binary(dir.path()).arg("check-config").envs(settings).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(wrong), "{settings:?}: {text}");
        assert!(!text.contains(SECRET) && !text.contains("u:p@"), "{text}");
    }
}

#[tokio::test]
async fn events_are_exported_and_imported() {
    let port = ReservedPort::new();
    let settings = settings(SocketAddr::from(([127, 0, 0, 1], port.number())));
    let server = start(&settings);
    upload(&server, 1).await;
    let dir = server.stop();
    let export = binary(dir.path()).arg("export").output().unwrap().stdout;
    let text = String::from_utf8(export).unwrap();
    assert!(text.contains("\"draft.created\"") && text.contains("{\"event\":{"), "{text}");
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("export");
    std::fs::write(&path, &text).unwrap();
    for _ in 0..2 {
        let import = binary(other.path()).arg("import").arg(&path).output().unwrap();
        assert!(import.status.success(), "{import:?}");
    }
    assert_eq!(String::from_utf8(binary(other.path()).arg("export").output().unwrap().stdout).unwrap(), text);
}
