//! What a backup of many drafts costs the uploads that run meanwhile. Takes too long for every run:
//!
//! ```text
//! VINTEDBOT_TEST_BINARY=$PWD/target/release/vintedbot-ingest \
//!     taskset -c 1 cargo test --test it -- --ignored --nocapture backup_under_load
//! ```

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use vintedbot_ingest::catalog::{Restorable, Restore, Row, SledCatalog, SourceRow};
use vintedbot_ingest::disk::FreeDisk;
use vintedbot_ingest::model::{
    Draft, DraftId, DraftStatus, Media, MediaId, MediaKey, SourceId, Timestamp, UserId,
};

use crate::support::{Server, binary, eventually, file, form, photo, photo_numbered};

const DRAFTS: u64 = 100_000;
const BATCH: u64 = 500;
const CLIENTS: usize = 4;
const ROUNDS: usize = 3;
/// How long uploads are counted without a backup.
const WITHOUT: Duration = Duration::from_secs(20);

/// The bytes of a stored photo: those of a small JPEG, which are other ones for each number.
fn stored(jpeg: &[u8], number: u64) -> Vec<u8> {
    [jpeg, &number.to_be_bytes()].concat()
}

/// Writes a catalog with a photo in each draft, and their files.
async fn write_drafts(dir: &Path) {
    let root = dir.join("data/uploads");
    std::fs::create_dir_all(&root).unwrap();
    let jpeg = photo(64, 48);
    let catalog = SledCatalog::open(&dir.join("data/db"), FreeDisk::Bytes(0)).await.unwrap();
    for first in (1..=DRAFTS).step_by(usize::try_from(BATCH).unwrap()) {
        let mut rows = Vec::new();
        for number in first..first + BATCH {
            let bytes = stored(&jpeg, number);
            let (id, key, size_bytes) = (MediaId(number), MediaKey::of(&bytes), bytes.len() as u64);
            std::fs::write(root.join(format!("{key}.jpg")), bytes).unwrap();
            let owner = UserId::try_from(1 + number % 1000).ok();
            rows.push(Row::Media(Media { id, key, width: 64, height: 48, size_bytes, owner, facts: None }));
            let source = SourceId::from_digest(*MediaKey::of(&number.to_le_bytes()).as_bytes());
            rows.push(Row::Source(SourceRow { source, media: id }));
            let time = Timestamp::from_millis(1_700_000_000_000 + number);
            rows.push(Row::Draft(Draft {
                id: DraftId(number),
                title: format!("Wool jumper {number}"),
                description: "Worn twice, no holes, from a smoke-free home.".to_owned(),
                status: DraftStatus::Draft,
                price_suggested: Some(12.5),
                photos: vec![id],
                owner,
                created: time,
                updated: time,
                version: 1,
            }));
        }
        catalog.restore(Restore::Rows(rows)).await.unwrap();
    }
    catalog.close().await;
    let file = std::fs::File::open(dir.join("data/db/db")).unwrap();
    eventually("the catalog must be closed", || file.try_lock().is_ok()).await;
}

/// A command of the binary on the first core, or on that of the tests.
fn pinned(dir: &Path, core: &str) -> Command {
    let plain = binary(dir);
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(plain.get_program());
    command.current_dir(dir).env_clear().stdin(std::process::Stdio::null());
    command
}

#[ignore = "takes minutes, and needs a quiet machine"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_leaves_uploads_nine_tenths_of_their_throughput() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let begun = Instant::now();
    write_drafts(dir.path()).await;
    println!("{DRAFTS} drafts written in {:.0?}", begun.elapsed());
    // No job of the server, such as facts for the photos that have none, takes processor time in some of the windows only.
    let settings = [("WORKERS", "1"), ("JOBS_ENABLED", "false")];
    let server = Arc::new(Server::start_command(pinned(dir.path(), "0"), Arc::clone(&dir), &settings));
    let sources: Arc<Vec<Vec<u8>>> =
        Arc::new((0..8).map(|number| photo_numbered(1200, 900, number)).collect());
    let (done, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..CLIENTS {
        let (server, sources) = (Arc::clone(&server), Arc::clone(&sources));
        let (done, next) = (Arc::clone(&done), Arc::clone(&next));
        tokio::spawn(async move {
            let client = Client::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // Another source each time, which is decoded and encoded.
                let index = usize::try_from(number).unwrap() % sources.len();
                let body = form(&[file(&stored(&sources[index], number))]);
                let (status, _, draft) = server.try_upload(&client, body).await.unwrap();
                assert_eq!(status, 201, "{draft}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rate = |uploads: u64, time: Duration| uploads as f64 / time.as_secs_f64();
    let without = async || {
        let (before, begun) = (done.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(WITHOUT).await;
        rate(done.load(Ordering::Relaxed) - before, begun.elapsed())
    };
    let mut ratios = Vec::new();
    let mut last = without().await;
    for round in 0..ROUNDS {
        let (before, begun, cpu) = (done.load(Ordering::Relaxed), Instant::now(), server.cpu_seconds());
        let mut command = pinned(dir.path(), "1");
        command.args(["backup", &format!("saved{round}")]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let time = begun.elapsed();
        let with = rate(done.load(Ordering::Relaxed) - before, time);
        let cpu = server.cpu_seconds() - cpu;
        let after = without().await;
        let ratio = with / f64::midpoint(last, after);
        println!(
            "without {last:.2}/s, with {with:.2}/s for {time:.1?} (server {cpu:.1} s of processor time), \
             without {after:.2}/s: {ratio:.3}. {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        ratios.push(ratio);
        last = after;
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.3}", ratios[ROUNDS / 2]);

    let elsewhere = tempfile::tempdir().unwrap();
    let saved = dir.path().join(format!("saved{}", ROUNDS - 1));
    let begun = Instant::now();
    let restored = binary(elsewhere.path()).arg("restore").arg(&saved).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    println!("restored in {:.1?}", begun.elapsed());
    let exported = binary(elsewhere.path()).arg("export").output().unwrap();
    assert!(exported.stdout == std::fs::read(saved.join("catalog.jsonl")).unwrap(), "the copy must be equal");
    let again = binary(dir.path()).args(["backup", saved.to_str().unwrap()]).output().unwrap();
    println!("once more: {}", String::from_utf8_lossy(&again.stderr).trim());
    assert!(ratios[ROUNDS / 2] >= 0.9, "{ratios:?}");
}
