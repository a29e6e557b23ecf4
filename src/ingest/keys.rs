//! Locks by media key.
//!
//! Between the moment a photo becomes visible in the store and the moment the catalog refers to it, another request with
//! the same bytes must not build on it, lest the first one's undo takes it away. Requests with other photos do not wait.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::Ingest;
use crate::catalog::{CatalogError, Hold};
use crate::model::MediaKey;

type Locks = HashMap<MediaKey, Arc<tokio::sync::Mutex<()>>>;

/// A lock for each media key that somebody holds or waits for.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyLocks(Arc<Mutex<Locks>>);

/// The locks of some keys, until dropped.
#[derive(Debug)]
pub(super) struct KeysHeld {
    locks: KeyLocks,
    held: Vec<(MediaKey, OwnedMutexGuard<()>)>,
}

/// Some keys, held against other requests and against other processes on the same catalog, until dropped.
pub struct KeysKept {
    // In this order: who waits here goes on when the catalog lets him.
    everywhere: Box<dyn Hold>,
    _here: KeysHeld,
}

impl KeysKept {
    /// Whether other processes are certainly kept off.
    pub(super) fn is_sure(&self) -> bool {
        self.everywhere.is_sure()
    }
}

impl Ingest {
    /// The locks of photos: while they are held, no upload publishes one of them or begins to refer to it, on no instance.
    ///
    /// # Errors
    /// The catalog failed, or another instance holds one of them for too long.
    pub async fn hold(&self, keys: impl IntoIterator<Item = MediaKey>) -> Result<KeysKept, CatalogError> {
        let keys: Vec<MediaKey> = BTreeSet::from_iter(keys).into_iter().collect();
        let here = self.publishing.hold(keys.iter().copied()).await;
        Ok(KeysKept { everywhere: self.catalog.hold(&keys).await?, _here: here })
    }
}

impl KeyLocks {
    /// Waits until it holds all of `keys`. They are taken in one order by everybody, so that no two wait for each other.
    pub(super) async fn hold(&self, keys: impl IntoIterator<Item = MediaKey>) -> KeysHeld {
        let keys: BTreeSet<MediaKey> = keys.into_iter().collect();
        let mut all = KeysHeld { locks: self.clone(), held: Vec::with_capacity(keys.len()) };
        for key in keys {
            let lock = Arc::clone(self.lock().entry(key).or_default());
            all.held.push((key, lock.lock_owned().await));
        }
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeysHeld {
    fn drop(&mut self) {
        let mut locks = self.locks.lock();
        for (key, guard) in self.held.drain(..) {
            drop(guard);
            // The map's own reference is the last one: nobody waits.
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
    async fn holders_of_a_key_exclude_each_other_and_nothing_is_left() {
        let locks = KeyLocks::default();
        let keys: Vec<MediaKey> = (0..4u8).map(|n| MediaKey::of(&[n])).collect();
        let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        let tasks: Vec<_> = (0..200usize)
            .map(|n| {
                let (locks, keys, inside) = (locks.clone(), keys.clone(), Arc::clone(&inside));
                tokio::spawn(async move {
                    let mine = [n % 4, (n / 4) % 4];
                    let _held = locks.hold(mine.map(|at| keys[at])).await;
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
        assert!(locks.lock().is_empty());
    }
}
