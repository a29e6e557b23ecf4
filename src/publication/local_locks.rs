//! Locks by media key within this process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::sync::{Mutex, MutexGuard};
use crate::model::MediaKey;

type Locks = HashMap<MediaKey, Arc<tokio::sync::Mutex<()>>>;

/// One lock for each media key that a task of this process holds or waits for.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyLocks(Arc<Mutex<Locks>>);

/// Locks of some keys within this process, released on drop.
#[derive(Debug)]
pub(super) struct LocalKeyGuard {
    locks: KeyLocks,
    /// The last one is `None` while its lock is awaited.
    guards: Vec<(MediaKey, Option<OwnedMutexGuard<()>>)>,
}

impl KeyLocks {
    /// Waits for the locks of all `keys`. Every caller takes them in ascending order, so that no two wait for each other.
    pub(super) async fn lock_keys(&self, keys: impl IntoIterator<Item = MediaKey>) -> LocalKeyGuard {
        let keys: BTreeSet<MediaKey> = keys.into_iter().collect();
        let mut local = LocalKeyGuard { locks: self.clone(), guards: Vec::with_capacity(keys.len()) };
        for key in keys {
            let lock = Arc::clone(self.map().entry(key).or_default());
            // Before the wait: a task that gives up waiting may be the last one that knows the lock.
            local.guards.push((key, None));
            let guard = lock.lock_owned().await;
            local.guards.pop();
            local.guards.push((key, Some(guard)));
        }
        local
    }

    /// Returns the number of keys that have a lock.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map().len()
    }

    fn map(&self) -> MutexGuard<'_, Locks> {
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
