//! Visits all rows of a catalog, a page at a time.

use std::time::Instant;

use super::BackupError;
use crate::catalog::{
    AttemptRow, CatalogError, DraftRow, EventRow, IdentityRow, KnownSource, Restorable, UploadRow,
};
use crate::model::Media;

const PAGE: usize = 500;
/// Beside requests, each page is followed by a rest of this many times as long as it took.
const REST: u32 = 4;

/// The rows of a catalog.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(super) catalog: &'a dyn Restorable,
    /// See [`REST`].
    rest: u32,
}

impl<'a> Rows<'a> {
    /// Reads without rests: nothing else uses the catalog.
    pub(crate) fn of(catalog: &'a dyn Restorable) -> Self {
        Self { catalog, rest: 0 }
    }

    /// Reads in a fifth of the time, because requests use the catalog too.
    pub(crate) fn beside_requests(catalog: &'a dyn Restorable) -> Self {
        Self { catalog, rest: REST }
    }

    /// Runs one step of the work, and rests.
    pub(super) async fn step<T>(self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        if self.rest > 0 {
            tokio::time::sleep(begun.elapsed() * self.rest).await;
        }
        done
    }

    pub(super) async fn each_media(
        self,
        work: impl AsyncFnMut(Media) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.media_page(after, PAGE).await, |row| row.id, work).await
    }

    pub(super) async fn each_draft(
        self,
        work: impl AsyncFnMut(DraftRow) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.drafts_page(after, PAGE).await, |row| row.id, work).await
    }

    pub(super) async fn each_source(
        self,
        work: impl AsyncFnMut(KnownSource) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.sources_page(after, PAGE).await, |row| row.source, work).await
    }

    pub(super) async fn each_attempt(
        self,
        work: impl AsyncFnMut(AttemptRow) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.attempts_page(after, PAGE).await, |row| row.id, work).await
    }

    pub(super) async fn each_event(
        self,
        work: impl AsyncFnMut(EventRow) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.events_page(after, PAGE).await, |row| row.number, work).await
    }

    pub(super) async fn each_identity(
        self,
        work: impl AsyncFnMut(IdentityRow) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.identities_page(after, PAGE).await, |row| row.user, work).await
    }

    pub(super) async fn each_upload(
        self,
        work: impl AsyncFnMut(UploadRow) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.each(async |after| self.catalog.uploads_page(after, PAGE).await, |row| row.id, work).await
    }

    /// Calls `work` for all rows. It may remove the rows that it gets.
    async fn each<T, K: Copy>(
        self,
        mut page: impl AsyncFnMut(Option<K>) -> Result<Vec<T>, CatalogError>,
        key: impl Fn(&T) -> K,
        mut work: impl AsyncFnMut(T) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let mut after = None;
        loop {
            let rows = self.step(page(after)).await?;
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
}

/// Reads every row, to find out whether that works.
///
/// # Errors
/// A row cannot be read.
pub(crate) async fn read_all(catalog: &dyn Restorable) -> Result<(), BackupError> {
    let rows = Rows::of(catalog);
    catalog.state().await?;
    rows.each_media(async |_| Ok(())).await?;
    rows.each_draft(async |_| Ok(())).await?;
    rows.each_source(async |_| Ok(())).await?;
    rows.each_attempt(async |_| Ok(())).await?;
    rows.each_event(async |_| Ok(())).await?;
    rows.each_identity(async |_| Ok(())).await
}

/// Returns whether the catalog has neither media nor drafts.
///
/// # Errors
/// The catalog failed.
pub(crate) async fn is_empty(catalog: &dyn Restorable) -> Result<bool, CatalogError> {
    Ok(catalog.media_page(None, 1).await?.is_empty() && catalog.drafts_page(None, 1).await?.is_empty())
}
