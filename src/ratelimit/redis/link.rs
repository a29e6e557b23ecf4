//! The Redis connection shared by all limits, and replaced in the background when it is lost.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

use crate::{jitter, tls};

/// Time limit for connecting, including the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause before an attempt to reconnect.
const RECONNECT_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];

/// The Redis URL is invalid.
#[derive(Debug, thiserror::Error)]
#[error("REDIS_URL cannot be used: {0}")]
pub struct RedisError(#[from] redis::RedisError);

/// A connection to Redis that is replaced when it is lost.
pub(crate) struct RedisLink {
    client: Client,
    state: Mutex<State>,
}

struct State {
    connection: Option<MultiplexedConnection>,
    /// Number of the connection, so that a failure of an old connection does not drop a new one.
    epoch: u64,
}

impl RedisLink {
    /// Connects to Redis. If Redis does not answer, logs that and tries again in the background.
    ///
    /// # Errors
    /// The URL is invalid.
    pub(crate) async fn open(url: &str) -> Result<Arc<Self>, RedisError> {
        tls::install_default_provider();
        let state = Mutex::new(State { connection: None, epoch: 0 });
        let link = Arc::new(Self { client: Client::open(url)?, state });
        match link.connect().await {
            Ok(connection) => link.state().connection = Some(connection),
            Err(error) => link.reconnect_in_background(&error),
        }
        Ok(link)
    }

    /// Returns the current connection and its number, or `None`.
    pub(super) fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.state();
        Some((state.connection.clone()?, state.epoch))
    }

    /// Reports that the connection with this number does not work.
    pub(super) fn lost(self: &Arc<Self>, epoch: u64, error: &dyn Display) {
        let mut state = self.state();
        if state.epoch != epoch || state.connection.take().is_none() {
            return;
        }
        drop(state);
        self.reconnect_in_background(error);
    }

    fn reconnect_in_background(self: &Arc<Self>, error: &dyn Display) {
        tracing::warn!(%error, "Redis does not answer; each process counts rate limits by itself until it does");
        tokio::spawn(reconnect(Arc::downgrade(self)));
    }

    async fn connect(&self) -> Result<MultiplexedConnection, redis::RedisError> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&limits).await?;
        // A Redis that is still loading its data accepts connections but answers no commands.
        let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries to connect until it succeeds or the link is dropped.
async fn reconnect(link: Weak<RedisLink>) {
    let [mut pause, longest] = RECONNECT_PAUSE;
    loop {
        tokio::time::sleep(jitter::between(pause / 2, pause)).await;
        pause = longest.min(pause * 2);
        let Some(link) = link.upgrade() else { return };
        if let Ok(connection) = link.connect().await {
            let mut state = link.state();
            state.connection = Some(connection);
            state.epoch += 1;
            drop(state);
            tracing::info!("Redis answers again; rate limits are shared");
            return;
        }
    }
}
