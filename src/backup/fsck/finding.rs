//! Findings of a check, for people and for scripts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backup::Counts;

/// The outcome of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Something is wrong.
    Problem,
    /// Something was wrong, and is repaired.
    Repaired,
    /// Nothing is wrong.
    Note,
}

/// One finding. It is written as its kind, one word that never changes, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// One word.
    pub kind: &'static str,
    /// The sentence.
    pub about: String,
    /// The outcome.
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

/// Numbers of what was checked, and of findings by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Rows of the catalog.
    pub rows: Counts,
    /// Resumable uploads.
    pub uploads: u64,
    /// Photos in the store.
    pub files: u64,
    /// Photos that no row refers to.
    pub without_row: u64,
    /// Findings that are still wrong.
    pub problems: u64,
    /// Findings that were repaired.
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
        let Self { rows, uploads, files, without_row: _, problems, repaired, notes } = self;
        let Counts { media, drafts, sources, attempts, events, identities } = rows;
        write!(
            f,
            "Checked {media} media rows, {drafts} drafts, {sources} sources, {attempts} idempotency keys, \
             {events} events, {identities} users of identity providers, {uploads} uploads and {files} files: {problems} problems, {repaired} repaired, {notes} harmless."
        )
    }
}
