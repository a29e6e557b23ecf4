//! Keeps the store and the catalog in agreement while uploads go on.
//!
//! At the start, what a crash left half-done is resolved. Then, in the background and a page at a time: store and catalog are
//! compared (`compare`), so that photos that the catalog refers to and that the store does not have are counted (`missing`)
//! and files without a row are removed after a grace time (`collect`); old drafts and photos without a draft are removed (`expire`),
//! sources of which no photo is left are forgotten, photos are verified (`scrub`), and those of older versions are measured (`measure`).
//! This room removes only files that this catalog can have written, and reports the others.
//!
//! Of several instances that share a catalog one does this (`lead`). Requests to a bucket are paced (`pace`).

mod collect;
mod compare;
mod differences;
mod expire;
mod lead;
mod measure;
mod missing;
mod notes;
mod pace;
mod schedule;
mod scrub;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

pub(crate) use self::measure::Measuring;
use self::missing::Missing;
use self::notes::Notes;
use self::pace::Pacer;
use self::scrub::Scrub;
use crate::catalog::{Catalog, CatalogError, TaskLeases};
use crate::media::{MediaError, MediaStore, RenditionStore, Requests};
use crate::publication::{Publisher, StoresError};
use crate::telemetry::metrics::{Metrics, Reading, Unit};

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
    /// Most requests to a store's service in an hour; 0: any number.
    pub requests_per_hour: u32,
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
    /// Photos without a row that the last pass kept, because they may belong to another catalog.
    pub left: u64,
    /// When the last pass ended, in seconds since 1970; 0 if there was none.
    pub last_run: u64,
    /// Photos that the catalog refers to and the store does not have.
    pub missing: u64,
    /// Photos that the scrub verified since the start.
    pub scrubbed: u64,
    /// Drafts that expired since the start.
    pub expired: u64,
    /// Whether this instance does the tasks that concern all photos.
    pub leads: bool,
    /// How much of the pass in progress is done, in percent; 100 if none is in progress.
    pub compared: u64,
    /// Hours of which the scrub has not verified the photos.
    pub scrub_behind: u64,
    /// Requests to the store's service since the start.
    pub requests: u64,
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
    leases: Arc<dyn TaskLeases>,
    /// Names this process as the holder of leases.
    holder: u64,
    leads: AtomicBool,
    notes: Mutex<Notes>,
    /// What calls of the store cost.
    requests: Requests,
    pacer: Pacer,
    measuring: Measuring,
    missing: Missing,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    expired: AtomicU64,
    scrub: Scrub,
}

impl Maintenance {
    /// Combines the parts. `renditions` are those of the publisher's store, and `leases` those of its catalog. Nothing runs yet.
    pub(crate) fn new(
        rules: Rules,
        publisher: Arc<Publisher>,
        renditions: Arc<dyn RenditionStore>,
        leases: Arc<dyn TaskLeases>,
        measuring: Measuring,
    ) -> Self {
        let (catalog, store) = (Arc::clone(publisher.catalog()), Arc::clone(publisher.store()));
        let [collected, collected_bytes, expired] = std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            rules,
            publisher,
            catalog,
            renditions,
            leases,
            holder: lead::holder(),
            leads: AtomicBool::new(false),
            notes: Mutex::default(),
            requests: store.requests(),
            pacer: Pacer::new(rules.requests_per_hour),
            store,
            missing: Missing::default(),
            measuring,
            collected,
            collected_bytes,
            expired,
            scrub: Scrub::default(),
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
        let help = "When the last pass over all photos ended, in seconds since 1970; 0 is never";
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
        self.register_progress(metrics);
    }

    /// Registers the metrics that say which instance does how much.
    fn register_progress(self: &Arc<Self>, metrics: &mut Metrics) {
        let read = |figure: fn(Figures) -> u64| {
            let maintenance = Arc::clone(self);
            move || figure(maintenance.figures())
        };
        let help = "Whether this instance does the maintenance of all that share the catalog";
        let leads = Reading::gauge(read(|now| u64::from(now.leads)));
        metrics.register("maintenance_leads", Unit::Of("0 or 1"), help, leads);
        let help = "How much of the present pass over all photos is done; 100 between two passes";
        let compared = Reading::gauge(read(|now| now.compared));
        metrics.register("maintenance_pass", Unit::Of("percent"), help, compared);
        let help = "Requests of maintenance to the bucket, which MAINTENANCE_REQUESTS_PER_HOUR bounds";
        let requests = Reading::counter(read(|now| now.requests));
        metrics.register("maintenance_requests", Unit::Of("requests"), help, requests);
        let help = "Hours of which the scrub has not verified the photos yet";
        let behind = Reading::gauge(read(|now| now.scrub_behind));
        metrics.register("scrub_behind", Unit::Of("hours"), help, behind);
    }

    /// Returns the current figures.
    pub(crate) fn figures(&self) -> Figures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let notes = self.current_notes();
        Figures {
            collected: read(&self.collected),
            collected_bytes: read(&self.collected_bytes),
            left: notes.left,
            last_run: notes.ended,
            missing: self.missing.count(),
            scrubbed: self.scrub.verified(),
            expired: read(&self.expired),
            leads: self.leads.load(Ordering::Relaxed),
            compared: notes.percent(),
            scrub_behind: if self.rules.scrub_hours == 0 { 0 } else { self.scrub.behind(SystemTime::now()) },
            requests: self.pacer.made(),
            measured: self.measuring.measured(),
        }
    }

    /// Returns how many photos are missing. Looks first whether some of them exist again.
    pub(crate) async fn missing(&self) -> u64 {
        self.missing.recount(&*self.store, |requests| self.pacer.try_take(requests)).await;
        self.missing.count()
    }

    /// Runs until `stop` is cancelled, and then returns within the time of one page.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.keep_reconciling(&stop), self.take_turns(&stop));
    }

    /// Reconciles what this process left pending, which no other instance can.
    async fn keep_reconciling(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(RECONCILE_EVERY)).await.is_some() {
            self.log_failure("pending photos cannot be reconciled", self.reconcile().await);
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
