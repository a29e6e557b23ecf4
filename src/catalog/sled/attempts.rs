//! Attempts: claimed within this process, recorded with their drafts, and forgotten.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pages::after_key;
use super::rows::{Position, Trees, attempt_key, decode};
use crate::catalog::{Attempt, AttemptRow, CatalogError, Claim};
use crate::model::{AttemptId, Timestamp};

/// The attempts that requests of this process work on. No other process has the catalog open.
#[derive(Debug, Default, Clone)]
pub(super) struct Claims(Arc<Mutex<HashSet<AttemptId>>>);

struct ClaimGuard {
    claims: Claims,
    id: AttemptId,
}

impl Claims {
    /// Claims an attempt, or returns `None` if it is claimed.
    pub(super) fn claim(&self, id: AttemptId) -> Option<Box<dyn Claim>> {
        let is_new = self.lock().insert(id);
        is_new.then(|| Box::new(ClaimGuard { claims: self.clone(), id }) as Box<dyn Claim>)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<AttemptId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim for ClaimGuard {}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.id);
    }
}

impl Trees {
    /// Returns the attempt with this id if it succeeded after `since`.
    pub(super) fn attempt(&self, id: AttemptId, since: Timestamp) -> Result<Option<Attempt>, CatalogError> {
        let row = self.attempts.get(id.as_bytes())?.map(|row| decode::<Attempt>(&row)).transpose()?;
        Ok(row.filter(|attempt| attempt.created >= since))
    }

    /// Returns attempts in ascending order of id.
    pub(super) fn attempts_page(
        &self,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<AttemptRow>, CatalogError> {
        let rows = self.attempts.range(after_key(after.map(|id| *id.as_bytes())));
        let row = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (id, attempt) = entry?;
            let id = id.as_ref().try_into();
            let id = id.map_err(|_| CatalogError::Corrupt("the id of an attempt is not a digest".into()))?;
            Ok(AttemptRow { id: AttemptId::from_digest(id), attempt: decode(&attempt)? })
        };
        rows.take(limit).map(row).collect()
    }

    /// Removes attempts that succeeded before `before`, in one transaction. Not durable yet.
    pub(super) fn forget_attempts(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<(usize, Position), CatalogError> {
        let keys = self.attempts_by_time.range(..attempt_key(before, &[])).keys();
        let keys = keys.take(limit).collect::<Result<Vec<_>, _>>()?;
        self.transact(|transaction| {
            keys.iter().try_for_each(|key| transaction.forget_attempt(key))?;
            Ok(keys.len())
        })
    }
}
