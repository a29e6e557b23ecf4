//! Arguments and exit codes.

use std::fmt::Write as _;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{SETTINGS, Settings, Source};

/// Exit code after bad arguments or settings: starting again cannot help, so a supervisor should not.
pub const EXIT_USAGE: u8 = 2;
/// Exit code after a start or a run that failed: starting again may help.
pub const EXIT_FAILURE: u8 = 1;

/// Streaming media-ingest server: photos in, upright and clean JPEGs and a draft listing out.
#[derive(Debug, Parser)]
#[command(name = "vintedbot-ingest", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the process is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Start the server (the default).
    Serve,
    /// Check the settings and exit.
    CheckConfig,
}

/// Reads the arguments; `--help`, `--version` and bad arguments end the process.
pub fn command() -> Command {
    let matches = Arguments::command().after_help(settings_help()).get_matches();
    match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments.command.unwrap_or(Command::Serve),
        Err(error) => error.exit(),
    }
}

/// Reads the settings from the environment and `.env` in the working directory.
///
/// # Errors
/// The lines to show, one for each setting that did not parse.
pub fn settings() -> Result<Settings, String> {
    let source = Source::from_process(Path::new(".env"))?;
    Settings::load(&source).map_err(|error| error.to_string())
}

fn settings_help() -> String {
    let mut help =
        "Settings (environment variables, or lines of a .env file in the working directory):\n".to_owned();
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let _infallible = writeln!(
            help,
            "  {}={default}\n      {}. Accepts {}.",
            setting.name, setting.meaning, setting.accepts
        );
    }
    help
}
