//! Which settings a running server takes over when it reads them anew.

use super::source::Source;
use super::table::{self, SETTINGS};

/// What a running server replaces when a setting has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The filter of the log.
    LogFilter,
    /// The keys that sign and verify tokens.
    TokenKeys,
    /// The keys of the bucket of the photos.
    BucketKeys,
    /// The secret that signs deliveries.
    WebhookSecret,
}

/// The settings that a running server takes over.
const RELOADED: [(&str, Reloaded); 6] = [
    (table::LOG_LEVEL.setting.name, Reloaded::LogFilter),
    (table::SECRET_KEY.setting.name, Reloaded::TokenKeys),
    (table::SECRET_KEY_PREVIOUS.setting.name, Reloaded::TokenKeys),
    (table::S3_ACCESS_KEY.setting.name, Reloaded::BucketKeys),
    (table::S3_SECRET_KEY.setting.name, Reloaded::BucketKeys),
    (table::WEBHOOK_SECRET.setting.name, Reloaded::WebhookSecret),
];

fn reloaded(name: &str) -> Option<Reloaded> {
    RELOADED.into_iter().find_map(|(of, what)| (of == name).then_some(what))
}

/// Settings that differ between two sources, in the order of the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running server takes over.
    pub reloaded: Vec<(&'static str, Reloaded)>,
    /// Those that have an effect after a restart.
    pub later: Vec<&'static str>,
}

impl Source {
    /// Returns the settings whose values are different in `newer`.
    pub fn changes(&self, newer: &Self) -> Changes {
        let mut changes = Changes::default();
        for setting in SETTINGS {
            let value = |source: &Self| source.get(setting.name).unwrap_or(setting.default).to_owned();
            if value(self) != value(newer) {
                match reloaded(setting.name) {
                    Some(what) => changes.reloaded.push((setting.name, what)),
                    None => changes.later.push(setting.name),
                }
            }
        }
        changes
    }

    /// Takes the values of these settings over from `newer`.
    pub fn take_over(&mut self, newer: &Self, names: &[&'static str]) {
        for name in names {
            match newer.values.get(*name) {
                Some(value) => self.values.insert((*name).to_owned(), value.clone()),
                None => self.values.remove(*name),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_divided_and_taken_over_one_by_one() {
        let mut old = Source::from_pairs([("SECRET_KEY", "old"), ("PORT", "8000"), ("LOG_LEVEL", "debug")]);
        let new = Source::from_pairs([
            ("SECRET_KEY", "new"),
            ("PORT", "9000"),
            ("MAX_DIM_PX", " 1600 "),
            ("HOST", ""),
        ]);
        let changes = old.changes(&new);
        let expected = [("LOG_LEVEL", Reloaded::LogFilter), ("SECRET_KEY", Reloaded::TokenKeys)];
        // The white space around a value and the default itself are no change.
        assert_eq!(changes, Changes { reloaded: expected.to_vec(), later: vec!["PORT"] });
        old.take_over(&new, &["LOG_LEVEL", "SECRET_KEY"]);
        assert_eq!(old.changes(&new), Changes { reloaded: vec![], later: vec!["PORT"] });
        assert_eq!((old.get("SECRET_KEY"), old.get("LOG_LEVEL")), (Some("new"), None));
    }

    #[test]
    fn help_says_which_settings_are_reloaded() {
        for setting in SETTINGS {
            let says_so = setting.help.ends_with("SIGHUP reads it anew.");
            assert_eq!(says_so, reloaded(setting.name).is_some(), "{}", setting.name);
        }
    }
}
