//! The corpus of real and hostile files: each has its expected outcome, and none gives a 5xx.

use std::path::Path;

use reqwest::Client;
use serde_json::Value;

use crate::support::{Server, UPLOAD, corpus, file_named, form};

struct Row {
    path: String,
    expected: String,
    notes: String,
}

fn manifest(corpus: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|have| *have == name).unwrap();
    let (path, expected, notes) = (column("path"), column("expected"), column("notes"));
    let row = |cells: Vec<&str>| Row {
        path: cells[path].into(),
        expected: cells[expected].into(),
        notes: cells[notes].into(),
    };
    lines.map(row).collect()
}

fn is_as_expected(expected: &str, status: u16) -> bool {
    match expected.split_once(' ') {
        Some(("reject", code)) => status.to_string() == code,
        _ if expected == "accept" => status == 201,
        _ => status == 201 || (400..500).contains(&status),
    }
}

#[tokio::test]
async fn corpus_files_have_their_expected_status() {
    let Some(corpus) = corpus() else { return };
    let server = Server::start(&[]);
    let mut surprises = Vec::new();
    let rows = manifest(&corpus);
    for row in &rows {
        let bytes = std::fs::read(corpus.join(&row.path)).unwrap();
        let started = std::time::Instant::now();
        let (status, body) = server.upload(form(&[file_named("photo", &bytes)])).await;
        let took = started.elapsed().as_millis();
        if !is_as_expected(&row.expected, status) {
            surprises.push(format!(
                "{} ({}): expected {}, got {status} after {took} ms: {body}",
                row.path, row.notes, row.expected
            ));
        }
        if status == 201 {
            let media = &body["photos"][0]["media"];
            let longer = media["width"].as_u64().unwrap().max(media["height"].as_u64().unwrap());
            assert!(longer <= 1600, "{}", row.path);
        }
    }
    println!("{} files, VmHWM {} KiB", rows.len(), server.peak_memory());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(server.files().iter().all(|name| name.len() == 68), "no temporary file is left");
}

/// Bodies from the test suites of eight public multipart parsers: what they agree to refuse is refused, what they
/// agree to accept is accepted (without photos, so the response says exactly that), and none gives a 5xx.
#[tokio::test]
async fn multipart_bodies_are_accepted_or_refused_as_other_parsers_agree() {
    let Some(corpus) = corpus() else { return };
    let dir = corpus.join("multipart");
    let server = Server::start(&[]);
    let mut surprises = Vec::new();
    let manifest = std::fs::read_to_string(dir.join("manifest.jsonl")).unwrap();
    for case in manifest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let body = std::fs::read(dir.join(case["body"].as_str().unwrap())).unwrap();
        let content_type = case["content_type"].as_str().unwrap_or("");
        // RFC 2046 allows 70 characters, though some parsers accept more.
        if case["id"] == "synthetic/boundary_200_chars" {
            continue;
        }
        let Ok(content_type) = reqwest::header::HeaderValue::from_bytes(content_type.as_bytes()) else {
            continue;
        };
        let request = Client::new().post(server.url(UPLOAD)).header("content-type", content_type).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let problem: Value = response.json().await.unwrap();
        let kind = problem["type"].as_str().unwrap_or("").rsplit(':').next().unwrap_or("").to_owned();
        // Bodies that were read to the end, or to a part that is not a photo.
        let is_read = status == 201
            || ["no-photo", "unsupported-image", "bad-title", "too-many-photos"].contains(&kind.as_str());
        let fits = match case["verdict"].as_str().unwrap() {
            "ok" => is_read,
            "error" => (400..500).contains(&status) && !is_read,
            _ => status == 201 || (400..500).contains(&status),
        };
        if !fits {
            surprises.push(format!(
                "{} is {}, got {status} {kind}: {}",
                case["id"], case["verdict"], problem["detail"]
            ));
        }
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}
