//! What unfinished uploads leave: lost and stray bytes, which fsck finds, and pieces in a bucket, of which there are not too many.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::{Client, Response};

use crate::bucket::{BUCKET, Bucket};
use crate::s3;
use crate::support::{Server, binary, photo_numbered};

const UPLOADS: &str = "/api/v1/uploads";

/// Creates an upload with these bytes, of which more are to follow. Returns its URL.
async fn create(server: &Server, client: &Client, bytes: &[u8]) -> String {
    let request = client.post(server.url(UPLOADS)).header("upload-complete", "?0").body(bytes.to_vec());
    let created = request.send().await.unwrap();
    assert_eq!(created.status(), 201);
    created.headers()["location"].to_str().unwrap().to_owned()
}

async fn continue_at(
    server: &Server,
    client: &Client,
    location: &str,
    offset: usize,
    is_last: bool,
    bytes: &[u8],
) -> Response {
    let request = client
        .patch(server.url(location))
        .header("content-type", "application/partial-upload")
        .header("upload-offset", offset)
        .header("upload-complete", if is_last { "?1" } else { "?0" });
    request.body(bytes.to_vec()).send().await.unwrap()
}

async fn status(server: &Server, client: &Client, location: &str) -> u16 {
    client.head(server.url(location)).send().await.unwrap().status().as_u16()
}

/// Returns the exit code of fsck and the sorted kinds of its findings with the ids of their uploads.
fn fsck(dir: &Path, settings: &[(&str, &str)], options: &[&str]) -> (i32, Vec<String>) {
    let output = binary(dir).envs(settings.iter().copied()).arg("fsck").args(options).output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let finding = |line: &str| {
        let line = line.replace(" upload ", " ");
        let outcome = [" (repaired)", " (harmless)"].iter().find(|outcome| line.ends_with(**outcome));
        format!("{}{}", line.split(':').next().unwrap(), outcome.unwrap_or(&""))
    };
    let mut found: Vec<String> = found.lines().map(finding).collect();
    found.sort();
    (output.status.code().unwrap(), found)
}

/// Loses the bytes of an upload and a part of those of another one, and adds bytes that belong to none. `file` returns the file with
/// the bytes of an upload.
async fn lose_bytes(settings: &[(&str, &str)], file: impl Fn(&Path, &str) -> PathBuf) {
    let server = Server::start(settings);
    let client = Client::new();
    let photo = photo_numbered(400, 300, 1);
    let mut uploads = Vec::new();
    for _ in 0..3 {
        uploads.push(create(&server, &client, &photo[..2000]).await);
    }
    let ids: Vec<String> =
        uploads.iter().map(|location| location.rsplit('/').next().unwrap().to_owned()).collect();
    let dir = server.stop();
    assert_eq!(fsck(dir.path(), settings, &[]), (0, Vec::new()));

    let stray = "0123456789abcdef0123456789abcdef";
    let path = file(dir.path(), stray);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(file(dir.path(), &ids[2]), path).unwrap();
    fs::remove_file(file(dir.path(), &ids[0])).unwrap();
    fs::OpenOptions::new().write(true).open(file(dir.path(), &ids[1])).unwrap().set_len(1999).unwrap();
    let found = |outcome: &str| {
        let lost = ids[..2].iter().map(|id| format!("upload-bytes-lost {id}{outcome}"));
        let mut found: Vec<String> = lost.chain([format!("upload-bytes-stray {stray} (harmless)")]).collect();
        found.sort();
        found
    };
    assert_eq!(fsck(dir.path(), settings, &[]), (1, found("")));
    assert_eq!(fsck(dir.path(), settings, &["--quick"]), (1, found("")), "fsck changed something");
    assert_eq!(fsck(dir.path(), settings, &["--repair"]), (0, found(" (repaired)")));
    assert_eq!(fsck(dir.path(), settings, &[]), (0, vec![format!("upload-bytes-stray {stray} (harmless)")]));

    let server = Server::start_in(dir, settings);
    for location in &uploads[..2] {
        assert_eq!(status(&server, &client, location).await, 404, "its client begins again");
    }
    let last = continue_at(&server, &client, &uploads[2], 2000, true, &photo[2000..]).await;
    assert_eq!(last.status(), 201);
}

#[tokio::test]
async fn lost_bytes_of_uploads_on_a_disk_are_found_by_fsck() {
    let file = |dir: &Path, id: &str| dir.join("data/uploads/.uploads").join(&id[..2]).join(id);
    lose_bytes(&[], file).await;
}

#[tokio::test]
async fn lost_bytes_of_uploads_in_a_bucket_are_found_by_fsck() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let uploads = bucket.dir().join(BUCKET).join("uploads");
    let file = |_: &Path, id: &str| {
        let dir = uploads.join(id);
        let object = fs::read_dir(&dir).ok().and_then(|mut objects| Some(objects.next()?.unwrap().path()));
        object.unwrap_or_else(|| dir.join("00000000000000000000-1"))
    };
    lose_bytes(&s3::settings(&endpoint, &[]), file).await;
}

#[tokio::test]
async fn upload_in_a_bucket_that_is_continued_too_often_begins_again() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let server = Server::start(&s3::settings(&endpoint, &[]));
    let client = Client::new();
    let photo = photo_numbered(400, 300, 1);
    let location = create(&server, &client, &photo[..600]).await;
    let mut offset = 600;
    let refused = loop {
        let appended = continue_at(&server, &client, &location, offset, false, &photo[offset..=offset]).await;
        if appended.status() != 204 {
            break appended;
        }
        offset += 1;
    };
    assert_eq!((refused.status().as_u16(), offset), (404, 600 + 255));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["detail"], "The upload cannot be continued. Begin a new one.");
    assert_eq!(status(&server, &client, &location).await, 404);
    let id = location.rsplit('/').next().unwrap();
    assert_eq!(bucket.objects(&format!("uploads/{id}")), Vec::<PathBuf>::new());
}
