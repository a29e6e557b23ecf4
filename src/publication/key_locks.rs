//! Locks by media key.
//!
//! Between the moment a photo becomes visible in the store and the moment the catalog refers to it, another request with
//! the same bytes must not rely on it, because a rollback of the first request would remove it. Requests with other photos
//! do not wait.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::Publisher;
use crate::catalog::{CatalogError, KeyLock};
use crate::model::MediaKey;

type Locks = HashMap<MediaKey, Arc<tokio::sync::Mutex<()>>>;

/// One lock for each media key that a task of this process holds or waits for.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyLocks(Arc<Mutex<Locks>>);

/// Locks of some keys within this process, released on drop.
#[derive(Debug)]
pub(super) struct LocalKeyGuard {
    locks: KeyLocks,
    guards: Vec<(MediaKey, OwnedMutexGuard<()>)>,
}

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

impl KeyLocks {
    /// Waits for the locks of all `keys`. Every caller takes them in ascending order, so that no two wait for each other.
    async fn lock_keys(&self, keys: impl IntoIterator<Item = MediaKey>) -> LocalKeyGuard {
        let keys: BTreeSet<MediaKey> = keys.into_iter().collect();
        let mut local = LocalKeyGuard { locks: self.clone(), guards: Vec::with_capacity(keys.len()) };
        for key in keys {
            let lock = Arc::clone(self.map().entry(key).or_default());
            local.guards.push((key, lock.lock_owned().await));
        }
        local
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LocalKeyGuard {
    fn drop(&mut self) {
        let mut locks = self.locks.map();
        for (key, guard) in self.guards.drain(..) {
            drop(guard);
            // The map's own reference is the last one: no task waits.
            if locks.get(&key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
                locks.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_that_lock_the_same_keys_exclude_each_other_and_leave_no_lock() {
        let locks = KeyLocks::default();
        let keys: Vec<MediaKey> = (0..4u8).map(|n| MediaKey::of(&[n])).collect();
        let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        let tasks: Vec<_> = (0..200usize)
            .map(|n| {
                let (locks, keys, inside) = (locks.clone(), keys.clone(), Arc::clone(&inside));
                tokio::spawn(async move {
                    let mine = [n % 4, (n / 4) % 4];
                    let _guard = locks.lock_keys(mine.map(|at| keys[at])).await;
                    for at in mine.into_iter().collect::<BTreeSet<_>>() {
                        assert_eq!(inside[at].fetch_add(1, Ordering::SeqCst), 0);
                    }
                    tokio::task::yield_now().await;
                    for at in mine.into_iter().collect::<BTreeSet<_>>() {
                        inside[at].fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(locks.map().is_empty());
    }
}
