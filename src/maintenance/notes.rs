//! What the instance that leads maintenance records with its lease, for the next one and for the others.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::schedule::{EVERY, seconds};
use crate::model::MediaKey;

/// How far maintenance is. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Notes {
    /// The pass in progress, if any.
    pub pass: Option<Pass>,
    /// When the next pass is due.
    pub due: u64,
    /// When the last pass ended; 0: never.
    pub ended: u64,
    /// Photos that are missing.
    pub missing: u64,
    /// Photos without a row that the last pass left alone.
    pub left: u64,
    /// The last hour since 1970 whose photos the scrub verified; 0: none.
    pub scrubbed_hour: u64,
}

/// A pass over all photos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Pass {
    /// The photos up to this key are compared.
    pub after: Option<MediaKey>,
    /// Photos with a row.
    pub known: u64,
    /// Photos without a row, past the grace time.
    pub garbage: u64,
    /// Photos without a row that are older than the catalog.
    pub older: u64,
    /// Rows without their photo.
    pub missing: u64,
}

impl Notes {
    /// Reads notes. Those that cannot be read, as of another version, are empty.
    pub(super) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns in how many seconds the next pass is due; 0: now. A pass in progress is due. Never more than twice the usual
    /// time, because a clock may have been set back.
    pub(super) fn seconds_to_pass(&self, now: SystemTime) -> u64 {
        if self.pass.is_some() { 0 } else { self.due.saturating_sub(seconds(now)).min(2 * EVERY.as_secs()) }
    }

    /// Returns how much of the pass in progress is done, in percent, as hashes are spread evenly; 100 without one.
    pub(super) fn percent(&self) -> u64 {
        match &self.pass {
            None => 100,
            Some(Pass { after: None, .. }) => 0,
            Some(Pass { after: Some(key), .. }) => u64::from(key.as_bytes()[0]) * 100 / 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_and_those_of_other_versions_are_read_as_far_as_possible() {
        let pass = Pass { after: Some(MediaKey::of(b"x")), known: 7, garbage: 1, older: 2, missing: 3 };
        let notes = Notes { pass: Some(pass), due: 5, ended: 4, missing: 9, left: 2, scrubbed_hour: 8 };
        assert_eq!(Notes::parse(&notes.text()), notes);
        assert_eq!(Notes::parse(""), Notes::default());
        assert_eq!(Notes::parse("{\"due\": \"soon\"}"), Notes::default());
        assert_eq!(Notes::parse("{\"due\": 3, \"new\": [1]}"), Notes { due: 3, ..Notes::default() });
        assert!(notes.text().len() < 500);
    }

    #[test]
    fn pass_in_progress_is_due_and_its_progress_follows_from_its_key() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let notes = Notes { due: 100, ..Notes::default() };
        assert_eq!([70, 100, 130].map(|now| notes.seconds_to_pass(at(now))), [30, 0, 0]);
        assert_eq!(Notes { due: u64::MAX, ..Notes::default() }.seconds_to_pass(at(70)), 7200);
        let within = |after| Notes { pass: Some(Pass { after, ..Pass::default() }), ..notes.clone() };
        assert_eq!(within(None).seconds_to_pass(at(70)), 0);
        assert_eq!((notes.percent(), within(None).percent()), (100, 0));
        assert_eq!(within(Some(MediaKey::from_digest([0x80; 32]))).percent(), 50);
    }
}
