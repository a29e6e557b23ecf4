//! Damaged photos: stored bytes that do not have the hash that names them.

use super::{KeyGuard, Publisher};
use crate::media::{Integrity, MediaError};
use crate::model::MediaKey;
use crate::telemetry::metrics::{Metrics, Unit};

impl Publisher {
    /// Verifies the stored photo under `key`, and moves it to quarantine if it is damaged, so that its bytes are no longer
    /// served. `_guard` locks the key: no upload publishes the same photo until it is dropped. A photo that cannot be moved is
    /// logged.
    ///
    /// # Errors
    /// The store failed: it is unknown whether the photo is damaged.
    pub(crate) async fn verify_or_quarantine(
        &self,
        key: MediaKey,
        _guard: &KeyGuard,
    ) -> Result<Integrity, MediaError> {
        let integrity = self.store.verify(key).await?;
        if integrity == Integrity::Damaged {
            match self.store.quarantine(key).await {
                Ok(Some(place)) => {
                    self.quarantined.inc();
                    tracing::error!(%key, place, "a stored photo was damaged and is in quarantine; upload it again to heal it");
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%key, %error, "a stored photo is damaged and cannot be moved to quarantine");
                }
            }
        }
        Ok(integrity)
    }

    /// Registers the metrics of publication.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let help = "Stored photos moved to quarantine because their bytes were not those of their name";
        metrics.register("media_quarantined", Unit::Of("photos"), help, self.quarantined.clone());
        let unit = Unit::Of("renditions");
        let help = "Smaller copies that were stored with their photos, because of RENDITIONS_EAGER";
        metrics.register("renditions_eager", unit, help, self.renditions_stored.clone());
        let help = "Smaller copies that could not be stored with their photos: the first request makes each";
        metrics.register("renditions_eager_lost", unit, help, self.renditions_lost.clone());
    }
}
