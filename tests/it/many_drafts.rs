//! Startup time with many drafts. Takes too long for every run:

use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use vintedbot_ingest::catalog::{Catalog, NewDraft, NewPhoto, SledCatalog};
use vintedbot_ingest::disk::FreeDisk;
use vintedbot_ingest::model::{MediaKey, SourceId};

use crate::support::{Server, eventually};

const DRAFTS: u32 = 100_000;
const AT_ONCE: usize = 512;
/// Used as the bytes of a photo.
const BYTES: &[u8] = b"a photo";

fn photo(number: u32) -> NewPhoto {
    let key = MediaKey::of(&number.to_le_bytes());
    let source =
        SourceId::from_digest(*MediaKey::of(&[&number.to_le_bytes()[..], b"source"].concat()).as_bytes());
    NewPhoto { key, width: 1600, height: 1200, size_bytes: BYTES.len() as u64, source }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: it writes 200,000 files"]
async fn many_drafts_are_ready_soon_after_stop_and_after_kill_9() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let root = dir.path().join("data/uploads");
    std::fs::create_dir_all(&root).unwrap();
    let began = Instant::now();
    {
        let path = dir.path().join("data/db");
        let catalog = Arc::new(SledCatalog::open(&path, FreeDisk::Bytes(0)).await.unwrap());
        let mut recording = JoinSet::new();
        for number in 0..DRAFTS {
            let photos = vec![photo(2 * number), photo(2 * number + 1)];
            for photo in &photos {
                std::fs::write(root.join(format!("{}.jpg", photo.key)), BYTES).unwrap();
            }
            let (catalog, new) = (
                Arc::clone(&catalog),
                NewDraft { title: format!("draft {number}"), photos, ..NewDraft::default() },
            );
            recording.spawn(async move { catalog.create_draft(new).await.unwrap() });
            if recording.len() == AT_ONCE {
                recording.join_next().await.unwrap().unwrap();
            }
        }
        recording.join_all().await;
    }
    let written = began.elapsed();
    let mut report = Vec::new();
    // The catalog releases its directory a moment after the last handle is dropped.
    let file = std::fs::File::open(dir.path().join("data/db/db")).unwrap();
    eventually("the catalog must be closed", || file.try_lock().is_ok()).await;
    drop(file);
    for (what, signal) in [
        ("after writing all in one go", Signal::SIGKILL),
        ("after kill -9 of an idle server", Signal::SIGKILL),
        ("after kill -9 under load", Signal::SIGTERM),
        ("after a stop", Signal::SIGTERM),
    ] {
        // Only root may drop caches, and only on its own file system. Elsewhere the start is a warm one.
        let is_cold = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
        let began = Instant::now();
        let mut server = Server::start_in(Arc::clone(&dir), &[]);
        let took = began.elapsed();
        let memory = server.peak_memory() / 1024;
        let last = server.get(&format!("/api/v1/listings/{DRAFTS}")).await;
        assert_eq!(last.status(), 200);
        report.push(format!("{what}{}: {took:?}, {memory} MiB", if is_cold { ", cold" } else { "" }));
        if what == "after kill -9 of an idle server" {
            let photo = crate::support::photo(64, 48);
            let form = crate::support::form(&[crate::support::file(&photo)]);
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
