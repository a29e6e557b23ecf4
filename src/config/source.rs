//! The raw values of settings.

use std::collections::HashMap;
use std::fmt;

/// The raw values of settings, and the names that are nearly settings.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub(super) values: HashMap<String, String>,
    pub(super) near_misses: Vec<NearMiss>,
}

/// A name that is nearly a setting. Its value has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    pub(super) name: String,
    pub(super) setting: &'static str,
    /// The line in the `.env` file, or `None` for the environment.
    pub(super) line: Option<usize>,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, ".env line {line}: ")?,
            None => f.write_str("environment: ")?,
        }
        write!(
            f,
            "{} is not a setting, and is ignored; did you mean {}?",
            self.name.escape_debug(),
            self.setting
        )
    }
}

impl Source {
    /// Returns a source with these values only.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, near_misses: Vec::new() }
    }

    /// Returns the names that are nearly settings.
    pub fn near_misses(&self) -> &[NearMiss] {
        &self.near_misses
    }

    /// Returns the value of a setting without white space around it, or `None` if it is unset or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}
