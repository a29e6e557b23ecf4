//! The operator's commands: exports can be imported, damage is found, and no command loses data.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::deduplication::recognised;
use crate::support::{Server, binary, field, file, form, photo, photo_numbered};

fn run(dir: &Path, arguments: &[&str]) -> Output {
    binary(dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Starts a server that is expected to fail before it listens: its port is already in use.
fn start(dir: &Path) -> Output {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    binary(dir).env("PORT", taken.local_addr().unwrap().port().to_string()).output().unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout).to_owned()
}

#[track_caller]
fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    text(&output.stderr).to_owned()
}

/// Runs fsck and returns its exit code and the sorted kinds of its findings.
fn fsck(dir: &Path, options: &[&str]) -> (i32, Vec<String>) {
    let output = run(dir, &[&["fsck"], options].concat());
    let mut kinds: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| {
            let outcome = [" (repaired)", " (harmless)"].iter().find(|outcome| line.ends_with(**outcome));
            format!("{}{}", line.split(' ').next().unwrap(), outcome.unwrap_or(&""))
        })
        .collect();
    kinds.sort();
    assert!(text(&output.stderr).contains("Checked "), "{output:?}");
    (output.status.code().unwrap(), kinds)
}

async fn uploaded(server: &Server, photos: &[Vec<u8>]) -> Value {
    let mut parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
    parts.push(field("title", "Füße 👟".as_bytes()));
    let (status, draft) = server.upload(form(&parts)).await;
    assert_eq!(status, 201, "{draft}");
    draft
}

async fn listing(server: &Server, id: usize) -> Value {
    server.get(&format!("/api/v1/listings/{id}")).await.json().await.unwrap()
}

/// Returns the file of a draft's first photo.
fn path_of(dir: &Path, draft: &Value) -> PathBuf {
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    dir.join("data/uploads").join(url.strip_prefix("/media/").unwrap())
}

/// Appends the last line with the checksum of these lines.
fn with_checksum(mut lines: Vec<String>) -> String {
    let count = |kind: &str| lines.iter().filter(|line| line.starts_with(&format!("{{\"{kind}\":"))).count();
    let rows = [count("media"), count("draft"), count("source")];
    let body = lines.join("\n") + "\n";
    let hash = blake3::hash(body.as_bytes());
    // As text, because the order of fields matters.
    lines.push(format!(
        r#"{{"end":{{"rows":{{"media":{},"drafts":{},"sources":{}}},"blake3":"{hash}"}}}}"#,
        rows[0], rows[1], rows[2]
    ));
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn imported_catalog_equals_the_exported_one() {
    let server = Server::start(&[]);
    let photos: Vec<Vec<u8>> = (0..3).map(|number| photo_numbered(120, 90, number)).collect();
    let drafts = [
        uploaded(&server, &photos[..1]).await,
        uploaded(&server, &[photos[1].clone(), photos[0].clone(), photos[1].clone()]).await,
        uploaded(&server, &photos).await,
    ];
    let shared = server.dir();
    let dir = shared.path();
    let in_use = fails(dir, &["fsck", "--repair"]);
    assert!(in_use.contains("data/db is in use by another process: stop the server"), "{in_use}");
    let beside_the_server = succeeds(dir, &["export"]);
    server.stop();
    succeeds(dir, &["export", "--output", "backup.jsonl"]);
    let backup = std::fs::read_to_string(dir.join("backup.jsonl")).unwrap();
    assert_eq!(beside_the_server, backup);
    assert_eq!(succeeds(dir, &["export"]), backup);
    for line in backup.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2, "only data and the backup, no partial file");

    std::fs::rename(dir.join("data/db"), dir.join("data/old")).unwrap();
    for cut in [backup.len() - 1, backup.len() / 2, 0] {
        std::fs::write(dir.join("cut.jsonl"), &backup[..cut]).unwrap();
        assert!(fails(dir, &["import", "cut.jsonl"]).contains("cut"));
        assert!(!dir.join("data/db").exists(), "the import must not have started");
    }
    assert!(fails(dir, &["export"]).contains("there is no catalog at data/db"));
    for _ in 0..2 {
        succeeds(dir, &["import", "backup.jsonl"]);
        assert_eq!(succeeds(dir, &["export"]), backup);
    }
    assert_eq!(fsck(dir, &[]), (0, vec![]));

    let server = Server::start_in(shared, &[]);
    for draft in &drafts {
        let id = draft["id"].as_u64().unwrap();
        assert_eq!(listing(&server, id.try_into().unwrap()).await, *draft);
    }
    let again = uploaded(&server, &[photos[2].clone(), photo_numbered(120, 90, 7)]).await;
    assert_eq!((&again["id"], &again["photos"][1]["media"]["id"]), (&json!(4), &json!(4)));
    assert_eq!(again["photos"][0]["media"], drafts[2]["photos"][2]["media"]);
    assert_eq!(recognised(&server).await, 1, "sources are imported too");
}

#[tokio::test]
async fn killed_import_blocks_the_server_until_it_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut lines = vec![
        r#"{"export":{"format":"vintedbot-ingest catalog","version":4,"next_media_id":20001,"next_draft_id":9}}"#
            .to_owned(),
    ];
    lines.extend((1..=20_000).map(|id| {
        let key = blake3::hash(format!("{id}").as_bytes());
        format!(r#"{{"media":{{"id":{id},"key":"{key}","width":4,"height":3,"size_bytes":2}}}}"#)
    }));
    lines.push(
        r#"{"draft":{"id":8,"title":"","description":"","status":"draft","price_suggested":0.1,"photos":[7,7],"created":1700000000000,"updated":1700000000001,"version":2}}"#
            .to_owned(),
    );
    let export = with_checksum(lines);
    std::fs::write(dir.join("export.jsonl"), &export).unwrap();
    let mut import = binary(dir).args(["import", "export.jsonl"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(import.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "Imported 10000 of 20001 rows.\n");
    import.kill().unwrap();
    assert_eq!(import.wait().unwrap().code(), None, "the import was killed before its end");

    let start = start(dir);
    assert_eq!(start.status.code(), Some(1));
    assert!(text(&start.stderr).contains("data/db is incomplete"), "{start:?}");
    assert!(fails(dir, &["export"]).contains("incomplete"));
    std::fs::create_dir_all(dir.join("data/uploads")).unwrap();
    assert!(fsck(dir, &["--quick"]).1.contains(&"catalog-partial".to_owned()));

    let mut import = binary(dir);
    let mut import =
        import.args(["import", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(export.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    assert_eq!(succeeds(dir, &["export"]), export);
}

#[tokio::test]
async fn damaged_photos_are_found_by_fsck_and_restored_by_upload() {
    let server = Server::start(&[]);
    let photos: Vec<Vec<u8>> = (0..6).map(|number| photo_numbered(120, 90, number)).collect();
    let mut drafts = Vec::new();
    for photo in &photos {
        drafts.push(uploaded(&server, std::slice::from_ref(photo)).await);
    }
    let shared = server.stop();
    let dir = shared.path();
    assert_eq!(fsck(dir, &[]), (0, vec![]));

    let files: Vec<PathBuf> = drafts.iter().map(|draft| path_of(dir, draft)).collect();
    std::fs::remove_file(&files[0]).unwrap();
    let mut flipped = std::fs::read(&files[1]).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&files[1], &flipped).unwrap();
    let cut = std::fs::read(&files[2]).unwrap()[..100].to_vec();
    std::fs::write(&files[2], &cut).unwrap();
    let uploads = dir.join("data/uploads");
    let stored = std::fs::read(&files[3]).unwrap();
    let other = vintedbot_ingest::model::MediaKey::of(b"other");
    let whole = vintedbot_ingest::model::MediaKey::of(&[stored.as_slice(), b"x"].concat());
    std::fs::write(uploads.join(format!("{other}.jpg")), &stored).unwrap();
    std::fs::write(uploads.join(format!("{whole}.jpg")), [stored.as_slice(), b"x"].concat()).unwrap();
    {
        let db = sled::open(dir.join("data/db")).unwrap();
        db.open_tree("counters").unwrap().insert("next_media_id", &2_u64.to_be_bytes()).unwrap();
        let name = files[4].file_stem().unwrap().to_str().unwrap();
        let key: vintedbot_ingest::model::MediaKey = name.parse().unwrap();
        db.open_tree("media_by_key").unwrap().remove(key.as_bytes()).unwrap().unwrap();
        db.flush().unwrap();
    }
    let before: Vec<String> = crate::support::files_below(&uploads);
    let lost = ["draft-photo-lost", "draft-photo-lost"];
    let quick = ["counter-low", "draft-photo-lost", "draft-photo-lost", "file-missing", "file-torn"];
    // The dangling key leaves its file without a row.
    let unknown = ["file-without-row (harmless)"; 3];
    assert_eq!(fsck(dir, &["--quick"]), (1, strings(&[&quick, &unknown, &["key-astray"]])));
    let full = strings(&[&quick, &lost[..1], &["file-torn"; 2], &unknown[..2], &["key-astray"]]);
    assert_eq!(fsck(dir, &[]), (1, full.clone()));
    assert_eq!(fsck(dir, &[]), (1, full), "fsck must not change anything");
    assert_eq!(crate::support::files_below(&uploads), before);

    let repaired = strings(&[
        &["counter-low (repaired)", "key-astray (repaired)", "file-torn (repaired)"],
        &["draft-photo-lost"; 3],
        &["file-missing", "file-torn", "file-torn", "file-without-row (harmless)"],
    ]);
    assert_eq!(fsck(dir, &["--repair"]), (1, repaired));
    assert_eq!(crate::support::files_below(&uploads).len(), before.len(), "nothing is deleted");
    let aside = uploads.join(".quarantine");
    let name = |path: &Path| format!("{}.0.jpg", path.file_stem().unwrap().to_str().unwrap());
    assert_eq!(std::fs::read(aside.join(name(&files[1]))).unwrap(), flipped);
    assert_eq!(std::fs::read(aside.join(name(&files[2]))).unwrap(), cut);
    let left = strings(&[&["draft-photo-lost"; 3], &["file-missing"; 3], &unknown[..1]]);
    assert_eq!(fsck(dir, &["--repair"]), (1, left));

    let server = Server::start_in(shared, &[("JOBS_ENABLED", "false")]);
    let again = uploaded(&server, &photos[..5]).await;
    for (index, draft) in drafts[..5].iter().enumerate() {
        assert_eq!(again["photos"][index]["media"], draft["photos"][0]["media"]);
    }
    let shared = server.stop();
    assert_eq!(fsck(shared.path(), &[]), (0, strings(&[&unknown[..1]])));
}

#[tokio::test]
async fn damaged_indexes_are_found_and_repaired_by_fsck() {
    let server = Server::start(&[]);
    for number in 0..3 {
        uploaded(&server, &[photo_numbered(120, 90, number), photo_numbered(120, 90, 9)]).await;
    }
    let shared = server.stop();
    let dir = shared.path();
    assert_eq!(fsck(dir, &[]), (0, vec![]));
    {
        let db = sled::open(dir.join("data/db")).unwrap();
        for index in ["drafts_of_owner", "drafts_with_media"] {
            let index = db.open_tree(index).unwrap();
            let (first, _) = index.first().unwrap().unwrap();
            index.remove(first).unwrap();
        }
        // No draft has media 1, and four have media 2.
        let references = db.open_tree("references").unwrap();
        references.insert(1_u64.to_be_bytes(), &[0; 16]).unwrap();
        references.insert(2_u64.to_be_bytes(), [4_u64, 0].map(u64::to_be_bytes).concat()).unwrap();
        db.open_tree("unreferenced").unwrap().insert([0_u64, 3].map(u64::to_be_bytes).concat(), &[]).unwrap();
        db.flush().unwrap();
    }
    // The row of the lists that was removed had all three drafts.
    let unlisted = &["draft-unlisted"; 3][..];
    let kinds = [&["draft-unindexed"], unlisted, &["index-stale", "media-overcounted", "media-undercounted"]]
        .concat();
    assert_eq!(fsck(dir, &["--quick"]), (1, strings(&[&kinds])));
    let repaired: Vec<String> = kinds.iter().map(|kind| format!("{kind} (repaired)")).collect();
    assert_eq!(fsck(dir, &["--quick", "--repair"]), (0, repaired));
    assert_eq!(fsck(dir, &[]), (0, vec![]));
    let server = Server::start_in(shared, &[]);
    let list: Value = server.get("/api/v1/listings").await.json().await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
}

fn strings(lists: &[&[&str]]) -> Vec<String> {
    let mut strings: Vec<String> = lists.concat().iter().map(ToString::to_string).collect();
    strings.sort();
    strings
}

#[tokio::test]
async fn inconsistent_rows_are_found_by_fsck() {
    let server = Server::start(&[]);
    for number in 0..3 {
        uploaded(&server, &[photo_numbered(120, 90, number)]).await;
    }
    let shared = server.stop();
    let dir = shared.path();
    let export = succeeds(dir, &["export"]);
    let mut lines: Vec<String> = export.lines().map(ToOwned::to_owned).collect();
    lines.pop();
    lines[1] = lines[1].replace("\"width\":120", "\"width\":121");
    let length =
        path_of(dir, &json!({"photos": [{"media": {"url": key_url(&lines[2])}}]})).metadata().unwrap().len();
    lines[2] = lines[2].replace(&format!("\"size_bytes\":{length}"), "\"size_bytes\":7");
    lines[4] = lines[4].replace("\"photos\":[1]", "\"photos\":[1,99]");
    let dangling = lines[7].replace("\"media\":", "\"media\":9");
    lines[7] = dangling;
    std::fs::write(dir.join("damaged.jsonl"), with_checksum(lines.clone())).unwrap();
    std::fs::rename(dir.join("data/db"), dir.join("data/good")).unwrap();
    succeeds(dir, &["import", "damaged.jsonl"]);
    assert_eq!(succeeds(dir, &["export"]), with_checksum(lines), "an export contains the damage");
    let rows = ["draft-photo-lost", "row-length", "row-size"];
    assert_eq!(fsck(dir, &[]), (1, strings(&[&rows, &["source-dangling"]])));
    assert_eq!(fsck(dir, &["--repair"]), (1, strings(&[&rows, &["source-dangling (repaired)"]])));
    assert_eq!(fsck(dir, &[]), (1, strings(&[&rows])));
    assert_eq!(
        fsck(dir, &["--quick"]),
        (1, strings(&[&rows[..2]])),
        "--quick does not read the size of a photo"
    );
    // The good export has the same ids and other rows.
    std::fs::write(dir.join("good.jsonl"), &export).unwrap();
    assert!(fails(dir, &["import", "good.jsonl"]).contains("media 1 differs from the one"));
}

fn key_url(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap();
    format!("/media/{}.jpg", row["media"]["key"].as_str().unwrap())
}

/// Returns names and contents of all files below a directory.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), std::fs::read(dir.join(name)).unwrap());
    crate::support::files_below(dir).into_iter().map(read).collect()
}

#[tokio::test]
async fn damaged_catalog_is_refused_unchanged_and_salvaged_into_a_new_one() {
    let server = Server::start(&[]);
    let mut drafts = Vec::new();
    for number in 0..12 {
        drafts.push(uploaded(&server, &[photo_numbered(120, 90, number)]).await);
    }
    let shared = server.stop();
    let dir = shared.path();
    let whole = succeeds(dir, &["export"]);
    assert_eq!(succeeds(dir, &["export", "--salvage"]), whole, "nothing is damaged yet");

    // Flips one bit in the title of one draft, wherever it is stored.
    let db = dir.join("data/db/db");
    let mut bytes = std::fs::read(&db).unwrap();
    let photos = br#""photos":[7]"#;
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(photos)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&db, &bytes).unwrap();
    let before = contents(&dir.join("data/db"));
    let start = start(dir);
    assert_eq!(start.status.code(), Some(1), "{start:?}");
    for said in [text(&start.stderr).to_owned(), fails(dir, &["export"]), fails(dir, &["fsck"])] {
        for part in ["data/db is damaged", "Nothing was changed", "rebuild --from EXPORT", "export --salvage"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("sled") && !said.contains("orrupt") && !said.contains("panic"), "{said}");
    }
    assert!(!text(&start.stdout).contains("sled"), "{start:?}");
    assert!(contents(&dir.join("data/db")) == before, "a refused start must write nothing");

    let output = run(dir, &["export", "--salvage", "--output", "salvaged.jsonl"]);
    assert_eq!(output.status.code(), Some(1), "exit code 1 reports a loss: {output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("draft-lost draft ") && said.contains("Salvaged "), "{said}");
    assert!(contents(&dir.join("data/db")) == before, "salvage must write nothing");
    let salvaged = std::fs::read_to_string(dir.join("salvaged.jsonl")).unwrap();
    let rows = |export: &str| -> Vec<String> {
        let is_row = |line: &&str| !line.starts_with(r#"{"export""#) && !line.starts_with(r#"{"end""#);
        export.lines().filter(is_row).map(ToOwned::to_owned).collect()
    };
    let (whole, salvaged) = (rows(&whole), rows(&salvaged));
    assert!(salvaged.iter().all(|row| whole.contains(row)), "every salvaged row must be intact");
    assert!(salvaged.len() + 16 > whole.len(), "at most a page of rows is lost: {said}");
    assert!(!salvaged.iter().any(|row| row.contains(r#""draft":{"id":7,"#)), "{salvaged:?}");

    let output = run(dir, &["rebuild", "--from", "salvaged.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let aside = text(&output.stderr).split("is kept at ").nth(1).unwrap().split(".\n").next().unwrap();
    assert!(contents(&dir.join(aside)) == before, "the kept files must be unchanged");
    let server = Server::start_in(shared, &[]);
    let lost = said.matches("draft-lost draft").count();
    assert!(lost > 0);
    for draft in &drafts {
        let id = draft["id"].as_u64().unwrap();
        if salvaged.iter().any(|row| row.starts_with(&format!(r#"{{"draft":{{"id":{id},"#))) {
            assert_eq!(listing(&server, id.try_into().unwrap()).await, *draft);
        }
    }
    let next = uploaded(&server, &[photo_numbered(120, 90, 50)]).await;
    assert_eq!(next["id"], json!(13), "no id is reused");
}

#[tokio::test]
async fn unreadable_catalog_is_kept_and_rebuilt() {
    let server = Server::start(&[]);
    let first = uploaded(&server, &[photo(120, 90)]).await;
    let shared = server.stop();
    let dir = shared.path();
    succeeds(dir, &["export", "--output", "backup.jsonl"]);
    let refused = fails(dir, &["rebuild", "--from", "backup.jsonl"]);
    assert!(refused.contains("there is nothing to rebuild"), "{refused}");
    let server = Server::start_in(Arc::clone(&shared), &[]);
    let later = uploaded(&server, &[photo_numbered(120, 90, 1), photo_numbered(120, 90, 2)]).await;
    server.stop();

    let db = dir.join("data/db/db");
    let noise: Vec<u8> = (0..std::fs::metadata(&db).unwrap().len())
        .map(|at| blake3::hash(&at.to_be_bytes()).as_bytes()[0])
        .collect();
    std::fs::write(&db, &noise).unwrap();
    let start = start(dir);
    assert_eq!(start.status.code(), Some(1), "{start:?}");
    assert!(text(&start.stderr).contains("rebuild --from EXPORT"), "{start:?}");
    assert!(fails(dir, &["fsck"]).contains("rebuild --from EXPORT"));
    assert_eq!(std::fs::read(&db).unwrap(), noise, "a refused start must write nothing");
    std::fs::write(dir.join("cut.jsonl"), &std::fs::read(dir.join("backup.jsonl")).unwrap()[..99]).unwrap();
    assert!(fails(dir, &["rebuild", "--from", "cut.jsonl"]).contains("cut"));
    assert!(db.exists(), "nothing is moved for a bad export");

    let output = run(dir, &["rebuild", "--from", "backup.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found = text(&output.stdout);
    assert_eq!(found.lines().filter(|line| line.starts_with("file-without-row ")).count(), 2, "{found}");
    let said = text(&output.stderr);
    let aside = said.split("is kept at ").nth(1).unwrap().split(".\n").next().unwrap();
    assert!(aside.starts_with("data/db.broken-2") && dir.join(aside).join("acknowledged").exists(), "{said}");
    assert_eq!(std::fs::read(dir.join(aside).join("db")).unwrap(), noise, "the kept files must be unchanged");

    let server = Server::start_in(Arc::clone(&shared), &[("JOBS_ENABLED", "false")]);
    assert_eq!(listing(&server, 1).await, first);
    assert_eq!(server.get("/api/v1/listings/2").await.status(), 404);
    let again = uploaded(&server, &[photo_numbered(120, 90, 2)]).await;
    assert_eq!(again["photos"][0]["media"]["url"], later["photos"][1]["media"]["url"]);
    let ids = (&again["id"], &again["photos"][0]["media"]["id"]);
    assert_eq!(ids, (&json!(3), &json!(4)), "ids of lost rows are not reused");
    server.stop();
    let output = run(dir, &["rebuild", "--from", "backup.jsonl", "--force"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn commands_have_help_and_refuse_missing_stores() {
    let dir = tempfile::tempdir().unwrap();
    for (command, about) in [
        ("export", "The server may run."),
        ("backup", "The server may run."),
        ("restore", "The server must be stopped."),
        ("import", "The server must be stopped."),
        ("fsck", "The server may run, but not with --repair."),
        ("rebuild", "The server must be stopped."),
    ] {
        assert!(succeeds(dir.path(), &[command, "--help"]).contains(about), "{command}");
    }
    assert!(fails(dir.path(), &["export"]).contains("DATABASE_URL"));
    assert!(fails(dir.path(), &["fsck"]).contains("DATABASE_URL"));
    assert!(fails(dir.path(), &["import", "nothing.jsonl"]).contains("nothing.jsonl"));
    for arguments in [&["import"][..], &["rebuild"], &["fsck", "--hastily"]] {
        assert_eq!(run(dir.path(), arguments).status.code(), Some(2));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file was created");
}
