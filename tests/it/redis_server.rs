//! A redis-server for one test. The tests of the limiter include this file, too.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, ReservedPort};

/// A redis-server on a reserved loopback port, without persistence. Killed on drop.
pub(crate) struct RedisServer {
    program: String,
    port: ReservedPort,
    child: Child,
}

impl RedisServer {
    /// Starts the program that `make test` found. If it is missing, the test is reported as skipped, or fails where nothing may
    /// be skipped.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = std::env::var("VINTEDBOT_TEST_REDIS").ok().filter(|path| !path.is_empty()) else {
            common::skip("VINTEDBOT_TEST_REDIS is not set; `make test` sets it");
            return None;
        };
        let port = ReservedPort::new();
        let child = run(&program, port.number());
        Some(Self { program, port, child })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port.number())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and without its data.
    pub(crate) fn restart(&mut self) {
        self.child = run(&self.program, self.port.number());
    }
}

fn run(program: &str, port: u16) -> Child {
    let port_text = port.to_string();
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port_text]);
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server must listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
