//! Clients that send forms in random pieces while the server is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::watch;

use super::{random, rounds};
use crate::support::{BOUNDARY, Server, UPLOAD, file, files_below, form, photo_numbered};

/// Clients, each with a form of its own.
const CLIENTS: usize = 8;
const PHOTOS: usize = 3;
/// Kills of a round.
const KILLS: usize = 3;

/// What a client knows when the server is killed.
#[derive(Debug, Default)]
struct Progress {
    location: Option<String>,
    acknowledged: usize,
    draft: Option<Value>,
}

/// A client with a form.
struct Sender {
    key: String,
    body: Vec<u8>,
    progress: Progress,
}

impl Sender {
    fn new(number: usize) -> Self {
        let photos: Vec<Vec<u8>> =
            (0..PHOTOS).map(|photo| photo_numbered(240, 180, PHOTOS * number + photo)).collect();
        let body = form(&photos.iter().map(|photo| file(photo)).collect::<Vec<_>>());
        Self { key: format!("form-{number}"), body, progress: Progress::default() }
    }

    /// Sends pieces of the form until it has its draft, or the server does not answer.
    async fn send(&mut self, base: &str) -> Option<()> {
        let client = Client::new();
        let request = |method: Method, path: &str| client.request(method, format!("{base}{path}"));
        while self.progress.draft.is_none() {
            let Some(location) = self.progress.location.clone() else {
                let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
                let create = request(Method::POST, UPLOAD)
                    .header("upload-complete", "?0")
                    .header("idempotency-key", &self.key)
                    .header("content-type", content_type);
                let created = answer(create).await?;
                assert_eq!(created.status(), 201, "{created:?}");
                self.progress.location = Some(created.headers()["location"].to_str().unwrap().to_owned());
                continue;
            };
            let state = answer(request(Method::HEAD, &location)).await?;
            assert_eq!(state.status(), 204, "{state:?}");
            if state.headers()["upload-complete"] == "?1" {
                let shown: Value = answer(request(Method::GET, &location)).await?.json().await.ok()?;
                self.progress.draft = Some(shown["draft"].clone());
                break;
            }
            let offset: usize = state.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
            assert!(offset >= self.progress.acknowledged, "{offset} of {:?}", self.progress);
            self.progress.acknowledged = offset;
            let left = self.body.len() - offset;
            let piece = usize::try_from(random(self.body.len() as u64)).unwrap();
            let (piece, complete) = if piece >= left { (left, "?1") } else { (piece, "?0") };
            let append = request(Method::PATCH, &location)
                .header("upload-complete", complete)
                .header("upload-offset", offset)
                .header("content-type", "application/partial-upload")
                .body(self.body[offset..offset + piece].to_vec());
            let appended = answer(append).await?;
            match appended.status().as_u16() {
                204 => self.progress.acknowledged = offset + piece,
                201 => self.progress.draft = Some(appended.json().await.ok()?),
                // The request of before the kill is still on its way.
                409 => {}
                status => panic!("{status}: {:?}", appended.text().await),
            }
        }
        Some(())
    }
}

/// Returns a response, or `None` if the server was killed.
async fn answer(request: RequestBuilder) -> Option<Response> {
    request.send().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_in_pieces_make_one_draft_each_after_kill_9() {
    let (dir, rounds) = (Arc::new(tempfile::tempdir().unwrap()), rounds());
    let mut drafts = BTreeMap::new();
    for round in 0..rounds {
        let senders = (0..CLIENTS).map(|client| Sender::new(CLIENTS * round + client));
        let (address, served) = watch::channel(String::new());
        let clients: Vec<_> = senders.map(|sender| tokio::spawn(run(sender, served.clone()))).collect();
        for _ in 0..KILLS {
            let mut server = Server::start_in(Arc::clone(&dir), &[]);
            address.send_replace(server.url(""));
            tokio::time::sleep(Duration::from_millis(random(250))).await;
            server.signal(Signal::SIGKILL);
            server.wait();
        }
        let server = Server::start_in(Arc::clone(&dir), &[]);
        address.send_replace(server.url(""));
        for client in clients {
            let Sender { key, progress, body } = client.await.unwrap();
            let draft = progress.draft.unwrap();
            let (_, plain) = server.upload(body).await;
            assert_eq!(draft["photos"], plain["photos"], "{key}");
            let id = plain["id"].as_u64().unwrap();
            let path = format!("/api/v1/listings/{id}");
            assert_eq!(Client::new().delete(server.url(&path)).send().await.unwrap().status(), 204);
            assert!(drafts.insert(draft["id"].as_u64().unwrap(), key).is_none(), "a draft of two forms");
        }
        let bytes = files_below(&server.media_root().join(".uploads"));
        assert_eq!(bytes, Vec::<String>::new(), "no bytes of a finished upload stay");
    }
    let server = Server::start_in(Arc::clone(&dir), &[]);
    let (mut listed, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page: Value =
            server.get(&format!("/api/v1/listings?limit=100{cursor}")).await.json().await.unwrap();
        listed.extend(page["items"].as_array().unwrap().iter().map(|draft| draft["id"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, drafts.keys().copied().collect(), "each form has one draft");
    println!("{} kills, {} forms; each has one draft", KILLS * rounds, drafts.len());
}

/// Sends a form to whichever server runs, until it has its draft.
async fn run(mut sender: Sender, mut served: watch::Receiver<String>) -> Sender {
    loop {
        let base = served.borrow_and_update().clone();
        if !base.is_empty() && sender.send(&base).await.is_some() {
            return sender;
        }
        served.changed().await.unwrap();
    }
}
