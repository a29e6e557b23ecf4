//! What a check found, for eyes and for scripts.

use std::fmt;

use crate::backup::Counts;

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something is wrong.
    Problem,
    /// Something was wrong.
    Repaired,
    /// Nothing is wrong.
    Note,
}

/// One thing that was found. Written as its kind, which is one word that does not change, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// One word.
    pub kind: &'static str,
    /// What it is about.
    pub about: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, about, outcome } = self;
        let outcome = match outcome {
            Outcome::Problem => "",
            Outcome::Repaired => " (repaired)",
            Outcome::Note => " (harmless)",
        };
        write!(f, "{kind} {about}{outcome}")
    }
}

/// What was looked at, and how many findings there were of each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows of the catalog.
    pub rows: Counts,
    /// Photos in the store.
    pub files: u64,
    /// Those of them that no row refers to.
    pub without_row: u64,
    /// Findings that are still wrong.
    pub problems: u64,
    /// Findings that were mended.
    pub repaired: u64,
    /// Findings that are harmless.
    pub notes: u64,
}

impl Summary {
    pub(super) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Problem => &mut self.problems,
            Outcome::Repaired => &mut self.repaired,
            Outcome::Note => &mut self.notes,
        } += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, files, without_row: _, problems, repaired, notes } = self;
        let Counts { media, drafts, sources } = rows;
        write!(
            f,
            "Checked {media} media rows, {drafts} drafts, {sources} sources and {files} files: \
             {problems} problems, {repaired} repaired, {notes} harmless."
        )
    }
}
