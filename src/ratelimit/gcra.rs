//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling), in whole microseconds: what every limiter counts by.

use std::time::Duration;

use super::{Decision, Quota};

/// A quota as the algorithm knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// The time in which a spent burst grows back.
    pub(super) window: u64,
    /// What one request costs of it.
    pub(super) interval: u64,
}

impl From<Quota> for Rate {
    fn from(quota: Quota) -> Self {
        let window = micros(quota.window);
        Self { window, interval: (window / u64::from(quota.burst)).max(1) }
    }
}

impl Rate {
    /// One request of a client who will have recovered in `debt`: the decision, and his debt after it.
    pub(super) fn decide(self, debt: u64) -> (Decision, u64) {
        let Self { window, interval } = self;
        let allowed = debt + interval <= window;
        let after = if allowed { debt + interval } else { debt };
        let free = window.saturating_sub(after);
        let decision = Decision {
            allowed,
            remaining: u32::try_from(free / interval).unwrap_or(u32::MAX),
            retry_after: Duration::from_micros((after + interval).saturating_sub(window)),
            reset_after: Duration::from_micros(after),
        };
        (decision, after)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
