//! One request at a time writes an upload in this process. A later one ends an earlier one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::UploadError;
use crate::model::UploadId;

/// Longest wait for an earlier request, which ends when it has acknowledged what it has, or when its photo is stored.
const WAIT: Duration = Duration::from_secs(10);

/// The requests that write uploads or wait to do so.
#[derive(Debug, Default, Clone)]
pub(super) struct Turns(Arc<Mutex<HashMap<UploadId, Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    newest: CancellationToken,
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Requests that write or wait.
    users: usize,
}

/// The right to write an upload, until it is dropped.
pub(super) struct Turn {
    superseded: CancellationToken,
    _writer: OwnedMutexGuard<()>,
    _user: User,
}

impl Turn {
    /// Cancelled when another request waits for the turn.
    pub(super) fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }
}

impl Turns {
    /// Ends the requests that write an upload, and returns the turn to do so.
    ///
    /// # Errors
    /// Another request came meanwhile, or an earlier one does not end.
    pub(super) async fn take(&self, id: UploadId) -> Result<Turn, UploadError> {
        let superseded = CancellationToken::new();
        let (earlier, writer) = {
            let mut slots = self.lock();
            let slot = slots.entry(id).or_default();
            slot.users += 1;
            (std::mem::replace(&mut slot.newest, superseded.clone()), Arc::clone(&slot.writer))
        };
        let user = User { turns: self.clone(), id };
        earlier.cancel();
        let writer = timeout(WAIT, writer.lock_owned()).await.map_err(|_| UploadError::InProgress)?;
        if superseded.is_cancelled() {
            return Err(UploadError::Superseded);
        }
        Ok(Turn { superseded, _writer: writer, _user: user })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request while it writes or waits.
struct User {
    turns: Turns,
    id: UploadId,
}

impl Drop for User {
    fn drop(&mut self) {
        let mut slots = self.turns.lock();
        if let Some(slot) = slots.get_mut(&self.id) {
            slot.users -= 1;
            if slot.users == 0 {
                slots.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn later_request_ends_the_earlier_one_and_waits_for_it() {
        let (turns, id) = (Turns::default(), UploadId::random());
        let first = turns.take(id).await.unwrap();
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(id).await.map(drop) }
        });
        first.superseded().cancelled().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
        assert!(turns.lock().is_empty());
    }

    #[tokio::test]
    async fn request_between_two_others_is_superseded() {
        let (turns, id) = (Turns::default(), UploadId::random());
        let first = turns.take(id).await.unwrap();
        let wait = || {
            let turns = turns.clone();
            tokio::spawn(async move { turns.take(id).await.map(drop) })
        };
        let second = wait();
        first.superseded().cancelled().await;
        let third = wait();
        while turns.lock()[&id].users < 3 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(matches!(second.await.unwrap(), Err(UploadError::Superseded)));
        third.await.unwrap().unwrap();
    }
}
