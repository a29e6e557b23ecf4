//! Removes expired uploads, and bytes without an upload.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ResumableUploads, UploadError};
use crate::catalog::{UploadRow, UploadState};
use crate::error_chain::error_chain;
use crate::model::{Timestamp, UploadId};

/// Pause between two runs.
const EVERY: Duration = Duration::from_secs(60);
/// Runs between two searches for stray bytes.
const RUNS_PER_SEARCH: u32 = 60;
/// Uploads of one step.
const PAGE: usize = 100;

impl ResumableUploads {
    /// Removes what is no longer needed, until `stop` is cancelled.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        for run in 0_u32.. {
            let removed = async {
                self.expire(&stop).await?;
                if run % RUNS_PER_SEARCH == 0 {
                    self.remove_stray_bytes(&stop).await?;
                }
                Ok::<_, UploadError>(())
            };
            if let Err(error) = removed.await {
                tracing::warn!(error = %error_chain(&error), "expired uploads stay until the next run");
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                break;
            }
        }
    }

    /// Removes uploads that expired, with their bytes. Returns how many.
    ///
    /// # Errors
    /// A store failed. The next run continues.
    pub(crate) async fn expire(&self, stop: &CancellationToken) -> Result<u64, UploadError> {
        let mut removed = 0;
        while !stop.is_cancelled() {
            let now = Timestamp::now();
            let page = self.catalog.expired_uploads(now, PAGE).await?;
            let before = removed;
            for id in page {
                let _turn = self.turns.take(id).await?;
                // A request may have continued it in the meantime.
                if self.catalog.remove_upload(id, Some(now)).await? {
                    self.partial.remove(id, UploadRow::newest_writer(now)).await?;
                    removed += 1;
                    self.counts.expired.inc();
                }
            }
            // None expired, or a page of which nothing can be removed would be read again and again.
            if removed == before {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "expired uploads were removed");
        }
        Ok(removed)
    }

    /// Removes bytes that no upload needs: a crash left them between two steps of a removal. Returns of how many uploads.
    ///
    /// # Errors
    /// A store failed. The next run continues.
    pub(crate) async fn remove_stray_bytes(&self, stop: &CancellationToken) -> Result<u64, UploadError> {
        let (mut after, mut removed) = (None, 0);
        while !stop.is_cancelled() {
            let page = self.partial.page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            for id in page {
                // The row of an upload comes before its bytes, so that bytes without a row are of no new upload.
                if !self.is_stray(id).await? {
                    continue;
                }
                let _turn = self.turns.take(id).await?;
                // Of the bytes that are there now. Later ones may be of an upload with this id that begins in another instance.
                let newest = self.partial.newest(id).await?;
                if self.is_stray(id).await? {
                    self.partial.remove(id, newest).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    async fn is_stray(&self, id: UploadId) -> Result<bool, UploadError> {
        let row = self.catalog.upload(id).await?;
        Ok(row.is_none_or(|row| row.state != UploadState::Receiving))
    }
}
