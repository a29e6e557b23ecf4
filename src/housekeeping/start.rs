//! Before the first upload: what a crash left half-done.

use std::collections::HashSet;

use super::{Housekeeping, HousekeepingError};
use crate::model::MediaKey;

impl Housekeeping {
    /// Removes the photos that the last process published and that no draft refers to, and whatever else it had staged.
    /// Takes as long as there are such, not as there are photos. Gives the number of photos about which there was a doubt.
    ///
    /// # Errors
    /// The catalog or the store does not answer. The next start tries again.
    pub async fn resolve_leftovers(&self) -> Result<usize, HousekeepingError> {
        let unsettled = self.store.unsettled().await?;
        if unsettled.is_empty() {
            return Ok(0);
        }
        let created = self.catalog.created().await?;
        let without_row: HashSet<MediaKey> =
            self.catalog.without_row(&unsettled).await?.into_iter().collect();
        for key in &unsettled {
            // A catalog that is younger than the photo was not there when it was published, and may know nothing of it.
            let stored = self.store.stat(*key).await?;
            let is_older = stored.is_some_and(|stored| stored.modified < created);
            self.store.resolve(*key, is_older || !without_row.contains(key)).await?;
        }
        Ok(unsettled.len())
    }
}
