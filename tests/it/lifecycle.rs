//! Start, stop, restart, and the command line.

use std::io::Write;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Server, binary, eventually, file, form, photo, read_all, upload_head};

fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    binary(dir.path()).args(arguments).envs(settings.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn ready_line_is_last_and_names_the_configuration() {
    let server = Server::start(&[("MAX_DIM_PX", "1200"), ("JPEG_QUALITY", "70")]);
    assert_eq!(
        server.output().last().unwrap(),
        "✅ /ingest/upload ready | storage=local | MAX_DIM=1200 | JPEG_QUALITY=70"
    );
}

#[test]
fn bad_settings_are_all_reported_with_exit_code_2() {
    for arguments in [&[][..], &["serve"], &["check-config"]] {
        let output = run(arguments, &[("PORT", "70000"), ("JPEG_QUALITY", "high"), ("ENV", "prod")]);
        assert_eq!(output.status.code(), Some(2));
        let errors = text(&output.stderr);
        let names: Vec<&str> = errors.lines().map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(names, ["PORT", "SECRET_KEY", "JPEG_QUALITY"], "{errors}");
        assert!(errors.contains("70000") && errors.contains("0..65535"), "{errors}");
    }
    assert_eq!(run(&["check-config"], &[]).status.code(), Some(0));
    assert_eq!(run(&["no-such-command"], &[]).status.code(), Some(2));
}

#[test]
fn help_lists_every_setting_with_its_default() {
    let help = text(&run(&["--help"], &[]).stdout);
    for setting in vintedbot_ingest::config::SETTINGS {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        assert!(help.contains(&format!("{}={default}\n", setting.name)), "{}", setting.name);
    }
}

#[test]
fn settings_are_read_from_a_dotenv_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "MAX_DIM_PX=900\nJPEG_QUALITY=60\n").unwrap();
    let server = Server::start_in(Arc::new(dir), &[("JPEG_QUALITY", "61")]);
    assert!(server.output().last().unwrap().ends_with("MAX_DIM=900 | JPEG_QUALITY=61"));
}

#[test]
fn unusable_resource_is_named_with_exit_code_1() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let taken = run(&[], &[("PORT", &port)]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(text(&taken.stderr).contains(&format!("127.0.0.1:{port}")));
    let media_root = run(&[], &[("PORT", "0"), ("MEDIA_ROOT", "/proc/nowhere")]);
    assert_eq!(media_root.status.code(), Some(1));
    assert!(text(&media_root.stderr).contains("/proc/nowhere"));
    let same_data = binary(server.dir().path()).env("PORT", "0").output().unwrap();
    assert_eq!(same_data.status.code(), Some(1), "two processes must not share a catalog");
    assert!(text(&same_data.stderr).contains("data/db"));
}

#[tokio::test]
async fn acknowledged_draft_survives_kill_9() {
    let mut server = Server::start(&[]);
    let (_, draft) = server.upload(form(&[file(&photo(300, 200))])).await;
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = Server::start_in(server.dir(), &[]);
    let listing: serde_json::Value = server.get("/api/v1/listings/1").await.json().await.unwrap();
    assert_eq!(listing, draft);
    assert_eq!(server.get(draft["photos"][0]["media"]["url"].as_str().unwrap()).await.status(), 200);
    let (_, again) = server.upload(form(&[file(&photo(300, 200))])).await;
    assert_eq!((&again["id"], &again["photos"]), (&2.into(), &draft["photos"]));
}

/// Waits until the server holds a part of a photo.
async fn until_upload_is_read(server: &Server) {
    eventually("the upload must be read", || server.metric("memory_budget_sources_bytes") > 0).await;
}

#[tokio::test]
async fn sigterm_finishes_open_uploads_and_accepts_no_new_ones() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(&[]);
        let body = form(&[file(&photo(300, 200))]);
        let mut socket = server.connect();
        socket.write_all(upload_head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
        socket.write_all(&body[..body.len() / 2]).unwrap();
        until_upload_is_read(&server).await;
        server.signal(signal);
        let address = server.address;
        eventually("the listener closes", || std::net::TcpStream::connect(address).is_err()).await;
        socket.write_all(&body[body.len() / 2..]).unwrap();
        let answer = read_all(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(server.wait().success());
    }
}

#[tokio::test]
async fn stop_ends_within_its_timeout() {
    let mut server = Server::start(&[("SHUTDOWN_TIMEOUT_SECONDS", "1")]);
    let mut socket = server.connect();
    socket.write_all(upload_head("Content-Length: 1000000").as_bytes()).unwrap();
    let body = form(&[file(&photo(300, 200))]);
    socket.write_all(&body[..body.len() / 2]).unwrap();
    until_upload_is_read(&server).await;
    let started = std::time::Instant::now();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(started.elapsed() < Duration::from_secs(10));
}
