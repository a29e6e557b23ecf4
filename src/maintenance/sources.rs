//! Forgets sources whose photo is gone: they cannot be recognised any more.

use tokio_util::sync::CancellationToken;

use super::schedule::PAGE;
use super::{Maintenance, MaintenanceError};
use crate::catalog::KnownSource;

impl Maintenance {
    /// Looks at all known sources once, and forgets those whose row is gone, or whose photo the last pass found missing. Returns
    /// the number of sources that were forgotten. The store is asked about missing photos only.
    ///
    /// # Errors
    /// The catalog or the store does not answer.
    pub(crate) async fn forget_sources(&self, stop: &CancellationToken) -> Result<u64, MaintenanceError> {
        let (mut forgotten, mut after) = (0, None);
        let missing = self.missing.names();
        loop {
            let page = self.catalog.sources_page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.source);
            for known in page {
                if known.media.as_ref().is_some_and(|media| !missing.contains(&media.key)) {
                    continue;
                }
                if !self.pacer.take(self.requests.stat, stop).await {
                    break;
                }
                forgotten += u64::from(self.forget_if_useless(known).await?);
            }
            if !self.pause(stop).await {
                break;
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "sources whose photo is gone were forgotten");
        }
        Ok(forgotten)
    }

    async fn forget_if_useless(&self, known: KnownSource) -> Result<bool, MaintenanceError> {
        let KnownSource { source, media_id, media } = known;
        if let Some(media) = media {
            // An upload of the same photo may restore the file, and rely on the source that it records.
            let _guard = self.publisher.lock_keys([media.key]).await?;
            if self.store.stat(media.key).await?.is_some() {
                return Ok(false);
            }
            self.catalog.forget_source(source, media_id).await?;
        } else {
            self.catalog.forget_source(source, media_id).await?;
        }
        Ok(true)
    }
}
