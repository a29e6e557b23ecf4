//! Before the first upload: what a crash left half-done.

use super::{Maintenance, MaintenanceError};

impl Maintenance {
    /// Removes the photos that the last process published and that no draft refers to, and whatever else it had staged.
    /// Takes as long as there are such, not as there are photos. Gives the number of photos about which there was a doubt.
    ///
    /// # Errors
    /// The catalog or the store does not answer. The next start tries again.
    pub async fn resolve_leftovers(&self) -> Result<usize, MaintenanceError> {
        let unsettled = self.store.unsettled().await?;
        if unsettled.is_empty() {
            return Ok(0);
        }
        let created = self.catalog.created().await?;
        for key in &unsettled {
            // An instance that shares the store may be about to record it.
            let _held = self.ingest.hold([*key]).await?;
            let has_row = self.catalog.without_row(&[*key]).await?.is_empty();
            // A catalog that is younger than the photo was not there when it was published, and may know nothing of it.
            let stored = self.store.stat(*key).await?;
            let is_older = stored.is_some_and(|stored| stored.modified < created);
            self.store.resolve(*key, is_older || has_row).await?;
        }
        Ok(unsettled.len())
    }
}
