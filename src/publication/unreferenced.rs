//! Photos that no draft refers to any more: their rows go first, then their files.

use super::{Publisher, StoresError};
use crate::model::{Media, Timestamp};

impl Publisher {
    /// Removes the row and the sources of `media`, then its file, if it became unreferenced at `before` or earlier. Returns
    /// whether it was removed. Nothing is removed during a [hold](Publisher::hold_removals).
    ///
    /// The key stays locked: an upload of the same photo runs before or after this removal, never between its steps. A crash
    /// between the steps, or the loss of the lock, leaves a file without a row, which the collector removes.
    ///
    /// # Errors
    /// The catalog or the store failed.
    pub(crate) async fn remove_unreferenced(
        &self,
        media: &Media,
        before: Timestamp,
    ) -> Result<bool, StoresError> {
        if self.removal_holds.any() {
            return Ok(false);
        }
        let guard = self.lock_keys([media.key]).await?;
        if !self.catalog.remove_media(media.id, before).await? {
            return Ok(false);
        }
        // Without the lock, another instance may have published the photo again.
        if guard.is_valid() {
            self.store.remove(&[media.key]).await?;
        }
        Ok(true)
    }
}
