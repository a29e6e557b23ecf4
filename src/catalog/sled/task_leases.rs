//! Leases on background tasks, in memory: no other process has the catalog open, so that they end with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::SledCatalog;
use crate::catalog::{CatalogError, Holder, TaskLease, TaskLeases};

/// The leases that were taken since the start, by task.
#[derive(Debug, Default)]
pub(super) struct TaskLeaseTable(Mutex<HashMap<String, Held>>);

#[derive(Debug)]
struct Held {
    holder: u64,
    until: Instant,
    notes: String,
}

impl TaskLeaseTable {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TaskLeases for SledCatalog {
    async fn take_lease(&self, by: Holder<'_>, term: Duration) -> Result<Option<String>, CatalogError> {
        let Holder { task, id: holder } = by;
        let (mut leases, now) = (self.task_leases.lock(), Instant::now());
        let until = now + term;
        let lease = leases.entry(task.to_owned());
        let lease = lease.or_insert_with(|| Held { holder, until: now, notes: String::new() });
        if lease.until > now && lease.holder != holder {
            return Ok(None);
        }
        (lease.holder, lease.until) = (holder, until);
        Ok(Some(lease.notes.clone()))
    }

    async fn renew_lease(&self, by: Holder<'_>, term: Duration, notes: &str) -> Result<bool, CatalogError> {
        let mut leases = self.task_leases.lock();
        let Some(lease) = leases.get_mut(by.task).filter(|lease| lease.holder == by.id) else {
            return Ok(false);
        };
        lease.until = Instant::now() + term;
        notes.clone_into(&mut lease.notes);
        Ok(true)
    }

    async fn task_lease(&self, task: &str) -> Result<Option<TaskLease>, CatalogError> {
        let (leases, now) = (self.task_leases.lock(), Instant::now());
        Ok(leases.get(task).map(|lease| TaskLease { is_held: lease.until > now, notes: lease.notes.clone() }))
    }
}
