//! Runs blocking work outside the asynchronous runtime's own threads.

use std::io;

/// The work panicked, or the runtime shut down before it began.
#[derive(Debug, thiserror::Error)]
#[error("a blocking task did not end")]
pub(crate) struct BlockingError(#[from] tokio::task::JoinError);

impl From<BlockingError> for io::Error {
    fn from(error: BlockingError) -> Self {
        Self::other(error)
    }
}

/// Runs `work` on a thread where it may block. The work completes even if the returned future is dropped.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<BlockingError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(BlockingError::from)?
}
