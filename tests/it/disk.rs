//! A full disk, with a real small file system for the server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::skip;
use crate::support::{BOUNDARY, PATIENCE, Server, UPLOAD, file, form, photo_numbered, sha256};

/// Starts a server with its data in a tmpfs of this many MiB, in its own mount namespace. Returns `None` where that
/// is not permitted.
fn server_on_small_disk(mib: u32, settings: &[(&str, &str)]) -> Option<Server> {
    server_on_tmpfs(&format!("size={mib}m"), settings)
}

/// Starts a server on a tmpfs that is mounted with `options`.
fn server_on_tmpfs(options: &str, settings: &[(&str, &str)]) -> Option<Server> {
    let allowed = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        skip("a full disk: file systems cannot be mounted here (unshare -rm mount -t tmpfs none /mnt)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("on-small-disk");
    let script = format!(
        "#!/bin/sh\nset -e\nmkdir -p data\nmount -t tmpfs -o {options} none data\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_vintedbot-ingest")
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.arg("-rm").arg(&wrapper).current_dir(dir.path());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Some(Server::start_command(command, Arc::new(dir), settings))
}

/// Returns the path of the tmpfs as seen from outside the server's namespace.
fn data(server: &Server) -> PathBuf {
    let root = format!("/proc/{}/root", server.id());
    Path::new(&root).join(server.dir().path().strip_prefix("/").unwrap()).join("data")
}

/// Fills the file `path` until the disk has `left` free bytes.
fn fill(path: &Path, left: u64) {
    let volume = nix::sys::statvfs::statvfs(path.parent().unwrap()).unwrap();
    let free = volume.blocks_available() * volume.fragment_size();
    let filler = vec![7; usize::try_from(free.saturating_sub(left)).unwrap()];
    std::fs::write(path, filler).unwrap();
}

/// Uploads a few photos in parallel. Returns the drafts of those that were stored, and the statuses of the others.
async fn burst(server: &Server, from: usize) -> (Vec<Value>, Vec<u16>) {
    let client = reqwest::Client::new();
    let sending = (from..from + 8).map(|number| {
        let request = client
            .post(server.url(UPLOAD))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(form(&[file(&photo_numbered(640, 480, number))]));
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    });
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for (status, body) in futures_util::future::join_all(sending).await {
        match status {
            201 => stored.push(body),
            status => {
                assert_eq!(body["status"], status, "{body}");
                assert!(
                    !body["detail"].as_str().unwrap().contains('/'),
                    "the detail must not contain paths: {body}"
                );
                refused.push(status);
            }
        }
    }
    (stored, refused)
}

async fn assert_intact(server: &Server, drafts: &[Value]) {
    for draft in drafts {
        let listing = server.get(&format!("/api/v1/listings/{}", draft["id"])).await;
        assert_eq!(&listing.json::<Value>().await.unwrap(), draft);
        for photo in draft["photos"].as_array().unwrap() {
            let url = photo["media"]["url"].as_str().unwrap();
            let bytes = server.get(url).await.bytes().await.unwrap();
            assert_eq!(url, format!("/media/{}.jpg", sha256(bytes)));
        }
    }
}

/// The reserve of free space refuses uploads before the disk does. This test runs with and without it.
#[tokio::test]
async fn full_disk_is_507_and_recovers_without_a_restart() {
    for (floor, left) in [("auto", 0), ("0", 0), ("0", 70_000), ("0", 200_000)] {
        let Some(server) = server_on_small_disk(24, &[("MIN_FREE_DISK_MB", floor)]) else { return };
        let (mut drafts, refused) = burst(&server, 0).await;
        assert_eq!(refused, [0; 0]);
        let filler = data(&server).join("filler");
        for round in 1..4 {
            fill(&filler, left);
            let (stored, refused) = burst(&server, round * 100).await;
            assert!(refused.iter().all(|status| [503, 507].contains(status)), "{refused:?}");
            // With some space left, timing decides which uploads get it.
            assert!(left > 0 || refused.contains(&507), "{refused:?}, {} stored", stored.len());
            assert_eq!(server.get("/api/v1/health").await.status(), 200);
            drafts.extend(stored);
            if floor == "auto" {
                let ready: Value = server.get("/api/v1/ready").await.json().await.unwrap();
                assert_eq!((&ready["status"], &ready["down"][0]), (&503.into(), &"disk".into()));
            }
            std::fs::remove_file(&filler).unwrap();
            until_ready(&server).await;
            let (stored, refused) = burst(&server, round * 100 + 50).await;
            assert_eq!(refused, [0; 0], "{floor}, {left} left, freed again");
            drafts.extend(stored);
            assert_intact(&server, &drafts).await;
        }
        assert_eq!(server.get("/api/v1/ready").await.status(), 200);
    }
}

/// Waits until the server has seen that there is space.
async fn until_ready(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while server.get("/api/v1/ready").await.status() != 200 {
        assert!(Instant::now() < deadline, "the server must be ready again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A kernel remounts a file system read-only after a disk error.
#[tokio::test]
async fn read_only_media_root_is_503_and_recovers_without_a_restart() {
    let Some(server) = server_on_small_disk(24, &[]) else { return };
    let (drafts, refused) = burst(&server, 0).await;
    assert_eq!(refused, [0; 0]);
    let uploads = server.dir().path().join("data/uploads");
    make_read_only(&server, &uploads);
    assert_eq!(down(&server).await, json!(["media"]));
    let (stored, refused) = burst(&server, 100).await;
    assert_eq!((stored.len(), refused), (0, vec![503; 8]));
    assert_intact(&server, &drafts).await;
    in_namespace(&server, &["umount", uploads.to_str().unwrap()]);
    assert_eq!(down(&server).await, json!([]));
    assert_eq!(burst(&server, 200).await.1, [0; 0]);
    assert_intact(&server, &drafts).await;
}

#[tokio::test]
async fn read_only_catalog_is_503_and_recovers_without_a_restart() {
    let Some(server) = server_on_small_disk(24, &[]) else { return };
    let (drafts, _) = burst(&server, 0).await;
    let db = server.dir().path().join("data/db");
    make_read_only(&server, &db);
    assert_eq!(down(&server).await, json!(["catalog"]));
    refused_eventually(&server, 503).await;
    assert_intact(&server, &drafts).await;
    in_namespace(&server, &["umount", db.to_str().unwrap()]);
    assert_eq!(down(&server).await, json!([]));
    assert_eq!(burst(&server, 200).await.1, [0; 0]);
    assert_intact(&server, &drafts).await;
}

#[tokio::test]
async fn volume_without_inodes_is_507_and_recovers_without_a_restart() {
    for floor in ["auto", "0"] {
        let options = "size=64m,nr_inodes=64";
        let Some(server) = server_on_tmpfs(options, &[("MIN_FREE_DISK_MB", floor)]) else { return };
        let (drafts, refused) = burst(&server, 0).await;
        assert_eq!(refused, [0; 0]);
        let fillers: Vec<PathBuf> = (0..64).map(|n| data(&server).join(format!("filler-{n}"))).collect();
        let made = fillers.iter().filter(|filler| std::fs::write(filler, "").is_ok()).count();
        assert!(made > 8 && made < 64, "{made}");
        assert_eq!(down(&server).await, json!(["inodes"]));
        refused_eventually(&server, 507).await;
        assert_intact(&server, &drafts).await;
        fillers.iter().take(made).for_each(|filler| std::fs::remove_file(filler).unwrap());
        assert_eq!(down(&server).await, json!([]));
        assert_eq!(burst(&server, 100).await.1, [0; 0]);
        assert_intact(&server, &drafts).await;
    }
}

#[tokio::test]
async fn removed_media_directories_are_created_again() {
    let server = Server::start(&[]);
    let upload = async |number| server.upload(form(&[file(&photo_numbered(640, 480, number))])).await;
    let (_, first) = upload(0).await;
    let url = first["photos"][0]["media"]["url"].as_str().unwrap();
    for (removed, number) in [(server.media_root().join(".staging"), 1), (server.media_root(), 2)] {
        std::fs::remove_dir_all(&removed).unwrap();
        let (status, draft) = upload(number).await;
        assert_eq!(status, 201, "{draft}");
        assert_intact(&server, &[draft]).await;
        assert_eq!(down(&server).await, json!([]));
    }
    assert_eq!(server.get(url).await.status(), 404, "the photo was removed with the media root");
    assert_eq!(upload(0).await.0, 201);
    assert_eq!(server.get(url).await.status(), 200);
    // If it cannot be created, the response says so until it can.
    std::fs::remove_dir_all(server.media_root()).unwrap();
    std::fs::write(server.media_root(), "in the way").unwrap();
    assert_eq!(down(&server).await, json!(["media"]));
    assert_eq!(upload(3).await.0, 503);
    std::fs::remove_file(server.media_root()).unwrap();
    assert_eq!(upload(3).await.0, 201);
}

/// sled would continue writing to its open files and acknowledge drafts that are lost after a restart.
#[tokio::test]
async fn removed_catalog_is_503_and_acknowledges_no_draft() {
    let server = Server::start(&[]);
    let dir = server.dir().path().join("data");
    for (file, aside) in [("db/db", "db/aside"), ("db", "aside")] {
        std::fs::rename(dir.join(file), dir.join(aside)).unwrap();
        assert_eq!(down(&server).await, json!(["catalog"]), "{file}");
        refused_eventually(&server, 503).await;
        std::fs::rename(dir.join(aside), dir.join(file)).unwrap();
        assert_eq!(down(&server).await, json!([]), "{file}");
        assert_eq!(burst(&server, 0).await.1, [0; 0]);
    }
}

/// Returns the parts that `/api/v1/ready` lists as down.
async fn down(server: &Server) -> Value {
    match server.ready().await {
        (200, _) => json!([]),
        (status, problem) => {
            assert_eq!(status, 503, "{problem}");
            problem["down"].clone()
        }
    }
}

/// Uploads until one is refused with `status`. The server caches a good check for a tenth of a second.
async fn refused_eventually(server: &Server, status: u16) {
    let deadline = Instant::now() + PATIENCE;
    for number in 1000.. {
        let (got, problem) = server.upload(form(&[file(&photo_numbered(64, 48, number))])).await;
        if got == status {
            assert!(
                !problem["detail"].as_str().unwrap().contains('/'),
                "the detail must not contain paths: {problem}"
            );
            return;
        }
        assert!(got == 201 && Instant::now() < deadline, "{got} {problem}");
    }
}

/// Runs a command in the server's mount namespace.
fn in_namespace(server: &Server, command: &[&str]) {
    let mut entering = Command::new("nsenter");
    entering.args(["-t", &server.id().to_string(), "-U", "-m", "--preserve-credentials"]);
    assert!(entering.args(command).status().unwrap().success(), "{command:?}");
}

fn make_read_only(server: &Server, dir: &Path) {
    let dir = dir.to_str().unwrap();
    in_namespace(server, &["mount", "--bind", dir, dir]);
    in_namespace(server, &["mount", "-o", "remount,bind,ro", dir]);
}
