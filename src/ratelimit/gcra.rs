//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling) in whole microseconds, which every limiter uses.

use std::time::Duration;

use super::{Decision, Quota};

/// A quota in the units of the algorithm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Time in which a used burst becomes available again.
    pub(super) window: u64,
    burst: u32,
}

impl From<Quota> for Rate {
    fn from(quota: Quota) -> Self {
        Self { window: micros(quota.window), burst: quota.burst }
    }
}

impl Rate {
    /// Returns the time in which `units` become available again, rounded down, so that a whole burst always fits the window.
    pub(super) fn cost(self, units: u32) -> u64 {
        let cost = u128::from(self.window) * u128::from(units) / u128::from(self.burst);
        u64::try_from(cost).unwrap_or(u64::MAX).max(1)
    }

    /// Decides whether a client with `debt` (time until its burst is complete) may take `units`. Also returns the new debt.
    pub(super) fn decide(self, debt: u64, units: u32) -> (Decision, u64) {
        let (window, cost) = (self.window, self.cost(units));
        let allowed = debt.saturating_add(cost) <= window;
        let after = if allowed { debt + cost } else { debt };
        let free = window.saturating_sub(after);
        let remaining = u128::from(free) * u128::from(self.burst) / u128::from(window.max(1));
        let missing = match cost > window {
            true => window,
            false => after.saturating_add(cost).saturating_sub(window),
        };
        let decision = Decision {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            retry_after: Duration::from_micros(missing),
            reset_after: Duration::from_micros(after),
        };
        (decision, after)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
