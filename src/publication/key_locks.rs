//! Locks by media key, in this process and on all instances.
//!
//! Between the moment a photo becomes visible in the store and the moment the catalog refers to it, another request with
//! the same bytes must not rely on it, because a rollback of the first request would remove it. Requests with other photos
//! do not wait.

use std::collections::BTreeSet;

use super::Publisher;
use super::local_locks::LocalKeyGuard;
use crate::catalog::{CatalogError, KeyLock};
use crate::model::MediaKey;

/// Locks of some keys on all instances that share the catalog, released on drop.
pub(crate) struct KeyGuard {
    // Fields drop in this order: a task of this process that waits for the key then finds the catalog's lock free.
    shared: Box<dyn KeyLock>,
    _local: LocalKeyGuard,
}

impl KeyGuard {
    /// Returns false if the lock in the catalog may be lost: another instance may hold it.
    pub(super) fn is_valid(&self) -> bool {
        self.shared.is_valid()
    }
}

impl Publisher {
    /// Locks `keys` on all instances. While the guard lives, no upload publishes one of these photos or records a reference
    /// to it.
    ///
    /// # Errors
    /// The catalog failed, or another instance held one of the locks for too long.
    pub(crate) async fn lock_keys(
        &self,
        keys: impl IntoIterator<Item = MediaKey>,
    ) -> Result<KeyGuard, CatalogError> {
        let keys: Vec<MediaKey> = BTreeSet::from_iter(keys).into_iter().collect();
        let local = self.locks.lock_keys(keys.iter().copied()).await;
        Ok(KeyGuard { shared: self.catalog.lock_keys(&keys).await?, _local: local })
    }
}
