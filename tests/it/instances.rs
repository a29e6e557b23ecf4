//! Several instances on everything that is shared: PostgreSQL, a bucket and Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bucket::{ACCESS_KEY, BUCKET, Bucket, Line, SECRET_KEY};
use crate::cluster::Cluster;
use crate::redis_server::RedisServer;
use crate::support::{BOUNDARY, Server, UPLOAD, file, form, photo_numbered};

/// What the instances share.
struct Shared {
    cluster: Cluster,
    database: String,
    bucket: Bucket,
    redis: RedisServer,
}

impl Shared {
    async fn start() -> Option<Self> {
        let cluster = Cluster::start(&[])?;
        let database = cluster.database().await;
        Some(Self { cluster, database, bucket: Bucket::start(), redis: RedisServer::start()? })
    }

    fn instance(&self, more: &[(&str, &str)]) -> Server {
        let (endpoint, redis) = (self.bucket.endpoint(), self.redis.url());
        let mut settings = vec![
            ("DATABASE_URL", self.database.as_str()),
            ("MEDIA_STORAGE", "s3"),
            ("S3_BUCKET", BUCKET),
            ("S3_ENDPOINT_URL", &endpoint),
            ("S3_ACCESS_KEY", ACCESS_KEY),
            ("S3_SECRET_KEY", SECRET_KEY),
            ("REDIS_URL", &redis),
        ];
        settings.extend(more);
        Server::start(&settings)
    }
}

/// Photos that differ.
fn distinct(number: usize) -> Vec<u8> {
    photo_numbered(60 + number % 50, 40 + number / 50, number)
}

/// One upload: its status, whether it says when to come back, and the draft. `None` if there was no answer.
async fn upload(client: &Client, server: &Server, body: Vec<u8>) -> Option<(u16, bool, Value)> {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = client.post(server.url(UPLOAD)).header("content-type", content_type).body(body);
    let response = request.send().await.ok()?;
    let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
    Some((status, retry, response.json().await.ok()?))
}

/// That the draft is there as it was acknowledged, with its photo.
async fn assert_kept(server: &Server, draft: &Value) {
    let found: Value = server.get(&format!("/api/v1/listings/{}", draft["id"])).await.json().await.unwrap();
    assert_eq!(found, *draft);
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    let bytes = server.get(url).await.bytes().await.unwrap();
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(url, format!("/media/{hash}.jpg"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_make_one_row_and_one_object_of_equal_photos_and_count_together() {
    let Some(shared) = Shared::start().await else { return };
    let limit = [("RATE_LIMIT_UPLOAD", "200/day")];
    let servers = Arc::new([shared.instance(&limit), shared.instance(&limit)]);
    let next = Arc::new(AtomicUsize::new(0));
    let clients = (0..32).map(|_| {
        let (servers, next) = (Arc::clone(&servers), Arc::clone(&next));
        tokio::spawn(async move {
            let (client, mut drafts) = (Client::new(), Vec::new());
            loop {
                // Forty photos, each five times, and equal ones next to each other.
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= 200 {
                    return drafts;
                }
                let body = form(&[file(&distinct(turn / 5))]);
                let (status, _, draft) = upload(&client, &servers[turn % 2], body).await.unwrap();
                assert_eq!(status, 201, "{draft}");
                drafts.push((turn / 5, draft));
            }
        })
    });
    let mut drafts = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        drafts.extend(client.await.unwrap());
    }
    let mut media = BTreeMap::<usize, BTreeSet<String>>::new();
    for (photo, draft) in &drafts {
        media.entry(*photo).or_default().insert(draft["photos"][0]["media"].to_string());
        assert_kept(&servers[photo % 2], draft).await;
    }
    assert!(media.values().all(|rows| rows.len() == 1), "{media:?}");
    assert_eq!(media.values().flatten().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(shared.bucket.objects("media").len(), 40);
    let ids: BTreeSet<u64> = drafts.iter().map(|(_, draft)| draft["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 200);
    // Two hundred were counted, by whichever instance.
    for server in &*servers {
        let body = form(&[file(&distinct(0))]);
        let (status, retry, _) = upload(&Client::new(), server, body).await.unwrap();
        assert_eq!((status, retry), (429, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_an_instance_is_killed() {
    let Some(shared) = Shared::start().await else { return };
    let servers = Arc::new([shared.instance(&[]), shared.instance(&[])]);
    let next = Arc::new(AtomicUsize::new(0));
    let clients = (0..8).map(|number: usize| {
        let (servers, next) = (Arc::clone(&servers), Arc::clone(&next));
        tokio::spawn(async move {
            let (client, mut drafts) = (Client::new(), Vec::new());
            while next.load(Ordering::Relaxed) < 400 {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let body = form(&[file(&distinct(turn))]);
                // A killed one gives no answer, or half of one.
                let Some((status, _, draft)) = upload(&client, &servers[number % 2], body).await else {
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
    assert!(kept > 60, "{kept}");
}

/// What clients got while parts were away.
#[derive(Debug, Default)]
struct Answers {
    drafts: Vec<Value>,
    refused: usize,
    last_refusal: Option<Instant>,
    last_draft: Option<Instant>,
}

async fn keep_uploading(server: Arc<Server>, number: usize, until: Instant) -> Answers {
    let (client, mut answers, mut turn) = (Client::new(), Answers::default(), 0);
    while Instant::now() < until {
        turn += 1;
        let body = form(&[file(&distinct(turn * 4 + number))]);
        let Some((status, retry, draft)) = upload(&client, &server, body).await else { continue };
        match status {
            201 => {
                answers.drafts.push(draft);
                answers.last_draft = Some(Instant::now());
            }
            503 => {
                assert!(retry, "{draft}");
                answers.refused += 1;
                answers.last_refusal = Some(Instant::now());
            }
            _ => panic!("{status}: {draft}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    answers
}

/// Each part away for a while, under load; half a minute of each is `VINTEDBOT_OUTAGE_SECONDS=30`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_part_goes_away_nothing_acknowledged_is_lost_and_it_goes_on_afterwards() {
    let Some(mut shared) = Shared::start().await else { return };
    let seconds =
        std::env::var("VINTEDBOT_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let outage = Duration::from_secs(seconds);
    let server = Arc::new(shared.instance(&[]));
    let recovery = Duration::from_secs(10);
    for part in ["postgres", "bucket refusing", "bucket stalled", "redis"] {
        let back = Instant::now() + outage + Duration::from_secs(1);
        // Long enough to see, in a long run, that nothing is refused any more.
        let until = back + (outage * 2).min(recovery + Duration::from_secs(1));
        let clients: Vec<_> =
            (0..4).map(|n| tokio::spawn(keep_uploading(Arc::clone(&server), n, until))).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        match part {
            "postgres" => shared.cluster.kill(),
            "bucket refusing" => shared.bucket.switch(Line::Refusing),
            "bucket stalled" => shared.bucket.switch(Line::Stalled),
            _ => shared.redis.kill(),
        }
        tokio::time::sleep_until(back.into()).await;
        match part {
            "postgres" => tokio::task::block_in_place(|| shared.cluster.run(&[])),
            "redis" => shared.redis.restart(),
            _ => shared.bucket.switch(Line::Open),
        }
        let back = Instant::now();
        let (mut kept, mut refused) = (0, 0);
        for client in clients {
            let answers = client.await.unwrap();
            for draft in &answers.drafts {
                assert_kept(&server, draft).await;
            }
            kept += answers.drafts.len();
            refused += answers.refused;
            assert!(answers.last_draft.is_some_and(|at| at > back), "{part}: nothing is taken any more");
            let late = answers.last_refusal.and_then(|at| at.checked_duration_since(back));
            assert!(late.is_none_or(|late| late < recovery), "{part}: refused {late:?} after it was back");
        }
        assert!(refused == 0 || part != "redis", "{refused} refused without redis");
        println!(
            "{part} away for {outage:?}: {kept} drafts kept, {refused} refused; VmRSS {} KiB",
            server.memory()
        );
    }
}
