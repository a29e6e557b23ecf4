//! Holding photos against every other instance.
//!
//! The lock belongs to a transaction that does nothing else, so it ends with that transaction, with the connection or
//! with the process.

use std::sync::Arc;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use futures_util::future::join3;
use tokio::time::timeout;

use super::failure::silent;
use super::pool::{Connections, OPERATION, discard};
use super::rows::{Half, locks};
use crate::catalog::{CatalogError, Hold};
use crate::model::MediaKey;

const LOCK: &str = "SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name";

/// Waits for a transaction that records one of these photos. The instance that began it no longer holds its lock, but
/// the database may still execute it after the connection ended.
const WAIT: &str =
    "SELECT pg_advisory_lock(name), pg_advisory_unlock(name) FROM unnest($1::bigint[]) AS name";

/// A transaction with locks, until dropped.
struct Holding(Option<Client>);

impl Hold for Holding {
    fn is_sure(&self) -> bool {
        self.0.as_ref().is_some_and(|client| !client.is_closed())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            // Sent without waiting: the next user of the connection has its statements queued after it.
            let _sent = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

impl Connections {
    /// See [`Catalog::hold`](crate::catalog::Catalog::hold).
    pub(super) async fn hold_all(self: &Arc<Self>, keys: &[MediaKey]) -> Result<Box<dyn Hold>, CatalogError> {
        let client = self.hold().await?;
        let [held, recorded] = [Half::Hold, Half::Record].map(|half| locks(keys.iter().copied(), half));
        let work = async {
            let (lock, wait) = (client.prepare_cached(LOCK).await?, client.prepare_cached(WAIT).await?);
            let (begun, locked, waited) = join3(
                client.batch_execute("BEGIN"),
                client.execute(&lock, &[&held]),
                client.execute(&wait, &[&recorded]),
            )
            .await;
            begun?;
            locked?;
            waited
        };
        match timeout(OPERATION, work).await {
            Ok(Ok(_)) => Ok(Box::new(Holding(Some(client)))),
            Ok(Err(error)) => {
                drop(Holding(Some(client)));
                Err(error.into())
            }
            Err(_) => {
                discard(client);
                Err(silent())
            }
        }
    }
}
