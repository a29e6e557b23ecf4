//! What the supervisor hears of the process.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// For how long the supervisor is asked to wait each time while the start goes on.
const EXTENSION: Duration = Duration::from_secs(60);
/// Pause between two such requests.
const EXTENSION_PAUSE: Duration = Duration::from_secs(15);
/// Longest start for which more time is requested. The migration of ten million drafts takes a sixth of it.
const LONGEST_START: Duration = Duration::from_secs(3600);

/// Reports that the process serves requests, with a sentence for people.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that the process reads its settings anew. A call of [`ready`] must follow.
pub fn reloading() {
    // From version 253 on systemd requires the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the clock cannot be read"),
    }
}

/// Reports that the process stops, which may take `longest`.
pub fn stopping(longest: Duration) {
    let status = "stopping: open requests may finish";
    send(&[NotifyState::Stopping, NotifyState::Status(status), extension(longest)]);
}

/// Runs `start`, and requests more time from the supervisor until it has ended, but not for longer than an hour. Called inside
/// a tokio runtime with several threads.
pub async fn extend_start<T>(start: impl Future<Output = T>) -> T {
    let requests = tokio::spawn(async {
        let end = Instant::now() + LONGEST_START;
        while Instant::now() < end {
            send(&[NotifyState::Status("starting: the stores are opened"), extension(EXTENSION)]);
            tokio::time::sleep(EXTENSION_PAUSE).await;
        }
    });
    let started = start.await;
    requests.abort();
    started
}

fn extension(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// Sends `states` in one message. An error is logged: without the message the supervisor takes its own measures.
pub(super) fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor could not be notified");
    }
}
