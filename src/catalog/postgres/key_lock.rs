//! Locks media keys against all other processes.
//!
//! The locks belong to a transaction that changes nothing. They end with it, with its connection, and when the database ends a transaction that
//! is idle for too long (`LOCKED` in `pool`). Keys that are not free within the time of an operation are refused as `Unavailable`.

use std::sync::Arc;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use futures_util::future::join3;
use tokio::time::timeout;

use super::failure::silent;
use super::pool::{Connections, OPERATION, discard};
use super::rows::{Half, locks};
use crate::catalog::{CatalogError, KeyLock};
use crate::model::MediaKey;

/// Keys are locked in ascending order of their numbers, so that two callers do not deadlock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name";

/// Waits for transactions that record one of these photos. A process records on another connection than the one that holds its locks. If
/// the latter is lost, the locks are free, although the database may still run the transaction.
const WAIT: &str =
    "SELECT pg_advisory_lock(name), pg_advisory_unlock(name) FROM unnest($1::bigint[]) AS name";

/// An open transaction that holds locks. Dropping it rolls it back.
struct LockTransaction(Option<Client>);

impl KeyLock for LockTransaction {
    fn is_valid(&self) -> bool {
        self.0.as_ref().is_some_and(|client| !client.is_closed())
    }
}

impl Drop for LockTransaction {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            // The statement is sent, and its answer not awaited: the next statement on this connection runs after it.
            let _sent = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

impl Connections {
    /// See [`Catalog::lock_keys`](crate::catalog::Catalog::lock_keys).
    pub(super) async fn lock_keys(
        self: &Arc<Self>,
        keys: &[MediaKey],
    ) -> Result<Box<dyn KeyLock>, CatalogError> {
        let client = self.for_locks().await?;
        let [publish, record] = [Half::Publish, Half::Record].map(|half| locks(keys.iter().copied(), half));
        let work = async {
            let (lock, wait) = (client.prepare_cached(LOCK).await?, client.prepare_cached(WAIT).await?);
            let (begun, locked, waited) = join3(
                client.batch_execute("BEGIN"),
                client.execute(&lock, &[&publish]),
                client.execute(&wait, &[&record]),
            )
            .await;
            begun?;
            locked?;
            waited
        };
        match timeout(OPERATION, work).await {
            Ok(Ok(_)) => Ok(Box::new(LockTransaction(Some(client)))),
            Ok(Err(error)) => {
                drop(LockTransaction(Some(client)));
                Err(error.into())
            }
            Err(_) => {
                discard(client);
                Err(silent())
            }
        }
    }
}
