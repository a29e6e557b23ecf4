//! Runs transactions that change rows: with a time limit, again after a conflict, and with a known outcome where possible.
//!
//! Statements are pipelined: each is sent without waiting for the previous results, and the first error in order is the cause
//! of the later ones. COMMIT is sent with the last statements; a connection lost after that leaves the outcome unknown.
//!
//! Every transaction takes its locks in the same order, so that no two wait for each other: the rows of users, the row of the
//! draft, the advisory locks of photos in ascending order, media rows by key when they are inserted and by id when they are
//! updated, sources by id, and the attempt.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Error, Statement};

use super::failure::{is_conflict, is_repeated, proves_rollback, silent};
use super::params::Params;
use super::pool::{Connections, OPERATION, discard};
use crate::catalog::{CatalogError, ChangeError};

/// Begins a transaction. Explicit, because the database's default may differ: a later query must see what a concurrent
/// transaction committed.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Number of attempts for a transaction that conflicts with another one. The pause before each attempt is multiplied by the
/// number of attempts so far.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What one transaction does.
pub(super) trait Work: Sync {
    type Output: Send;

    /// Runs the whole transaction, from [`BEGIN`] on. An error rolls it back.
    fn run(
        &self,
        client: &Client,
        commit: &Commit,
    ) -> impl Future<Output = Result<Self::Output, Failed>> + Send;
}

/// Why an attempt failed.
pub(super) enum Failed {
    /// A concurrent transaction caused the database to abort this one.
    Conflict(Error),
    Other(ChangeError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        if is_repeated(&error) {
            Self::Other(ChangeError::Repeated)
        } else if is_conflict(&error) {
            Self::Conflict(error)
        } else {
            CatalogError::from(error).into()
        }
    }
}

impl From<CatalogError> for Failed {
    fn from(error: CatalogError) -> Self {
        Self::Other(error.into())
    }
}

/// The last statements of a transaction, with their parameters.
#[derive(Default)]
pub(super) struct Steps(Vec<(Statement, Params)>);

impl Steps {
    /// Adds a statement. Preparing it costs a round trip only once per connection.
    pub(super) async fn add(&mut self, client: &Client, sql: &str, params: Params) -> Result<(), Error> {
        self.0.push((client.prepare_cached(sql).await?, params));
        Ok(())
    }

    /// Sends the statements and COMMIT, and waits for all of them. Returns the numbers of changed rows.
    pub(super) async fn commit(self, client: &Client, commit: &Commit) -> Result<Vec<u64>, Failed> {
        commit.begins();
        let send = |(statement, params): (Statement, Params)| async move {
            client.execute_raw(&statement, params).await
        };
        let (results, committed) =
            join(join_all(self.0.into_iter().map(send)), client.batch_execute("COMMIT")).await;
        let changed = results.into_iter().map(with_commit).collect::<Result<_, _>>()?;
        committed_by(committed)?;
        Ok(changed)
    }
}

/// Knows whether COMMIT was sent.
#[derive(Default)]
pub(super) struct Commit(AtomicBool);

impl Commit {
    /// Must be called before COMMIT is sent.
    pub(super) fn begins(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the result of a statement that was sent together with COMMIT. After an error, COMMIT did not commit. Without an
/// answer the outcome is unknown.
pub(super) fn with_commit<T>(result: Result<T, Error>) -> Result<T, Failed> {
    result.map_err(|error| if error.as_db_error().is_some() { error.into() } else { indeterminate(error) })
}

/// Returns the result of COMMIT.
pub(super) fn committed_by(result: Result<(), Error>) -> Result<(), Failed> {
    result.map_err(|error| if proves_rollback(&error) { error.into() } else { indeterminate(error) })
}

fn indeterminate(error: Error) -> Failed {
    CatalogError::Indeterminate(Box::new(error.into())).into()
}

impl Connections {
    /// Runs a transaction.
    pub(super) async fn transact<W: Work>(self: &Arc<Self>, work: &W) -> Result<W::Output, ChangeError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(work).await {
                Ok(output) => return Ok(output),
                Err(Failed::Conflict(_)) if tries < TRIES => sleep(PAUSE * tries).await,
                Err(Failed::Conflict(error)) => return Err(CatalogError::from(error).into()),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
    }

    async fn attempt<W: Work>(self: &Arc<Self>, work: &W) -> Result<W::Output, Failed> {
        let client = self.work().await?;
        let mut open = Open(Some(&client));
        let commit = Commit::default();
        let done = timeout(OPERATION, work.run(&client, &commit)).await;
        let is_committed = matches!(done, Ok(Ok(_))) && commit.has_begun();
        if is_committed || done.is_err() {
            open.0 = None;
        }
        drop(open);
        done.unwrap_or_else(|_| {
            discard(client);
            let error = silent();
            Err(match commit.has_begun() {
                true => CatalogError::Indeterminate(Box::new(error)).into(),
                false => error.into(),
            })
        })
    }
}

/// A connection in a transaction. Dropping it ends the transaction without effect, also when the caller gives up.
struct Open<'a>(Option<&'a Client>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            // Sent without waiting: the next user of the connection has its statements queued after it.
            let _sent = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
