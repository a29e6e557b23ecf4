//! Keeps the sessions of forms whose clients are away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::Session;
use crate::model::UploadId;

/// How long a session waits for its client. Photos that are whole are decoded by then.
const WAIT: Duration = Duration::from_secs(60);
/// Most sessions that wait. Each may hold a photo that is not whole, in memory or in a temporary file.
const MAX_PARKED: usize = 64;

/// Sessions that wait for their clients.
#[derive(Default, Clone)]
pub(in crate::uploads) struct Parked(Arc<Mutex<HashMap<UploadId, Waiting>>>);

struct Waiting {
    session: Session,
    /// Removes the entry in the end.
    _timer: AbortOnDropHandle<()>,
}

impl Parked {
    /// Keeps a session for some time, if there is room.
    pub(super) fn put(&self, id: UploadId, session: Session) {
        let parked = self.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(WAIT).await;
            parked.forget(id);
        });
        let waiting = Waiting { session, _timer: AbortOnDropHandle::new(timer) };
        let mut all = self.lock();
        if all.len() < MAX_PARKED {
            all.insert(id, waiting);
        }
    }

    /// Drops the session of an upload.
    pub(in crate::uploads) fn forget(&self, id: UploadId) {
        self.lock().remove(&id);
    }

    /// Takes the session of an upload.
    pub(super) fn take(&self, id: UploadId) -> Option<Session> {
        self.lock().remove(&id).map(|waiting| waiting.session)
    }

    /// Drops all sessions.
    pub(in crate::uploads) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
