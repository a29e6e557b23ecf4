//! Work that several commands share, with its messages.

use std::fs::File;
use std::io::{self, Write};

use crate::backup::{self, Checks, Finding, Summary};
use crate::catalog::Restorable;
use crate::config::Settings;
use crate::error_chain::error_chain;
use crate::stores::Media;

/// Rows that are imported between two lines of progress.
const ROWS_PER_LINE: u64 = 10_000;

pub(super) async fn import_rows(catalog: &dyn Restorable, file: &File) -> Result<(), String> {
    let mut said = 0;
    let progress = |done: u64, total: u64| {
        if done / ROWS_PER_LINE > said {
            said = done / ROWS_PER_LINE;
            note(&format!("Imported {done} of {total} rows."));
        }
    };
    let counts = backup::import(catalog, file, progress).await.map_err(with_causes)?;
    note(&format!("The catalog has all of the export: {counts}."));
    Ok(())
}

pub(super) async fn check(
    catalog: &dyn Restorable,
    media: &Media,
    checks: Checks,
) -> Result<Summary, String> {
    let say = |finding: &Finding| say(&finding.to_string());
    let summary =
        backup::fsck(catalog, &*media.store, &*media.partial, checks, say).await.map_err(with_causes)?;
    note(&summary.to_string());
    Ok(summary)
}

/// Refuses a command that removes something while the stores are moved.
pub(super) fn refuse_if_read_only(settings: &Settings) -> Result<(), String> {
    if settings.read_only {
        return Err("READ_ONLY=true: nothing is removed while the stores are moved".to_owned());
    }
    Ok(())
}

/// An error with its causes.
pub(super) fn with_causes(error: impl std::error::Error + 'static) -> String {
    error_chain(&error)
}

/// A line on stdout. A reader that went away is no reason to stop.
pub(super) fn say(line: &str) {
    let _reader_left = writeln!(io::stdout().lock(), "{line}");
}

/// A line on stderr.
pub(super) fn note(line: &str) {
    let _reader_left = writeln!(io::stderr().lock(), "{line}");
}
