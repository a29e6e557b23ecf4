//! Fills in what is known of the pixels of photos that were stored before these were measured.
//!
//! The job leaves the machine to uploads. It measures one photo at a time, waits for a moment in which the image pool has no work,
//! and rests after each photo.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::schedule::{PAGE, time_to_next_run};
use super::{Maintenance, MaintenanceError};
use crate::error_chain::error_chain;
use crate::imaging::{
    COST_HEAD_BYTES, Cost, Format, ImageError, PhotoFile, Pool, PoolError, Recipe, Spent, Step, Turn,
    WorkBudget, estimated_cost, measure_in_turn,
};
use crate::media::MediaError;
use crate::model::{ClientKey, Media, MediaId, MediaKey, PhotoFacts};

/// Photos whose facts are recorded together, with one wait for the disk.
const RECORDED: usize = 16;
/// The job rests for this many times the time that a photo took: it uses a fifth of a processor.
const REST: u32 = 4;
/// How often the job looks whether the pool has no work, and how long at most. Then it takes its turn among the clients.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Longest photo that is read into memory, far above any that this program stores.
const MOST_BYTES: u64 = 64 << 20;

/// Measures stored photos on the image pool.
pub(crate) struct Measuring {
    pool: Arc<Pool>,
    recipe: Recipe,
    measured: AtomicU64,
}

/// Why a photo was not measured. The next run tries again.
enum Unmeasured {
    /// Its file is missing or has another length, which `missing` reports, or is too long to be read.
    Lost,
    /// Its bytes do not have its hash.
    Damaged,
    /// It cannot be decoded, or the pool had no time for it.
    Failed(String),
}

impl Measuring {
    /// Uses `pool`, within the limits of `recipe`.
    pub(crate) fn new(pool: Arc<Pool>, recipe: Recipe) -> Self {
        Self { pool, recipe, measured: AtomicU64::new(0) }
    }

    /// Returns how many photos were measured since the start.
    pub(super) fn measured(&self) -> u64 {
        self.measured.load(Ordering::Relaxed)
    }

    /// Waits until no photo is in work, or for the longest time.
    async fn wait_for_pool(&self) {
        let is_idle = || self.pool.busy() == 0 && self.pool.queued() == 0;
        let idle = async {
            while !is_idle() {
                sleep(LOOK_EVERY).await;
            }
        };
        let _in_time = timeout_at(Instant::now() + LONGEST_WAIT, idle).await;
    }

    async fn measure(&self, key: MediaKey, bytes: Vec<u8>) -> Result<PhotoFacts, Unmeasured> {
        // No client has this address.
        let client = ClientKey::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let (recipe, held) = (self.recipe, bytes.len() as u64);
        let head = &bytes[..bytes.len().min(COST_HEAD_BYTES)];
        let cost = Cost { time: estimated_cost(Format::Jpeg, head, held), memory: held };
        if cost.memory > recipe.memory {
            return Err(Unmeasured::Failed(ImageError::TooMuchMemory.to_string()));
        }
        let mut spent = Spent::default();
        let job = move |turn: &mut Turn<'_>| {
            if MediaKey::of(&bytes) != key {
                return Step::Done(Err(Unmeasured::Damaged));
            }
            let work = WorkBudget::resumed(&recipe, spent, turn.is_abandoned);
            let step = measure_in_turn(
                PhotoFile { format: Format::Jpeg, bytes: &bytes, held },
                &recipe,
                &work,
                turn,
            );
            spent = work.spent();
            match step {
                Ok(Step::Done(facts)) => Step::Done(Ok(facts)),
                Ok(Step::Postponed { memory }) => Step::Postponed { memory },
                Err(error) => Step::Done(Err(Unmeasured::Failed(error.to_string()))),
            }
        };
        let failed = |error: PoolError| Unmeasured::Failed(error.to_string());
        self.pool.run(client, cost, job).await.map_err(failed)?
    }
}

impl Maintenance {
    /// Measures photos until `stop` is cancelled, if the rules allow changes.
    pub(super) async fn keep_measuring(&self, stop: &CancellationToken) {
        if !self.rules.collects {
            return;
        }
        loop {
            self.log_failure("photos cannot be measured", self.measure(stop).await);
            if stop.run_until_cancelled(sleep(time_to_next_run())).await.is_none() {
                return;
            }
        }
    }

    /// Looks at all media rows once, and fills in the facts of those that have none.
    ///
    /// # Errors
    /// The catalog or the store failed.
    pub(super) async fn measure(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        let (mut filled, mut left, mut after) = (0_u64, 0_u64, None);
        loop {
            let page = self.catalog.media_page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let unknown: Vec<Media> = page.into_iter().filter(|media| media.facts.is_none()).collect();
            for some in unknown.chunks(RECORDED) {
                let facts = self.measure_some(some, stop).await?;
                if !facts.is_empty() {
                    self.catalog.record_facts(&facts).await?;
                }
                filled += facts.len() as u64;
                left += (some.len() - facts.len()) as u64;
                self.measuring.measured.fetch_add(facts.len() as u64, Ordering::Relaxed);
            }
            if !self.pause(stop).await {
                break;
            }
        }
        if filled > 0 {
            tracing::info!(filled, left, "photos of an older version were measured");
        }
        Ok(())
    }

    /// Measures photos, as far as they can be and until `stop`.
    async fn measure_some(
        &self,
        photos: &[Media],
        stop: &CancellationToken,
    ) -> Result<Vec<(MediaId, PhotoFacts)>, MaintenanceError> {
        let mut facts = Vec::with_capacity(photos.len());
        for photo in photos {
            if stop.run_until_cancelled(self.measuring.wait_for_pool()).await.is_none()
                || !self.pacer.take(self.requests.verify, stop).await
            {
                break;
            }
            let begun = Instant::now();
            match self.measure_one(photo).await? {
                Ok(known) => facts.push((photo.id, known)),
                Err(Unmeasured::Lost) => {}
                Err(Unmeasured::Damaged) => self.report_damage(photo.key).await,
                Err(Unmeasured::Failed(reason)) => {
                    tracing::warn!(key = %photo.key, reason, "a photo cannot be measured");
                }
            }
            if stop.run_until_cancelled(sleep(begun.elapsed() * REST)).await.is_none() {
                break;
            }
        }
        Ok(facts)
    }

    async fn measure_one(&self, photo: &Media) -> Result<Result<PhotoFacts, Unmeasured>, MaintenanceError> {
        match self.read(photo).await {
            Ok(Some(bytes)) => Ok(self.measuring.measure(photo.key, bytes).await),
            Ok(None) => Ok(Err(Unmeasured::Lost)),
            // An unreadable file says nothing about the other files.
            Err(error @ MediaError::Io(_)) => Ok(Err(Unmeasured::Failed(error_chain(&error)))),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the bytes of a photo, or `None` if the store does not have as many as the row says, or they are too many.
    async fn read(&self, photo: &Media) -> Result<Option<Vec<u8>>, MediaError> {
        let Some(object) = self.store.open(photo.key).await? else { return Ok(None) };
        let length = object.len();
        if length != photo.size_bytes || length > MOST_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let mut pieces = object.read(0..length);
        while let Some(piece) = pieces.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes))
    }
}
