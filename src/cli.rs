//! Arguments and exit codes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::Operation;
use crate::config::{NearMiss, Place, SETTINGS, Settings, Source};

/// Exit code after bad arguments or settings: starting again cannot help, so a supervisor should not.
pub const EXIT_USAGE: u8 = 2;
/// Exit code after a start or a run that failed (starting again may help), and of a check that found problems.
pub const EXIT_FAILURE: u8 = 1;

/// Streaming media-ingest server: photos in, upright and clean JPEGs and a draft listing out.
#[derive(Debug, Parser)]
#[command(name = "vintedbot-ingest", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Start the server (the default).
    Serve,
    /// Check the settings and exit.
    CheckConfig,
    /// Save the catalog as JSON lines. The server must be stopped.
    ///
    /// Saved are drafts, media rows, what is known of sources, and the next ids; the photos are files in MEDIA_ROOT, and to
    /// be saved as such. Equal catalogs give equal exports. The last line has a checksum, so that a cut export is noticed.
    Export {
        /// Where to: a file, which is replaced when the export is whole, or - for stdout.
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: String,
    },
    /// Restore the catalog from an export, ids included. The server must be stopped.
    ///
    /// An export that is not whole is refused before anything is recorded. After a crash, run it again: rows that are there
    /// must be equal, and the server does not start on a catalog of which a part is missing.
    Import {
        /// The export: a file, or - for stdin.
        file: String,
    },
    /// Check catalog and photos against each other. The server must be stopped.
    ///
    /// Prints one line for each finding, a word for its kind first, and a summary on stderr. Exits with 1 if a problem is
    /// left, else with 0.
    Fsck {
        /// Compare the lengths of photos instead of reading all of them.
        #[arg(long)]
        quick: bool,
        /// Mend what can be mended without losing anything: counters, look-ups, dangling sources; move torn photos to
        /// .quarantine in MEDIA_ROOT. Never deletes a photo or a draft.
        #[arg(long)]
        repair: bool,
    },
    /// Make a new catalog from an export in the place of one that is damaged. The server must be stopped.
    ///
    /// The damaged one is kept beside it, under a name with .broken- and the time. Then the new one is checked against the
    /// photos. Refused if the present catalog works.
    Rebuild {
        /// The export: a file, or - for stdin.
        #[arg(long, value_name = "FILE")]
        from: String,
        /// Put the present catalog aside even if it works, or does not open for another reason than damage.
        #[arg(long)]
        force: bool,
    },
    /// Make or update the tables of a PostgreSQL catalog, and exit. A start of the server does it as well.
    Migrate,
    /// Move house: copy the catalog, or the photos, to another place. The source stays as it is.
    ///
    /// A place is sled:PATH or postgres://… (a catalog), local:DIRECTORY or s3:BUCKET (photos; the S3_* settings say how a
    /// bucket is reached). What is not named is where the settings have it, so a password need not be in a command line.
    ///
    /// An embedded catalog is copied while the server is stopped. Photos, and a catalog on PostgreSQL, may be read by a
    /// server meanwhile, if each of its instances runs with READ_ONLY=true; nobody may write to the target.
    ///
    /// Every photo is held against its hash, both sides are compared in the end, and what is wrong is said in a line of its
    /// own on stdout; then it exits with 1. Cut off, it is run again and goes on.
    MigrateStore {
        /// Where from.
        #[arg(long, value_name = "PLACE", required_unless_present = "to")]
        from: Option<String>,
        /// Where to.
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
    },
    /// Bearer tokens.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Print a token of a user, signed with SECRET_KEY.
    Issue {
        /// The user's id, a number from 1.
        #[arg(long, value_name = "ID")]
        user: u64,
        /// For how long it is valid, such as 30d or 12h.
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
}

/// What the process is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the server.
    Serve,
    /// Check the settings and exit.
    CheckConfig,
    /// Look after catalog and photos.
    Operate(Operation),
}

/// Reads the arguments; `--help`, `--version` and bad arguments end the process.
pub fn command() -> Command {
    let matches = Arguments::command().after_help(settings_help()).get_matches();
    match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => match arguments.command {
            None | Some(Subcommands::Serve) => Command::Serve,
            Some(Subcommands::CheckConfig) => Command::CheckConfig,
            Some(Subcommands::Export { output }) => Command::Operate(Operation::Export { output }),
            Some(Subcommands::Import { file }) => Command::Operate(Operation::Import { from: file }),
            Some(Subcommands::Fsck { quick, repair }) => Command::Operate(Operation::Fsck { quick, repair }),
            Some(Subcommands::Rebuild { from, force }) => {
                Command::Operate(Operation::Rebuild { from, force })
            }
            Some(Subcommands::Migrate) => Command::Operate(Operation::Migrate),
            Some(Subcommands::MigrateStore { from, to }) => {
                let (from, to) = (from.map(|value| place(&value)), to.map(|value| place(&value)));
                Command::Operate(Operation::MigrateStore { from, to })
            }
            Some(Subcommands::Token { action: TokenAction::Issue { user, ttl } }) => {
                Command::Operate(Operation::IssueToken { user, ttl })
            }
        },
        Err(error) => error.exit(),
    }
}

/// A place, which may have a password in it: so a bad one is not shown.
fn place(value: &str) -> Place {
    let accepts = "a place is sled:PATH, postgres://…, local:DIRECTORY or s3:BUCKET";
    Place::parse(value)
        .unwrap_or_else(|| Arguments::command().error(ErrorKind::ValueValidation, accepts).exit())
}

/// Reads the settings from the environment and `.env` in the working directory, and what there was probably meant as one.
///
/// # Errors
/// The lines to show, one for each line or setting that did not parse, and for each name that is nearly a setting.
pub fn settings() -> Result<(Settings, Vec<NearMiss>), String> {
    let source = Source::from_process(Path::new(".env"))?;
    let near_misses = source.near_misses().to_vec();
    match Settings::load(&source) {
        Ok(settings) => Ok((settings, near_misses)),
        Err(errors) => {
            Err(lines([errors.to_string()].into_iter().chain(near_misses.iter().map(ToString::to_string))))
        }
    }
}

/// Joins lines to one text.
pub fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
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
