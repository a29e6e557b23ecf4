//! The connection to Redis: one for all limits, made anew in the background when it is lost.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

use crate::{jitter, tls};

/// Time for a connection, greetings included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Rest before the first attempt at another connection, and before the last ones.
const REST: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];

/// Why there can be no connection, ever.
#[derive(Debug, thiserror::Error)]
#[error("REDIS_URL cannot be used: {0}")]
pub struct RedisError(#[from] redis::RedisError);

/// See the module.
pub struct RedisLink {
    client: Client,
    state: Mutex<State>,
}

struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that who failed on an old one does not end a new one.
    epoch: u64,
}

impl RedisLink {
    /// Connects to Redis. If it does not answer now, that is logged, and it is tried again in the background.
    ///
    /// # Errors
    /// The URL makes no sense.
    pub async fn open(url: &str) -> Result<Arc<Self>, RedisError> {
        tls::choose();
        let state = Mutex::new(State { connection: None, epoch: 0 });
        let link = Arc::new(Self { client: Client::open(url)?, state });
        match link.connect().await {
            Ok(connection) => link.state().connection = Some(connection),
            Err(error) => link.go_on_without(&error),
        }
        Ok(link)
    }

    /// The connection, if there is one, and its number.
    pub(super) fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.state();
        Some((state.connection.clone()?, state.epoch))
    }

    /// Says that the connection of this number does not work.
    pub(super) fn lost(self: &Arc<Self>, epoch: u64, error: &dyn Display) {
        let mut state = self.state();
        if state.epoch != epoch || state.connection.take().is_none() {
            return;
        }
        drop(state);
        self.go_on_without(error);
    }

    fn go_on_without(self: &Arc<Self>, error: &dyn Display) {
        tracing::warn!(%error, "Redis does not answer: until it does, each process counts rate limits by itself");
        tokio::spawn(connect_again(Arc::downgrade(self)));
    }

    async fn connect(&self) -> Result<MultiplexedConnection, redis::RedisError> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&limits).await?;
        // One that is still loading its data greets, and answers nothing.
        let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries until there is a connection, or nobody who wants one.
async fn connect_again(link: Weak<RedisLink>) {
    let [mut rest, longest] = REST;
    loop {
        tokio::time::sleep(jitter::between(rest / 2, rest)).await;
        rest = longest.min(rest * 2);
        let Some(link) = link.upgrade() else { return };
        if let Ok(connection) = link.connect().await {
            let mut state = link.state();
            state.connection = Some(connection);
            state.epoch += 1;
            drop(state);
            tracing::info!("Redis answers again: rate limits are shared");
            return;
        }
    }
}
