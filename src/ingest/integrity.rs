//! Damaged photos: stored bytes that are not those of their name.

use super::{Ingest, KeysKept};
use crate::media::{Integrity, MediaError};
use crate::model::MediaKey;

impl Ingest {
    /// Verifies the stored photo under `key`, and moves it to quarantine if it is damaged, so that nobody is served its bytes.
    /// The caller holds the key: no upload publishes the same photo meanwhile. That the photo cannot be moved is logged.
    ///
    /// # Errors
    /// The store failed: it is not known whether the photo is damaged.
    pub async fn verify_or_quarantine(
        &self,
        key: MediaKey,
        _held: &KeysKept,
    ) -> Result<Integrity, MediaError> {
        let integrity = self.store.verify(key).await?;
        if integrity == Integrity::Damaged {
            match self.store.quarantine(key).await {
                Ok(Some(place)) => {
                    self.counts.quarantined.inc();
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

    /// The number of photos that were moved to quarantine since the start.
    pub fn quarantined(&self) -> u64 {
        self.counts.quarantined.get()
    }
}
