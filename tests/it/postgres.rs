//! The shared catalog: the API on PostgreSQL, two instances on one database, and outages of the database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::deduplication::recognised;
use crate::support::{
    PATIENCE, Server, binary, distinct, eventually, field, file, form, photo, photo_numbered,
};

fn database(url: &str) -> [(&str, &str); 1] {
    [("DATABASE_URL", url)]
}

fn run(dir: &Path, url: &str, arguments: &[&str]) -> Output {
    binary(dir).env("DATABASE_URL", url).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, url: &str, arguments: &[&str]) -> String {
    let output = run(dir, url, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(dir: &Path, url: &str, arguments: &[&str]) -> String {
    let output = run(dir, url, arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn upload_on_postgres_follows_the_api() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let server = Server::start(&database(&url));
    let log = server.output().join("\n");
    assert!(!log.contains("secret"), "{log}");
    let photos = [photo(1800, 1200), photo_numbered(64, 48, 1)];
    let parts = [file(&photos[0]), file(&photos[1]), file(&photos[0]), field("title", "Füße 👟".as_bytes())];
    let (status, draft) = server.upload(form(&parts)).await;
    assert_eq!(status, 201, "{draft}");
    let ids: Vec<u64> = (0..3).map(|at| draft["photos"][at]["media"]["id"].as_u64().unwrap()).collect();
    assert_eq!(
        (ids, draft["id"].as_u64(), draft["title"].as_str()),
        (vec![1, 2, 1], Some(1), Some("Füße 👟"))
    );
    for (path, expected) in [("1", 200), ("2", 404), ("9223372036854775808", 404)] {
        assert_eq!(server.get(&format!("/api/v1/listings/{path}")).await.status(), expected, "{path}");
    }
    assert_eq!(server.get("/api/v1/listings/1").await.json::<Value>().await.unwrap(), draft);
    let before = recognised(&server).await;
    let (status, again) = server.upload(form(&[file(&photos[0])])).await;
    assert_eq!((status, &again["photos"][0]), (201, &draft["photos"][0]));
    assert_eq!(recognised(&server).await, before + 1);
    let files = server.files();
    let (status, problem) = server.upload(form(&[file(&photo(80, 60)), file(b"no photo")])).await;
    assert_eq!(status, 415, "{problem}");
    assert_eq!(server.files(), files, "no file of the refused upload may stay");
    assert_eq!(server.get("/api/v1/ready").await.status(), 200);
}

#[tokio::test]
async fn export_and_import_move_a_catalog_to_postgres_and_back() {
    let Some(cluster) = Cluster::shared() else { return };
    let [url, empty] = [cluster.database().await, cluster.database().await];
    let mut server = Server::start(&[]);
    let shared = server.dir();
    let dir = shared.path();
    for number in 0..3 {
        let (status, _) =
            server.upload(form(&[file(&photo_numbered(64, 48, number)), file(&photo(32, 24))])).await;
        assert_eq!(status, 201);
    }
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
    let export = succeeds(dir, "sled:data/db", &["export"]);
    std::fs::write(dir.join("export.jsonl"), &export).unwrap();
    let missing = fails(dir, &url, &["export"]);
    assert!(missing.contains("contains no catalog") && !missing.contains("secret"), "{missing}");
    for _ in 0..2 {
        succeeds(dir, &url, &["import", "export.jsonl"]);
        assert_eq!(succeeds(dir, &url, &["export"]), export);
    }
    succeeds(dir, &url, &["fsck"]);
    succeeds(dir, "sled:data/other", &["import", "export.jsonl"]);
    assert_eq!(succeeds(dir, "sled:data/other", &["export"]), export);
    assert!(fails(dir, &url, &["rebuild", "--from", "export.jsonl"]).contains("for the embedded catalog"));
    for _ in 0..2 {
        succeeds(dir, &empty, &["migrate"]);
    }
    assert!(succeeds(dir, &empty, &["export"]).contains(r#""next_media_id":1,"#));
    assert!(fails(dir, &format!("{url}none"), &["migrate"]).contains("does not exist"));
    assert!(fails(dir, "postgres://app:secret@127.0.0.1:1/x", &["migrate"]).contains("unavailable"));
    let server = Server::start_in(Arc::clone(&shared), &database(&url));
    let (status, draft) = server.upload(form(&[file(&photo(32, 24))])).await;
    assert_eq!(
        (status, draft["id"].as_u64(), draft["photos"][0]["media"]["id"].as_u64()),
        (201, Some(4), Some(2))
    );
}

/// Returns the file name of a media row.
fn name(media: &Value) -> &str {
    media["url"].as_str().unwrap().strip_prefix("/media/").unwrap()
}

/// Uploads forty photos, each five times in succession, with thirty-two clients to both servers in turn. Returns the
/// drafts, each with its number: number / 5 is the photo, and its parity the server.
pub(crate) async fn forty_photos_five_times(servers: &Arc<[Server; 2]>) -> Vec<(usize, Value)> {
    let next = Arc::new(AtomicUsize::new(0));
    let clients = (0..32).map(|_| {
        let (servers, next) = (Arc::clone(servers), Arc::clone(&next));
        tokio::spawn(async move {
            let (client, mut drafts) = (Client::new(), Vec::new());
            while let turn @ 0..200 = next.fetch_add(1, Ordering::Relaxed) {
                let body = form(&[file(&distinct(turn / 5))]);
                let (status, _, draft) = servers[turn % 2].try_upload(&client, body).await.unwrap();
                assert_eq!(status, 201, "{draft}");
                drafts.push((turn, draft));
            }
            drafts
        })
    });
    let mut drafts = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        drafts.extend(client.await.unwrap());
    }
    drafts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_one_row_per_photo() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let first = Server::start(&database(&url));
    let second = Server::start(&database(&url));
    let servers = Arc::new([first, second]);
    let drafts = forty_photos_five_times(&servers).await;
    let ids: BTreeSet<u64> = drafts.iter().map(|(_, draft)| draft["id"].as_u64().unwrap()).collect();
    assert_eq!((drafts.len(), ids.len()), (200, 200));
    let mut media: BTreeMap<usize, &Value> = BTreeMap::new();
    // A local store serves one instance only, so each instance has its own photos here.
    let files: Vec<BTreeSet<String>> =
        servers.iter().map(|server| server.files().into_iter().collect()).collect();
    for (at, draft) in &drafts {
        let row = &draft["photos"][0]["media"];
        assert_eq!(*media.entry(at / 5).or_insert(row), row, "equal photos have one row");
        assert!(files[at % 2].contains(name(row)), "{row} has no file where it was sent to");
    }
    let rows: BTreeSet<u64> = media.values().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), files[0].union(&files[1]).count()), (40, 40));
    let client = cluster.client(&url).await;
    let sql =
        "SELECT (SELECT count(*) FROM media), (SELECT count(*) FROM draft), (SELECT count(*) FROM source)";
    let counts = client.query_one(sql, &[]).await.unwrap();
    assert_eq!([0, 1, 2].map(|at| counts.get::<_, i64>(at)), [40, 200, 40]);
    for server in servers.iter() {
        let (_, draft) = &drafts[199];
        let read = server.get(&format!("/api/v1/listings/{}", draft["id"])).await;
        assert_eq!(&read.json::<Value>().await.unwrap(), draft);
    }
}

/// The responses to clients during an outage of the database.
#[derive(Default)]
struct Seen {
    /// Drafts with the instance that created them.
    drafts: Vec<(usize, Value)>,
    refused: usize,
}

/// Uploads to both instances in turn, both new photos and photos that other clients send, until `stop` is set.
async fn upload_until(stop: Arc<AtomicBool>, servers: Arc<[Server; 2]>, next: Arc<AtomicUsize>) -> Seen {
    let (client, mut seen) = (Client::new(), Seen::default());
    while !stop.load(Ordering::Relaxed) {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let (one, two) = (distinct(at / 3), distinct(at / 4));
        let form = form(&[file(&one), file(&two)]);
        let (status, retry, body) = servers[at % 2].try_upload(&client, form).await.unwrap();
        match (status, retry) {
            (201, _) => seen.drafts.push((at % 2, body)),
            (503, true) => {
                seen.refused += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => panic!("{other:?}: {body}"),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_database_loses_no_draft() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.database().await;
    let first = Server::start(&database(&url));
    let second = Server::start(&database(&url));
    let servers = Arc::new([first, second]);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| tokio::spawn(upload_until(Arc::clone(&stop), Arc::clone(&servers), Arc::clone(&next))))
        .collect();
    for round in 0..2 {
        let begun = next.load(Ordering::Relaxed);
        eventually("the clients must upload", || next.load(Ordering::Relaxed) >= begun + 40).await;
        cluster.kill();
        let killed = Instant::now();
        let (ready, listing) = loop {
            let ready = servers[0].get("/api/v1/ready").await;
            let listing = servers[1].get("/api/v1/listings/1").await;
            if (ready.status().as_u16(), listing.status().as_u16()) == (503, 503) {
                break (ready, listing);
            }
            assert!(killed.elapsed() < PATIENCE, "the outage must be noticed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(listing.headers().contains_key("retry-after"));
        assert_eq!(ready.json::<Value>().await.unwrap()["down"], serde_json::json!(["catalog"]));
        cluster.run(&[]);
        let running = Instant::now();
        for server in servers.iter() {
            while server.upload(form(&[file(&photo(48, 36))])).await.0 != 201 {
                assert!(running.elapsed() < PATIENCE, "recovery takes too long");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        println!("round {round}: uploads again {:?} after the start of the database", running.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for client in clients {
        let seen = client.await.unwrap();
        all.drafts.extend(seen.drafts);
        all.refused += seen.refused;
    }
    assert!(all.refused > 0 && all.drafts.len() > 20, "{} refused, {} drafts", all.refused, all.drafts.len());
    let files: Vec<BTreeSet<String>> =
        servers.iter().map(|server| server.files().into_iter().collect()).collect();
    for (by, draft) in &all.drafts {
        let read = servers[1 - by].get(&format!("/api/v1/listings/{}", draft["id"])).await;
        assert_eq!(&read.json::<Value>().await.unwrap(), draft);
        for photo in draft["photos"].as_array().unwrap() {
            assert!(files[*by].contains(name(&photo["media"])), "{photo} is lost");
        }
    }
    println!("{} drafts acknowledged and there, {} uploads refused meanwhile", all.drafts.len(), all.refused);
}

#[tokio::test]
async fn server_starts_without_its_database_and_connects_later() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.database().await;
    cluster.kill();
    let server = Server::start(&database(&url));
    assert_eq!(server.get("/api/v1/health").await.status(), 200);
    assert_eq!(server.get("/api/v1/ready").await.status(), 503);
    let form = form(&[file(&photo(48, 36))]);
    let (status, retry, problem) = server.try_upload(&Client::new(), form).await.unwrap();
    assert_eq!((status, retry), (503, true), "{problem}");
    assert_eq!(server.files(), Vec::<String>::new());
    cluster.run(&[]);
    let deadline = Instant::now() + PATIENCE;
    while server.get("/api/v1/ready").await.status() != 200 {
        assert!(Instant::now() < deadline, "the database was not found in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.assert_nothing_was_kept().await;
}
