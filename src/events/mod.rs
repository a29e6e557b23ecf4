//! Events: what happened to drafts and photos is delivered to the operator's receiver, at least once, and in order for each draft.
//!
//! The outbox is in the catalog, where each change records its event in its own transaction. This room takes events that are
//! due, a few at a time, and sends them. The instance that takes an event has a lease on its subject, so that several instances never deliver
//! events of one draft side by side. A receiver that is down costs nothing but rows: its events wait, with growing pauses, and
//! are given up after three days.

mod receiver;
mod signature;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

pub(crate) use self::receiver::Webhook;
use self::receiver::{DeliveryError, Receiver};
pub(crate) use self::signature::SigningSecret;
use crate::catalog::{Catalog, CatalogError, DueEvent, Event, Happening, Outbox};
use crate::jitter;
use crate::media::MediaStore;
use crate::model::Timestamp;
use crate::telemetry::metrics::{Metrics, Reading, Unit};
use crate::tls::TlsError;

/// How often the outbox is looked at while nothing is due.
const POLL: Duration = Duration::from_millis(500);
/// Events that are delivered at the same time.
const AT_ONCE: usize = 8;
/// Duration of the lease on the events of a subject. It is longer than a delivery takes.
const LEASE: Duration = Duration::from_secs(60);
/// How long an event is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// How soon the file of a removed photo is looked for again.
const FILE_PAUSE: Duration = Duration::from_secs(30);
/// Pauses after the first failures, in seconds. The last one is repeated.
const PAUSES: [u64; 10] = [1, 5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600];

/// Writes the body of an event.
pub(crate) type Render = Box<dyn Fn(&Event) -> Bytes + Send + Sync>;

/// Delivers the events of a catalog.
pub(crate) struct Events {
    outbox: Arc<dyn Outbox>,
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn MediaStore>,
    receiver: Receiver,
    render: Render,
    delivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    /// When the oldest event happened that is not delivered, in milliseconds since 1970; 0 if there is none.
    oldest: AtomicU64,
}

impl Events {
    /// Delivers the events in `outbox` to `webhook`. Nothing runs yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(
        outbox: Arc<dyn Outbox>,
        catalog: Arc<dyn Catalog>,
        store: Arc<dyn MediaStore>,
        webhook: Webhook,
        render: Render,
    ) -> Result<Self, TlsError> {
        let receiver = Receiver::new(webhook)?;
        let [delivered, failed, given_up, oldest] = std::array::from_fn(|_| AtomicU64::new(0));
        Ok(Self { outbox, catalog, store, receiver, render, delivered, failed, given_up, oldest })
    }

    /// Signs later deliveries with `secret`.
    pub(crate) fn replace_secret(&self, secret: SigningSecret) {
        self.receiver.replace_secret(secret);
    }

    /// Registers the metrics of events.
    pub(crate) fn register(self: &Arc<Self>, metrics: &mut Metrics) {
        let read = |figure: fn(&Self) -> u64| {
            let events = Arc::clone(self);
            move || figure(&events)
        };
        let of = Unit::Of;
        let help = "Events delivered to WEBHOOK_URL";
        let figure = Reading::counter(read(|events| events.delivered.load(Ordering::Relaxed)));
        metrics.register("events_delivered", of("events"), help, figure);
        let help = "Deliveries of events that failed, and are tried again";
        let figure = Reading::counter(read(|events| events.failed.load(Ordering::Relaxed)));
        metrics.register("events_failed", of("deliveries"), help, figure);
        let help = "Events given up after three days of failed deliveries";
        let figure = Reading::counter(read(|events| events.given_up.load(Ordering::Relaxed)));
        metrics.register("events_given_up", of("events"), help, figure);
        let help = "Age of the oldest event that is not delivered; 0 is none";
        metrics.register("events_oldest_age", of("seconds"), help, Reading::gauge(read(Self::oldest_age)));
    }

    fn oldest_age(&self) -> u64 {
        match self.oldest.load(Ordering::Relaxed) {
            0 => 0,
            oldest => Timestamp::now().millis().saturating_sub(oldest) / 1000,
        }
    }

    /// Runs until `stop` is cancelled, and then returns within the time of one delivery.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let taken = self.deliver_due().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "events cannot be delivered; to be tried again");
                0
            });
            // The next event of a subject is due as soon as the first one is delivered.
            if taken == 0 && stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }

    /// Delivers events that are due. Returns how many there were.
    async fn deliver_due(&self) -> Result<usize, CatalogError> {
        let oldest = self.outbox.oldest_event().await?;
        self.oldest.store(oldest.map_or(0, Timestamp::millis), Ordering::Relaxed);
        if oldest.is_none() {
            return Ok(0);
        }
        let due = self.outbox.take_due_events(Timestamp::now(), LEASE, AT_ONCE).await?;
        let results = join_all(due.iter().map(|event| self.deliver(event))).await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(due.len())
    }

    async fn deliver(&self, DueEvent { row, failures }: &DueEvent) -> Result<(), CatalogError> {
        if let Happening::PhotoRemoved { key, .. } = row.event.what {
            if self.catalog.without_row(&[key]).await?.is_empty() {
                // The photo came again, and its URL is valid.
                return self.outbox.finish_event(row).await;
            }
            // What a crash left is removed by the collector.
            if !matches!(self.store.stat(key).await, Ok(None)) {
                return self.outbox.postpone_event(row, Timestamp::now().plus(FILE_PAUSE), false).await;
            }
        }
        let Event { id, time, what } = &row.event;
        let (kind, subject) = (what.name(), what.subject());
        match self.receiver.deliver(id, (self.render)(&row.event)).await {
            Ok(()) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(id, kind, %subject, "event delivered");
                self.outbox.finish_event(row).await
            }
            Err(error) if *time < Timestamp::now().minus(GIVE_UP_AFTER) => {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::error!(id, kind, %subject, %error, "an event could not be delivered for three days, and is given up");
                self.outbox.finish_event(row).await
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let pause = pause_after(*failures, &error);
                tracing::warn!(id, kind, %subject, %error, ?pause, "an event was not delivered; to be tried again");
                self.outbox.postpone_event(row, Timestamp::now().plus(pause), true).await
            }
        }
    }
}

/// Returns the pause after one more failure: a tenth more or less, and as long as the receiver asks for.
fn pause_after(failures: u32, error: &DeliveryError) -> Duration {
    let step = usize::try_from(failures).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    let pause = Duration::from_secs(PAUSES[step]);
    jitter::between(pause * 9 / 10, pause * 11 / 10).max(error.retry_after())
}

#[cfg(test)]
mod tests;
