//! The progress of a copy of photos.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::note;
use crate::backup::Copied;

/// How often a line reports the progress if there is no progress bar.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Reports the progress: with a bar on a terminal, else with a line at intervals.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = "{bar:40} {pos}/{len} photos  {per_sec}  {eta} left  {msg}";
            let bar = ProgressBar::new(0);
            match ProgressStyle::with_template(style) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, said: Instant::now() }
    }

    pub(super) fn report(&mut self, copied: &Copied) {
        let Copied { total, seen, copied, bytes, problems } = *copied;
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(seen));
            bar.set_position(seen);
            bar.set_message(format!("{copied} copied, {} MiB, {problems} problems", bytes >> 20));
        } else if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            note(&format!("{seen} of {total} photos: {copied} copied ({bytes} bytes), {problems} problems."));
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
