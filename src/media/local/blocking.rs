//! Where this store blocks: on threads that are made for it.

use std::io;

/// Runs `work` where it may block. It finishes even if the caller goes away, and then drops what it made.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
