//! Finds photos that the catalog refers to and the store does not have: the disk or a person lost them, or they are
//! damaged.
//!
//! Other photos are still served. The number is reported to the operator, who may have a copy. A new upload of such
//! a photo restores it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Maintenance, MaintenanceError};
use crate::media::{Integrity, MediaError, MediaStore};
use crate::model::{Media, MediaKey};

/// Most missing photos whose keys are kept and logged. Further ones are only counted.
const MOST: usize = 1000;
/// Shortest time between two searches for these keys.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);

/// The missing photos that are known.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<Register>);

#[derive(Debug, Default)]
struct Register {
    /// Length by key.
    named: BTreeMap<MediaKey, u64>,
    beyond: u64,
    /// Photos that the scrub found damaged. They are in quarantine, or could not be moved there.
    damaged: BTreeSet<MediaKey>,
    /// How many the leader of maintenance knew last.
    shared: u64,
    recounted: Option<Instant>,
    /// The last key that was looked at for a recount that could not look at all.
    recounted_to: Option<MediaKey>,
}

/// The missing photos that a pass found so far.
pub(super) struct Found {
    /// Those that were known before.
    known: BTreeSet<MediaKey>,
    /// Those that were known to be damaged before the search reached them.
    damaged: BTreeSet<MediaKey>,
    /// Length by key.
    named: BTreeMap<MediaKey, u64>,
}

impl Missing {
    pub(super) fn count(&self) -> u64 {
        let Register { named, beyond, damaged, shared, .. } = &*self.lock();
        let others = damaged.iter().filter(|key| !named.contains_key(key)).count();
        ((named.len() + others) as u64 + beyond).max(*shared)
    }

    /// Returns how many this instance found itself by searching.
    pub(super) fn found_here(&self) -> u64 {
        let register = self.lock();
        register.named.len() as u64 + register.beyond
    }

    /// Sets how many another instance knew.
    pub(super) fn set_shared(&self, count: u64) {
        self.lock().shared = count;
    }

    /// Leaves the search to another instance, which knew of `count`.
    pub(super) fn follow(&self, count: u64) {
        let mut register = self.lock();
        register.named.clear();
        (register.beyond, register.shared) = (0, count);
    }

    /// Begins a search, or continues one with the keys after `after`.
    pub(super) fn search(&self, after: Option<MediaKey>) -> Found {
        let register = self.lock();
        let is_ahead = |key: &MediaKey| Some(*key) > after;
        Found {
            known: register.named.keys().copied().collect(),
            damaged: register.damaged.iter().copied().filter(is_ahead).collect(),
            named: BTreeMap::new(),
        }
    }

    /// Returns the keys of the missing photos that are known by name.
    pub(super) fn names(&self) -> BTreeSet<MediaKey> {
        self.lock().named.keys().copied().collect()
    }

    pub(super) fn add_damaged(&self, key: MediaKey) {
        let mut register = self.lock();
        if register.damaged.len() < MOST {
            register.damaged.insert(key);
        } else {
            register.beyond += 1;
        }
    }

    pub(super) fn is_damaged(&self, key: MediaKey) -> bool {
        self.lock().damaged.contains(&key)
    }

    pub(super) fn remove_damaged(&self, key: MediaKey) {
        self.lock().damaged.remove(&key);
    }

    /// Looks whether missing photos exist again, unless the last look was a moment ago. Looks at those only for which
    /// `may_look`, and at the others the next time.
    pub(super) async fn recount(&self, store: &dyn MediaStore, may_look: impl Fn(u32) -> bool) {
        let (named, damaged): (Vec<(MediaKey, u64)>, Vec<MediaKey>) = {
            let mut register = self.lock();
            let is_fresh = register.recounted.is_some_and(|last| last.elapsed() < RECOUNT_EVERY);
            if is_fresh || (register.named.is_empty() && register.damaged.is_empty()) {
                return;
            }
            register.recounted = Some(Instant::now());
            let mut named: Vec<_> = register.named.iter().map(|(key, length)| (*key, *length)).collect();
            let looked_at = named.partition_point(|(key, _)| Some(*key) <= register.recounted_to);
            named.rotate_left(looked_at);
            (named, register.damaged.iter().copied().collect())
        };
        let requests = store.requests();
        for (key, length) in named {
            if !may_look(requests.stat) {
                break;
            }
            self.lock().recounted_to = Some(key);
            if matches!(is_missing(store, key, length).await, Ok(false)) {
                tracing::info!(%key, "a photo that was missing is there again");
                self.lock().named.remove(&key);
            }
        }
        for key in damaged {
            if may_look(requests.verify) && matches!(store.verify(key).await, Ok(Integrity::Whole)) {
                tracing::info!(%key, "a photo that was damaged is whole again");
                self.remove_damaged(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn is_missing(store: &dyn MediaStore, key: MediaKey, length: u64) -> Result<bool, MediaError> {
    Ok(store.length(key).await? != Some(length))
}

impl Maintenance {
    /// Returns whether the photo of a row is missing that the store did not list, and adds it to `found`. It is looked for
    /// once more, because it may have been published or removed since it was listed, as long as few are missing.
    pub(super) async fn is_missing(
        &self,
        row: &Media,
        found: &mut Found,
        stop: &CancellationToken,
    ) -> Result<bool, MaintenanceError> {
        let Media { key, size_bytes: length, .. } = *row;
        if found.named.len() >= MOST {
            return Ok(true);
        }
        if !self.pacer.take(self.requests.stat, stop).await || !is_missing(&*self.store, key, length).await? {
            return Ok(false);
        }
        if !self.catalog.without_row(&[key]).await?.is_empty() {
            return Ok(false);
        }
        if !found.known.contains(&key) {
            tracing::error!(%key, length, "a photo is missing or cut off");
        }
        found.named.insert(key, length);
        let mut register = self.missing.lock();
        if register.named.len() < MOST {
            register.named.insert(key, length);
        }
        Ok(true)
    }

    /// Ends a search that found `count` photos. Those that are not named in `found` were found by an instance that ended, or
    /// are too many.
    pub(super) async fn settle_missing(
        &self,
        found: Found,
        count: u64,
        stop: &CancellationToken,
    ) -> Result<(), MaintenanceError> {
        let beyond = count.saturating_sub(found.named.len() as u64);
        if beyond > 0 {
            tracing::error!(count = beyond, "more photos are missing or cut off");
        }
        let damaged: Vec<MediaKey> = {
            let mut register = self.missing.lock();
            (register.named, register.beyond, register.shared) = (found.named, beyond, 0);
            register.damaged.iter().copied().collect()
        };
        for key in damaged {
            if !self.pacer.take(self.requests.verify, stop).await {
                break;
            }
            let is_settled = match self.store.verify(key).await? {
                Integrity::Whole => true,
                // It is in quarantine. The search counted it, or found no row of it, unless it went there meanwhile.
                Integrity::Missing => found.damaged.contains(&key),
                Integrity::Damaged => false,
            };
            if is_settled {
                self.missing.remove_damaged(key);
            }
        }
        Ok(())
    }
}
