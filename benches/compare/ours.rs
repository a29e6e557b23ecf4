//! This server's image pipeline as a participant: one thread in a separate process.

use std::io::{BufRead, Write};
use std::time::Instant;

use nix::time::{ClockId, clock_gettime};
use vintedbot_ingest::imaging::{self, Workspace};
use vintedbot_ingest::ingest::sniff::sniff;

use crate::participant::About;
use crate::shared::recipe;
use crate::{Outcome, machine};

/// Answers the lines on stdin until its end.
pub(crate) fn serve() -> Outcome<()> {
    // As the server does at startup.
    nix::sys::prctl::set_thp_disable(true)?;
    let mut sources: Vec<Vec<u8>> = Vec::new();
    let mut output = Vec::new();
    // Like a worker of the server, it reuses its buffers.
    let mut workspace = Workspace::default();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match command {
            "about" => serde_json::to_string(&About {
                name: "ours".to_owned(),
                version: machine::commit(),
                profile: "converted".to_owned(),
                alpha: "white".to_owned(),
            })?,
            "load" => {
                sources.push(std::fs::read(argument)?);
                (sources.len() - 1).to_string()
            }
            "run" => {
                let source = sources.get(argument.parse::<usize>()?).ok_or("no such photo")?;
                drop(std::mem::take(&mut output));
                let (wall, cpu) = (Instant::now(), processor_ms()?);
                match small(source, &mut workspace) {
                    Ok(file) => {
                        output = file;
                        let (wall, cpu) = (wall.elapsed().as_secs_f64() * 1e3, processor_ms()? - cpu);
                        format!("{wall} {cpu} {}", output.len())
                    }
                    Err(error) => format!("- {error}"),
                }
            }
            "save" => {
                std::fs::write(argument, &output)?;
                "saved".to_owned()
            }
            _ => return Err(format!("no such command: {command}").into()),
        };
        writeln!(std::io::stdout().lock(), "{answer}")?;
    }
    Ok(())
}

fn small(source: &[u8], workspace: &mut Workspace) -> Outcome<Vec<u8>> {
    let format = sniff(source).format.ok_or("not a type that is read here")?;
    Ok(imaging::make(format, source, &recipe(), workspace)?.bytes)
}

fn processor_ms() -> Outcome<f64> {
    let time = std::time::Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
    Ok(time.as_secs_f64() * 1e3)
}
