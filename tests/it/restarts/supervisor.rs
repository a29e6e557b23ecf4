//! Plays systemd: keeps the listener, passes it to servers, and hears what they report.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::binary;

/// A listener that outlives the servers which accept from it.
pub(super) struct ListenerUnit(TcpListener);

impl ListenerUnit {
    pub(super) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Returns a command for a server in `dir` that gets the listener.
    pub(super) fn command(&self, dir: &Path) -> Command {
        passing(self.0.try_clone().unwrap().into(), 1, dir)
    }
}

/// Returns a command for a server in `dir` that gets `passed` as each of its first `count` descriptors after 2.
pub(super) fn passing(passed: OwnedFd, count: usize, dir: &Path) -> Command {
    let descriptors: String = (0..count).map(|n| format!("{}<&0 ", 3 + n)).collect();
    // LISTEN_PID is the process id of the server, which is that of the shell before.
    let script = format!("exec {descriptors}</dev/null; LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\"");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg(binary(dir).get_program());
    command.current_dir(dir).env_clear().stdin(passed);
    command
}

/// The socket to which a server reports.
pub(super) struct Reports {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: TempDir,
}

impl Reports {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, path, _dir: dir }
    }

    pub(super) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Returns the lines of the next report, which is not one to the watchdog.
    pub(super) fn next(&self) -> Vec<String> {
        loop {
            let report = self.receive();
            if report != ["WATCHDOG=1"] {
                return report;
            }
        }
    }

    /// Waits for a report to the watchdog.
    pub(super) fn wait_for_watchdog(&self) {
        while self.receive() != ["WATCHDOG=1"] {}
    }

    fn receive(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("the server must report");
        str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect()
    }
}
