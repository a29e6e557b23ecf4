//! Removes what is no longer used: drafts that were not changed for DRAFT_TTL_DAYS, and photos that no draft has had for
//! the grace time.

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::schedule::PAGE;
use super::{Maintenance, MaintenanceError};
use crate::catalog::ChangeError;
use crate::model::{DraftStatus, Timestamp};

impl Maintenance {
    /// Removes drafts in the state `draft` that were not changed for the time of the rules. Returns how many.
    ///
    /// # Errors
    /// The catalog failed. The next run continues.
    pub(crate) async fn expire_drafts(&self, stop: &CancellationToken) -> Result<u64, MaintenanceError> {
        let Some(ttl) = self.rules.draft_ttl else { return Ok(0) };
        let before = Timestamp::now().minus(ttl);
        let (mut after, mut expired) = (None, 0);
        loop {
            let page = self.catalog.drafts_page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for draft in page {
                if draft.status != DraftStatus::Draft || draft.updated > before {
                    continue;
                }
                // The version says whether the draft was changed after it was read.
                match self.catalog.delete_draft(draft.id, Some(draft.version)).await {
                    Ok(()) => expired += 1,
                    Err(ChangeError::Catalog(error)) => return Err(error.into()),
                    Err(_) => {}
                }
            }
            if !self.pause(stop).await {
                break;
            }
        }
        if expired > 0 {
            self.expired.fetch_add(expired, Ordering::Relaxed);
            tracing::info!(expired, "drafts without a change for DRAFT_TTL_DAYS were removed");
        }
        Ok(expired)
    }

    /// Removes photos to which no draft has referred for the grace time. Returns how many.
    ///
    /// # Errors
    /// The catalog or the store failed. The next run continues.
    pub(crate) async fn remove_unreferenced(
        &self,
        stop: &CancellationToken,
    ) -> Result<u64, MaintenanceError> {
        let before = Timestamp::now().minus(self.rules.grace);
        let mut removed = 0;
        loop {
            let page = self.catalog.unreferenced_media(before, PAGE).await?;
            let before_page = removed;
            for media in &page {
                if !self.pacer.take(self.requests.remove, stop).await {
                    break;
                }
                if self.publisher.remove_unreferenced(media, before).await? {
                    removed += 1;
                    self.collected.fetch_add(1, Ordering::Relaxed);
                    self.collected_bytes.fetch_add(media.size_bytes, Ordering::Relaxed);
                }
            }
            // A page of which nothing can be removed would be read again and again.
            if removed == before_page || !self.pause(stop).await {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "photos that no draft had any more were removed");
        }
        Ok(removed)
    }

    /// Forgets the requests that succeeded longer ago than they are remembered.
    ///
    /// # Errors
    /// The catalog failed. The next run continues.
    pub(crate) async fn forget_attempts(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        let before = Timestamp::now().minus(self.rules.attempt_lifetime);
        while self.catalog.forget_attempts(before, PAGE).await? == PAGE {
            if !self.pause(stop).await {
                break;
            }
        }
        Ok(())
    }
}
