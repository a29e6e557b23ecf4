//! The measurements of one photo.

use crate::Outcome;
use crate::judge::Judge;
use crate::participant::{Participant, Run};
use crate::photos::Photo;

/// A photo with the runs and the output quality of each participant.
pub(crate) struct Measured {
    pub(crate) photo: Photo,
    number: usize,
    runs: Vec<Vec<Run>>,
    /// SSIMULACRA2 by participant.
    pub(crate) scores: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(photo: Photo, number: usize, participants: usize) -> Self {
        Self { photo, number, runs: vec![Vec::new(); participants], scores: Vec::new() }
    }

    /// Runs each participant once, starting with another one in every round. Round 0 is discarded.
    pub(crate) fn measure(&mut self, participants: &mut [Participant], round: usize) -> Outcome<()> {
        let count = participants.len();
        for turn in 0..count {
            let who = (turn + round + self.number) % count;
            let participant = &mut participants[who];
            let run = participant
                .run(self.number)
                .map_err(|error| format!("{} with {}: {error}", participant.about.name, self.photo.name))?;
            if round > 0 {
                self.runs[who].push(run);
            }
        }
        Ok(())
    }

    /// Runs each participant once more and scores its output.
    pub(crate) fn judge(&mut self, participants: &mut [Participant], judge: &mut Judge) -> Outcome<()> {
        for participant in participants {
            let output = tempfile::NamedTempFile::new()?;
            participant.run(self.number)?;
            participant.save(output.path())?;
            self.scores.push(judge.score(&self.photo.path, output.path(), &participant.about)?);
        }
        Ok(())
    }

    /// Returns the median of `of` over the runs of participant `who`.
    pub(crate) fn median(&self, who: usize, of: fn(&Run) -> f64) -> f64 {
        median(self.runs[who].iter().map(of).collect())
    }

    /// Returns the time of participant `who` relative to ours: the median over the rounds of the ratio of two runs
    /// that followed closely.
    pub(crate) fn ratio(&self, who: usize, of: fn(&Run) -> f64) -> f64 {
        median(self.runs[who].iter().zip(&self.runs[0]).map(|(run, ours)| of(run) / of(ours)).collect())
    }

    /// Returns the length of the output in bytes.
    pub(crate) fn bytes(&self, who: usize) -> f64 {
        let bytes = self.runs[who].last().map_or(0, |run| run.bytes);
        f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
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
