//! The garbage collector. It removes photos that nothing refers to: those of uploads whose rollback failed, and those that
//! a crash leaves on disks without hard links.
//!
//! A photo without a row is garbage only if this catalog would know it. A photo that is older than the catalog was
//! published for another catalog. If most photos have no row, the catalog is the wrong one. Both are reported and not
//! removed.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::{Maintenance, MaintenanceError, seconds};
use crate::media::Stored;
use crate::model::MediaKey;

/// Most photos that one collection removes. This bounds its memory; the next collection continues.
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

/// The photos in the store, counted by what the catalog knows of them.
#[derive(Debug, Default)]
struct StoreCount {
    referenced: u64,
    /// Photos without a row, past the grace time.
    garbage: u64,
    /// The first [`MOST`] of the garbage.
    noted: Vec<MediaKey>,
    /// Photos without a row that are older than the catalog.
    older: u64,
}

impl Maintenance {
    /// Lists all photos once, and removes those without a row whose grace time is over.
    ///
    /// # Errors
    /// The catalog or the store does not answer. What was removed before is counted.
    pub(crate) async fn collect(&self, stop: &CancellationToken) -> Result<Collected, MaintenanceError> {
        let before = SystemTime::now().checked_sub(self.rules.grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let count = self.count_photos(before, stop).await?;
        let mut collected = Collected { left: count.older, ..Collected::default() };
        if count.garbage > count.referenced {
            collected.left += count.garbage;
        } else {
            for key in count.noted {
                if let Some(bytes) = self.collect_one(key, before).await? {
                    collected.files += 1;
                    collected.bytes += bytes;
                    self.collected.fetch_add(1, Ordering::Relaxed);
                    self.collected_bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                if stop.is_cancelled() {
                    break;
                }
            }
        }
        self.left.store(collected.left, Ordering::Relaxed);
        self.last_run.store(seconds(SystemTime::now()), Ordering::Relaxed);
        let Collected { files, bytes, left } = collected;
        if files > 0 {
            tracing::info!(files, bytes, "photos that nothing referred to were removed");
        }
        if left > 0 {
            let referenced = count.referenced;
            tracing::warn!(
                left,
                referenced,
                "photos to which this catalog does not refer are left alone: they are older than it or more than its own. \
                 Is DATABASE_URL the catalog of MEDIA_ROOT?"
            );
        }
        Ok(collected)
    }

    /// Removes renditions whose photo is gone, as a crash between the removals of a photo and of its renditions leaves them.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn collect_renditions(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        let mut pages = self.renditions.remove_stray_renditions();
        let mut removed = 0;
        while let Some(page) = pages.try_next().await? {
            removed += page;
            if !self.pause(stop).await {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "renditions of photos that are gone were removed");
        }
        Ok(())
    }

    async fn count_photos(
        &self,
        before: SystemTime,
        stop: &CancellationToken,
    ) -> Result<StoreCount, MaintenanceError> {
        let created = self.catalog.created().await?;
        let mut count = StoreCount::default();
        let mut pages = self.store.list();
        while let Some(page) = pages.try_next().await? {
            let keys: Vec<MediaKey> = page.iter().map(|stored| stored.key).collect();
            let without_row: HashSet<MediaKey> = self.catalog.without_row(&keys).await?.into_iter().collect();
            for Stored { key, modified, .. } in page {
                if !without_row.contains(&key) {
                    count.referenced += 1;
                } else if modified < created {
                    count.older += 1;
                } else if modified < before {
                    count.garbage += 1;
                    if count.noted.len() < MOST {
                        count.noted.push(key);
                    }
                }
            }
            if !self.pause(stop).await {
                return Ok(StoreCount::default());
            }
        }
        Ok(count)
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
