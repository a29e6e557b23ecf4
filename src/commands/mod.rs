//! The operator's commands. They open the stores, report the result, and leave the work to `backup`.
//!
//! Output goes to stdout, and messages go to stderr. Export, backup and a check without a repair run beside servers: with an embedded
//! catalog they ask the one that has it open. Other commands on the whole catalog need it for themselves: only one process can open
//! sled, and a PostgreSQL catalog that changes during a command would give inconsistent results. Commands on single drafts and users
//! run while servers with PostgreSQL run.

mod backup_files;
mod catalog_source;
mod doctor;
mod drafts;
mod files;
mod find;
mod healthcheck;
mod migrate_store;
mod progress;
mod rebuild;
mod renditions;
mod report;
mod restore;
mod salvage;
mod save;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use self::catalog_source::CatalogSource;
use self::files::{Input, Output};
use self::report::{check, import_rows, note, say, with_causes};
use crate::auth::Tokens;
use crate::backup::{self, Checks, Summary};
use crate::config::{Settings, StoreAddress};
use crate::control::Request;
use crate::model::{DraftId, MediaKey, UserId};
use crate::stores::{self, Mode};

/// An operator's command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Saves the catalog.
    Export {
        /// A file, or `-` for stdout.
        output: String,
        /// Saves the readable rows of a damaged catalog.
        salvage: bool,
    },
    /// Restores the catalog.
    Import {
        /// A file, or `-` for stdin.
        from: String,
    },
    /// Saves the catalog and the photos.
    Backup {
        /// The directory of the backup.
        dir: PathBuf,
        /// Leaves the photos out.
        catalog_only: bool,
        /// Removes photos from the backup that no export of it names.
        prune: bool,
    },
    /// Restores catalog and photos from a backup.
    Restore {
        /// The directory of the backup.
        dir: PathBuf,
    },
    /// Checks everything.
    Fsck {
        /// Does not read whole photos.
        quick: bool,
        /// Repairs what can be repaired without loss.
        repair: bool,
    },
    /// Makes a new catalog in the place of a damaged one.
    Rebuild {
        /// An export: a file, or `-` for stdin.
        from: String,
        /// Replaces a catalog that works, too.
        force: bool,
    },
    /// Migrates the tables of a PostgreSQL catalog.
    Migrate,
    /// Copies a catalog, or photos, from one address to another. One of the two may be `None`, for that of the settings.
    MigrateStore {
        /// The source.
        from: Option<StoreAddress>,
        /// The target.
        to: Option<StoreAddress>,
    },
    /// Makes the renditions that the store lacks.
    MakeRenditions,
    /// Shows what is known of a photo.
    Find {
        /// Its content address.
        key: MediaKey,
    },
    /// Removes a draft.
    DeleteDraft {
        /// Its id.
        id: DraftId,
    },
    /// Removes all that names a user.
    EraseUser {
        /// The user's id.
        user: u64,
    },
    /// Makes a bearer token.
    IssueToken {
        /// The user's id.
        user: u64,
        /// For how long it is valid.
        ttl: Duration,
    },
    /// Examines settings, machine and stores.
    Examine,
    /// Asks the running server whether it works.
    CheckHealth {
        /// Whether its stores work too.
        ready: bool,
    },
}

/// The result of a command that completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Well,
    /// Something is wrong; stdout says what.
    Problems,
}

/// Runs a command.
///
/// # Errors
/// A sentence for the operator: why the command failed.
pub fn run(command: &Operation, settings: &Settings) -> Result<Verdict, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(async {
        match command {
            Operation::Export { output, salvage: false } => export(settings, output).await,
            Operation::Export { output, salvage: true } => salvage::salvage(settings, output),
            Operation::Import { from } => import(settings, from).await,
            Operation::Backup { dir, catalog_only, prune } => {
                save::backup(settings, dir, *catalog_only, *prune).await
            }
            Operation::Restore { dir } => restore::restore(settings, dir).await,
            Operation::Fsck { quick, repair } => fsck(settings, *quick, *repair).await,
            Operation::Rebuild { from, force } => rebuild::rebuild(settings, from, *force).await,
            Operation::MigrateStore { from, to } => {
                migrate_store::migrate_store(settings, from.as_ref(), to.as_ref()).await
            }
            Operation::Migrate => migrate(settings).await,
            Operation::MakeRenditions => renditions::make(settings).await,
            Operation::Find { key } => find::find(settings, *key).await,
            Operation::DeleteDraft { id } => drafts::delete(settings, *id).await,
            Operation::EraseUser { user } => users::erase(settings, *user).await,
            Operation::IssueToken { user, ttl } => issue_token(settings, *user, *ttl),
            Operation::Examine => doctor::doctor(settings).await,
            Operation::CheckHealth { ready } => healthcheck::healthcheck(settings, *ready).await,
        }
    })
}

async fn export(settings: &Settings, output: &str) -> Result<Verdict, String> {
    let source = CatalogSource::open(settings, Request::Export).await?;
    let mut output = Output::create(output)?;
    let spool = output.spool(settings)?;
    let (counts, _source) = source.export(spool, output.writer()).await?;
    output.keep()?;
    note(&format!("Exported {counts}."));
    Ok(Verdict::Well)
}

async fn import(settings: &Settings, from: &str) -> Result<Verdict, String> {
    let input = Input::open(from, &files::spool([&settings.database]))?;
    // The export is verified before a catalog is created.
    backup::verify(&input.file).map_err(with_causes)?;
    let catalog = stores::open_catalog(settings, Mode::Create).await?;
    import_rows(&*catalog, &input.file).await?;
    Ok(Verdict::Well)
}

/// A server migrates at its start as well. This is for operators with many servers, or whose servers may not change tables.
async fn migrate(settings: &Settings) -> Result<Verdict, String> {
    if settings.database.directory().is_some() {
        note("The embedded catalog has no tables to migrate.");
    } else {
        stores::open_catalog(settings, Mode::Create).await?;
        note(&format!("The tables at {} are up to date.", settings.database));
    }
    Ok(Verdict::Well)
}

fn issue_token(settings: &Settings, user: u64, ttl: Duration) -> Result<Verdict, String> {
    let user = UserId::try_from(user).map_err(|error| error.to_string())?;
    if settings.has_public_secret_key() {
        note(
            "SECRET_KEY is the default or a placeholder: anyone can sign such a token. Use it for trials only.",
        );
    }
    // The previous key only verifies.
    say(&Tokens::new(&settings.secret_key, None).issue(user, ttl).map_err(|error| error.to_string())?);
    Ok(Verdict::Well)
}

async fn fsck(settings: &Settings, quick: bool, repair: bool) -> Result<Verdict, String> {
    let summary = if repair {
        check_alone(settings, Checks { quick, repair, beside_requests: false }).await?
    } else {
        match CatalogSource::ask(settings, Request::Fsck { quick }).await? {
            Some(server) => {
                let summary = catalog_source::checked(server).await?;
                note(&summary.to_string());
                summary
            }
            None => check_alone(settings, Checks { quick, repair, beside_requests: false }).await?,
        }
    };
    Ok(if summary.problems == 0 { Verdict::Well } else { Verdict::Problems })
}

async fn check_alone(settings: &Settings, checks: Checks) -> Result<Summary, String> {
    let catalog = catalog_source::open_alone(settings).await?;
    let media = stores::open_media(settings, Mode::Existing).await?;
    check(&*catalog, &media, checks).await
}
