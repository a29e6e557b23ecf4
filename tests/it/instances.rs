//! Several instances that share PostgreSQL, a bucket and Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::bucket::{Bucket, Line};
use crate::cluster::Cluster;
use crate::postgres::forty_photos_five_times;
use crate::redis_server::RedisServer;
use crate::resumable_forms::{complete, created};
use crate::s3;
use crate::support::{
    BOUNDARY, Server, UPLOAD, binary, distinct, eventually, file, form, photo_numbered, sha256,
};
use crate::uploads::{VERSIONS, send};

/// The services that the instances share.
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) database: String,
    pub(crate) bucket: Bucket,
    redis: RedisServer,
}

impl Shared {
    pub(crate) async fn start() -> Option<Self> {
        let cluster = Cluster::start(&[])?;
        let database = cluster.database().await;
        Some(Self { cluster, database, bucket: Bucket::start(), redis: RedisServer::start()? })
    }

    pub(crate) fn instance(&self, more: &[(&str, &str)]) -> Server {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        self.instance_of(binary(dir.path()), dir, more)
    }

    /// Starts an instance by a command that executes the binary.
    pub(crate) fn instance_of(&self, command: Command, dir: Arc<TempDir>, more: &[(&str, &str)]) -> Server {
        let (endpoint, redis) = (self.bucket.endpoint(), self.redis.url());
        let shared = [("DATABASE_URL", self.database.as_str()), ("REDIS_URL", &redis)];
        Server::start_command(command, dir, &s3::settings(&endpoint, &[&shared, more].concat()))
    }
}

/// Asserts that a draft and its photo are as acknowledged. On a busy machine a service may not answer in time.
async fn assert_kept(server: &Server, draft: &Value) {
    let listing = read(server, &format!("/api/v1/listings/{}", draft["id"])).await;
    assert_eq!(serde_json::from_slice::<Value>(&listing).unwrap(), *draft);
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    assert_eq!(url, format!("/media/{}.jpg", sha256(read(server, url).await)));
}

async fn read(server: &Server, path: &str) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        let response = server.get(path).await;
        let (status, is_late) = (response.status().as_u16(), begun.elapsed() > TIMEOUT);
        let bytes = response.bytes().await.unwrap().to_vec();
        match status {
            200 => return bytes,
            503 if !is_late => tokio::time::sleep(Duration::from_millis(100)).await,
            _ => panic!("{path} has {status}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_rows_objects_and_rate_limits() {
    let Some(shared) = Shared::start().await else { return };
    let limit = [("RATE_LIMIT_UPLOAD", "200/day")];
    let servers = Arc::new([shared.instance(&limit), shared.instance(&limit)]);
    let drafts = forty_photos_five_times(&servers).await;
    let mut media = BTreeMap::<usize, BTreeSet<String>>::new();
    for (turn, draft) in &drafts {
        media.entry(turn / 5).or_default().insert(draft["photos"][0]["media"].to_string());
        // The draft is read from the instance that did not receive it.
        assert_kept(&servers[1 - turn % 2], draft).await;
    }
    assert!(media.values().all(|rows| rows.len() == 1), "{media:?}");
    assert_eq!(media.values().flatten().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(shared.bucket.objects("media").len(), 40);
    let ids: BTreeSet<u64> = drafts.iter().map(|(_, draft)| draft["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 200);
    // 200 requests were counted, by either instance.
    for server in &*servers {
        let body = form(&[file(&distinct(0))]);
        let (status, retry, _) = server.try_upload(&Client::new(), body).await.unwrap();
        assert_eq!((status, retry), (429, true));
    }
}

/// Sends a request with a key. Returns its status, whether the answer was given before, and its JSON.
async fn post_with_key(server: &Server, client: &Client, key: &str, form: Vec<u8>) -> (u16, bool, Value) {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = client.post(server.url(UPLOAD)).header("content-type", content_type);
    let response = request.header("idempotency-key", key).body(form).send().await.unwrap();
    let is_replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    (response.status().as_u16(), is_replayed, response.json().await.unwrap())
}

/// Sends each request twice with one key, to both instances at the same moment. Returns the drafts.
async fn upload_twice_at_once(servers: Arc<[Server; 2]>, number: usize) -> Vec<Value> {
    let (client, mut drafts) = (Client::new(), Vec::new());
    for turn in 0..REQUESTS {
        let (key, body) =
            (format!("{number}-{turn}"), form(&[file(&distinct(number % 8 * REQUESTS + turn))]));
        let send = async |server: &Server| post_with_key(server, &client, &key, body.clone()).await;
        let answers = tokio::join!(send(&servers[0]), send(&servers[1]));
        let mut answers = [answers.0, answers.1];
        for (server, answer) in servers.iter().zip(&mut answers) {
            let begun = Instant::now();
            while answer.0 == 409 {
                assert_eq!(answer.2["type"], "urn:problem-type:vintedbot:in-progress");
                assert!(begun.elapsed() < TIMEOUT, "the other request does not end");
                tokio::time::sleep(Duration::from_millis(20)).await;
                *answer = send(server).await;
            }
        }
        let [(first, is_first_replayed, draft), (second, is_second_replayed, again)] = answers;
        assert_eq!((first, second), (201, 201), "{draft} {again}");
        assert_eq!((&draft, is_first_replayed), (&again, !is_second_replayed), "one of them made the draft");
        drafts.push(draft);
    }
    drafts
}

/// Requests of one client.
const REQUESTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_sent_to_both_instances_at_once_makes_one_draft() {
    let Some(shared) = Shared::start().await else { return };
    let servers = Arc::new([shared.instance(&[]), shared.instance(&[])]);
    let clients: Vec<_> =
        (0..32).map(|number| tokio::spawn(upload_twice_at_once(Arc::clone(&servers), number))).collect();
    let mut ids = BTreeSet::new();
    for client in clients {
        for draft in client.await.unwrap() {
            assert!(ids.insert(draft["id"].as_u64().unwrap()), "a draft of two keys: {draft}");
        }
    }
    assert_eq!(ids.len(), 32 * REQUESTS);
    let client = shared.cluster.client(&shared.database).await;
    let sql =
        "SELECT (SELECT count(*) FROM draft), (SELECT count(*) FROM attempt), (SELECT count(*) FROM media)";
    let counts = client.query_one(sql, &[]).await.unwrap();
    assert_eq!([0, 1, 2].map(|at| counts.get::<_, i64>(at)), [160, 160, 40]);
    for id in ids {
        assert_eq!(servers[0].get(&format!("/api/v1/listings/{id}")).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_instance_loses_nothing_acknowledged() {
    let Some(shared) = Shared::start().await else { return };
    let servers = Arc::new([shared.instance(&[]), shared.instance(&[])]);
    let next = Arc::new(AtomicUsize::new(0));
    let clients = (0..8).map(|mut number: usize| {
        let (servers, next) = (Arc::clone(&servers), Arc::clone(&next));
        tokio::spawn(async move {
            let (client, mut drafts) = (Client::new(), Vec::new());
            while let turn @ 0..400 = next.fetch_add(1, Ordering::Relaxed) {
                let body = form(&[file(&distinct(turn))]);
                // A killed instance gives no response or half of one; then a load balancer tries the other.
                let Some((status, _, draft)) = servers[number % 2].try_upload(&client, body).await else {
                    number += 1;
                    continue;
                };
                assert_eq!(status, 201, "{draft}");
                drafts.push(draft);
            }
            drafts
        })
    });
    let clients: Vec<_> = clients.collect();
    while next.load(Ordering::Relaxed) < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    servers[0].signal(Signal::SIGKILL);
    let mut kept = 0;
    for client in clients {
        for draft in client.await.unwrap() {
            assert_kept(&servers[1], &draft).await;
            kept += 1;
        }
    }
    // Each client of the killed instance failed at most once.
    assert!((396..400).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn form_that_broke_off_is_completed_on_the_other_instance() {
    let Some(shared) = Shared::start().await else { return };
    let (first, second) = (shared.instance(&[]), shared.instance(&[]));
    let photos: Vec<Vec<u8>> = (0..4).map(|number| photo_numbered(800, 600, number)).collect();
    let body = form(&photos.iter().map(|photo| file(photo)).collect::<Vec<_>>());
    let (cut, interop) = (body.len() / 2, &VERSIONS[3]);
    let location = created(&first, UPLOAD, interop, &[], &body[..cut]);
    first.signal(Signal::SIGKILL);
    let state = send(&second, "HEAD", &location, &interop.headers(&[]), b"");
    assert_eq!(state.header("upload-offset"), cut.to_string(), "{state:?}");
    let last = complete(&second, &location, interop, cut, &body[cut..]);
    assert_eq!(last.status, 201, "{last:?}");
    let draft = last.json();
    let (_, plain) = second.upload(body.clone()).await;
    assert_eq!(draft["photos"], plain["photos"]);
    // The server behind the bucket keeps empty directories.
    let is_kept = |path: &PathBuf| path.read_dir().is_ok_and(|mut names| names.next().is_some());
    assert_eq!(shared.bucket.objects("uploads").into_iter().find(is_kept), None);
    // A crash between the draft and the row of the upload leaves the row as it was.
    let receiving = "UPDATE upload SET state = '\"receiving\"'";
    shared.cluster.client(&shared.database).await.batch_execute(receiving).await.unwrap();
    let again = complete(&second, &location, interop, body.len(), b"");
    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(again.json()["id"], draft["id"], "the draft is not made twice");
}

/// The responses to a client during an outage, until uploads work again.
#[derive(Debug, Default)]
struct Answers {
    drafts: Vec<Value>,
    refused: usize,
    last_refusal: Option<Instant>,
}

/// Number of consecutive successful uploads after the outage that end a client.
const STABLE_UPLOADS: usize = 5;

/// Uploads until the service is `back` and uploads succeed again.
async fn keep_uploading(
    server: Arc<Server>,
    number: usize,
    stored: Arc<AtomicUsize>,
    back: Arc<OnceLock<Instant>>,
) -> Answers {
    let (client, mut answers, mut turn, mut taken) = (Client::new(), Answers::default(), 0, 0);
    while taken < STABLE_UPLOADS {
        turn += 1;
        let body = form(&[file(&distinct(turn * 4 + number))]);
        let is_back = back.get();
        assert!(is_back.is_none_or(|at| at.elapsed() < TIMEOUT), "uploads do not succeed again: {answers:?}");
        let (status, retry, draft) =
            server.try_upload(&client, body).await.expect("the upload must be answered");
        match status {
            201 => {
                answers.drafts.push(draft);
                stored.fetch_add(1, Ordering::Relaxed);
                taken += usize::from(is_back.is_some());
            }
            503 => {
                assert!(retry, "{draft}");
                (answers.refused, taken) = (answers.refused + 1, 0);
                answers.last_refusal = Some(Instant::now());
            }
            _ => panic!("{status}: {draft}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    answers
}

/// Time within which uploads must succeed after the outage.
const RECOVERY: Duration = Duration::from_secs(10);
/// Time after which the test gives up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Stops each service for a while under load; `VINTEDBOT_OUTAGE_SECONDS=30` for half a minute each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_of_each_service_loses_nothing_acknowledged_and_recovers() {
    let Some(mut shared) = Shared::start().await else { return };
    let seconds =
        std::env::var("VINTEDBOT_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let outage = Duration::from_secs(seconds);
    let server = Arc::new(shared.instance(&[]));
    for part in ["postgres", "bucket refusing", "bucket stalled", "redis"] {
        let (stored, back) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
        let upload = |n| keep_uploading(Arc::clone(&server), n, Arc::clone(&stored), Arc::clone(&back));
        let clients: Vec<_> = (0..4).map(|n| tokio::spawn(upload(n))).collect();
        eventually("uploads must succeed", || stored.load(Ordering::Relaxed) >= 8).await;
        match part {
            "postgres" => shared.cluster.kill(),
            "bucket refusing" => shared.bucket.switch(Line::Refusing),
            "bucket stalled" => shared.bucket.switch(Line::Stalled),
            _ => shared.redis.kill(),
        }
        tokio::time::sleep(outage).await;
        match part {
            "postgres" => tokio::task::block_in_place(|| shared.cluster.run(&[])),
            "redis" => shared.redis.restart(),
            _ => shared.bucket.switch(Line::Open),
        }
        let back = *back.get_or_init(Instant::now);
        let (mut kept, mut refused, mut late) = (0, 0, Duration::ZERO);
        for client in clients {
            let answers = client.await.unwrap();
            for draft in &answers.drafts {
                assert_kept(&server, draft).await;
            }
            kept += answers.drafts.len();
            refused += answers.refused;
            let last = answers.last_refusal.and_then(|at| at.checked_duration_since(back));
            late = late.max(last.unwrap_or_default());
        }
        assert!(late < RECOVERY, "{part}: refused {late:?} after it was back");
        assert!(refused == 0 || part != "redis", "{refused} refused without redis");
        println!(
            "{part} away for {outage:?}: {kept} drafts kept, {refused} refused, the last {late:?} after it was back; VmRSS {} KiB",
            server.memory()
        );
    }
}
