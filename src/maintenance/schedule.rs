//! How often the tasks run, and in which portions.

use std::time::{Duration, SystemTime};

use crate::jitter;

/// Rows of one page.
pub(super) const PAGE: usize = 256;
/// Time between two runs of a task, plus or minus a tenth, so that servers started together run at different times.
pub(super) const EVERY: Duration = Duration::from_secs(3600);

/// Time from the start to the first removal of old drafts and photos, in which the server has other work.
pub(super) const FIRST_AFTER: Duration = Duration::from_secs(300);
/// Pause after a failure of the catalog or the store, before the work continues.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Returns the time from the end of a run to the next one.
pub(super) fn time_to_next_run() -> Duration {
    jitter::between(EVERY * 9 / 10, EVERY * 11 / 10)
}

/// Returns the seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
