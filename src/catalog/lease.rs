//! Leases on background tasks, so that one of several instances does a task.

use std::time::Duration;

use async_trait::async_trait;

use super::CatalogError;

/// A lease as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLease {
    /// Whether an instance holds it now.
    pub is_held: bool,
    /// What its last holder recorded.
    pub notes: String,
}

/// Who asks for which lease.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The task.
    pub task: &'a str,
    /// A number that names the process.
    pub id: u64,
}

impl<'a> Holder<'a> {
    /// Names the process `id`, which does `task`.
    pub fn new(task: &'a str, id: u64) -> Self {
        Self { task, id }
    }
}

/// The leases of a catalog on background tasks.
///
/// At any time at most one holder has the lease of a task, by the clock of the catalog. A holder that stops renewing it, such as
/// a process that was killed, loses it when its time is over. The next holder gets the notes of the last one, and continues.
///
/// A lease saves work, and is no lock: a process that was suspended may work for a moment after it lost the lease. Whatever must
/// not happen twice needs a lock too.
#[async_trait]
pub trait TaskLeases: Send + Sync {
    /// Takes the lease of the task for `term`, unless another holder has it. Returns the notes of the last holder, which are
    /// empty for a new task, or `None` if another holder has the lease. A holder may take its own lease again.
    ///
    /// # Errors
    /// The catalog failed. The lease may be taken.
    async fn take_lease(&self, by: Holder<'_>, term: Duration) -> Result<Option<String>, CatalogError>;

    /// Records `notes`, and extends the lease of the holder so that it ends in `term`; zero gives it up. Also renews a lease
    /// that ended, if no other holder took it. Returns false, and changes nothing, if `by` was not the last to take it.
    ///
    /// # Errors
    /// The catalog failed. The lease may be renewed.
    async fn renew_lease(&self, by: Holder<'_>, term: Duration, notes: &str) -> Result<bool, CatalogError>;

    /// Returns the lease of `task`, or `None` if it was never taken.
    ///
    /// # Errors
    /// The catalog failed.
    async fn task_lease(&self, task: &str) -> Result<Option<TaskLease>, CatalogError>;
}
