//! Data that older versions of the program wrote. `tests/fixtures/catalog/make_catalog.py` made them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, binary};

const SECRET: (&str, &str) = ("SECRET_KEY", "of-this-fixture-and-of-32-bytes-or-more");

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/catalog", name].iter().collect()
}

/// Returns a directory with the embedded catalog in an archive.
fn unpacked(archive: &str) -> Arc<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("data/db");
    std::fs::create_dir_all(&db).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(fixture(archive)).arg("-C").arg(db).status().unwrap();
    assert!(tar.success());
    Arc::new(dir)
}

fn run(dir: &TempDir, arguments: &[&str]) -> (bool, String) {
    let output = binary(dir.path()).env(SECRET.0, SECRET.1).args(arguments).output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn ids(server: &Server, token: Option<&str>) -> Vec<u64> {
    let mut request = Client::new().get(server.url("/api/v1/listings"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["items"].as_array().unwrap().iter().map(|draft| draft["id"].as_u64().unwrap()).collect()
}

/// Asserts that a server on this data has the four drafts of the fixture, and can change and remove them.
async fn assert_drafts_live(dir: Arc<TempDir>) {
    let token = run(&dir, &["token", "issue", "--user", "7"]).1;
    let token = token.trim();
    let server = Server::start_in(dir, &[SECRET]);
    assert_eq!((ids(&server, None).await, ids(&server, Some(token)).await), (vec![3, 1], vec![4, 2]));
    let draft: Value = server.get("/api/v1/listings/3").await.json().await.unwrap();
    let media: Vec<u64> = draft["photos"]
        .as_array()
        .unwrap()
        .iter()
        .map(|photo| photo["media"]["id"].as_u64().unwrap())
        .collect();
    assert_eq!((&draft["title"], media), (&json!("draft 3"), vec![2, 1, 2]));
    assert!(draft["created_at"].as_str() > Some("2026"), "{draft}");
    let client = Client::new();
    let url = server.url("/api/v1/listings/3");
    let patched = client.patch(&url).json(&json!({"status": "ready"})).send().await.unwrap();
    assert_eq!(patched.status(), 200);
    assert_eq!(client.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(ids(&server, None).await, [1]);
    let created = client.post(server.url("/api/v1/listings")).json(&json!({})).send().await.unwrap();
    assert_eq!(created.json::<Value>().await.unwrap()["id"], 5);
}

#[tokio::test]
async fn embedded_catalogs_of_old_schemas_are_migrated_at_the_start() {
    for archive in ["schema1.tar.gz", "schema2.tar.gz", "schema3.tar.gz"] {
        let dir = unpacked(archive);
        assert_drafts_live(Arc::clone(&dir)).await;
        // The second start migrates nothing.
        let server = Server::start_in(dir, &[SECRET]);
        assert_eq!(ids(&server, None).await, [5, 1]);
        assert!(!server.output().iter().any(|line| line.contains("migrated")), "{:?}", server.output());
        let dir = server.stop();
        let report = binary(dir.path()).args(["fsck", "--quick"]).output().unwrap().stdout;
        let report = String::from_utf8(report).unwrap();
        let is_of_a_file =
            |line: &str| line.starts_with("file-missing") || line.starts_with("draft-photo-lost");
        assert!(
            report.lines().all(is_of_a_file),
            "the archive has no photos, and all else is right: {report}"
        );
        let db = sled::open(dir.path().join("data/db")).unwrap();
        let former = |name: &sled::IVec| name == b"drafts_by_owner" || name == b"drafts_by_media";
        assert!(!db.tree_names().iter().any(former), "the old indexes are removed");
    }
}

#[tokio::test]
async fn exports_of_older_versions_are_imported_and_may_be_imported_again() {
    for export in ["schema1.export", "schema2.export", "schema3.export"] {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let export = fixture(export);
        for _ in 0..2 {
            let (is_done, text) = run(&dir, &["import", export.to_str().unwrap()]);
            assert!(is_done, "{text}");
        }
        assert_drafts_live(dir).await;
    }
}

#[tokio::test]
async fn export_has_what_an_import_needs() {
    let dir = unpacked("schema1.tar.gz");
    {
        let server = Server::start_in(Arc::clone(&dir), &[SECRET]);
        let create = Client::new().post(server.url("/api/v1/listings")).header("idempotency-key", "k");
        let price = json!({"title": "a", "price_suggested": 0.29});
        assert_eq!(create.json(&price).send().await.unwrap().status(), 201);
        let patch =
            Client::new().patch(server.url("/api/v1/listings/1")).json(&json!({"status": "archived"}));
        assert_eq!(patch.send().await.unwrap().status(), 200);
        server.stop();
    }
    let (is_done, export) = run(&dir, &["export"]);
    assert!(is_done && export.contains("\"version\":4") && export.contains("{\"attempt\":{"), "{export}");
    let other = Arc::new(tempfile::tempdir().unwrap());
    let file = other.path().join("export");
    std::fs::write(&file, &export).unwrap();
    let (is_done, text) = run(&other, &["import", file.to_str().unwrap()]);
    assert!(is_done, "{text}");
    assert_eq!(run(&other, &["export"]).1, export);
    let server = Server::start_in(other, &[SECRET]);
    let again = Client::new().post(server.url("/api/v1/listings")).header("idempotency-key", "k");
    let again = again.json(&json!({"title": "a", "price_suggested": 0.29})).send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], 5);
}
