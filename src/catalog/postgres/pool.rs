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
use super::migrate::{self, Schema};
use super::tls::Tls;
use super::url::PostgresUrl;
use crate::catalog::CatalogError;

/// Time limit for getting a free or a new connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Time limit for a transaction.
pub(super) const OPERATION: Duration = Duration::from_secs(5);
/// Longest time for one statement, and for a lock. Shorter than [`OPERATION`], so that the database ends it and names the
/// reason.
const STATEMENT: Duration = Duration::from_secs(4);
/// After this time the database ends an idle transaction, and the kernel a connection whose bytes are not acknowledged. Far
/// below the minute after which pending photos are reconciled.
const ABANDONED: Duration = Duration::from_secs(15);
/// Longest time for which a key may be locked: as long as a slow media store may take to publish the photos.
const LOCKED: Duration = Duration::from_secs(120);

/// The connections to one database.
pub(super) struct Connections {
    work: Pool,
    /// Connections that hold key locks. A pool of their own: a task that holds a lock needs a connection of the other pool
    /// to record its draft.
    locks: Pool,
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
        let locks = (size / 2).max(1);
        let work = size.saturating_sub(locks).max(1);
        Ok(Self {
            work: pool(configured(url, ABANDONED), tls.clone(), work)?,
            locks: pool(configured(url, LOCKED), tls.clone(), locks)?,
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

    /// Returns a connection for key locks whose tables are ready.
    pub(super) async fn for_locks(self: &Arc<Self>) -> Result<Client, CatalogError> {
        self.client(&self.locks).await
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

    /// Prepares the tables if the database was down at startup. One caller tries, and the others fail immediately. The
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

    /// Runs one statement that changes rows and returns some, once.
    pub(super) async fn read_once(
        self: &Arc<Self>,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, CatalogError> {
        let client = self.work().await?;
        let query = async { client.query(&client.prepare_cached(sql).await?, params).await };
        match timeout(OPERATION, query).await {
            Ok(rows) => Ok(rows?),
            Err(_) => {
                discard(client);
                Err(silent())
            }
        }
    }

    /// Runs one statement that changes rows, once.
    pub(super) async fn write(
        self: &Arc<Self>,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(), CatalogError> {
        self.read_once(sql, params).await.map(drop)
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
