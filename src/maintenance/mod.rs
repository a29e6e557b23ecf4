//! Keeps the store and the catalog in agreement while uploads go on.
//!
//! At the start, what a crash left half-done is resolved. Then, in the background and a page at a time: photos that the
//! catalog refers to and that the store does not have are counted (`missing`), old drafts and photos without a draft are
//! removed (`expire`), files without a row are removed after a grace time (`collect`), sources of which no photo is left are
//! forgotten, photos are verified (`scrub`), and those of older versions are measured (`measure`). This room removes only files
//! that this catalog can have written, and reports the others.

mod collect;
mod expire;
mod measure;
mod missing;
mod schedule;
mod scrub;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(crate) use self::measure::Measuring;
use self::missing::Missing;
use self::schedule::seconds;
use self::scrub::Scrub;
use crate::catalog::{Catalog, CatalogError};
use crate::media::{MediaError, MediaStore, RenditionStore};
use crate::publication::{Publisher, StoresError};
use crate::telemetry::metrics::{Metrics, Reading, Unit};

/// Time from the start to the first collection, in which the server has other work.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// How often pending publications are reconciled.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// What maintenance may do, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether anything is removed. Missing photos are counted in any case.
    pub collects: bool,
    /// How long a photo is kept to which nothing refers.
    pub grace: Duration,
    /// Pause between two pages, in which uploads have the disk to themselves.
    pub pause: Duration,
    /// Each stored photo is verified once in this many hours; 0: never.
    pub scrub_hours: u64,
    /// How long a request that succeeded is remembered under its key.
    pub attempt_lifetime: Duration,
    /// How long a draft is kept without a change; `None`: for ever.
    pub draft_ttl: Option<Duration>,
}

/// Why a task of maintenance stopped early. It is repeated later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaintenanceError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The catalog or the store failed while photos were reconciled or removed.
    #[error(transparent)]
    Stores(#[from] StoresError),
}

/// Numbers for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Photos removed since the start.
    pub collected: u64,
    /// Bytes of the removed photos.
    pub collected_bytes: u64,
    /// Photos without a row that the last collection kept, because they may belong to another catalog.
    pub left: u64,
    /// When the last collection ended, in seconds since 1970; 0 if there was none.
    pub last_run: u64,
    /// Photos that the catalog refers to and the store does not have.
    pub missing: u64,
    /// Photos that the scrub verified since the start.
    pub scrubbed: u64,
    /// Drafts that expired since the start.
    pub expired: u64,
    /// Photos that were measured since the start.
    pub measured: u64,
}

/// The background tasks that keep store and catalog in agreement.
pub(crate) struct Maintenance {
    rules: Rules,
    publisher: Arc<Publisher>,
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn MediaStore>,
    renditions: Arc<dyn RenditionStore>,
    measuring: Measuring,
    missing: Missing,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    left: AtomicU64,
    last_run: AtomicU64,
    expired: AtomicU64,
    scrub: Scrub,
}

impl Maintenance {
    /// Combines the parts. `renditions` are those of the publisher's store. Nothing runs yet.
    pub(crate) fn new(
        rules: Rules,
        publisher: Arc<Publisher>,
        renditions: Arc<dyn RenditionStore>,
        measuring: Measuring,
    ) -> Self {
        let (catalog, store) = (Arc::clone(publisher.catalog()), Arc::clone(publisher.store()));
        let [collected, collected_bytes, left, last_run, expired] =
            std::array::from_fn(|_| AtomicU64::new(0));
        let missing = Missing::default();
        let scrub = Scrub::default();
        Self {
            rules,
            publisher,
            catalog,
            store,
            renditions,
            measuring,
            missing,
            collected,
            collected_bytes,
            left,
            last_run,
            expired,
            scrub,
        }
    }

    /// Registers the metrics of maintenance.
    pub(crate) fn register(self: &Arc<Self>, metrics: &mut Metrics) {
        let read = |figure: fn(Figures) -> u64| {
            let maintenance = Arc::clone(self);
            move || figure(maintenance.figures())
        };
        let photos = Unit::Of("photos");
        let help = "Photos removed to which nothing referred";
        metrics.register("media_collected", photos, help, Reading::counter(read(|now| now.collected)));
        let help = "Bytes of the photos removed";
        let bytes = Reading::counter(read(|now| now.collected_bytes));
        metrics.register("media_collected", Unit::Bytes, help, bytes);
        let help = "Photos that look like another catalog's, left alone";
        metrics.register("media_unreferenced_left", photos, help, Reading::gauge(read(|now| now.left)));
        let help = "When unreferenced photos were last collected, in seconds since 1970; 0 is never";
        let unit = Unit::Of("seconds since 1970");
        metrics.register("collector_last_run", unit, help, Reading::gauge(read(|now| now.last_run)));
        let help = "Drafts removed because they did not change for DRAFT_TTL_DAYS";
        let expired = Reading::counter(read(|now| now.expired));
        metrics.register("drafts_expired", Unit::Of("drafts"), help, expired);
        let help = "Photos that the catalog refers to and the store does not have";
        metrics.register("media_missing", photos, help, Reading::gauge(read(|now| now.missing)));
        let help = "Stored photos read by the scrub and compared with their name";
        metrics.register("media_scrubbed", photos, help, Reading::counter(read(|now| now.scrubbed)));
        let help = "Photos of older versions of the server whose ThumbHash and facts were filled in";
        metrics.register("media_measured", photos, help, Reading::counter(read(|now| now.measured)));
    }

    /// Returns the current figures.
    pub(crate) fn figures(&self) -> Figures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Figures {
            collected: read(&self.collected),
            collected_bytes: read(&self.collected_bytes),
            left: read(&self.left),
            last_run: read(&self.last_run),
            missing: self.missing.count(),
            scrubbed: self.scrub.verified(),
            expired: read(&self.expired),
            measured: self.measuring.measured(),
        }
    }

    /// Returns how many photos are missing. Looks first whether some of them exist again.
    pub(crate) async fn missing(&self) -> u64 {
        self.missing.recount(&*self.store).await;
        self.missing.count()
    }

    /// Runs until `stop` is cancelled, and then returns within the time of one page.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.keep_in_agreement(&stop), self.keep_scrubbing(&stop), self.keep_measuring(&stop));
    }

    async fn keep_in_agreement(&self, stop: &CancellationToken) {
        self.log_failure("photos cannot be looked for", self.look_for_missing(stop).await);
        let mut left = FIRST_AFTER;
        loop {
            let rest = RECONCILE_EVERY.min(left);
            if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                return;
            }
            self.log_failure("pending photos cannot be reconciled", self.reconcile().await);
            left = left.saturating_sub(rest);
            if left.is_zero() {
                if self.rules.collects {
                    self.log_failure("drafts cannot expire", self.expire_drafts(stop).await.map(drop));
                    let removed = self.remove_unreferenced(stop).await.map(drop);
                    self.log_failure("unreferenced photos cannot be removed", removed);
                    let forgotten = self.forget_attempts(stop).await;
                    self.log_failure("idempotency keys cannot be forgotten", forgotten);
                    self.log_failure("photos cannot be collected", self.collect(stop).await.map(drop));
                    self.log_failure("renditions cannot be collected", self.collect_renditions(stop).await);
                    self.log_failure(
                        "sources cannot be forgotten",
                        self.forget_sources(stop).await.map(drop),
                    );
                }
                self.log_failure("photos cannot be looked for", self.look_for_missing(stop).await);
                left = schedule::time_to_next_run();
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

    /// Pauses after a page. Returns false if the task should stop.
    async fn pause(&self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(tokio::time::sleep(self.rules.pause)).await.is_some()
    }

    fn log_failure(&self, what: &str, result: Result<(), MaintenanceError>) {
        if let Err(error) = result {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "{what}; to be tried again");
        }
    }
}
