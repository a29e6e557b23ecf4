//! Runs blocking work outside the asynchronous runtime's own threads.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

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
    blocking_on(&Handle::current(), work).await
}

async fn blocking_on<T, E>(
    runtime: &Handle,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<BlockingError> + Send + 'static,
{
    runtime.spawn_blocking(work).await.map_err(BlockingError::from)?
}

/// A few threads for work that allocates and frees the same structures. On the many threads of [`blocking`] each would keep free
/// memory that the others cannot use.
#[derive(Debug)]
pub(crate) struct FewThreads {
    handle: Handle,
    /// Runs no tasks of its own. `Some` until it is dropped.
    runtime: Option<Runtime>,
}

impl FewThreads {
    /// Creates at most `count` threads, which start when there is work.
    ///
    /// # Errors
    /// The system lacks resources.
    pub(crate) fn new(name: &str, count: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().thread_name(name).max_blocking_threads(count).build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Returns the runtime whose blocking threads these are.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` on one of the threads, as [`blocking`] does.
    pub(crate) async fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<BlockingError> + Send + 'static,
    {
        blocking_on(&self.handle, work).await
    }
}

impl Drop for FewThreads {
    fn drop(&mut self) {
        // A runtime that waits for its threads must not be dropped on a thread of another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
