//! Arguments and exit codes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::Operation;
use crate::config::{self, Settings, Source, StoreAddress};
use crate::manual::{Manual, Shell};
use crate::model::{DraftId, MediaKey};

/// Exit code after bad arguments or settings. Starting again cannot help, so a supervisor should not.
pub const EXIT_USAGE: u8 = 2;
/// Exit code after a start or a run that failed (starting again may help), and after a check that found problems.
pub const EXIT_FAILURE: u8 = 1;

/// The file with settings, in the working directory.
pub const DOTENV: &str = ".env";

/// Streaming media-ingest server: takes photos, and makes upright JPEGs without metadata and a draft listing.
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
    /// Save the catalog as JSON lines. The server may run.
    ///
    /// The export has drafts, media rows, hashes of sources, idempotency keys, undelivered events, and the next
    /// ids. Photos are not in it: save the files in MEDIA_ROOT as well. Equal catalogs give equal exports. The last line has a
    /// checksum, so an incomplete export is detected.
    Export {
        /// File to write, which is replaced when the export is complete, or - for stdout.
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: String,
        /// Read a damaged embedded catalog without changing it, and save every row whose checksum matches. Lists on stderr
        /// what is lost, and exits with 1 if anything is.
        #[arg(long)]
        salvage: bool,
    },
    /// Save catalog and photos into a directory. The server may run.
    ///
    /// DIR gets catalog.jsonl, an export, and photos/. Only photos that DIR does not have are copied, from the directory or from
    /// the bucket, and each is compared with its hash. The former export is kept as catalog.previous.jsonl, and stays in use until
    /// all photos of the new one are there. A backup that was interrupted goes on when it is run again. Settings and secrets are not
    /// in it, and neither are unfinished uploads. Exits with 1 if a photo is missing or damaged; stdout names it.
    Backup {
        /// Directory of the backup, which is created if it does not exist.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Leave the photos out, for example if the bucket keeps versions of them.
        #[arg(long, conflicts_with = "prune")]
        catalog_only: bool,
        /// Remove the photos from DIR that neither export names.
        #[arg(long)]
        prune: bool,
    },
    /// Restore catalog and photos from a backup. The server must be stopped.
    ///
    /// The catalog and the place of the photos must be empty. The export is verified before anything is created, and each photo
    /// against its hash. A restore that was interrupted goes on when it is run again, and the server does not start before. Exits
    /// with 1 if a photo is missing or damaged; stdout names it.
    Restore {
        /// Directory of the backup.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Restore the catalog from an export, ids included. The server must be stopped.
    ///
    /// An incomplete export is refused before anything is recorded. After a crash, run the import again: rows that are
    /// present must be equal. The server does not start on a catalog whose import did not end.
    Import {
        /// File with the export, or - for stdin.
        file: String,
    },
    /// Check catalog and photos against each other. The server may run, but not with --repair.
    ///
    /// Prints one line for each finding, which starts with its kind, and a summary on stderr. Exits with 1 if a problem
    /// remains, else with 0.
    Fsck {
        /// Compare the lengths of photos instead of reading all of them.
        #[arg(long)]
        quick: bool,
        /// Repair what can be repaired without loss: counters, indexes, hashes of sources without a photo. Move damaged
        /// photos to .quarantine in MEDIA_ROOT. Never deletes a photo or a draft.
        #[arg(long)]
        repair: bool,
    },
    /// Replace a damaged catalog by a new one that is made from an export. The server must be stopped.
    ///
    /// The damaged catalog is kept next to the new one, under a name with .broken- and the time. Then the new one is checked
    /// against the photos. Refused if the present catalog works.
    Rebuild {
        /// File with the export, or - for stdin.
        #[arg(long, value_name = "FILE")]
        from: String,
        /// Replace the present catalog even if it works, or does not open for another reason than damage.
        #[arg(long)]
        force: bool,
    },
    /// Create or update the tables of a PostgreSQL catalog, and exit. The server does the same at its start.
    Migrate,
    /// Copy the catalog, or the photos, to another place. The source does not change.
    ///
    /// A place is sled:PATH or postgres://… as in DATABASE_URL (a catalog), local:DIRECTORY, or a bucket such as s3:NAME
    /// (photos; the settings of its service say how it is reached). A place that is left out is that of the settings, so a
    /// password need not be in a command line.
    ///
    /// Stop the server while an embedded catalog is copied. A server may read photos, or a catalog on PostgreSQL, during the
    /// copy if each of its instances runs with READ_ONLY=true. No other process may write to the target.
    ///
    /// Every photo is verified against its hash, and both sides are compared at the end. Each difference is a line on stdout,
    /// and the exit code is then 1. A copy that was interrupted goes on where it stopped when it is run again.
    MigrateStore {
        /// Place to copy from.
        #[arg(long, value_name = "PLACE", required_unless_present = "to")]
        from: Option<String>,
        /// Place to copy to.
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
    },
    /// Make smaller copies of photos.
    Renditions {
        #[command(subcommand)]
        action: RenditionsAction,
    },
    /// Show what is known of a photo: its row, its drafts and its file.
    ///
    /// With an embedded catalog the server must be stopped. Prints one line for each fact, which starts with its kind. Exits
    /// with 1 if the photo is unknown, or if its file is missing or damaged.
    Find {
        /// SHA-256 of the photo in hexadecimal, its file name, or its URL.
        #[arg(value_parser = hash)]
        hash: MediaKey,
    },
    /// Remove drafts.
    Draft {
        #[command(subcommand)]
        action: DraftAction,
    },
    /// Remove what is kept of users.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Issue bearer tokens.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Examine settings, disks, clock, open files, database and bucket, and say what to do.
    ///
    /// The server may run. Prints one line for each thing: ok, advice or problem, what it is about, and what to do. Exits with 1 if
    /// there is a problem. A bucket gets an object, which is removed again.
    Doctor,
    /// Ask the server on this machine whether it works.
    ///
    /// The server is the one that listens on HOST and PORT. Exits with 0 if it answers with 200 within four seconds, else with
    /// 1.
    Healthcheck {
        /// Ask whether the stores work too, so that an upload could succeed now.
        #[arg(long)]
        ready: bool,
    },
    /// Print the man page.
    Man {
        /// Write the man pages of all commands into this directory instead.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum DraftAction {
    /// Delete a draft, of any owner.
    ///
    /// With an embedded catalog the server must be stopped. Photos that no other draft has are removed by the server after
    /// MEDIA_GRACE_HOURS.
    Delete {
        /// Id of the draft.
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
enum RenditionsAction {
    /// Make the copies of RENDITION_WIDTHS that photos of the catalog lack.
    ///
    /// With an embedded catalog the server must be stopped. A server makes each copy at its first request, so this is for a
    /// CDN or a web server that reads the store itself, or for a busy day. Prints one line for each copy that cannot be made,
    /// and then exits with 1. If the command is interrupted, run it again: copies that exist stay.
    Make,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Erase a user: drafts, photos that no other draft has, and idempotency keys.
    ///
    /// Photos are removed immediately, without the time of MEDIA_GRACE_HOURS. Those that drafts of others have stay, and no
    /// longer name the user. With an embedded catalog the server must be stopped. With PostgreSQL it may run: what the user
    /// sends during the command stays. If the command is interrupted, run it again.
    Erase {
        /// Id of the user.
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Print a token for a user, signed with SECRET_KEY.
    Issue {
        /// Id of the user, a number from 1.
        #[arg(long, value_name = "ID")]
        user: u64,
        /// Time for which the token is valid, such as 30d or 12h.
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
}

/// What the process is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Write a part of the manual. It needs no settings.
    Manual(Manual),
    /// Everything else.
    Command(Command),
}

/// What the process is asked to do with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the server.
    Serve,
    /// Check the settings and exit.
    CheckConfig,
    /// Run a command on the catalog and the photos, or on the server.
    Operate(Operation),
}

/// Reads the arguments. `--help`, `--version` and bad arguments end the process.
pub fn request() -> Request {
    let matches = Arguments::command().after_help(config::help()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let operation = match arguments.command {
        None | Some(Subcommands::Serve) => return Request::Command(Command::Serve),
        Some(Subcommands::CheckConfig) => return Request::Command(Command::CheckConfig),
        Some(Subcommands::Man { directory: None }) => return Request::Manual(Manual::Page),
        Some(Subcommands::Man { directory: Some(path) }) => return Request::Manual(Manual::Pages(path)),
        Some(Subcommands::Completions { shell }) => return Request::Manual(Manual::Completions(shell)),
        Some(Subcommands::Export { output, salvage }) => Operation::Export { output, salvage },
        Some(Subcommands::Backup { dir, catalog_only, prune }) => {
            Operation::Backup { dir, catalog_only, prune }
        }
        Some(Subcommands::Restore { dir }) => Operation::Restore { dir },
        Some(Subcommands::Import { file }) => Operation::Import { from: file },
        Some(Subcommands::Fsck { quick, repair }) => Operation::Fsck { quick, repair },
        Some(Subcommands::Rebuild { from, force }) => Operation::Rebuild { from, force },
        Some(Subcommands::Migrate) => Operation::Migrate,
        Some(Subcommands::MigrateStore { from, to }) => {
            let (from, to) = (from.map(|value| address(&value)), to.map(|value| address(&value)));
            Operation::MigrateStore { from, to }
        }
        Some(Subcommands::Renditions { action: RenditionsAction::Make }) => Operation::MakeRenditions,
        Some(Subcommands::Find { hash }) => Operation::Find { key: hash },
        Some(Subcommands::Draft { action: DraftAction::Delete { id } }) => {
            Operation::DeleteDraft { id: DraftId(id) }
        }
        Some(Subcommands::User { action: UserAction::Erase { id } }) => Operation::EraseUser { user: id },
        Some(Subcommands::Token { action: TokenAction::Issue { user, ttl } }) => {
            Operation::IssueToken { user, ttl }
        }
        Some(Subcommands::Doctor) => Operation::Examine,
        Some(Subcommands::Healthcheck { ready }) => Operation::CheckHealth { ready },
    };
    Request::Command(Command::Operate(operation))
}

/// Returns the arguments that this program takes, for its manual.
pub fn arguments() -> clap::Command {
    Arguments::command()
}

/// Parses the hash of a photo, which may be the last part of a URL and may have an extension.
fn hash(text: &str) -> Result<MediaKey, String> {
    let name = text.rsplit('/').next().unwrap_or(text);
    let digits = name.split_once('.').map_or(name, |(digits, _)| digits);
    digits.parse().map_err(|_| "a photo is named by 64 lower-case hex digits".to_owned())
}

/// Parses an address, or ends the process. The error does not show the text, which may contain a password.
fn address(value: &str) -> StoreAddress {
    let accepts = "a place is a value of DATABASE_URL, local:DIRECTORY or a bucket such as s3:NAME";
    StoreAddress::parse(value)
        .unwrap_or_else(|| Arguments::command().error(ErrorKind::ValueValidation, accepts).exit())
}

/// Reads the settings from the environment and from `.env` in the working directory. The source has the raw values, and the names
/// that are nearly settings.
///
/// # Errors
/// The lines to show: one for each line or setting that does not parse, and for each name that is nearly a setting.
pub fn settings() -> Result<(Settings, Source), String> {
    let source = Source::from_process(Path::new(DOTENV))?;
    match Settings::load(&source) {
        Ok(settings) => Ok((settings, source)),
        Err(errors) => {
            let near_misses = source.near_misses().iter().map(ToString::to_string);
            Err(lines([errors.to_string()].into_iter().chain(near_misses)))
        }
    }
}

/// Joins lines to one text.
pub fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
}
