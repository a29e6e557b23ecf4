//! Random durations, so that processes that did something at the same time do not repeat it at the same time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Number of steps between the bounds.
const STEPS: u64 = 1024;

/// Returns a random duration from `low` to `high`.
pub(crate) fn between(low: Duration, high: Duration) -> Duration {
    let step = u32::try_from(RandomState::new().build_hasher().finish() % STEPS).unwrap_or(0);
    low + high.saturating_sub(low) / 1024 * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_random_and_within_bounds() {
        let (low, high) = (Duration::from_secs(9), Duration::from_secs(11));
        let drawn: Vec<_> = (0..100).map(|_| between(low, high)).collect();
        assert!(drawn.iter().all(|time| (low..=high).contains(time)), "{drawn:?}");
        assert!(drawn.iter().any(|time| *time != drawn[0]));
        assert_eq!(between(low, low), low);
    }
}
