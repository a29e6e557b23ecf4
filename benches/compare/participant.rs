//! A process that makes small JPEGs, ours or a peer's. `peers/protocol.py` defines the protocol.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Name and version of a participant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    /// How it treats an ICC profile: "converted" or "ignored".
    pub(crate) profile: String,
    /// What becomes of transparent pixels: a "white" background, or "dropped" if only their colour counts.
    pub(crate) alpha: String,
}

/// The result of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Wall-clock milliseconds.
    pub(crate) wall: f64,
    /// Milliseconds of processor time of all threads.
    pub(crate) cpu: f64,
    /// Length of the output in bytes.
    pub(crate) bytes: u64,
}

/// A child process that answers line by line. Killed on drop.
pub(crate) struct Lines {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Lines {
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, stdin, stdout })
    }

    pub(crate) fn ask(&mut self, line: &str) -> Outcome<String> {
        writeln!(self.stdin, "{line}")?;
        let mut answer = String::new();
        if self.stdout.read_line(&mut answer)? == 0 {
            return Err(format!("a child ended without an answer to: {line}").into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _has_ended = self.child.wait();
    }
}

/// A participant and its description.
pub(crate) struct Participant {
    pub(crate) about: About,
    lines: Lines,
}

impl Participant {
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut lines = Lines::start(command)?;
        let about = serde_json::from_str(&lines.ask("about")?)?;
        Ok(Self { about, lines })
    }

    /// Loads a file into its memory. Files are numbered from 0.
    pub(crate) fn load(&mut self, path: &Path) -> Outcome<()> {
        self.lines.ask(&format!("load {}", path.display()))?;
        Ok(())
    }

    /// Processes a file. Returns the reason if it cannot read the file.
    pub(crate) fn run(&mut self, number: usize) -> Outcome<Result<Run, String>> {
        let answer = self.lines.ask(&format!("run {number}"))?;
        if let Some(reason) = answer.strip_prefix("- ") {
            return Ok(Err(reason.to_owned()));
        }
        let mut words = answer.split(' ');
        let mut next = || words.next().ok_or("three numbers are the answer to run");
        Ok(Ok(Run { wall: next()?.parse()?, cpu: next()?.parse()?, bytes: next()?.parse()? }))
    }

    /// Writes the output of the last run to a file.
    pub(crate) fn save(&mut self, path: &Path) -> Outcome<()> {
        self.lines.ask(&format!("save {}", path.display()))?;
        Ok(())
    }

    /// Returns its peak memory (VmHWM) in KiB.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.lines.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// Starts all participants, ours first.
pub(crate) fn all() -> Outcome<Vec<Participant>> {
    let peers = peers_dir();
    let mut ours = Command::new(std::env::current_exe()?);
    let mut all = vec![Participant::start(ours.arg("participant"))?];
    all.push(Participant::start(python()?.arg(peers.join("pillow.py")))?);
    if let Some(modules) = variable("VINTEDBOT_PEERS_SHARP") {
        let mut node =
            Command::new(variable("VINTEDBOT_PEERS_NODE").ok_or("VINTEDBOT_PEERS_NODE is not set")?);
        all.push(Participant::start(node.arg(peers.join("sharp.cjs")).arg(modules))?);
    }
    all.push(Participant::start(python()?.arg(peers.join("vips.py")))?);
    Ok(all)
}

/// Returns the directory of the peers' programs.
pub(crate) fn peers_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers")
}

/// Returns the Python with the peers' packages.
pub(crate) fn python() -> Outcome<Command> {
    let python =
        variable("VINTEDBOT_PEERS_PYTHON").ok_or("VINTEDBOT_PEERS_PYTHON is not set: use `make compare`")?;
    let mut command = Command::new(python);
    command.env("VIPS_CONCURRENCY", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Returns an environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
