//! Reads raw values from the process environment, and from an optional `.env` file for variables that the environment does not
//! have. A variable that is empty there hides the value of the file, and means the default.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

use super::dotenv::{self, Binding};
use super::near::{self, is_setting};
use super::source::{NearMiss, Source};

impl Source {
    /// Reads the process environment, and the `.env` file at this path, if it exists, for variables that the environment does not
    /// have.
    ///
    /// # Errors
    /// One line for each problem: the file cannot be read, one of its lines is not what it seems, or a value is not UTF-8.
    pub fn from_process(dotenv: &Path) -> Result<Self, String> {
        let text = read(dotenv)?;
        let bindings = dotenv::parse(&text).map_err(|bad_lines| {
            let lines =
                bad_lines.iter().map(|bad| format!("{} does not parse: {}", place(bad.line), bad.problem));
            lines.collect::<Vec<_>>().join("\n")
        })?;
        let mut errors: Vec<String> = bindings.iter().filter_map(misread).collect();
        let mut source = Self::default();
        for Binding { line, name, value, .. } in bindings {
            if let Some(setting) = near::in_dotenv(&name) {
                source.near_misses.push(NearMiss { name: name.clone(), setting, line: Some(line) });
            }
            source.values.extend(value.map(|value| (name, value)));
        }
        for (name, value) in std::env::vars_os() {
            match (name.to_str(), value.into_string()) {
                (Some(name), Ok(value)) if is_setting(name) => {
                    source.values.insert(name.to_owned(), value);
                }
                (Some(name), Err(_)) if is_setting(name) => {
                    errors.push(format!("{name} is not valid: its value is not UTF-8"));
                }
                (Some(name), _) => source.near_misses.extend(near_in_environment(name)),
                (None, _) => {}
            }
        }
        if errors.is_empty() { Ok(source) } else { Err(errors.join("\n")) }
    }
}

fn read(dotenv: &Path) -> Result<String, String> {
    let bytes = match std::fs::read(dotenv) {
        Ok(bytes) => bytes,
        // A dangling link is an error, because it shows that a file was expected.
        Err(error) if error.kind() == ErrorKind::NotFound && dotenv.symlink_metadata().is_err() => Vec::new(),
        Err(error) => return Err(format!("the .env file cannot be read: {error}")),
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        format!("{} does not parse: it is not UTF-8", place(line))
    })
}

/// Returns the problem of a line that python-dotenv reads without a warning, but probably not as intended.
fn misread(binding: &Binding) -> Option<String> {
    let Binding { line, name, value, written } = binding;
    let is_ours = is_setting(name) || near::in_dotenv(name).is_some();
    let is_identifier = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let problem = match value {
        _ if name.contains('\n') => "a quoted name runs over several lines; is its quote closed?".to_owned(),
        None if is_ours || !is_identifier => {
            format!("{} has no value; expected NAME=value", name.escape_debug())
        }
        None => return None,
        // Lists may be written over several lines.
        Some(_) if is_ours && written.contains('\n') && !written[1..].trim_start().starts_with('[') => {
            format!("the value of {} runs over several lines; is its quote closed?", name.escape_debug())
        }
        Some(value) if is_ours && has_variable(value) => {
            format!("${{…}} in the value of {} is not expanded; write the value out", name.escape_debug())
        }
        Some(_) => {
            let swallowed =
                written.lines().skip(1).find_map(|line| assigned(line).filter(|name| is_setting(name)))?;
            format!(
                "the value of {} contains the line of {swallowed}; is its quote closed?",
                name.escape_debug()
            )
        }
    };
    Some(format!("{} does not parse: {problem}", place(*line)))
}

/// Returns whether python-dotenv would expand something in a value.
fn has_variable(value: &str) -> bool {
    value.split_once("${").is_some_and(|(_, rest)| rest.contains('}'))
}

fn assigned(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    Some(name.strip_prefix("export ").map_or(name, str::trim_start))
}

/// Returns the setting that a variable of the environment resembles, unless that setting is set, too.
fn near_in_environment(name: &str) -> Option<NearMiss> {
    let setting = near::in_environment(name)?;
    // If the setting itself is set, the similar name belongs to another program.
    let is_set = std::env::var_os(setting).is_some_and(|value| value != OsStr::new(""));
    (!is_set).then(|| NearMiss { name: name.to_owned(), setting, line: None })
}

fn place(line: usize) -> String {
    format!(".env line {line}")
}
