//! `vintedbot-ingest healthcheck`, which asks the running server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::{Server, binary};

/// Runs the command in another directory than the server's, and returns its exit code and stderr.
fn healthcheck(arguments: &[&str], host: &str, port: u16) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary(dir.path());
    command.arg("healthcheck").args(arguments).envs([("HOST", host), ("PORT", &port.to_string())]);
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn running_server_is_healthy_and_ready() {
    let server = Server::start(&[]);
    let port = server.address.port();
    assert_eq!(healthcheck(&[], "127.0.0.1", port), (Some(0), String::new()));
    assert_eq!(healthcheck(&["--ready"], "127.0.0.1", port), (Some(0), String::new()));
    // In a container the server listens on all addresses.
    assert_eq!(healthcheck(&[], "0.0.0.0", port), (Some(0), String::new()));
}

#[test]
fn server_without_room_is_healthy_and_not_ready() {
    let server = Server::start(&[("MIN_FREE_DISK_MB", "1048576")]);
    let port = server.address.port();
    assert_eq!(healthcheck(&[], "127.0.0.1", port), (Some(0), String::new()));
    let (code, errors) = healthcheck(&["--ready"], "127.0.0.1", port);
    assert_eq!(code, Some(1));
    assert!(errors.contains("answers 503") && errors.contains("disk"), "{errors}");
}

#[test]
fn port_without_a_server_is_not_healthy() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, errors) = healthcheck(&[], "127.0.0.1", port);
    assert_eq!(code, Some(1));
    assert!(errors.contains("refused"), "{errors}");
    let (code, errors) = healthcheck(&[], "127.0.0.1", 0);
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("PORT=0 "), "{errors}");
}

#[test]
fn server_that_accepts_and_does_not_answer_is_not_healthy() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let (code, errors) = healthcheck(&[], "127.0.0.1", silent.local_addr().unwrap().port());
    assert_eq!(code, Some(1));
    assert!(errors.contains("no answer within 4 seconds"), "{errors}");
    assert!(begin.elapsed() > Duration::from_secs(3));
}

#[test]
fn other_program_on_the_port_is_not_healthy() {
    for answer in [&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut client, _) = other.accept().unwrap();
            let _asked = client.read(&mut [0; 1024]);
            client.write_all(answer)
        });
        let (code, errors) = healthcheck(&[], "127.0.0.1", port);
        assert_eq!(code, Some(1));
        assert!(errors.contains("does not answer"), "{errors}");
        thread.join().unwrap().unwrap();
    }
}
