//! The pass over all photos. Store and catalog are read once, both in order of keys, a range at a time. Rows without their photo
//! are missing (`missing`), photos without a row are removed after the grace time (`collect`), and so are renditions without
//! their photo.
//!
//! The position and the counts are notes of the lease: another instance, or this one after a restart, continues there.

use std::io;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::collect::{Collected, Garbage};
use super::differences::{Differences, compare};
use super::missing::Found;
use super::notes::Pass;
use super::schedule::{PAGE, RETRY_AFTER, seconds};
use super::{Maintenance, MaintenanceError};
use crate::media::{ListPage, MediaError};
use crate::model::MediaKey;

/// A listing that ends without its last page says nothing about the photos behind it.
const CUT_OFF: &str = "the list of the store ended before its last page";

/// What a pass found so far. The counts are in the notes as well.
struct Progress {
    pass: Pass,
    missing: Found,
    garbage: Garbage,
}

impl Maintenance {
    /// Makes a pass, or continues the one in progress. Returns what was removed at its end, or `None` if `stop` was cancelled before.
    ///
    /// A range that fails is compared again after a pause.
    ///
    /// # Errors
    /// The catalog or the store failed at the beginning or while photos were removed. The next call continues.
    pub(super) async fn compare(
        &self,
        stop: &CancellationToken,
    ) -> Result<Option<Collected>, MaintenanceError> {
        let pass = self.with_notes(|notes| notes.pass.get_or_insert_default().clone());
        let garbage = Garbage::new(self.catalog.created().await?);
        let mut pages = self.store.list_by_key(pass.after);
        let missing = self.missing.search(pass.after);
        let mut progress = Progress { pass, missing, garbage };
        loop {
            if !self.pacer.take(self.requests.list, stop).await {
                return Ok(None);
            }
            let step = async {
                let cut_off = || MediaError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, CUT_OFF));
                let page = pages.try_next().await?.ok_or_else(cut_off)?;
                self.compare_page(&page, &mut progress, stop)
                    .await
                    .map(|is_compared| is_compared.then_some(page))
            };
            match step.await {
                Ok(Some(ListPage { is_end: true, .. })) => break,
                Ok(Some(page)) => {
                    progress.pass.after = page.last;
                    self.with_notes(|notes| notes.pass = Some(progress.pass.clone()));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.log_failure("photos cannot be compared with the catalog", Err(error));
                    if stop.run_until_cancelled(sleep(RETRY_AFTER)).await.is_none() {
                        return Ok(None);
                    }
                    pages = self.store.list_by_key(progress.pass.after);
                }
            }
        }
        let Progress { pass, missing, garbage } = progress;
        let Some(collected) = self.collect(&pass, garbage, stop).await? else { return Ok(None) };
        self.settle_missing(missing, pass.missing, stop).await?;
        self.with_notes(|notes| {
            (notes.pass, notes.ended, notes.left) = (None, seconds(SystemTime::now()), collected.left);
        });
        Ok(Some(collected))
    }

    /// Compares a page of the store with the rows of its range. Returns false if `stop` was cancelled before the end.
    async fn compare_page(
        &self,
        page: &ListPage,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<bool, MaintenanceError> {
        let ListPage { photos, strays, last, is_end } = page;
        let (is_end, last) = (*is_end, *last);
        let (mut left, mut after) = (&photos[..], progress.pass.after);
        let upto = if is_end { None } else { last };
        // Without an end, `last` says whether the page has a range at all.
        let mut is_last = !is_end && last == after;
        // What a range adds is noted when all of it is compared, so that none of it is counted twice.
        let (mut pass, mut with_row, mut without_row) = (progress.pass.clone(), 0, Vec::new());
        while !is_last {
            let rows = self.catalog.media_by_key(after, upto, PAGE).await?;
            is_last = rows.len() < PAGE;
            after = rows.last().map_or(after, |row| Some(row.key));
            let Differences { missing, unknown, known } = compare(rows, &mut left, is_last);
            (pass.known, with_row) = (pass.known + known, with_row + known);
            for row in missing {
                if self.is_missing(&row, &mut progress.missing, stop).await? {
                    pass.missing += 1;
                }
                if stop.is_cancelled() {
                    return Ok(false);
                }
            }
            without_row.extend(unknown);
            if !self.pause(stop).await {
                return Ok(false);
            }
        }
        if !self.remove_strays(strays, stop).await? {
            return Ok(false);
        }
        progress.garbage.add(with_row, &without_row, self.rules.grace, &mut pass);
        progress.pass = pass;
        Ok(true)
    }

    /// Removes renditions whose photo is gone, as a crash between the removals of a photo and of its renditions leaves them.
    /// Returns false if `stop` was cancelled before the end.
    async fn remove_strays(
        &self,
        strays: &[MediaKey],
        stop: &CancellationToken,
    ) -> Result<bool, MaintenanceError> {
        let mut removed = 0;
        for key in strays.iter().filter(|_| self.rules.collects) {
            if !self.pacer.take(self.requests.remove, stop).await {
                return Ok(false);
            }
            removed += self.renditions.remove_strays(*key).await?;
        }
        if removed > 0 {
            tracing::info!(removed, "renditions of photos that are gone were removed");
        }
        Ok(true)
    }
}
