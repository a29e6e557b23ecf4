//! Keeps the store and the catalog in agreement while uploads go on.
//!
//! It works in the background, a page at a time. It reconciles pending publications, counts photos that the catalog refers to
//! and the store does not have ([`missing`]), removes photos that nothing refers to after a grace time ([`collect`]), forgets
//! sources whose photo is gone ([`sources`]), and verifies stored photos ([`scrub`]). Photos that may belong to another catalog
//! are reported, and never removed.

mod collect;
mod missing;
mod scrub;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

pub use self::collect::Collected;
use self::missing::Missing;
use self::scrub::Scrub;
use crate::catalog::{Catalog, CatalogError};
use crate::jitter;
use crate::media::{MediaError, MediaStore};
use crate::publication::{Publisher, ReconcileError};

/// How long the server works before the first collection: who just started has other things to do.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// How often it collects, give or take a tenth, so that servers that were started together part.
const EVERY: Duration = Duration::from_secs(3600);
/// How often pending publications are reconciled.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);
/// Rows that are read at once.
const PAGE: usize = 256;

/// What maintenance is allowed to do.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether anything is removed at all. What is missing is counted anyway.
    pub collects: bool,
    /// How long a photo stays to which nothing refers.
    pub grace: Duration,
    /// Rest between two pages, in which uploads have the disk to themselves.
    pub pause: Duration,
    /// In so many hours each stored photo is verified once; 0: never.
    pub scrub_hours: u64,
}

/// Why maintenance stopped in the middle of something. It tries again later.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The reconciliation of pending publications.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
}

/// Numbers for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Photos removed since the start.
    pub collected: u64,
    /// Bytes of these.
    pub collected_bytes: u64,
    /// Unreferenced photos that were left alone by the last collection, because they may be another catalog's.
    pub left: u64,
    /// When the last collection ended, in seconds since 1970; 0 if there was none.
    pub last_run: u64,
    /// Photos that the catalog refers to and the store does not have.
    pub missing: u64,
    /// Photos that the scrub verified since the start.
    pub scrubbed: u64,
    /// Photos that were moved to quarantine since the start.
    pub quarantined: u64,
}

/// See the module.
pub struct Maintenance {
    rules: Rules,
    publisher: Arc<Publisher>,
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn MediaStore>,
    missing: Missing,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    left: AtomicU64,
    last_run: AtomicU64,
    scrub: Scrub,
}

impl Maintenance {
    /// Puts the parts together; nothing runs yet.
    pub fn new(rules: Rules, publisher: Arc<Publisher>) -> Self {
        let (catalog, store) = (Arc::clone(publisher.catalog()), Arc::clone(publisher.store()));
        let [collected, collected_bytes, left, last_run] = std::array::from_fn(|_| AtomicU64::new(0));
        let missing = Missing::default();
        let scrub = Scrub::default();
        Self { rules, publisher, catalog, store, missing, collected, collected_bytes, left, last_run, scrub }
    }

    /// What there is to tell now.
    pub fn figures(&self) -> Figures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Figures {
            collected: read(&self.collected),
            collected_bytes: read(&self.collected_bytes),
            left: read(&self.left),
            last_run: read(&self.last_run),
            missing: self.missing.count(),
            scrubbed: self.scrub.verified(),
            quarantined: self.publisher.quarantined(),
        }
    }

    /// How many photos are missing, of which those that came back do not count any more.
    pub async fn missing(&self) -> u64 {
        self.missing.recount(&*self.store).await;
        self.missing.count()
    }

    /// Works until `stop` is cancelled, and returns within a page's time then.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.keep_in_agreement(&stop), self.keep_scrubbing(&stop));
    }

    async fn keep_in_agreement(&self, stop: &CancellationToken) {
        self.told("photos cannot be looked for", self.look_for_missing(stop).await);
        let mut left = FIRST_AFTER;
        loop {
            let rest = RECONCILE_EVERY.min(left);
            if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                return;
            }
            self.told("pending photos cannot be reconciled", self.reconcile().await);
            left = left.saturating_sub(rest);
            if left.is_zero() {
                if self.rules.collects {
                    self.told("photos cannot be collected", self.collect(stop).await.map(drop));
                    self.told("sources cannot be forgotten", self.forget_sources(stop).await.map(drop));
                }
                self.told("photos cannot be looked for", self.look_for_missing(stop).await);
                left = jitter::between(EVERY * 9 / 10, EVERY * 11 / 10);
            }
        }
    }

    async fn reconcile(&self) -> Result<(), MaintenanceError> {
        let removed = self.publisher.reconcile().await?;
        if removed > 0 {
            tracing::info!(removed, "photos of uploads that turned out to have failed were removed");
        }
        Ok(())
    }

    /// Whether to go on with the next page.
    async fn rest(&self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(tokio::time::sleep(self.rules.pause)).await.is_some()
    }

    fn told(&self, what: &str, result: Result<(), MaintenanceError>) {
        if let Err(error) = result {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "{what}; to be tried again");
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
