//! Pools of database connections, with their timeouts, and the preparation before the first use.
//!
//! A database that is down or stalled costs a caller a few seconds and an error, never more. The next caller replaces
//! lost connections, so the catalog works again as soon as the database does.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

use super::failure::silent;
use super::migrate;
use super::tls::Tls;
use super::url::PostgresUrl;
use crate::catalog::CatalogError;

/// Time limit for getting a free or a new connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Time limit for a transaction.
pub(super) const OPERATION: Duration = Duration::from_secs(5);
/// Time limit in the database for one statement or lock. It is shorter than [`OPERATION`], so that the database
/// reports the cause first.
const STATEMENT: Duration = Duration::from_secs(4);
/// Time after which the database ends an idle transaction whose COMMIT does not arrive, and the kernel ends a
/// connection whose data is not acknowledged. It is well below the minute after which an indeterminate commit is
/// checked.
const ABANDONED: Duration = Duration::from_secs(15);
/// Maximum time for holding photos: the time that a slow media store may need to publish them.
const HELD: Duration = Duration::from_secs(120);

/// What to do with a database that has no tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Create missing tables and update older ones.
    Migrate,
    /// Require existing tables, so that a mistaken URL does not look like an empty catalog.
    Expect,
}

/// The connection pools of a catalog.
pub(super) struct Connections {
    work: Pool,
    /// A separate pool: a caller that holds photos needs a connection of `work` to continue.
    holds: Pool,
    config: Config,
    tls: Tls,
    schema: Schema,
    /// Set when the tables are known to be as expected.
    ready: OnceLock<()>,
    /// Held by the task that prepares the tables.
    turn: Arc<Semaphore>,
}

impl Connections {
    /// Creates pools of at most `size` connections in all, which are opened on demand.
    pub(super) fn new(url: &PostgresUrl, size: usize, schema: Schema) -> Result<Self, CatalogError> {
        let unusable = |error: std::io::Error| CatalogError::Unavailable(error.into());
        let tls = Tls::of(url).map_err(unusable)?;
        let holds = (size / 2).max(1);
        let work = size.saturating_sub(holds).max(1);
        Ok(Self {
            work: pool(configured(url, ABANDONED), tls.clone(), work)?,
            holds: pool(configured(url, HELD), tls.clone(), holds)?,
            config: configured(url, ABANDONED),
            tls,
            schema,
            ready: OnceLock::new(),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// Returns a connection for statements, after the tables are prepared.
    pub(super) async fn work(self: &Arc<Self>) -> Result<Client, CatalogError> {
        self.client(&self.work).await
    }

    /// Returns a connection for holding photos, after the tables are prepared.
    pub(super) async fn hold(self: &Arc<Self>) -> Result<Client, CatalogError> {
        self.client(&self.holds).await
    }

    async fn client(self: &Arc<Self>, pool: &Pool) -> Result<Client, CatalogError> {
        if self.ready.get().is_none() {
            self.prepare_soon().await?;
        }
        pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => silent(),
            other => CatalogError::Unavailable(other.into()),
        })
    }

    /// Prepares the tables if the database was down at startup. One caller tries, and the others fail at once. The
    /// attempt continues if its caller gives up.
    async fn prepare_soon(self: &Arc<Self>) -> Result<(), CatalogError> {
        let busy = || CatalogError::Unavailable("the connection to the database is being set up".into());
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| busy())?;
        let connections = Arc::clone(self);
        let preparing = tokio::spawn(async move { connections.prepare_in(turn).await });
        let prepared = timeout(CONNECT, preparing).await.map_err(|_| silent())?;
        prepared.map_err(|died| CatalogError::Unavailable(died.into()))?
    }

    /// Prepares the tables, without a time limit.
    pub(super) async fn prepare(&self) -> Result<(), CatalogError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        self.prepare_in(turn.map_err(|closed| CatalogError::Unavailable(closed.into()))?).await
    }

    async fn prepare_in(&self, _turn: OwnedSemaphorePermit) -> Result<(), CatalogError> {
        if self.ready.get().is_none() {
            migrate::prepare(&self.config, self.tls.clone(), self.schema).await?;
            let _was_set = self.ready.set(());
        }
        Ok(())
    }

    /// Runs one reading statement. Repeats it once if the connection was lost.
    pub(super) async fn read(
        self: &Arc<Self>,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, CatalogError> {
        let mut is_retry = false;
        loop {
            let client = self.work().await?;
            let query = async { client.query(&client.prepare_cached(sql).await?, params).await };
            match timeout(OPERATION, query).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(_)) if client.is_closed() && !is_retry => is_retry = true,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    discard(client);
                    return Err(silent());
                }
            }
        }
    }
}

/// Closes a connection whose state is unknown.
pub(super) fn discard(client: Client) {
    drop(Object::take(client));
}

fn configured(url: &PostgresUrl, abandoned: Duration) -> Config {
    let mut config = url.config.clone();
    // Options of the operator's URL come last and override ours.
    let own = format!(
        "-c synchronous_commit=on -c statement_timeout={statement} -c lock_timeout={statement} \
         -c idle_in_transaction_session_timeout={idle} {given}",
        statement = STATEMENT.as_millis(),
        idle = abandoned.as_millis(),
        given = url.config.get_options().unwrap_or_default(),
    );
    config.options(own.trim_end()).connect_timeout(CONNECT).tcp_user_timeout(ABANDONED);
    if config.get_application_name().is_none() {
        config.application_name(env!("CARGO_PKG_NAME"));
    }
    config
}

fn pool(config: Config, tls: Tls, size: usize) -> Result<Pool, CatalogError> {
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let timeouts = Timeouts { wait: Some(CONNECT), create: Some(CONNECT), recycle: Some(CONNECT) };
    let pool =
        Pool::builder(Manager::from_config(config, tls, manager)).max_size(size).runtime(Runtime::Tokio1);
    pool.timeouts(timeouts).build().map_err(|error| CatalogError::Unavailable(error.into()))
}
