//! Finds photos that the catalog refers to and the store does not have: the disk or a person lost them, or they are
//! damaged.
//!
//! Other photos are still served. The number is reported to the operator, who may have a copy. A new upload of such
//! a photo restores it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::schedule::PAGE;
use super::{Maintenance, MaintenanceError};
use crate::catalog::Catalog;
use crate::media::{Integrity, MediaError, MediaStore};
use crate::model::MediaKey;

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
    recounted: Option<Instant>,
}

impl Missing {
    pub(super) fn count(&self) -> u64 {
        let Register { named, beyond, damaged, .. } = &*self.lock();
        let others = damaged.iter().filter(|key| !named.contains_key(key)).count();
        (named.len() + others) as u64 + beyond
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

    /// Looks whether missing photos exist again, unless the last look was a moment ago.
    pub(super) async fn recount(&self, store: &dyn MediaStore) {
        let (named, damaged): (Vec<(MediaKey, u64)>, Vec<MediaKey>) = {
            let mut register = self.lock();
            let is_fresh = register.recounted.is_some_and(|last| last.elapsed() < RECOUNT_EVERY);
            if is_fresh || (register.named.is_empty() && register.damaged.is_empty()) {
                return;
            }
            register.recounted = Some(Instant::now());
            let named = register.named.iter().map(|(key, length)| (*key, *length));
            (named.collect(), register.damaged.iter().copied().collect())
        };
        for (key, length) in named {
            if matches!(is_missing(store, key, length).await, Ok(false)) {
                tracing::info!(%key, "a photo that was missing is there again");
                self.lock().named.remove(&key);
            }
        }
        for key in damaged {
            if matches!(store.verify(key).await, Ok(Integrity::Whole)) {
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
    /// Looks for the file of every media row.
    ///
    /// # Errors
    /// The catalog or the store failed. The known missing photos stay known.
    pub(super) async fn look_for_missing(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        let (known, damaged): (BTreeSet<MediaKey>, BTreeSet<MediaKey>) = {
            let register = self.missing.lock();
            (register.named.keys().copied().collect(), register.damaged.clone())
        };
        let catalog: &dyn Catalog = &*self.catalog;
        let (mut found, mut after) = (Register::default(), None);
        loop {
            let page = catalog.media_page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for media in page {
                if !is_missing(&*self.store, media.key, media.size_bytes).await? {
                    continue;
                }
                if found.named.len() == MOST {
                    found.beyond += 1;
                    continue;
                }
                if !known.contains(&media.key) {
                    tracing::error!(key = %media.key, length = media.size_bytes, "a photo is missing or cut off");
                }
                found.named.insert(media.key, media.size_bytes);
            }
            if !self.pause(stop).await {
                return Ok(());
            }
        }
        if found.beyond > 0 {
            tracing::error!(count = found.beyond, "more photos are missing or cut off");
        }
        let Register { named, beyond, .. } = found;
        {
            let mut register = self.missing.lock();
            register.named = named;
            register.beyond = beyond;
        }
        // A photo in quarantine that is still referred to is counted as missing from now on.
        for key in damaged {
            if self.store.verify(key).await? != Integrity::Damaged {
                self.missing.remove_damaged(key);
            }
        }
        Ok(())
    }
}
