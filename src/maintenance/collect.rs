//! The garbage collector. It removes photos that nothing refers to: those of uploads whose rollback failed, and those that
//! a crash leaves on disks without hard links.
//!
//! A photo without a row is garbage only if this catalog would know it. A photo that is older than the catalog was
//! published for another catalog. If most photos have no row, the catalog is the wrong one. Both are reported and not
//! removed.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::notes::Pass;
use super::{Maintenance, MaintenanceError};
use crate::media::Stored;
use crate::model::MediaKey;

/// Most photos that one pass removes. This bounds its memory; the next pass continues.
const MOST: usize = 10_000;

/// The result of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Photos removed.
    pub files: u64,
    /// Bytes of the removed photos.
    pub bytes: u64,
    /// Photos without a row that may belong to another catalog.
    pub left: u64,
}

/// The photos without a row that a pass found.
pub(super) struct Garbage {
    /// When the catalog was created.
    created: SystemTime,
    /// Photos with a row that this process listed. Those of the pass may be of another store: it may have begun before the
    /// settings changed, or on another instance.
    known: u64,
    /// Photos without a row, past the grace time, that this process listed.
    count: u64,
    /// The first [`MOST`] that are past the grace time.
    keys: Vec<MediaKey>,
}

impl Garbage {
    pub(super) fn new(created: SystemTime) -> Self {
        Self { created, known: 0, count: 0, keys: Vec::new() }
    }

    /// Adds a range with `known` photos that have a row, and the others. Counts the others for the pass, and notes those that may
    /// be removed.
    pub(super) fn add(&mut self, known: u64, unknown: &[Stored], grace: Duration, pass: &mut Pass) {
        let before = graced(grace);
        self.known += known;
        for photo in unknown {
            if photo.modified < self.created {
                pass.older += 1;
            } else if photo.modified < before {
                pass.garbage += 1;
                self.count += 1;
                if self.keys.len() < MOST {
                    self.keys.push(photo.key);
                }
            }
        }
    }

    /// Returns whether the store, as far as it is known, is rather that of another catalog: most of its photos have no row.
    fn is_foreign(&self, pass: &Pass) -> bool {
        self.count > self.known || pass.garbage > pass.known
    }
}

/// Returns the time before which the grace time of a photo began that is past it.
fn graced(grace: Duration) -> SystemTime {
    SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Maintenance {
    /// Removes the garbage that a pass found. Returns `None` if `stop` was cancelled before the end.
    ///
    /// # Errors
    /// The catalog or the store does not answer. What was removed before is counted.
    pub(super) async fn collect(
        &self,
        pass: &Pass,
        garbage: Garbage,
        stop: &CancellationToken,
    ) -> Result<Option<Collected>, MaintenanceError> {
        if !self.rules.collects {
            return Ok(Some(Collected::default()));
        }
        let mut collected = Collected { left: pass.older, ..Collected::default() };
        let is_foreign = garbage.is_foreign(pass);
        if is_foreign {
            collected.left += pass.garbage;
        }
        for key in garbage.keys.into_iter().filter(|_| !is_foreign) {
            if !self.pacer.take(self.requests.remove, stop).await {
                return Ok(None);
            }
            if let Some(bytes) = self.collect_one(key, graced(self.rules.grace)).await? {
                collected.files += 1;
                collected.bytes += bytes;
                self.collected.fetch_add(1, Ordering::Relaxed);
                self.collected_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        let Collected { files, bytes, left } = collected;
        if files > 0 {
            tracing::info!(files, bytes, "photos that nothing referred to were removed");
        }
        if left > 0 {
            let referenced = pass.known;
            tracing::warn!(
                left,
                referenced,
                "photos to which this catalog does not refer are left alone: they are older than it or more than its own. \
                 Is DATABASE_URL the catalog of MEDIA_ROOT?"
            );
        }
        Ok(Some(collected))
    }

    /// Removes one photo if still nothing refers to it. No upload can record a reference while its key is locked.
    async fn collect_one(&self, key: MediaKey, before: SystemTime) -> Result<Option<u64>, MaintenanceError> {
        let _guard = self.publisher.lock_keys([key]).await?;
        if self.catalog.without_row(&[key]).await?.is_empty() {
            return Ok(None);
        }
        Ok(self.store.remove_older(key, before).await?)
    }
}
