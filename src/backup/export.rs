//! Saves a catalog.

use std::io::Write;

use super::BackupError;
use super::format::{Counts, Writer};
use super::pages::{each_attempt, each_draft, each_event, each_media, each_source};
use crate::catalog::{Restorable, Row, SourceRow};

/// Writes the whole content of `catalog` to `out`, and flushes it. Equal catalogs give equal bytes.
///
/// Rows are written as they are, with dangling references, so that there is a copy before a repair.
///
/// # Errors
/// The catalog is partial, or the catalog or `out` failed. The output then has no end, and cannot be imported.
pub(crate) async fn export(catalog: &dyn Restorable, out: impl Write) -> Result<Counts, BackupError> {
    let state = catalog.state().await?;
    if state.is_partial {
        return Err(BackupError::Partial);
    }
    let mut writer = Writer::begin(out, state)?;
    each_media(catalog, async |row| writer.row(Row::Media(row))).await?;
    each_draft(catalog, async |row| writer.row(Row::Draft(row))).await?;
    each_source(catalog, async |known| {
        writer.row(Row::Source(SourceRow { source: known.source, media: known.media_id }))
    })
    .await?;
    each_attempt(catalog, async |row| writer.row(Row::Attempt(row))).await?;
    each_event(catalog, async |row| writer.row(Row::Event(row))).await?;
    writer.end()
}
