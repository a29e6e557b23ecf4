//! Startup time, memory and latency with many drafts. Takes too long for every run:
//!
//! ```text
//! VINTEDBOT_TEST_BINARY=$PWD/target/release/vintedbot-ingest cargo test --test it -- --ignored --nocapture many_drafts
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vintedbot_ingest::catalog::{Catalog, NewDraft, NewPhoto, SledCatalog};
use vintedbot_ingest::disk::FreeDisk;
use vintedbot_ingest::model::{MediaKey, SourceId};

use crate::model::Random;
use crate::support::{Server, eventually, file, form, photo};

const DRAFTS: u32 = 100_000;
const AT_ONCE: usize = 512;
/// Used as the bytes of a photo.
const BYTES: &[u8] = b"a photo";

fn photo_row(number: u32) -> NewPhoto {
    let key = MediaKey::of(&number.to_le_bytes());
    let source =
        SourceId::from_digest(*MediaKey::of(&[&number.to_le_bytes()[..], b"source"].concat()).as_bytes());
    NewPhoto { key, width: 1600, height: 1200, size_bytes: BYTES.len() as u64, source, facts: None }
}

/// Writes a catalog of `drafts` with two photos each, of which there are `photos`, and the files of the photos.
async fn write_drafts(dir: &Path, drafts: u32, photos: u32) {
    let root = dir.join("data/uploads");
    std::fs::create_dir_all(&root).unwrap();
    for number in 0..photos {
        std::fs::write(root.join(format!("{}.jpg", photo_row(number).key)), BYTES).unwrap();
    }
    let catalog = Arc::new(SledCatalog::open(&dir.join("data/db"), FreeDisk::Bytes(0)).await.unwrap());
    let mut recording = JoinSet::new();
    for number in 0..drafts {
        let photos = [2 * number, 2 * number + 1].map(|photo| photo_row(photo % photos)).to_vec();
        let (catalog, title) = (Arc::clone(&catalog), format!("draft {number}"));
        let new = NewDraft { title, photos, ..NewDraft::default() };
        recording.spawn(async move { catalog.create_draft(new).await.unwrap() });
        if recording.len() == AT_ONCE {
            recording.join_next().await.unwrap().unwrap();
        }
    }
    recording.join_all().await;
    drop(catalog);
    // The catalog releases its directory a moment after the last handle is dropped.
    let file = std::fs::File::open(dir.join("data/db/db")).unwrap();
    eventually("the catalog must be closed", || file.try_lock().is_ok()).await;
}

/// Drops the caches of the machine. Only root may, and only on its own file system; elsewhere the next start is a warm one.
fn drop_caches() -> bool {
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: it writes 200,000 files"]
async fn many_drafts_are_ready_soon_after_stop_and_after_kill_9() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let began = Instant::now();
    write_drafts(dir.path(), DRAFTS, 2 * DRAFTS).await;
    let written = began.elapsed();
    let mut report = Vec::new();
    for (what, signal) in [
        ("after writing all in one go", Signal::SIGKILL),
        ("after kill -9 of an idle server", Signal::SIGKILL),
        ("after kill -9 under load", Signal::SIGTERM),
        ("after a stop", Signal::SIGTERM),
    ] {
        let is_cold = drop_caches();
        let began = Instant::now();
        let mut server = Server::start_in(Arc::clone(&dir), &[]);
        let took = began.elapsed();
        let memory = server.peak_memory() / 1024;
        let last = server.get(&format!("/api/v1/listings/{DRAFTS}")).await;
        assert_eq!(last.status(), 200);
        report.push(format!("{what}{}: {took:?}, {memory} MiB", if is_cold { ", cold" } else { "" }));
        if what == "after kill -9 of an idle server" {
            let form = form(&[file(&photo(64, 48))]);
            for _ in 0..200 {
                assert_eq!(server.upload(form.clone()).await.0, 201);
            }
        }
        assert!(took.as_secs() < 3, "{what}: {took:?}");
        server.signal(signal);
        server.wait();
    }
    let size: u64 = std::fs::metadata(dir.path().join("data/db/db")).unwrap().len() >> 20;
    println!("{DRAFTS} drafts written in {written:?}, {size} MiB of catalog; ready {}", report.join("; "));
}

/// The longest start, the most memory and the longest 99th percentile of a request that are expected with a million drafts.
const START: Duration = Duration::from_secs(3);
const MEMORY_KIB: u64 = 160 * 1024;
const LATENCY: Duration = Duration::from_millis(3);
/// Requests of each kind.
const REQUESTS: usize = 2000;

/// Sends requests one after the other, and returns the median, the 99th percentile and the maximum of their time.
async fn latencies(status: u16, mut request: impl FnMut(usize) -> RequestBuilder) -> [Duration; 3] {
    let mut times = Vec::with_capacity(REQUESTS);
    for number in 0..REQUESTS {
        let request = request(number);
        let began = Instant::now();
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let body = response.bytes().await.unwrap();
        times.push(began.elapsed());
        drop(body);
    }
    times.sort();
    [times[REQUESTS / 2], times[REQUESTS * 99 / 100], times[REQUESTS - 1]]
}

/// `VINTEDBOT_DRAFTS` is their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: it writes a million drafts"]
async fn many_drafts_of_few_photos_are_listed_changed_and_deleted_fast() {
    let drafts: u32 = std::env::var("VINTEDBOT_DRAFTS").map_or(1_000_000, |count| count.parse().unwrap());
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let began = Instant::now();
    write_drafts(dir.path(), drafts, 1000).await;
    println!("{drafts} drafts written in {:?}", began.elapsed());
    let is_cold = drop_caches();
    let began = Instant::now();
    let server = Server::start_in(Arc::clone(&dir), &[]);
    let started = began.elapsed();
    let idle = server.memory();
    let (client, mut random) = (Client::new(), Random::new(1));
    let mut any_id = |below: u32| 1 + random.below(below as usize) as u64;
    let cursor = |id: u64| URL_SAFE_NO_PAD.encode(id.to_be_bytes());
    let listings = server.url("/api/v1/listings");
    let newest = latencies(200, |_| client.get(&listings)).await;
    let listed =
        latencies(200, |_| client.get(format!("{listings}?cursor={}", cursor(any_id(drafts))))).await;
    let by_status =
        latencies(200, |_| client.get(format!("{listings}?status=draft&cursor={}", cursor(any_id(drafts)))));
    let by_status = by_status.await;
    let read = latencies(200, |_| client.get(format!("{listings}/{}", any_id(drafts)))).await;
    let patched = latencies(200, |number| {
        let change = json!({"title": format!("new {number}"), "status": "ready"});
        client.patch(format!("{listings}/{}", any_id(drafts))).json(&change)
    });
    let patched = patched.await;
    let ready = client.get(format!("{listings}?status=ready&limit=100")).send().await.unwrap();
    assert_eq!(ready.json::<Value>().await.unwrap()["items"].as_array().unwrap().len(), 100);
    // Each draft once: with a step that has no factor in common with a round number.
    let deleted = latencies(204, |number| {
        let id = 1 + number as u64 * 487 % u64::from(drafts);
        client.delete(format!("{listings}/{id}"))
    });
    let deleted = deleted.await;
    let (loaded, peak) = (server.memory(), server.peak_memory());
    println!(
        "ready after {started:?}{}; VmRSS {idle} KiB after the start, {loaded} KiB after the load, at most {peak} KiB",
        if is_cold { ", cold" } else { "" }
    );
    let measured = [
        ("newest", newest),
        ("list", listed),
        ("list by status", by_status),
        ("read", read),
        ("patch", patched),
        ("delete", deleted),
    ];
    for (what, times) in measured {
        println!("{what}: median, p99, maximum {times:?}");
    }
    assert!(measured.iter().all(|(_, times)| times[1] < LATENCY));
    assert!(started < START, "{started:?}");
    assert!(loaded < MEMORY_KIB, "{loaded} KiB");
}
