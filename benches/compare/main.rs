//! Runs the same photos through this server's image pipeline, Pillow, sharp and libvips: `make compare`.
//!
//! Each participant is a process that lives through the whole run, loads files into memory beforehand and reports the
//! time from bytes in memory to JPEG bytes. All are bound to the same core and run strictly one after the other,
//! photo by photo and round by round, in an order that rotates every round. So other load on the machine affects all
//! of them, and the ratios stay valid even if the milliseconds do not. Prints Markdown for `BENCHMARKS.md`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::process::ExitCode;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use self::format::Format;
use self::measure::Measured;
use self::participant::Participant;
use self::report::Block;

mod derived;
mod format;
mod judge;
mod machine;
mod measure;
mod ours;
mod participant;
mod photos;
mod report;
#[path = "../shared.rs"]
#[allow(clippy::unwrap_used, reason = "shared with the benchmarks; defaults parse")]
mod shared;

/// The same allocator as in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An error that stops the comparison, as a sentence.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // cargo adds an argument, and a plain `cargo bench` starts this program too.
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("run") => run(),
        Some("participant") => ours::serve(),
        _ => {
            println!("compare: run `make compare`, which fetches the peers first");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let rounds = match std::env::var("VINTEDBOT_COMPARE_ROUNDS") {
        Ok(text) => {
            text.parse().map_err(|_| format!("VINTEDBOT_COMPARE_ROUNDS takes 0, 1, 2, …, and is {text}"))?
        }
        Err(_) => 7,
    };
    let dir = tempfile::tempdir()?;
    let mut judge = judge::Judge::start(dir.path())?;
    let photos = photos::choose(&mut judge)?;
    if rounds == 0 {
        eprintln!("compare: the derived photos are in target/compare");
        return Ok(());
    }
    bind_to_last_core()?;
    let load = machine::load();
    let mut participants = participant::all()?;
    for participant in &mut participants {
        for photo in &photos {
            participant.load(&photo.path)?;
        }
    }
    let mut measured: Vec<Measured> = Vec::new();
    for (number, photo) in photos.into_iter().enumerate() {
        measured.push(Measured::new(photo, number, participants.len()));
    }
    // The first round only warms up caches.
    for round in 0..=rounds {
        for photo in &mut measured {
            photo.measure(&mut participants, round)?;
        }
        eprintln!("compare: round {round} of {rounds}");
    }
    for photo in &mut measured {
        photo.judge(&mut participants, &mut judge)?;
    }
    let abouts: Vec<_> = participants.iter().map(|one| one.about.clone()).collect();
    let mut blocks: Vec<Block> = Vec::new();
    for format in Format::ALL {
        let photos: Vec<_> = measured.extract_if(.., |one| one.photo.format == format).collect();
        let size = |one: &&Measured| one.photo.megapixels;
        if let Some(largest) = photos.iter().max_by(|one, other| size(one).total_cmp(&size(other))) {
            let peaks =
                participant::all()?.into_iter().map(|fresh| peak(fresh, largest)).collect::<Outcome<_>>()?;
            blocks.push(Block { format, photos, peaks });
        }
    }
    println!("{}", machine::describe(&abouts, rounds, &load));
    println!("{}", report::tables(&abouts, &blocks));
    Ok(())
}

/// Returns the peak memory in KiB of a fresh process that processed only this photo, or `None` if it cannot read the photo.
fn peak(mut fresh: Participant, photo: &Measured) -> Outcome<Option<u64>> {
    fresh.load(&photo.photo.path)?;
    fresh.run(0)?.ok().map(|_| fresh.peak_memory()).transpose()
}

/// Binds this process, and so all that it starts, to the last core.
fn bind_to_last_core() -> Outcome<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    let last = (0..CpuSet::count()).rev().find(|core| allowed.is_set(*core).unwrap_or(false));
    one.set(last.ok_or("no core is allowed to run this")?)?;
    Ok(sched_setaffinity(this, &one)?)
}
