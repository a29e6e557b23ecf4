//! Backup, export and check while the server runs, and the control socket that they use.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bucket::Bucket;
use crate::common::report_skipped;
use crate::s3;
use crate::support::{Server, binary, distinct, eventually, file, files_below, form, photo_numbered};

fn run(dir: &Path, arguments: &[&str]) -> Output {
    binary(dir).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Runs a command that must succeed, and returns what it said on stderr.
#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stderr(&output).to_owned()
}

/// Runs a command that must fail, and returns the reason.
#[track_caller]
fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    stderr(&output).to_owned()
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("data/db/control.sock")
}

async fn upload(server: &Server, photos: &[Vec<u8>]) -> Value {
    let parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
    let (status, draft) = server.upload(form(&parts)).await;
    assert_eq!(status, 201, "{draft}");
    draft
}

/// What a client sees of a draft: status, ETag and body of the draft and of each photo.
async fn seen(server: &Server, id: u64) -> Vec<(u16, Option<String>, Vec<u8>)> {
    let fetch = async |path: &str| {
        let answer = server.get(path).await;
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (answer.status().as_u16(), tag, answer.bytes().await.unwrap().to_vec())
    };
    let draft = fetch(&format!("/api/v1/listings/{id}")).await;
    let body: Value = serde_json::from_slice(&draft.2).unwrap();
    let mut all = vec![draft];
    for photo in body["photos"].as_array().into_iter().flatten() {
        all.push(fetch(photo["media"]["url"].as_str().unwrap()).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_during_uploads_is_restored_to_an_equal_server() {
    let server = Arc::new(Server::start(&[]));
    let dir = server.dir();
    for number in 0..20 {
        upload(&server, &[distinct(number), distinct(number / 2)]).await;
    }
    let mut before = Vec::new();
    for id in 1..=20 {
        before.push(seen(&server, id).await);
    }
    let (is_over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let uploads = tokio::spawn({
        let (server, is_over, made) = (Arc::clone(&server), Arc::clone(&is_over), Arc::clone(&made));
        async move {
            let mut last = 20;
            while !is_over.load(Ordering::Relaxed) {
                let draft = upload(&server, &[distinct(100 + last), distinct(last)]).await;
                last = usize::try_from(draft["id"].as_u64().unwrap()).unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            }
            last
        }
    });
    eventually("uploads are recorded", || made.load(Ordering::Relaxed) > 2).await;
    let place = dir.path().to_owned();
    let said = tokio::task::spawn_blocking(move || succeeds(&place, &["backup", "saved"])).await.unwrap();
    assert!(said.contains("0 problems"), "{said}");
    is_over.store(true, Ordering::Relaxed);
    let last = uploads.await.unwrap();

    let saved = dir.path().join("saved");
    assert_eq!(saved.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let elsewhere = Arc::new(tempfile::tempdir().unwrap());
    succeeds(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
    succeeds(elsewhere.path(), &["fsck"]);
    let restored = Server::start_in(Arc::clone(&elsewhere), &[]);
    for (id, before) in (1..).zip(&before) {
        assert_eq!(seen(&restored, id).await, *before, "draft {id}");
    }
    // Drafts that were made during the backup are whole, or not there.
    for id in 21..=u64::try_from(last).unwrap() {
        let now = seen(&restored, id).await;
        assert!(now[0].0 == 404 || now == seen(&server, id).await, "draft {id}: {now:?}");
    }
    let next = upload(&restored, &[photo_numbered(90, 70, 3)]).await["id"].as_u64().unwrap();
    assert!(next > 22, "ids that were given before the backup are not given again");
    let refused = fails(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
    assert!(refused.contains("in use"), "{refused}");
    restored.stop();
    let refused = fails(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
    assert!(refused.contains("data/db is not empty"), "{refused}");
    let photos = elsewhere.path().join("data/uploads");
    std::fs::rename(elsewhere.path().join("data/db"), elsewhere.path().join("old")).unwrap();
    let refused = fails(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
    assert!(refused.contains("has photos that the backup does not have"), "{refused}");
    std::fs::remove_dir_all(photos).unwrap();
    succeeds(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
}

#[tokio::test]
async fn second_backup_copies_new_photos_only() {
    let server = Server::start(&[]);
    let dir = server.dir();
    let dir = dir.path();
    upload(&server, &[distinct(1), distinct(2)]).await;
    let said = succeeds(dir, &["backup", "saved"]);
    assert!(said.contains("Of 2 photos 2 were new"), "{said}");
    let first = std::fs::read(dir.join("saved/catalog.jsonl")).unwrap();
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        dir.join("saved/photos").join(name).metadata().unwrap().ino()
    };
    let names = || {
        let mut names = files_below(&dir.join("saved/photos"));
        names.retain(|name| name.ends_with(".jpg"));
        names
    };
    let old: Vec<(String, u64)> = names().into_iter().map(|name| (name.clone(), inode(&name))).collect();
    let draft = upload(&server, &[distinct(3), distinct(1)]).await;
    let said = succeeds(dir, &["backup", "saved"]);
    assert!(said.contains("Of 3 photos 1 were new"), "{said}");
    assert_eq!((old.len(), names().len()), (2, 3));
    assert!(old.iter().all(|(name, number)| inode(name) == *number), "old photos are not written again");
    assert_eq!(std::fs::read(dir.join("saved/catalog.previous.jsonl")).unwrap(), first);
    assert_eq!(files_below(&dir.join("saved")).len(), 5, "no partial file is left");

    // A photo that was lost is reported, and the rest is saved.
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    let name = url.strip_prefix("/media/").unwrap();
    std::fs::remove_file(server.media_root().join(name)).unwrap();
    std::fs::remove_file(dir.join("saved/photos").join(name)).unwrap();
    let output = run(dir, &["backup", "saved"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("file-missing media 3: ") && said.contains(&name[..64]), "{said}");

    // What no export of the backup names goes on request only.
    std::fs::write(dir.join("saved/photos").join(format!("{}.jpg", "0".repeat(64))), "").unwrap();
    assert!(!run(dir, &["backup", "saved"]).status.success());
    assert_eq!(names().len(), 3);
    let output = run(dir, &["backup", "saved", "--prune"]);
    assert!(stderr(&output).contains("Removed 1 photos from the backup."), "{output:?}");
    assert_eq!(names().len(), 2);
}

#[tokio::test]
async fn killed_backup_leaves_the_former_one() {
    const PHOTOS: usize = 150;
    let server = Server::start(&[]);
    let dir = server.dir();
    let dir = dir.path();
    let draft = upload(&server, &[distinct(1)]).await;
    succeeds(dir, &["backup", "saved"]);
    let former = std::fs::read(dir.join("saved/catalog.jsonl")).unwrap();
    let photos: Vec<Vec<u8>> = (2..2 + PHOTOS).map(distinct).collect();
    for photos in photos.chunks(10) {
        upload(&server, photos).await;
    }
    let count = || std::fs::read_dir(dir.join("saved/photos")).unwrap().count();
    let before = count();
    let mut backup = binary(dir).args(["backup", "saved"]).spawn().unwrap();
    while count() == before {
        assert_eq!(backup.try_wait().unwrap(), None, "it must be killed before it ends");
    }
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert!(count() < before + PHOTOS, "it must be killed before it ends");
    assert_eq!(std::fs::read(dir.join("saved/catalog.jsonl")).unwrap(), former);
    let elsewhere = tempfile::tempdir().unwrap();
    succeeds(elsewhere.path(), &["restore", dir.join("saved").to_str().unwrap()]);
    let exported = run(elsewhere.path(), &["export"]);
    assert_eq!(exported.stdout, former);
    let name =
        draft["photos"][0]["media"]["url"].as_str().unwrap().strip_prefix("/media/").unwrap().to_owned();
    assert!(elsewhere.path().join("data/uploads").join(name).exists());
    // The next backup goes on.
    succeeds(dir, &["backup", "saved"]);
    let left = std::fs::read_dir(dir.join("saved")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().ends_with(".part")));
    assert_eq!(run(dir, &["export"]).stdout, std::fs::read(dir.join("saved/catalog.jsonl")).unwrap());

    // So does a restore, and no server starts before it is complete.
    let elsewhere = tempfile::tempdir().unwrap();
    let saved = dir.join("saved");
    let restored = || {
        let entries = std::fs::read_dir(elsewhere.path().join("data/uploads")).into_iter().flatten();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "jpg"))
            .count()
    };
    let mut restore = binary(elsewhere.path()).arg("restore").arg(&saved).spawn().unwrap();
    while restored() == 0 {
        assert_eq!(restore.try_wait().unwrap(), None, "it must be killed before it ends");
    }
    restore.kill().unwrap();
    restore.wait().unwrap();
    assert!(restored() < PHOTOS, "it must be killed before it ends");
    let start = binary(elsewhere.path()).env("PORT", "0").output().unwrap();
    assert!(stderr(&start).contains("is incomplete"), "{start:?}");
    succeeds(elsewhere.path(), &["restore", saved.to_str().unwrap()]);
    assert_eq!(
        run(elsewhere.path(), &["export"]).stdout,
        std::fs::read(saved.join("catalog.jsonl")).unwrap()
    );
    assert_eq!(restored(), PHOTOS + 1);
}

#[tokio::test]
async fn damaged_photo_of_a_backup_is_not_restored() {
    let server = Server::start(&[]);
    let dir = server.stop();
    let dir = dir.path();
    let server = Server::start_in(Arc::new(tempfile::tempdir_in(dir).unwrap()), &[]);
    let draft = upload(&server, &[distinct(1), distinct(2)]).await;
    let source = server.dir();
    succeeds(source.path(), &["backup", dir.join("saved").to_str().unwrap()]);
    let name =
        draft["photos"][1]["media"]["url"].as_str().unwrap().strip_prefix("/media/").unwrap().to_owned();
    let photo = dir.join("saved/photos").join(&name);
    let mut bytes = std::fs::read(&photo).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&photo, bytes).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = run(elsewhere.path(), &["restore", dir.join("saved").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&format!("file-torn {}", &name[..64])));
    assert!(!elsewhere.path().join("data/uploads").join(&name).exists());
    assert_eq!(run(elsewhere.path(), &["export"]).stdout, run(source.path(), &["export"]).stdout);
    // A cut export is refused before anything is made.
    let export = std::fs::read(dir.join("saved/catalog.jsonl")).unwrap();
    std::fs::write(dir.join("saved/catalog.jsonl"), &export[..export.len() - 1]).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(fails(elsewhere.path(), &["restore", dir.join("saved").to_str().unwrap()]).contains("is cut"));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn fsck_beside_the_server_finds_what_is_wrong() {
    let server = Server::start(&[]);
    let dir = server.dir();
    let draft = upload(&server, &[distinct(1), distinct(2)]).await;
    for options in [&["fsck"][..], &["fsck", "--quick"]] {
        let said = succeeds(dir.path(), options);
        assert!(said.contains("Checked 2 media rows, 1 drafts, 2 sources"), "{said}");
    }
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
    let path = server.media_root().join(url.strip_prefix("/media/").unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(run(dir.path(), &["fsck", "--quick"]).status.code(), Some(0));
    let output = run(dir.path(), &["fsck"]);
    let found = String::from_utf8(output.stdout).unwrap();
    let kinds: Vec<_> = found.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((output.status.code(), kinds), (Some(1), vec!["file-torn", "draft-photo-lost"]), "{found}");
    assert!(path.exists(), "nothing is repaired");
    assert!(fails(dir.path(), &["fsck", "--repair"]).contains("in use by another process"));
}

#[tokio::test]
async fn control_socket_is_for_the_user_of_the_server() {
    let server = Server::start(&[]);
    let dir = server.dir();
    let path = socket(dir.path());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    if !nix::unistd::geteuid().is_root() {
        return report_skipped("only root can run a command as another user");
    }
    let open = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for place in ["", "data", "data/db"] {
        open(&dir.path().join(place), 0o755);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let program = elsewhere.path().join("program");
    std::fs::copy(binary(dir.path()).get_program(), &program).unwrap();
    open(elsewhere.path(), 0o755);
    open(&program, 0o755);
    let as_nobody = || {
        let mut command = std::process::Command::new(&program);
        command.current_dir(dir.path()).env_clear().uid(65_534).gid(65_534);
        command.args(["fsck", "--quick"]).output().unwrap()
    };
    let output = as_nobody();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(stderr(&output).contains("is for its user and root only"), "{output:?}");
    // Whatever the permissions of the file are.
    open(&path, 0o666);
    let output = as_nobody();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(stderr(&output).contains("ended the connection without an answer"), "{output:?}");
    let is_refused = || server.output().iter().any(|line| line.contains("it is of user 65534"));
    eventually("the log says who was refused", is_refused).await;
}

#[tokio::test]
async fn socket_of_a_killed_server_is_replaced_by_the_next_one() {
    let mut server = Server::start(&[]);
    let dir = server.dir();
    upload(&server, &[distinct(1)]).await;
    let beside = run(dir.path(), &["export"]).stdout;
    server.signal(Signal::SIGKILL);
    server.wait();
    assert!(socket(dir.path()).exists());
    // Nobody listens, so that the command opens the catalog.
    assert_eq!(run(dir.path(), &["export"]).stdout, beside);
    let server = Server::start_in(Arc::clone(&dir), &[]);
    assert_eq!(run(dir.path(), &["export"]).stdout, beside);
    server.stop();
    assert!(!socket(dir.path()).exists());
    assert!(!dir.path().join("data/db/control.new").exists());
}

#[tokio::test]
async fn too_long_path_of_the_socket_has_advice() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let database = format!("sled:data/{}", "d".repeat(120));
    let server = Server::start_in(Arc::clone(&dir), &[("DATABASE_URL", &database)]);
    let said = server.output().join("\n");
    assert!(said.contains("which has no control socket"), "{said}");
    let output = binary(dir.path()).arg("export").env("DATABASE_URL", &database).output().unwrap();
    for said in [&said, stderr(&output)] {
        assert!(
            said.contains("and a socket can have 107: name a shorter directory in DATABASE_URL"),
            "{said}"
        );
    }
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn only_known_requests_of_bounded_length_are_answered() {
    use std::io::{BufRead, BufReader, Write};
    let server = Server::start(&[]);
    let dir = server.dir();
    upload(&server, &[distinct(1)]).await;
    let connect = || std::os::unix::net::UnixStream::connect(socket(dir.path())).unwrap();
    let ask = |request: &[u8]| {
        let mut stream = connect();
        // A connection beyond the most is answered and closed before it has asked.
        let _is_refused = stream.write_all(request);
        BufReader::new(stream).lines().map_while(Result::ok).collect::<Vec<_>>()
    };
    for request in [&b"\"erase\"\n"[..], b"\n", &[b'x'; 5000]] {
        let answer = ask(request);
        assert!(answer.len() <= 1 && answer.iter().all(|line| line.contains("failed")), "{answer:?}");
    }
    assert_eq!(ask(b"\"export\"\n").last().unwrap(), "{\"done\":null}");
    // Those that are open and ask nothing do not keep others out for longer than it takes to give them up.
    let silent: Vec<_> = (0..4).map(|_| connect()).collect();
    let answer = ask(b"\"export\"\n");
    assert!(answer.last().is_none_or(|line| line.contains("too many commands")), "{answer:?}");
    eventually("silent connections are closed", || {
        ask(b"\"export\"\n").last().is_some_and(|line| line == "{\"done\":null}")
    })
    .await;
    drop(silent);
    assert_eq!(server.get("/api/v1/health").await.status(), 200);
}

/// Runs the doctor, and returns its exit code and the first two words of each line.
fn doctor(dir: &Path, settings: &[(&str, &str)]) -> (Option<i32>, Vec<String>, String) {
    let output = binary(dir).arg("doctor").envs(settings.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = |line: &str| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    (output.status.code(), text.lines().map(words).collect(), text)
}

#[tokio::test]
async fn doctor_examines_a_stopped_and_a_running_server_alike() {
    let key = ("SECRET_KEY", "a key of this test that has more than 32 bytes");
    let settings = [("ENV", "prod"), ("AUTH_REQUIRED", "true"), ("MAX_CONNECTIONS", "100"), key];
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (code, words, text) = doctor(dir.path(), &settings);
    assert_eq!(
        (code, words),
        (Some(0), vec!["ok settings".to_owned(), "advice catalog".to_owned(), "advice photos".to_owned()])
    );
    assert!(text.contains("data/db does not exist: the first start creates it"), "{text}");
    let words = |text: &str| text.split(", ").map(|part| format!("ok {part}")).collect::<Vec<_>>();
    let of_places = words("settings, catalog, catalog, clock, photos, photos, clock");
    let (of_server, of_stores) = (words("server"), words("catalog, photos, descriptors"));
    let server = Server::start_in(Arc::clone(&dir), &settings);
    let (code, words, text) = doctor(dir.path(), &settings);
    assert_eq!((code, words), (Some(0), [&of_places[..], &of_server, &of_stores].concat()), "{text}");
    server.stop();
    let (code, words, text) = doctor(dir.path(), &settings);
    assert_eq!((code, words), (Some(0), [&of_places[..], &of_stores].concat()), "{text}");
}

#[tokio::test]
async fn doctor_says_what_to_do() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(Arc::clone(&dir), &[("MIN_FREE_DISK_MB", "0")]);
    let much = [("MIN_FREE_DISK_MB", "1048576"), ("MAX_CONNECTIONS", "1000000"), ("READ_ONLY", "true")];
    let (code, words, text) = doctor(dir.path(), &much);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        words.iter().filter(|words| **words == "problem catalog" || **words == "problem photos").count(),
        2,
        "{text}"
    );
    for part in [
        "SECRET_KEY is the default",
        "READ_ONLY=true refuses uploads",
        "make room, or lower MIN_FREE_DISK_MB",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let photo = std::fs::File::create(server.media_root().join("later")).unwrap();
    photo.set_modified(future).unwrap();
    let (code, _, text) = doctor(dir.path(), &[("MIN_FREE_DISK_MB", "0")]);
    assert!(code == Some(1) && text.contains("s in the future: the clock was wrong"), "{text}");
    server.stop();
    std::fs::remove_file(dir.path().join("data/uploads/later")).unwrap();
    let (code, words, text) = doctor(dir.path(), &much);
    assert!(code == Some(1) && words.contains(&"advice descriptors".to_owned()), "{text}");
    assert!(text.contains("raise LimitNOFILE in the unit"), "{text}");
}

#[tokio::test]
async fn doctor_and_backup_use_the_bucket() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let settings = s3::settings(&endpoint, &[]);
    let server = Server::start(&settings);
    let dir = server.dir();
    upload(&server, &[distinct(1), distinct(2)]).await;
    let (code, words, text) = doctor(dir.path(), &settings);
    assert_eq!((code, words.last().unwrap().as_str()), (Some(0), "ok bucket"), "{text}");
    let backup =
        binary(dir.path()).args(["backup", "saved"]).envs(settings.iter().copied()).output().unwrap();
    assert!(stderr(&backup).contains("Of 2 photos 2 were new") && backup.status.success(), "{backup:?}");
    // Out of the bucket into a directory.
    let elsewhere = tempfile::tempdir().unwrap();
    succeeds(elsewhere.path(), &["restore", dir.path().join("saved").to_str().unwrap()]);
    succeeds(elsewhere.path(), &["fsck"]);
}
