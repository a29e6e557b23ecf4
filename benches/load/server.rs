//! The server under load: the release build, or `VINTEDBOT_LOAD_BINARY`.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Outcome;

/// A running server. Killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: Arc<TempDir>,
    settings: Vec<(String, String)>,
}

/// Memory of a process in KiB, as the kernel reports it.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Memory {
    /// Reads the memory of the process with this id.
    pub(crate) fn of(process: u32) -> Outcome<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        Ok(Self { now: kib("VmRSS:").ok_or("no VmRSS")?, peak: kib("VmHWM:").ok_or("no VmHWM")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmRSS {} KiB, VmHWM {} KiB", self.now, self.peak)
    }
}

impl Server {
    /// Starts a server with these settings, and defaults otherwise.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Outcome<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::start_in(Arc::new(dir), settings.collect())
    }

    /// Kills the server, and starts another one on its data.
    pub(crate) fn kill_and_start(mut self) -> Outcome<Self> {
        self.child.kill()?;
        self.start_again()
    }

    /// Stops the server as a service manager does, and starts another one on its data.
    pub(crate) fn stop_and_start(mut self) -> Outcome<Self> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        self.start_again()
    }

    fn start_again(&mut self) -> Outcome<Self> {
        self.child.wait()?;
        Self::start_in(Arc::clone(&self.dir), std::mem::take(&mut self.settings))
    }

    fn start_in(dir: Arc<TempDir>, settings: Vec<(String, String)>) -> Outcome<Self> {
        let binary = std::env::var_os("VINTEDBOT_LOAD_BINARY")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_vintedbot-ingest").into());
        let mut command = Command::new(binary);
        command.current_dir(dir.path()).env("PORT", "0").envs(settings.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("the server has no stdout")?).lines();
        let mut port = None;
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                port = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok());
            }
            if line.starts_with('✅') {
                break;
            }
        }
        let port: u16 = port.ok_or("the server did not say its port")?;
        // Keep reading, otherwise the server would block when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into(), dir, settings })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the directory with all data.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn memory(&self) -> Outcome<Memory> {
        Memory::of(self.child.id())
    }

    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}
