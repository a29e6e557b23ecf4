//! The operator's commands on single drafts, users and photos.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::support::{BOUNDARY, Server, UPLOAD, binary, file, files_below, form, photo_numbered};
use crate::webhook::{self, OK, Receiver};

/// The directory of a server, and the address of its catalog.
struct Place<'a> {
    dir: &'a Path,
    database: &'a str,
}

impl Place<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        binary(self.dir).env("DATABASE_URL", self.database).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn token(&self, user: &str) -> String {
        let output = self.run(&["token", "issue", "--user", user]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn files(&self) -> Vec<String> {
        files_below(&self.dir.join("data/uploads"))
    }
}

/// Uploads photos with these numbers, of a user and under a key if they are given.
async fn upload(server: &Server, numbers: &[usize], token: Option<&str>, key: Option<&str>) -> Value {
    let photos: Vec<Vec<u8>> = numbers.iter().map(|number| photo_numbered(64, 48, *number)).collect();
    let parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let mut request = Client::new().post(server.url(UPLOAD)).header("content-type", content_type);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.body(form(&parts)).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

/// Returns the file name of a photo.
fn name(draft: &Value, photo: usize) -> &str {
    draft["photos"][photo]["media"]["url"].as_str().unwrap().strip_prefix("/media/").unwrap()
}

/// The drafts of users 7, 8 and nobody; 7 and 8 share photo 2. Photo 1 is a finished upload of 7, too.
async fn three_drafts(server: &Server, place: &Place<'_>) -> [Value; 3] {
    let [seven, eight] = ["7", "8"].map(|user| place.token(user));
    let again = Client::new().post(server.url("/api/v1/uploads")).bearer_auth(&seven);
    let again = again.body(photo_numbered(64, 48, 1)).send().await.unwrap();
    assert_eq!(again.status(), 201);
    [
        upload(server, &[1, 2], Some(&seven), Some("of-seven")).await,
        upload(server, &[2, 3], Some(&eight), Some("of-eight")).await,
        upload(server, &[4], None, None).await,
    ]
}

#[track_caller]
fn assert_seven_is_gone(place: &Place<'_>, drafts: &[Value; 3], before: &[String]) {
    let gone = name(&drafts[0], 0);
    let left: Vec<String> = before.iter().filter(|file| *file != gone).cloned().collect();
    assert_eq!(
        (place.files(), left.len()),
        (left, 3),
        "the photos of others stay, at once and without a grace time"
    );
}

#[tokio::test]
async fn erased_user_leaves_nothing_in_the_embedded_catalog() {
    let server = Server::start(&[]);
    let shared = server.dir();
    let place = Place { dir: shared.path(), database: "sled:data/db" };
    let drafts = three_drafts(&server, &place).await;
    assert!(place.fails(&["user", "erase", "7"]).contains("in use by another process: stop the server"));
    assert!(place.fails(&["draft", "delete", "1"]).contains("stop the server"));
    assert!(place.fails(&["find", name(&drafts[0], 0)]).contains("stop the server"));
    server.stop();
    let before = place.files();
    let read_only = binary(place.dir).env("READ_ONLY", "true").args(["user", "erase", "7"]).output().unwrap();
    assert_eq!(read_only.status.code(), Some(1));
    assert!(place.succeeds(&["export"]).contains("\"owner\":7"));
    let length = shared.path().join("data/uploads").join(name(&drafts[0], 0)).metadata().unwrap().len();
    let expected = format!(
        "Erased user 7: 1 drafts, 1 photos ({length} bytes), 1 idempotency keys, \
         1 resumable uploads and 0 undelivered events. 1 photos that drafts of others have stay, and no longer name the user.\n"
    );
    assert_eq!(place.succeeds(&["user", "erase", "7"]), expected);
    let export = place.succeeds(&["export"]);
    assert!(!export.contains("\"owner\":7") && export.contains("\"owner\":8"), "{export}");
    assert_seven_is_gone(&place, &drafts, &before);
    assert_eq!(place.succeeds(&["fsck"]), "");
    assert!(
        place.succeeds(&["user", "erase", "7"]).starts_with("Erased user 7: 0 drafts, 0 photos (0 bytes)")
    );

    let server = Server::start_in(Arc::clone(&shared), &[]);
    let [seven, eight] = ["7", "8"].map(|user| place.token(user));
    let other = upload(&server, &[2, 3], Some(&eight), Some("of-eight")).await;
    assert_eq!(other, drafts[1], "the keys of others are remembered");
    let again = upload(&server, &[1, 2], Some(&seven), Some("of-seven")).await;
    assert_eq!(again["id"], 4, "the key is forgotten");
    assert_eq!(server.get(&format!("/media/{}", name(&again, 0))).await.status(), 200);
}

#[tokio::test]
async fn users_and_drafts_are_erased_beside_a_server_with_postgres() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let server = Server::start(&[("DATABASE_URL", &url)]);
    let shared = server.dir();
    let place = Place { dir: shared.path(), database: &url };
    let drafts = three_drafts(&server, &place).await;
    let before = place.files();
    let client = cluster.client(&url).await;
    let users = async || {
        let rows = client.query(r#"SELECT id FROM "user" ORDER BY id"#, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>()
    };
    assert_eq!(users().await, [7, 8]);
    let said = place.succeeds(&["user", "erase", "7"]);
    assert!(
        said.starts_with("Erased user 7: 1 drafts, 1 photos (")
            && said.contains(", 1 idempotency keys, 1 resumable uploads and"),
        "{said}"
    );
    assert_eq!(users().await, [8]);
    let named = r#"SELECT (SELECT count(*) FROM media WHERE user_id = 7), (SELECT count(*) FROM attempt WHERE draft ~ '"owner":7')"#;
    let named = client.query_one(named, &[]).await.unwrap();
    assert_eq!([0, 1].map(|at| named.get::<_, i64>(at)), [0, 0]);
    assert_seven_is_gone(&place, &drafts, &before);
    assert_eq!(server.get(&format!("/media/{}", name(&drafts[0], 0))).await.status(), 404);

    assert_eq!(server.get("/api/v1/listings/3").await.status(), 200);
    assert!(place.succeeds(&["draft", "delete", "3"]).starts_with("Deleted draft 3."));
    assert_eq!(server.get("/api/v1/listings/3").await.status(), 404);
    assert!(place.fails(&["draft", "delete", "3"]).contains("there is no draft 3"));
    assert_eq!(place.files().len(), 3, "the grace time of the photo has just begun");
    let seven = place.token("7");
    let again = upload(&server, &[1, 2], Some(&seven), Some("of-seven")).await;
    assert_eq!(server.get(&format!("/media/{}", name(&again, 0))).await.status(), 200);
    assert_eq!(users().await, [7, 8]);
    server.stop();
    assert_eq!(place.succeeds(&["fsck"]), "");
}

/// Erases user 7 while nothing was delivered, and looks at what is delivered afterwards.
async fn assert_events_are_erased(cluster: Option<&Cluster>) {
    // It accepts no connection, so that the first deliveries hang.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let database = match cluster {
        Some(cluster) => cluster.database().await,
        None => "sled:data/db".to_owned(),
    };
    let webhook = webhook::settings(address);
    let mut settings = vec![("DATABASE_URL", database.as_str())];
    settings.extend(webhook.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut server = Server::start(&settings);
    let shared = server.dir();
    let place = Place { dir: shared.path(), database: &database };
    three_drafts(&server, &place).await;
    let seven = place.token("7");
    assert_eq!(upload(&server, &[5], Some(&seven), None).await["id"], 4);
    for draft in [1, 4] {
        let url = server.url(&format!("/api/v1/listings/{draft}"));
        let request = Client::new().patch(url).bearer_auth(&seven).json(&json!({"title": "a private coat"}));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let deleted = Client::new().delete(server.url("/api/v1/listings/4")).bearer_auth(&seven).send().await;
    assert_eq!(deleted.unwrap().status(), 204);
    server.signal(Signal::SIGKILL);
    server.wait();

    assert!(place.succeeds(&["export"]).contains("a private coat"));
    let erased =
        binary(place.dir).envs(settings.iter().copied()).args(["user", "erase", "7"]).output().unwrap();
    let said = String::from_utf8(erased.stdout).unwrap();
    assert!(said.contains("1 drafts, 2 photos (") && said.contains("and 4 undelivered events"), "{said}");
    let export = place.succeeds(&["export"]);
    assert!(!export.contains("a private coat") && !export.contains("\"owner\":7"), "{export}");
    drop(listener);
    let receiver = Receiver::on(TcpListener::bind(address).unwrap(), |_, _| OK);
    if let Some(cluster) = cluster {
        let end_leases = "UPDATE delivery SET due = now()";
        cluster.client(&database).await.batch_execute(end_leases).await.unwrap();
    }
    let server = Server::start_in(Arc::clone(&shared), &settings);
    let got = receiver.got_all(6).await;
    let mut of_drafts: Vec<(u64, &str)> = got
        .iter()
        .filter(|delivery| delivery.kind() != "photo.removed")
        .map(|delivery| (delivery.subject(), delivery.kind()))
        .collect();
    of_drafts.sort_unstable();
    let expected = [(1, "draft.deleted"), (2, "draft.created"), (3, "draft.created"), (4, "draft.deleted")];
    assert_eq!(of_drafts, expected, "{got:?}");
    server.stop();
    assert_eq!(receiver.got().len(), 6);
    assert_eq!(place.succeeds(&["fsck"]), "");
}

#[tokio::test]
async fn undelivered_events_of_an_erased_user_are_removed_from_the_embedded_catalog() {
    assert_events_are_erased(None).await;
}

#[tokio::test]
async fn undelivered_events_of_an_erased_user_are_removed_from_postgres() {
    let Some(cluster) = Cluster::shared() else { return };
    assert_events_are_erased(Some(cluster)).await;
}

#[tokio::test]
async fn find_shows_row_drafts_and_file_of_a_photo() {
    let server = Server::start(&[]);
    let shared = server.dir();
    let place = Place { dir: shared.path(), database: "sled:data/db" };
    let drafts = three_drafts(&server, &place).await;
    server.stop();
    let shared_photo = name(&drafts[0], 1);
    let path = place.dir.join("data/uploads").join(shared_photo);
    let length = path.metadata().unwrap().len();
    let hash = shared_photo.strip_suffix(".jpg").unwrap();
    let rows = format!(
        "media 2: 64 x 48, {length} bytes, first sent by user 7\n\
         draft 1: draft, of user 7, has it as photo 1\n\
         draft 2: draft, of user 8, has it as photo 0\n"
    );
    for named in [hash, shared_photo, &format!("http://127.0.0.1:8000/media/{shared_photo}")] {
        assert_eq!(place.succeeds(&["find", named]), format!("{rows}file {length} bytes, intact\n"));
    }
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        place.fails(&["find", hash]),
        format!("{rows}file-torn {length} bytes, which do not have this hash\n")
    );
    std::fs::remove_file(&path).unwrap();
    assert!(place.fails(&["find", hash]).starts_with(&format!("{rows}file-missing ")));
    assert!(place.fails(&["find", &"a".repeat(64)]).starts_with("no row and no file has the hash aaaa"));
    for bad in ["", "abc", &hash.to_uppercase()] {
        assert_eq!(place.run(&["find", bad]).status.code(), Some(2));
    }
    for arguments in [&["draft", "delete", "0"][..], &["draft", "delete"], &["user", "erase", "x"]] {
        assert_eq!(place.run(arguments).status.code(), Some(2));
    }
    assert!(place.succeeds(&["draft", "delete", "3"]).starts_with("Deleted draft 3."));
    assert!(place.fails(&["draft", "delete", "3"]).contains("there is no draft 3"));
    assert!(place.succeeds(&["find", name(&drafts[2], 0)]).starts_with("media 4: "));
}
