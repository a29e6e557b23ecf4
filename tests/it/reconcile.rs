//! Startup on incomplete or damaged data.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PATIENCE, Server, binary, file, files_below, form, photo_numbered};

/// Returns the data of a server that stored drafts in two runs, so that the catalog has a snapshot and a log after it.
async fn data(drafts: usize) -> (Arc<TempDir>, Vec<Value>) {
    let mut server = Server::start(&[]);
    let mut answers = Vec::new();
    for n in 0..drafts {
        if n == drafts / 2 {
            server = Server::start_in(server.stop(), &[]);
        }
        let photos = [photo_numbered(64, 48, 2 * n), photo_numbered(64, 48, 2 * n + 1)];
        let (status, draft) = server.upload(form(&[file(&photos[0]), file(&photos[1])])).await;
        assert_eq!(status, 201, "{draft}");
        answers.push(draft);
    }
    (server.stop(), answers)
}

async fn ready(server: &Server) -> Value {
    let response = server.get("/api/v1/ready").await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn eventually_ready(server: &Server, expected: Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ready(server).await;
        if answer == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{answer} is not {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn photo_file(dir: &TempDir, draft: &Value, photo: usize) -> std::path::PathBuf {
    let url = draft["photos"][photo]["media"]["url"].as_str().unwrap();
    dir.path().join("data/uploads").join(url.rsplit('/').next().unwrap())
}

#[tokio::test]
async fn ready_reports_missing_photos_until_they_are_uploaded_again() {
    let (dir, drafts) = data(2).await;
    let (gone, short) = (photo_file(&dir, &drafts[0], 0), photo_file(&dir, &drafts[1], 1));
    fs::remove_file(&gone).unwrap();
    OpenOptions::new().write(true).open(&short).unwrap().set_len(100).unwrap();
    let server = Server::start_in(dir, &[("READ_ONLY", "true")]);
    eventually_ready(&server, json!({"status": "degraded", "missing_media": 2, "read_only": true})).await;
    let server = Server::start_in(server.stop(), &[]);
    eventually_ready(&server, json!({"status": "degraded", "missing_media": 2})).await;
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "vintedbot_media_missing 2"), "{metrics}");
    let log = server.output().join("\n");
    assert!(log.contains(gone.file_stem().unwrap().to_str().unwrap()), "{log}");

    let (status, again) = server.upload(form(&[file(&photo_numbered(64, 48, 0))])).await;
    assert_eq!((status, &again["photos"][0]), (201, &drafts[0]["photos"][0]));
    eventually_ready(&server, json!({"status": "degraded", "missing_media": 1})).await;
    server.upload(form(&[file(&photo_numbered(64, 48, 3))])).await;
    eventually_ready(&server, json!({"status": "ready"})).await;
}

/// A crash happened between publishing a photo and recording its draft, or between the draft and the end of the upload.
#[tokio::test]
async fn startup_removes_photos_of_failed_uploads_and_nothing_else() {
    let (dir, drafts) = data(1).await;
    let root = dir.path().join("data/uploads");
    let staging = root.join(".staging");
    let recorded = photo_file(&dir, &drafts[0], 0);
    let name = recorded.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::hard_link(&recorded, staging.join(format!("{name}.AbCdEf.jpg"))).unwrap();
    let [vain, older, unpublished] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    for name in [&vain, &older, &unpublished] {
        fs::write(staging.join(format!("{name}.AbCdEf.jpg")), "?").unwrap();
    }
    fs::hard_link(staging.join(format!("{vain}.AbCdEf.jpg")), root.join(format!("{vain}.jpg"))).unwrap();
    fs::write(root.join(format!("{older}.jpg")), "?").unwrap();
    fs::write(root.join("README"), "mine").unwrap();
    fs::write(staging.join(".tmpspill"), "?").unwrap();

    let server = Server::start_in(dir, &[]);
    let mut expected: Vec<String> = ["README".to_owned(), format!("{older}.jpg")].into();
    for photo in 0..2 {
        let path = photo_file(&server.dir(), &drafts[0], photo);
        expected.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    expected.sort();
    assert_eq!(server.files(), expected);
    assert_eq!(ready(&server).await, json!({"status": "ready"}));
}

/// Starts a server that is expected to fail, with a time limit. Returns exit code and stderr.
async fn failed_start(dir: &Path) -> (Option<i32>, String) {
    let mut command = binary(dir);
    let mut child = command.env("PORT", "0").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Overwrites bytes in the middle of a file.
fn garble(path: &Path, from: u64, length: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0x5A; length], from).unwrap();
}

fn snapshot(db: &Path) -> std::path::PathBuf {
    let names = fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).max().unwrap()
}

type Damage = fn(&Path);

/// Damage to the catalog's files by a disk, an incomplete copy or an operator, which startup must notice.
const DAMAGES: [(&str, Damage); 7] = [
    ("the log is gone", |db| fs::remove_file(db.join("db")).unwrap()),
    ("the log is empty", |db| drop(File::create(db.join("db")).unwrap())),
    ("the log was cut off", |db| {
        let log = OpenOptions::new().write(true).open(db.join("db")).unwrap();
        log.set_len(4096).unwrap();
    }),
    ("the log begins with garbage", |db| garble(&db.join("db"), 0, 64)),
    ("the log is garbage", |db| garble(&db.join("db"), 0, 1 << 20)),
    ("the snapshot is garbage", |db| garble(&snapshot(db), 4, 32)),
    ("everything but the mark is gone", |db| {
        for entry in fs::read_dir(db).unwrap().map(Result::unwrap) {
            match entry.file_name().to_str().unwrap() {
                "acknowledged" => {}
                _ if entry.file_type().unwrap().is_dir() => fs::remove_dir_all(entry.path()).unwrap(),
                _ => fs::remove_file(entry.path()).unwrap(),
            }
        }
    }),
];

#[tokio::test]
async fn damaged_catalog_stops_startup_with_one_line_and_is_not_replaced() {
    let (dir, _) = data(6).await;
    let photos = files_below(&dir.path().join("data/uploads"));
    for (what, damage) in DAMAGES {
        let copy = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("cp")
            .args(["-a", dir.path().join("data").to_str().unwrap(), copy.path().to_str().unwrap()])
            .status()
            .unwrap();
        assert!(status.success());
        damage(&copy.path().join("data/db"));
        // Two starts, because a failed start must not make the next one succeed.
        for _ in 0..2 {
            let (code, errors) = failed_start(copy.path()).await;
            assert_eq!(code, Some(1), "{what}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{what}: {errors}");
            assert!(errors.contains("data/db") && errors.contains("rebuild --from"), "{what}: {errors}");
            assert_eq!(files_below(&copy.path().join("data/uploads")), photos, "{what}");
        }
    }
}
