//! The measurements of one photo.

use crate::Outcome;
use crate::judge::Judge;
use crate::participant::{Participant, Run};
use crate::photos::Photo;

/// A photo with the runs and the output quality of each participant.
pub(crate) struct Measured {
    pub(crate) photo: Photo,
    number: usize,
    /// The runs of each participant, or `None` if it cannot read the photo.
    runs: Vec<Option<Vec<Run>>>,
    /// SSIMULACRA2 by participant, or `NaN` if it cannot read the photo.
    pub(crate) scores: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(photo: Photo, number: usize, participants: usize) -> Self {
        Self { photo, number, runs: vec![Some(Vec::new()); participants], scores: Vec::new() }
    }

    /// Runs each participant once, starting with another one in every round. Round 0 is discarded.
    pub(crate) fn measure(&mut self, participants: &mut [Participant], round: usize) -> Outcome<()> {
        let count = participants.len();
        for turn in 0..count {
            let who = (turn + round + self.number) % count;
            let Some(runs) = &mut self.runs[who] else { continue };
            let participant = &mut participants[who];
            let outcome = participant.run(self.number);
            let Photo { format, name, .. } = &self.photo;
            let label = format!("{} with {} {name}", participant.about.name, format.word());
            match outcome.map_err(|error| format!("{label}: {error}"))? {
                Ok(run) if round > 0 => runs.push(run),
                Ok(_) => {}
                Err(reason) => {
                    let reason: String = reason.chars().take(100).collect();
                    eprintln!("compare: {label}: {reason}");
                    self.runs[who] = None;
                }
            }
        }
        Ok(())
    }

    /// Runs each participant once more and scores its output.
    pub(crate) fn judge(&mut self, participants: &mut [Participant], judge: &mut Judge) -> Outcome<()> {
        for (participant, runs) in participants.iter_mut().zip(&self.runs) {
            if runs.is_none() {
                self.scores.push(f64::NAN);
                continue;
            }
            let output = tempfile::NamedTempFile::new()?;
            participant.run(self.number)??;
            participant.save(output.path())?;
            self.scores.push(judge.score(&self.photo.path, output.path(), &participant.about)?);
        }
        Ok(())
    }

    pub(crate) fn is_read_by(&self, who: usize) -> bool {
        self.runs[who].is_some()
    }

    /// Returns the median of `of` over the runs of participant `who`.
    pub(crate) fn median(&self, who: usize, of: fn(&Run) -> f64) -> f64 {
        median(self.runs_of(who).iter().map(of).collect())
    }

    /// Returns the time of participant `who` relative to ours: the median over the rounds of the ratio of two runs
    /// that followed closely.
    pub(crate) fn ratio(&self, who: usize, of: fn(&Run) -> f64) -> f64 {
        median(self.runs_of(who).iter().zip(self.runs_of(0)).map(|(run, ours)| of(run) / of(ours)).collect())
    }

    /// Returns the length of the output in bytes.
    pub(crate) fn bytes(&self, who: usize) -> f64 {
        let bytes = self.runs_of(who).last().map(|run| u32::try_from(run.bytes).unwrap_or(u32::MAX));
        bytes.map_or(f64::NAN, f64::from)
    }

    /// Returns the runs of a participant, none if it cannot read the photo. Then its figures are `NaN`.
    fn runs_of(&self, who: usize) -> &[Run] {
        self.runs[who].as_deref().unwrap_or(&[])
    }
}

/// Returns the median.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}
