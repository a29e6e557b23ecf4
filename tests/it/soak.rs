//! Runs a mixed load for many minutes and checks that memory does not grow: `make soak MINUTES=15`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;

use crate::support::{BOUNDARY, Server, UPLOAD, file, form, photo, photo_numbered};

const CLIENTS: usize = 4;
/// Differences of memory that are not a trend.
const NOISE_KIB: u64 = 16 * 1024;
/// Memory of the embedded catalog per draft, which does not depend on its cache size: sled keeps a record of every page.
/// Measured were 0.5 to 0.6 KiB while a draft is new, and 0.2 after a restart.
const DRAFT_BYTES: u64 = 640;

/// Uploads new, known, corrupt and truncated photos in turn.
async fn keep_busy(server: Arc<Server>, client: usize, stop: Arc<AtomicBool>, stored: Arc<AtomicUsize>) {
    let http = Client::new();
    let known = form(&[file(&photo(1200, 900)), file(&photo(320, 240))]);
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let body = match turn % 4 {
            0 => known.clone(),
            1 => form(&[file(&photo(300, 200)[..2000])]),
            _ => form(&[file(&photo_numbered(900 + turn % 700, 700, turn * CLIENTS + client))]),
        };
        let length = body.len();
        let request = http
            .post(server.url(UPLOAD))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(body)
            .timeout(if turn % 9 == 0 { Duration::from_millis(4) } else { Duration::from_secs(60) });
        // A client whose timeout is too short disconnects.
        let Ok(response) = request.send().await else { continue };
        let status = response.status().as_u16();
        assert!(matches!(status, 201 | 422), "{status} for {length} bytes");
        if status == 201 {
            stored.fetch_add(1, Ordering::Relaxed);
            let Ok(draft) = response.json::<serde_json::Value>().await else { continue };
            let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
            assert_eq!(server.get(url).await.status(), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as many minutes as configured; `make soak` runs it"]
async fn memory_is_stable_under_mixed_load() {
    let minutes: u64 =
        std::env::var("VINTEDBOT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let server = Arc::new(Server::start(&[("MEMORY_BUDGET_MB", "128")]));
    let (stop, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            tokio::spawn(keep_busy(Arc::clone(&server), client, Arc::clone(&stop), Arc::clone(&stored)))
        })
        .collect();
    let begun = Instant::now();
    let mut line = Vec::new();
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        line.push((server.memory(), stored.load(Ordering::Relaxed) as u64));
        println!(
            "{:4} s: {} KiB, {} drafts",
            begun.elapsed().as_secs(),
            server.memory(),
            stored.load(Ordering::Relaxed)
        );
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // Buffers and caches fill during the first fifth.
    let settled = &line[line.len() / 5..];
    let median = |part: &[(u64, u64)]| {
        let mut part = Vec::from_iter(
            part.iter().map(|(memory, drafts)| memory.saturating_sub(drafts * DRAFT_BYTES / 1024)),
        );
        part.sort_unstable();
        part[part.len() / 2]
    };
    let (early, late) = settled.split_at(settled.len() / 2);
    let (early, late) = (median(early), median(late));
    println!(
        "medians without the catalog's {DRAFT_BYTES} B for each draft: {early} KiB, then {late} KiB; peak {} KiB",
        server.peak_memory()
    );
    assert!(late < early + NOISE_KIB, "memory grows: {line:?}");
}
