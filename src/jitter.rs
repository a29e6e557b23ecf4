//! Times that are drawn at random, so that processes which did something together do not do the next thing together too.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Steps between the two ends.
const STEPS: u64 = 1024;

/// Somewhere from `low` to `high`.
pub fn between(low: Duration, high: Duration) -> Duration {
    let step = u32::try_from(RandomState::new().build_hasher().finish() % STEPS).unwrap_or(0);
    low + high.saturating_sub(low) / 1024 * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_between_and_differs() {
        let (low, high) = (Duration::from_secs(9), Duration::from_secs(11));
        let drawn: Vec<_> = (0..100).map(|_| between(low, high)).collect();
        assert!(drawn.iter().all(|time| (low..=high).contains(time)), "{drawn:?}");
        assert!(drawn.iter().any(|time| *time != drawn[0]));
        assert_eq!(between(low, low), low);
    }
}
