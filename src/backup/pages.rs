//! Going through a catalog, however large it is, a page at a time.

use super::CustodyError;
use crate::catalog::{CatalogError, DraftRow, KnownSource, Restorable};
use crate::model::Media;

const PAGE: usize = 500;

pub(super) async fn each_media(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(Media) -> Result<(), CustodyError>,
) -> Result<(), CustodyError> {
    each(async |after| catalog.media_page(after, PAGE).await, |row| row.id, work).await
}

pub(super) async fn each_draft(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(DraftRow) -> Result<(), CustodyError>,
) -> Result<(), CustodyError> {
    each(async |after| catalog.drafts_page(after, PAGE).await, |row| row.id, work).await
}

pub(super) async fn each_source(
    catalog: &dyn Restorable,
    work: impl AsyncFnMut(KnownSource) -> Result<(), CustodyError>,
) -> Result<(), CustodyError> {
    each(async |after| catalog.sources_page(after, PAGE).await, |row| row.source, work).await
}

/// Work may remove rows that it was given.
async fn each<T, K: Copy>(
    mut page: impl AsyncFnMut(Option<K>) -> Result<Vec<T>, CatalogError>,
    key: impl Fn(&T) -> K,
    mut work: impl AsyncFnMut(T) -> Result<(), CustodyError>,
) -> Result<(), CustodyError> {
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

/// Reads every row, and does nothing with it.
///
/// # Errors
/// One of them cannot be read.
pub async fn read_all(catalog: &dyn Restorable) -> Result<(), CustodyError> {
    catalog.state().await?;
    each_media(catalog, async |_| Ok(())).await?;
    each_draft(catalog, async |_| Ok(())).await?;
    each_source(catalog, async |_| Ok(())).await
}

/// Whether there is neither a photo nor a draft.
///
/// # Errors
/// The catalog failed.
pub async fn is_empty(catalog: &dyn Restorable) -> Result<bool, CatalogError> {
    Ok(catalog.media_page(None, 1).await?.is_empty() && catalog.drafts_page(None, 1).await?.is_empty())
}
