//! Photos that were promised and are not there: lost by the disk, or by a hand that meant well.
//!
//! They are no reason to refuse the others, but one to tell the operator, who may have a copy. A photo that is uploaded
//! again is there again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Housekeeping, HousekeepingError, PAGE};
use crate::catalog::Catalog;
use crate::media::{MediaError, MediaStore};
use crate::model::MediaKey;

/// Most missing photos that are known by their key, and logged. Of the others only the number is known.
const MOST: usize = 1000;
/// How often those are looked for again, at most.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<Register>);

#[derive(Debug, Default)]
struct Register {
    /// Length by key.
    named: BTreeMap<MediaKey, u64>,
    beyond: u64,
    recounted: Option<Instant>,
}

impl Missing {
    pub(super) fn count(&self) -> u64 {
        let register = self.lock();
        register.named.len() as u64 + register.beyond
    }

    /// Looks whether what was missing came back, unless that was done a moment ago.
    pub(super) async fn recount(&self, store: &dyn MediaStore) {
        let named: Vec<(MediaKey, u64)> = {
            let mut register = self.lock();
            let is_fresh = register.recounted.is_some_and(|last| last.elapsed() < RECOUNT_EVERY);
            if is_fresh || register.named.is_empty() {
                return;
            }
            register.recounted = Some(Instant::now());
            register.named.iter().map(|(key, length)| (*key, *length)).collect()
        };
        for (key, length) in named {
            if matches!(is_missing(store, key, length).await, Ok(false)) {
                tracing::info!(%key, "a photo that was missing is there again");
                self.lock().named.remove(&key);
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

impl Housekeeping {
    /// Looks for the file of every media row.
    ///
    /// # Errors
    /// The catalog or the store does not answer; what was known to be missing still is.
    pub(super) async fn look_for_missing(&self, stop: &CancellationToken) -> Result<(), HousekeepingError> {
        let known: BTreeSet<MediaKey> = self.missing.lock().named.keys().copied().collect();
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
            if !self.rest(stop).await {
                return Ok(());
            }
        }
        if found.beyond > 0 {
            tracing::error!(count = found.beyond, "more photos are missing or cut off");
        }
        *self.missing.lock() = found;
        Ok(())
    }
}
