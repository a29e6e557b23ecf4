//! SIGHUP: what a running server takes over from `.env`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use reqwest::Client;

use crate::support::{Server, binary, eventually};

const OLD: &str = "the old key of this test, of 32 bytes or more";
const NEW: &str = "the new key of this test, of 32 bytes or more";

fn token(dir: &Path, key: &str) -> String {
    let output = binary(dir).args(["token", "issue", "--user", "7"]).env("SECRET_KEY", key).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes `.env`, sends SIGHUP, and waits until the log has one more line with `text`.
async fn reload(server: &Server, dotenv: &str, text: &str) {
    std::fs::write(server.dir().path().join(".env"), dotenv).unwrap();
    let lines = || server.output().iter().filter(|line| line.contains(text)).count();
    let before = lines();
    server.signal(Signal::SIGHUP);
    eventually(text, || lines() > before).await;
}

async fn status(server: &Server, token: &str) -> u16 {
    let request = Client::new().get(server.url("/api/v1/listings")).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_key_is_replaced_while_requests_run() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (token(dir.path(), OLD), token(dir.path(), NEW));
    std::fs::write(dir.path().join(".env"), format!("SECRET_KEY={OLD}\n")).unwrap();
    let settings = [("ENV", "prod"), ("AUTH_REQUIRED", "true")];
    let server = Arc::new(Server::start_in(Arc::new(dir), &settings));
    assert_eq!((status(&server, &old).await, status(&server, &new).await), (200, 401));
    // A user of the old key sees nothing of the change.
    let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let user = tokio::spawn({
        let (server, old) = (Arc::clone(&server), old.clone());
        let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(status(&server, &old).await, 200);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    eventually("the user sends requests", || answers.load(Ordering::Relaxed) > 3).await;
    let both = format!("SECRET_KEY={NEW}\nSECRET_KEY_PREVIOUS={OLD}\n");
    reload(&server, &both, "now in effect: SECRET_KEY, SECRET_KEY_PREVIOUS").await;
    let before = answers.load(Ordering::Relaxed);
    eventually("the user goes on", || answers.load(Ordering::Relaxed) > before + 3).await;
    is_over.store(true, Ordering::Relaxed);
    user.await.unwrap();
    assert_eq!((status(&server, &old).await, status(&server, &new).await), (200, 200));
    reload(&server, &format!("SECRET_KEY={NEW}\n"), "now in effect: SECRET_KEY_PREVIOUS").await;
    assert_eq!((status(&server, &old).await, status(&server, &new).await), (401, 200));
    // None of the settings of a bad file has an effect.
    reload(&server, &format!("SECRET_KEY={OLD}\nJPEG_QUALITY=none\n"), "those that were in effect stay")
        .await;
    reload(&server, "SECRET_KEY=quick-9\n", "those that were in effect stay").await;
    assert_eq!((status(&server, &old).await, status(&server, &new).await), (401, 200));
    let log = server.output().join("\n");
    assert!(log.contains("JPEG_QUALITY=") && !log.contains(OLD) && !log.contains("quick-9"), "{log}");
}

#[tokio::test]
async fn log_level_changes_and_other_settings_wait_for_a_restart() {
    let server = Server::start(&[("JPEG_QUALITY", "70")]);
    let has = |text: &str| server.output().iter().any(|line| line.contains(text));
    reload(&server, "LOG_LEVEL=vintedbot_ingest=trace\n", "now in effect: LOG_LEVEL").await;
    // A line of the level debug.
    drop(server.raw(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"));
    eventually("debug lines", || has("DEBUG")).await;
    reload(&server, "LOG_LEVEL=info\nMAX_DIM_PX=900\nJPEG_QUALITY=60\n", "now in effect: LOG_LEVEL").await;
    // The environment wins over the file, so JPEG_QUALITY is the same.
    assert!(has("need a restart: MAX_DIM_PX"), "{:?}", server.output());
    assert!(!has("JPEG_QUALITY,") && !has(", JPEG_QUALITY"), "{:?}", server.output());
    reload(&server, "LOG_LEVEL=info\n", "no change took effect").await;
}
