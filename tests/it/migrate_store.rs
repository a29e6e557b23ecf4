//! migrate-store moves photos and catalogs, even if it is killed, and a read-only server runs during it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::bucket::{ACCESS_KEY, BUCKET, Bucket, SECRET_KEY};
use crate::cluster::Cluster;
use crate::support::{
    Server, binary, eventually, file, form, photo, photo_numbered, read_all, sha256, upload_head,
};

/// Enough photos to kill a migration in its middle.
const PHOTOS: usize = 2000;

fn name_of(bytes: &[u8]) -> String {
    sha256(bytes) + ".jpg"
}

/// Returns the content of photo `number`, which store and migration do not interpret.
fn content(number: usize) -> Vec<u8> {
    format!("photo {number} ").into_bytes().repeat(50 + number % 200)
}

/// Returns the names of the photos in `dir`, and asserts that each has the hash of its content as name.
fn photos(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let names = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "jpg"));
    names
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(name_of(&std::fs::read(entry.path()).unwrap()), name);
            name
        })
        .collect()
}

fn migrate(dir: &Path, bucket: &Bucket, places: &[&str]) -> Command {
    let mut command = binary(dir);
    command
        .arg("migrate-store")
        .args(places)
        .env("S3_ENDPOINT_URL", bucket.endpoint())
        .envs([("S3_ACCESS_KEY", ACCESS_KEY), ("S3_SECRET_KEY", SECRET_KEY)]);
    command
}

fn outcome(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Writes `count` photos into a directory.
fn fill(root: &Path, count: usize) {
    std::fs::create_dir_all(root).unwrap();
    for number in 0..count {
        let bytes = content(number);
        std::fs::write(root.join(name_of(&bytes)), bytes).unwrap();
    }
}

#[tokio::test]
async fn killed_migration_to_a_bucket_continues_and_completes() {
    let (bucket, dir, root) = (Bucket::start(), Arc::new(tempfile::tempdir().unwrap()), "data/uploads");
    let root = dir.path().join(root);
    fill(&root, PHOTOS);
    let all = photos(&root);
    assert_eq!(all.len(), PHOTOS);
    // The read-only server of the store runs during the copy and serves the photos.
    let server = Server::start_in(Arc::clone(&dir), &[("READ_ONLY", "true")]);
    let there = || bucket.objects("media").len();

    let mut killed = migrate(dir.path(), &bucket, &["--to", "s3:photos"]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the move is under way", || there() > PHOTOS / 10).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = there();
    assert!(before < PHOTOS, "the migration was killed in the middle");
    assert_eq!(server.get(&format!("/media/{}", all.first().unwrap())).await.status(), 200);

    let output = migrate(dir.path(), &bucket, &["--to", "s3:photos"]).output().unwrap();
    let (code, found, said) = outcome(&output);
    assert_eq!((code, found), (0, ""), "{said}");
    let copied = said.split("copied ").last().unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    // Uploads in progress when it was killed may have completed after the count.
    assert!(copied + before <= PHOTOS, "the migration must continue after {before} photos: {said}");
    let kept = bucket.dir().join(BUCKET).join("media");
    assert_eq!(photos(&kept), all);
}

#[tokio::test]
async fn migration_reports_damaged_and_foreign_files() {
    let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
    let root = dir.path().join("data/uploads");
    fill(&root, 40);
    let all = photos(&root);
    let kept = bucket.dir().join(BUCKET).join("media");

    let torn = name_of(b"what it should be");
    std::fs::write(root.join(&torn), b"what it is not").unwrap();
    let output = migrate(dir.path(), &bucket, &["--to", "s3:photos"]).output().unwrap();
    let (code, found, said) = outcome(&output);
    let (key, _) = torn.split_once('.').unwrap();
    assert!(code == 1 && found.starts_with(&format!("file-torn {key} ")), "{found}{said}");
    assert_eq!(found.lines().count(), 1, "{found}");
    assert_eq!(photos(&kept), all, "a damaged photo is not copied");

    let foreign = name_of(b"of another move");
    std::fs::create_dir(dir.path().join("back")).unwrap();
    std::fs::write(dir.path().join("back").join(&foreign), b"of another move").unwrap();
    let back = ["--from", "s3:photos", "--to", "local:back"];
    let output = migrate(dir.path(), &bucket, &back).output().unwrap();
    let (code, found, said) = outcome(&output);
    assert!(code == 1 && found.starts_with("file-foreign ") && found.lines().count() == 1, "{found}{said}");
    std::fs::remove_file(dir.path().join("back").join(&foreign)).unwrap();
    let output = migrate(dir.path(), &bucket, &back).output().unwrap();
    let (code, found, said) = outcome(&output);
    assert!(code == 0 && found.is_empty() && said.contains("copied 0 "), "{found}{said}");
    assert_eq!(photos(&dir.path().join("back")), all);
    let staged = std::fs::read_dir(dir.path().join("back/.staging")).unwrap().count();
    assert_eq!(staged, 0, "no staged file is left");
}

fn run(dir: &Path, database: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = binary(dir).env("DATABASE_URL", database).args(arguments).output().unwrap();
    let (code, found, said) = outcome(&output);
    (code, found.to_owned(), said.to_owned())
}

fn export(dir: &Path, database: &str) -> String {
    let (code, export, said) = run(dir, database, &["export"]);
    assert_eq!(code, 0, "{said}");
    export
}

async fn with_drafts() -> Server {
    let server = Server::start(&[]);
    for number in 0..3 {
        let body = form(&[file(&photo_numbered(64, 48, number)), file(&photo(32, 24))]);
        assert_eq!(server.upload(body).await.0, 201);
    }
    server
}

#[tokio::test]
async fn catalog_migrates_to_postgres_and_back() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let server = with_drafts().await;
    let (sled, shared) = ("sled:data/db", server.dir());
    let dir = shared.path();
    let (code, _, said) = run(dir, sled, &["migrate-store", "--to", &url]);
    assert!(code == 1 && said.contains("in use by another process"), "{said}");
    server.stop();
    let catalog = export(dir, sled);
    for _ in 0..2 {
        let (code, found, said) = run(dir, sled, &["migrate-store", "--to", &url]);
        assert!(code == 0 && found.is_empty() && said.contains("equal"), "{found}{said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(export(dir, &url), catalog);
    }
    let (code, _, said) = run(dir, &url, &["migrate-store", "--to", "sled:data/other"]);
    assert_eq!((code, export(dir, "sled:data/other")), (0, catalog), "{said}");

    // The target is a catalog that is not empty.
    let server = Server::start_in(Arc::clone(&shared), &[("DATABASE_URL", "sled:data/other")]);
    assert_eq!(server.upload(form(&[file(&photo(48, 48))])).await.0, 201);
    server.stop();
    let (code, found, _) = run(dir, sled, &["migrate-store", "--to", "sled:data/other"]);
    assert!(code == 1 && found.starts_with("catalog-differs "), "{found}");
    let (code, _, said) = run(dir, "sled:data/other", &["migrate-store", "--from", sled]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn invalid_migration_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, code, reason) in [
        (&[][..], 2, "--from"),
        (&["--to", "postgres://me:hunter2@db.example/x?sslmode=on"], 2, "a place is"),
        (&["--to", "s3:a/b"], 2, "a place is"),
        (&["--to", "sled:data/db"], 1, "the same"),
        (&["--from", "local:data/uploads"], 1, "the same"),
        (&["--from", "sled:data/db", "--to", "s3:photos"], 1, "a catalog moves to a catalog"),
        (&["--to", "sled:data/other"], 1, "there is no catalog at data/db"),
        (&["--to", "local:other"], 1, "the photos at data/uploads cannot be opened"),
        (&["--from", "local:.", "--to", "s3:photos"], 1, "a bucket is reached as the settings of S3 say"),
    ] {
        let mut command = binary(dir.path());
        let output = command.arg("migrate-store").args(arguments).env("S3_ACCESS_KEY", "one of two").output();
        let output = output.unwrap();
        let (exit, found, said) = outcome(&output);
        assert_eq!((exit, found), (code, ""), "{arguments:?} {said}");
        assert!(said.contains(reason) && !said.contains("hunter2"), "{arguments:?} {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file was created");
}

#[tokio::test]
async fn read_only_server_serves_everything_and_changes_nothing() {
    let server = with_drafts().await;
    let draft: Value = server.get("/api/v1/listings/1").await.json().await.unwrap();
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    let dir = server.stop();
    // Leftovers of a killed server: a published photo without a draft.
    let root = dir.path().join("data/uploads");
    let orphan = name_of(b"orphan");
    let staged = root.join(".staging").join(orphan.replace(".jpg", ".x.jpg"));
    std::fs::write(&staged, b"orphan").unwrap();
    // Younger than the catalog on a file system that counts whole seconds, too.
    let later = SystemTime::now() + Duration::from_secs(2);
    std::fs::File::options().write(true).open(&staged).unwrap().set_modified(later).unwrap();
    std::fs::hard_link(&staged, root.join(&orphan)).unwrap();

    let server = Server::start_in(Arc::clone(&dir), &[("READ_ONLY", "true")]);
    let mut socket = server.connect();
    std::io::Write::write_all(&mut socket, upload_head("Content-Length: 1000000").as_bytes()).unwrap();
    let answer = read_all(&mut socket).to_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 60\r\n"), "{answer}");
    assert!(answer.contains("read-only"), "{answer}");
    let (status, problem) = server.upload(form(&[file(&photo(64, 48))])).await;
    assert!(status == 503 && problem["type"].as_str().unwrap().ends_with("read-only"), "{problem}");
    assert_eq!(server.get("/api/v1/listings/1").await.json::<Value>().await.unwrap(), draft);
    assert_eq!(server.get(&url).await.status(), 200);
    let ready = server.get("/api/v1/ready").await;
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<Value>().await.unwrap()["read_only"], true);
    assert_eq!(server.get("/api/v1/health").await.status(), 200);
    server.stop();
    assert!(staged.exists() && root.join(&orphan).exists(), "nothing may be removed");

    let server = Server::start_in(dir, &[]);
    assert!(!staged.exists() && !root.join(&orphan).exists(), "a server that is not read only clears it up");
    assert_eq!(server.upload(form(&[file(&photo(64, 48))])).await.0, 201);
}
