//! Keeps the sessions of forms whose clients are away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::Session;
use crate::model::{ClientKey, UploadId};

/// How long a session waits for its client. Photos that are whole are decoded by then.
const WAIT: Duration = Duration::from_secs(60);
/// Bytes that begin a new wait. With fewer, a session goes on with the wait of before.
const PROGRESS: u64 = 64 << 10;
/// Most sessions that wait. Each may hold the photo that is arriving, and those that were recognised, in memory or in temporary files.
const MAX_PARKED: usize = 32;
/// Most sessions of one client that wait.
const MAX_OF_CLIENT: usize = 8;

/// Sessions that wait for their clients.
#[derive(Default, Clone)]
pub(in crate::uploads) struct Parked(Arc<Mutex<HashMap<UploadId, Waiting>>>);

struct Waiting {
    parked: ParkedSession,
    /// Removes the entry in the end.
    _timer: AbortOnDropHandle<()>,
}

/// A session, and how long it may wait.
pub(super) struct ParkedSession {
    pub(super) session: Session,
    pub(super) client: ClientKey,
    pub(super) patience: Patience,
}

/// How long a session may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    until: Instant,
    /// How many bytes the session had read when the wait began.
    fed: u64,
}

impl Patience {
    /// Returns until when a session that read `fed` bytes waits, which waited as `self` says before.
    fn renewed(before: Option<Self>, fed: u64) -> Self {
        match before {
            Some(before) if fed < before.fed + PROGRESS => before,
            _ => Self { until: Instant::now() + WAIT, fed },
        }
    }
}

impl Parked {
    /// Keeps a session for some time, if there is room. `before` is how long it waited earlier.
    pub(super) fn put(&self, id: UploadId, session: Session, client: ClientKey, before: Option<Patience>) {
        let patience = Patience::renewed(before, session.fed());
        let parked = self.clone();
        let timer = tokio::spawn(async move {
            sleep_until(patience.until).await;
            parked.forget(id);
        });
        let timer = AbortOnDropHandle::new(timer);
        let mut all = self.lock();
        let own = all.values().filter(|waiting| waiting.parked.client == client).count();
        if all.len() < MAX_PARKED && own < MAX_OF_CLIENT {
            let parked = ParkedSession { session, client, patience };
            all.insert(id, Waiting { parked, _timer: timer });
        }
    }

    /// Drops the session of an upload.
    pub(in crate::uploads) fn forget(&self, id: UploadId) {
        self.lock().remove(&id);
    }

    /// Takes the session of an upload.
    pub(super) fn take(&self, id: UploadId) -> Option<ParkedSession> {
        self.lock().remove(&id).map(|waiting| waiting.parked)
    }

    /// Drops all sessions.
    pub(in crate::uploads) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wait_is_renewed_by_progress_alone() {
        let first = Patience::renewed(None, 10);
        tokio::time::advance(WAIT / 2).await;
        assert_eq!(Patience::renewed(Some(first), 10 + PROGRESS - 1).until, first.until);
        assert_eq!(Patience::renewed(Some(first), 10 + PROGRESS).until, first.until + WAIT / 2);
    }
}
