//! Leases on background tasks: a row for each task, with the database's times.

use std::time::Duration;

use async_trait::async_trait;

use super::{PostgresCatalog, rows};
use crate::catalog::{CatalogError, Holder, TaskLease, TaskLeases};

/// The row is locked before its time is compared, so that of several instances one gets it.
const TAKE: &str = "
    INSERT INTO task_lease AS lease (task, holder, until, notes)
        VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', '')
    ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, until = excluded.until
        WHERE lease.until <= clock_timestamp() OR lease.holder = excluded.holder
    RETURNING notes";
const RENEW: &str = "
    UPDATE task_lease SET until = clock_timestamp() + $3 * interval '1 millisecond', notes = $4
    WHERE task = $1 AND holder = $2 RETURNING task";
const LOOK: &str = "SELECT until > clock_timestamp(), notes FROM task_lease WHERE task = $1";

fn milliseconds(term: Duration) -> f64 {
    term.as_secs_f64() * 1000.0
}

#[async_trait]
impl TaskLeases for PostgresCatalog {
    async fn take_lease(&self, by: Holder<'_>, term: Duration) -> Result<Option<String>, CatalogError> {
        let (task, holder, term) = (by.task, by.id.cast_signed(), milliseconds(term));
        let taken = self.connections.read_once(TAKE, &[&task, &holder, &term]).await?;
        taken.first().map(|row| rows::column(row, 0)).transpose()
    }

    async fn renew_lease(&self, by: Holder<'_>, term: Duration, notes: &str) -> Result<bool, CatalogError> {
        let (task, holder, term) = (by.task, by.id.cast_signed(), milliseconds(term));
        let renewed = self.connections.read_once(RENEW, &[&task, &holder, &term, &notes]).await?;
        Ok(!renewed.is_empty())
    }

    async fn task_lease(&self, task: &str) -> Result<Option<TaskLease>, CatalogError> {
        let found = self.connections.read(LOOK, &[&task]).await?;
        let lease = found
            .first()
            .map(|row| Ok(TaskLease { is_held: rows::column(row, 0)?, notes: rows::column(row, 1)? }));
        lease.transpose()
    }
}
