//! Saving a catalog.

use std::io::Write;

use super::CustodyError;
use super::format::{Counts, Writer};
use super::pages::{each_draft, each_media, each_source};
use crate::catalog::{Restorable, Row, SourceRow};

/// Writes everything that is in `catalog` to `out`, and flushes that. Equal catalogs give equal bytes.
///
/// Rows are copied as they are, damaged references included, so that there is a copy before something is mended.
///
/// # Errors
/// The catalog is incomplete or fails, or `out` does. What was written then has no end, and cannot be imported.
pub async fn export(catalog: &dyn Restorable, out: impl Write) -> Result<Counts, CustodyError> {
    let state = catalog.state().await?;
    if state.is_partial {
        return Err(CustodyError::Partial);
    }
    let mut writer = Writer::begin(out, state)?;
    each_media(catalog, async |row| writer.row(Row::Media(row))).await?;
    each_draft(catalog, async |row| writer.row(Row::Draft(row))).await?;
    each_source(catalog, async |known| {
        writer.row(Row::Source(SourceRow { source: known.source, media: known.media_id }))
    })
    .await?;
    writer.end()
}
