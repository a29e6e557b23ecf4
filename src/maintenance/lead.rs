//! Which instance does the tasks that concern all photos: the one that holds a lease in the catalog.
//!
//! The others read the leader's notes, for their metrics and the answer of `/ready`. An instance that removes nothing, as a
//! read-only one, never leads and writes no lease. It looks for missing photos itself as long as no instance leads.

use std::hash::{BuildHasher, RandomState};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::notes::Notes;
use super::schedule::{FIRST_AFTER, RETRY_AFTER, seconds, time_to_next_run};
use super::{Maintenance, MaintenanceError};
use crate::catalog::Holder;
use crate::error_chain::error_chain;

/// The name of the lease.
pub(super) const TASK: &str = "maintenance";
/// How long the lease lasts without being renewed: an instance that was killed is replaced within this time and [`ASK_EVERY`].
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// How often the lease is renewed, with the notes.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// How often an instance that does not lead asks for the lease.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// Returns a random number that names this process.
pub(super) fn holder() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

impl Maintenance {
    /// Names this process as the one that asks for the lease.
    fn asking(&self) -> Holder<'static> {
        Holder::new(TASK, self.holder)
    }

    /// Does the tasks of the leader whenever this instance is it, until `stop` is cancelled.
    pub(super) async fn take_turns(&self, stop: &CancellationToken) {
        loop {
            let turn =
                if self.rules.collects { self.try_to_lead(stop).await } else { self.look_alone(stop).await };
            self.log_failure("the lease of maintenance cannot be read", turn);
            if stop.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Takes the lease if no other instance has it, and works until it is lost or `stop` is cancelled.
    pub(super) async fn try_to_lead(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        let asked = Instant::now();
        let Some(notes) = self.leases.take_lease(self.asking(), LEASE).await? else {
            let lease = self.leases.task_lease(TASK).await?;
            self.follow(Notes::parse(&lease.map(|lease| lease.notes).unwrap_or_default()));
            return Ok(());
        };
        self.begin_to_lead(Notes::parse(&notes));
        let lost = stop.child_token();
        let tasks = async {
            tokio::join!(
                self.keep_comparing(&lost),
                self.keep_expiring(&lost),
                self.keep_scrubbing(&lost),
                self.keep_measuring(&lost)
            );
        };
        tokio::join!(self.keep_lease(asked + LEASE, &lost), tasks);
        self.leads.store(false, Ordering::Relaxed);
        if stop.is_cancelled() {
            self.leases.renew_lease(self.asking(), Duration::ZERO, &self.current_notes().text()).await?;
        }
        Ok(())
    }

    /// Looks for missing photos without a lease, unless an instance leads.
    pub(super) async fn look_alone(&self, stop: &CancellationToken) -> Result<(), MaintenanceError> {
        if let Some(lease) = self.leases.task_lease(TASK).await?
            && lease.is_held
        {
            self.follow(Notes::parse(&lease.notes));
            return Ok(());
        }
        if self.current_notes().seconds_to_pass(SystemTime::now()) == 0 {
            self.compare_and_schedule(stop).await;
        }
        Ok(())
    }

    /// Renews the lease until `lost` is cancelled, and cancels it when another instance may have the lease.
    pub(super) async fn keep_lease(&self, mut until: Instant, lost: &CancellationToken) {
        loop {
            let next = until.min(Instant::now() + RENEW_EVERY);
            if lost.run_until_cancelled(tokio::time::sleep_until(next)).await.is_none() {
                return;
            }
            let asked = Instant::now();
            let notes = self.current_notes().text();
            let renewal = self.leases.renew_lease(self.asking(), LEASE, &notes);
            match tokio::time::timeout_at(until, renewal).await {
                Ok(Ok(true)) => until = asked + LEASE,
                Ok(Ok(false)) => {
                    tracing::info!("another instance does maintenance from now on");
                    lost.cancel();
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %error_chain(&error), "the lease of maintenance cannot be renewed");
                }
                Err(_late) => {}
            }
            if Instant::now() >= until {
                lost.cancel();
            }
        }
    }

    /// Makes a pass over all photos whenever one is due.
    async fn keep_comparing(&self, stop: &CancellationToken) {
        loop {
            let rest = Duration::from_secs(self.current_notes().seconds_to_pass(SystemTime::now()));
            if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                return;
            }
            self.compare_and_schedule(stop).await;
        }
    }

    /// Makes a pass, or continues the one in progress, and sets when the next one is due.
    async fn compare_and_schedule(&self, stop: &CancellationToken) {
        match self.compare(stop).await {
            Ok(Some(_)) => {
                let rest = time_to_next_run();
                self.with_notes(|notes| notes.due = seconds(SystemTime::now() + rest));
                if self.rules.collects {
                    self.log_failure(
                        "sources cannot be forgotten",
                        self.forget_sources(stop).await.map(drop),
                    );
                }
            }
            Ok(None) => {}
            Err(error) => {
                self.log_failure("photos cannot be compared with the catalog", Err(error));
                let _stopped = stop.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await;
            }
        }
    }

    /// Removes what is too old, first some time after the start.
    async fn keep_expiring(&self, stop: &CancellationToken) {
        let mut rest = FIRST_AFTER;
        while stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
            self.log_failure("drafts cannot expire", self.expire_drafts(stop).await.map(drop));
            let removed = self.remove_unreferenced(stop).await.map(drop);
            self.log_failure("unreferenced photos cannot be removed", removed);
            self.log_failure("idempotency keys cannot be forgotten", self.forget_attempts(stop).await);
            rest = time_to_next_run();
        }
    }

    /// Continues from the notes of the last leader.
    fn begin_to_lead(&self, mut notes: Notes) {
        self.leads.store(true, Ordering::Relaxed);
        self.scrub.resume(notes.scrubbed_hour, SystemTime::now());
        // Only the number of missing photos is in the notes. Their keys are needed to notice that they are back.
        if notes.missing > self.missing.found_here() {
            self.missing.set_shared(notes.missing);
            notes.due = 0;
        }
        self.with_notes(|own| *own = notes);
    }

    /// Takes over what the leader noted.
    fn follow(&self, notes: Notes) {
        self.missing.follow(notes.missing);
        self.scrub.resume(notes.scrubbed_hour, SystemTime::now());
        self.with_notes(|own| *own = notes);
    }

    /// Returns the notes as they are now.
    pub(super) fn current_notes(&self) -> Notes {
        let (missing, scrubbed_hour) = (self.missing.count(), self.scrub.last_hour());
        self.with_notes(|notes| {
            notes.missing = missing;
            notes.scrubbed_hour = notes.scrubbed_hour.max(scrubbed_hour);
            notes.clone()
        })
    }

    pub(super) fn with_notes<T>(&self, change: impl FnOnce(&mut Notes) -> T) -> T {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
