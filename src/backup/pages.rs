//! Visits all rows of a catalog, a page at a time.

use super::BackupError;
use crate::catalog::{AttemptRow, CatalogError, DraftRow, EventRow, KnownSource, Restorable, UploadRow};
use crate::model::Media;

const PAGE: usize = 500;

pub(super) async fn each_media(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(Media) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.media_page(after, PAGE).await, |row| row.id, work).await
}

pub(super) async fn each_draft(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(DraftRow) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.drafts_page(after, PAGE).await, |row| row.id, work).await
}

pub(super) async fn each_source(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(KnownSource) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.sources_page(after, PAGE).await, |row| row.source, work).await
}

pub(super) async fn each_attempt(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(AttemptRow) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.attempts_page(after, PAGE).await, |row| row.id, work).await
}

pub(super) async fn each_event(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(EventRow) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.events_page(after, PAGE).await, |row| row.number, work).await
}

pub(super) async fn each_upload(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(UploadRow) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    each(async |after| catalog.uploads_page(after, PAGE).await, |row| row.id, work).await
}

/// Calls `work` for all rows. It may remove the rows that it gets.
async fn each<T, K: Copy>(
    mut page: impl AsyncFnMut(Option<K>) -> Result<Vec<T>, CatalogError>,
    key: impl Fn(&T) -> K,
    mut work: impl AsyncFnMut(T) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut after = None;
    loop {
        let rows = page(after).await?;
        let is_last = rows.len() < PAGE;
        after = rows.last().map(&key).or(after);
        for row in rows {
            work(row).await?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Reads every row, to find out whether that works.
///
/// # Errors
/// A row cannot be read.
pub(crate) async fn read_all(catalog: &dyn Restorable) -> Result<(), BackupError> {
    catalog.state().await?;
    each_media(catalog, async |_| Ok(())).await?;
    each_draft(catalog, async |_| Ok(())).await?;
    each_source(catalog, async |_| Ok(())).await?;
    each_attempt(catalog, async |_| Ok(())).await?;
    each_event(catalog, async |_| Ok(())).await
}

/// Returns whether the catalog has neither media nor drafts.
///
/// # Errors
/// The catalog failed.
pub(crate) async fn is_empty(catalog: &dyn Restorable) -> Result<bool, CatalogError> {
    Ok(catalog.media_page(None, 1).await?.is_empty() && catalog.drafts_page(None, 1).await?.is_empty())
}
