//! The scrub. It slowly reads all stored photos in turn, and compares the hash of each with its name, as a disk may change
//! bytes without reporting an error.
//!
//! Nothing is stored between starts. The hour in which a photo is due follows from its key and the clock, so that the work
//! is spread evenly over the period. A damaged photo goes to quarantine: its address is 404 until the photo is uploaded
//! again.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::schedule::{PAGE, seconds, time_to_next_run};
use super::{Maintenance, MaintenanceError};
use crate::error_chain::error_chain;
use crate::media::{Integrity, MediaError};
use crate::model::{Media, MediaKey};

/// Average number of bytes that are read in a second.
const BYTES_PER_SECOND: u64 = 8 << 20;
/// The hour of a photo moves by this many hours in each period, so that a server that is off at night reaches all photos.
const SHIFT: u64 = 7;
/// Hours that may be due together before that is logged.
const BEHIND: u64 = 24;

/// The progress of the scrub.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    verified: AtomicU64,
    last_hour: AtomicU64,
}

impl Scrub {
    pub(super) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Returns the last hour since 1970 whose photos were verified; 0: none since the start.
    pub(super) fn last_hour(&self) -> u64 {
        self.last_hour.load(Ordering::Relaxed)
    }

    /// Continues after the hour that an earlier leader verified last.
    pub(super) fn resume(&self, hour: u64, now: SystemTime) {
        // The clock of the other instance may be ahead.
        self.last_hour.fetch_max(hour.min(seconds(now) / 3600), Ordering::Relaxed);
    }

    /// Returns for how many hours photos are due that are not verified.
    pub(super) fn behind(&self, now: SystemTime) -> u64 {
        match self.last_hour() {
            0 => 0,
            last => (seconds(now) / 3600).saturating_sub(last),
        }
    }

    /// Makes the next call start again.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.last_hour.store(0, Ordering::Relaxed);
    }

    /// Returns the hours whose photos are due now: those since the last complete call, and never more than a period.
    fn due(&self, now: SystemTime, period: u64) -> RangeInclusive<u64> {
        let now = seconds(now) / 3600;
        let first = match self.last_hour() {
            0 => now,
            last => last.saturating_add(1).max((now + 1).saturating_sub(period)),
        };
        first..=now
    }
}

/// Returns whether the photo is due in this hour since 1970. Of the hours of one period a photo is due in exactly one.
fn is_due(key: MediaKey, hour: u64, period: u64) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    let turn = (hour + hour / period * SHIFT) % period;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) % period == turn
}

impl Maintenance {
    /// Verifies photos until `stop` is cancelled, if the rules say so.
    pub(super) async fn keep_scrubbing(&self, stop: &CancellationToken) {
        if self.rules.scrub_hours == 0 {
            return;
        }
        loop {
            self.log_failure("stored photos cannot be verified", self.scrub(SystemTime::now(), stop).await);
            if stop.run_until_cancelled(tokio::time::sleep(time_to_next_run())).await.is_none() {
                return;
            }
        }
    }

    /// Verifies the photos that are due.
    ///
    /// # Errors
    /// The catalog or the store failed. The next call starts again with the same hours.
    pub(super) async fn scrub(
        &self,
        now: SystemTime,
        stop: &CancellationToken,
    ) -> Result<(), MaintenanceError> {
        let period = self.rules.scrub_hours;
        let hours = self.scrub.due(now, period);
        let last_hour = *hours.end();
        if hours.is_empty() {
            return Ok(());
        }
        let behind = last_hour - hours.start();
        if behind >= BEHIND {
            tracing::warn!(
                hours = behind,
                "the scrub is behind: raise SCRUB_HOURS, or MAINTENANCE_REQUESTS_PER_HOUR for photos in a bucket"
            );
        }
        let mut after = None;
        loop {
            let page = self.catalog.media_page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let is_in_turn = |media: &Media| hours.clone().any(|hour| is_due(media.key, hour, period));
            for media in page.into_iter().filter(is_in_turn) {
                if !self.pacer.take(self.requests.verify, stop).await {
                    return Ok(());
                }
                self.scrub_one(media.key).await?;
                let rest = Duration::from_micros(media.size_bytes * 1_000_000 / BYTES_PER_SECOND);
                if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                    return Ok(());
                }
            }
            if !self.pause(stop).await {
                return Ok(());
            }
        }
        self.scrub.last_hour.store(last_hour, Ordering::Relaxed);
        Ok(())
    }

    async fn scrub_one(&self, key: MediaKey) -> Result<(), MaintenanceError> {
        match self.store.verify(key).await {
            // Missing photos are counted by `missing`.
            Ok(Integrity::Whole | Integrity::Missing) => {}
            // An upload may be about to replace the photo: it is verified again while its key is locked.
            Ok(Integrity::Damaged) => {
                let guard = self.publisher.lock_keys([key]).await?;
                if self.publisher.verify_or_quarantine(key, &guard).await? == Integrity::Damaged {
                    self.missing.add_damaged(key);
                }
            }
            // An unreadable file says nothing about the other files.
            Err(error @ MediaError::Io(_)) => {
                tracing::error!(%key, error = %error_chain(&error), "a stored photo cannot be read");
            }
            Err(error) => return Err(error.into()),
        }
        self.scrub.verified.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Verifies a photo that a reader found damaged, and moves it to quarantine as the scrub does.
    pub(crate) async fn report_damage(&self, key: MediaKey) {
        if self.rules.collects {
            self.log_failure("a damaged photo cannot be verified", self.scrub_one(key).await);
        }
    }

    /// Returns whether the photo is damaged and could not be moved to quarantine: its bytes must not be served.
    pub(crate) async fn withholds(&self, key: MediaKey) -> bool {
        if !self.missing.is_damaged(key) {
            return false;
        }
        match self.store.verify(key).await {
            Ok(Integrity::Whole) => {
                self.missing.remove_damaged(key);
                false
            }
            Ok(Integrity::Damaged) => true,
            // The store reports the rest when the photo is read.
            Ok(Integrity::Missing) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_photo_is_due_in_one_hour_of_each_period() {
        for period in [1, 2, 24, 720] {
            for key in (0..20u8).map(|n| MediaKey::of(&[n])) {
                for first in [0, period, 700 * period] {
                    let due = (first..first + period).filter(|hour| is_due(key, *hour, period));
                    assert_eq!(due.count(), 1, "{period}, {first}");
                }
            }
        }
    }

    #[test]
    fn server_that_is_off_at_night_verifies_every_photo() {
        let by_day = |hour: &u64| (9..17).contains(&(hour % 24));
        for key in (0..100u8).map(|n| MediaKey::of(&[n])) {
            let hour = (0..4 * 720).filter(by_day).find(|hour| is_due(key, *hour, 720));
            assert!(hour.is_some(), "within four periods");
        }
    }

    #[test]
    fn missed_hours_are_due_and_no_hour_is_due_twice() {
        let scrub = Scrub::default();
        let at = |hour: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600 + 59);
        assert_eq!(scrub.due(at(1000), 24), 1000..=1000);
        scrub.last_hour.store(1000, Ordering::Relaxed);
        assert!(scrub.due(at(1000), 24).is_empty());
        assert_eq!(scrub.due(at(1003), 24), 1001..=1003);
        assert_eq!(scrub.due(at(2000), 24), 1977..=2000);
        assert!(scrub.due(at(999), 24).is_empty(), "a clock that was set back");
    }
}
