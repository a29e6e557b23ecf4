//! Publications of unknown outcome: reconciled with the catalog once it answers again, or by the next process.

use std::sync::{MutexGuard, PoisonError};

use super::{Publisher, StoresError};
use crate::media::Publication;

impl Publisher {
    /// Asks the catalog which photos of pending publications have a row, and removes the others. Returns the number of
    /// photos that were removed.
    ///
    /// # Errors
    /// The catalog or the store failed. What is still pending stays so.
    pub(crate) async fn reconcile(&self) -> Result<usize, StoresError> {
        let mut removed = 0;
        loop {
            let Some(publication) = self.lock_pending().pop() else {
                return Ok(removed);
            };
            match self.remove_unrecorded(&*publication).await {
                Ok(count) => {
                    removed += count;
                    publication.commit().await;
                }
                Err(error) => {
                    self.add_pending(publication);
                    return Err(error);
                }
            }
        }
    }

    /// Reconciles what the last process left pending: photos that it published and that have no row are removed, and so are
    /// its staged files. Takes time in proportion to these, not to all photos. Returns the number of photos that were
    /// pending.
    ///
    /// # Errors
    /// The catalog or the store failed. The next start tries again.
    pub(crate) async fn reconcile_crashed(&self) -> Result<usize, StoresError> {
        let pending = self.store.pending().await?;
        if pending.is_empty() {
            return Ok(0);
        }
        let created = self.catalog.created().await?;
        for key in &pending {
            // An instance that shares the store may be about to record the photo.
            let _guard = self.lock_keys([*key]).await?;
            let has_row = self.catalog.without_row(&[*key]).await?.is_empty();
            // A catalog that is younger than the photo did not exist when the photo was published, and cannot know it.
            let stored = self.store.stat(*key).await?;
            let is_older = stored.is_some_and(|stored| stored.modified < created);
            self.store.reconcile(*key, is_older || has_row).await?;
        }
        Ok(pending.len())
    }

    pub(super) fn add_pending(&self, publication: Box<dyn Publication>) {
        self.lock_pending().push(publication);
    }

    async fn remove_unrecorded(&self, publication: &dyn Publication) -> Result<usize, StoresError> {
        let created = publication.created();
        let _guard = self.lock_keys(created.iter().copied()).await?;
        let unreferenced = self.catalog.without_row(created).await?;
        if !unreferenced.is_empty() {
            self.store.remove(&unreferenced).await?;
        }
        Ok(unreferenced.len())
    }

    fn lock_pending(&self) -> MutexGuard<'_, Vec<Box<dyn Publication>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
