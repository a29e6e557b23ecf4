//! Sends spans to a collector: OTLP over HTTP, <https://opentelemetry.io/docs/specs/otlp/>, in JSON.
//!
//! Spans are best effort. They wait in a queue of 2,048; what does not fit, and what the collector does not take, is counted and
//! dropped. No request waits for the collector. The queue is global because the `tracing` subscriber is.

mod layer;
mod sender;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use self::layer::SpanLayer;
use self::sender::Sender;
use crate::error_chain::error_chain;
use crate::telemetry::metrics::{Counter, Metrics, Unit};
use crate::telemetry::spans::Collector;

/// Spans that wait: those of about 400 photos.
const QUEUE: usize = 2048;
/// Spans in one request to the collector.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(5);

/// The queue of this process.
static EXPORT: OnceLock<Export> = OnceLock::new();

struct Export {
    collector: Collector,
    queue: Mutex<Option<mpsc::Receiver<SpanData>>>,
    sent: Counter,
    lost: Counter,
}

/// Returns the part of the `tracing` subscriber that queues spans for the server of this process. Only the spans of the first call
/// are sent.
pub fn layer<S>(collector: Collector) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (sent, lost) = (Counter::default(), Counter::default());
    let layer = SpanLayer::new(sender, lost.clone());
    EXPORT.get_or_init(|| Export { collector, queue: Mutex::new(Some(receiver)), sent, lost });
    layer.filtered()
}

/// Registers the metrics, if spans are sent.
pub(crate) fn register(metrics: &mut Metrics) {
    if let Some(Export { sent, lost, .. }) = EXPORT.get() {
        metrics.register("spans_exported", Unit::Of("spans"), "Spans that the collector took", sent.clone());
        let help = "Spans dropped because the queue was full or the collector did not take them";
        metrics.register("spans_lost", Unit::Of("spans"), help, lost.clone());
    }
}

/// Sends spans until `stop` is cancelled, and then those that wait.
pub(crate) async fn run(stop: CancellationToken) {
    let Some(export) = EXPORT.get() else { return };
    let taken = export.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut queue) = taken else { return };
    let sender = match Sender::new(&export.collector) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "no span will be sent");
            return;
        }
    };
    let mut is_reached = true;
    loop {
        let batch = gather(&mut queue, &stop).await;
        if batch.is_empty() {
            return;
        }
        let spans = batch.len() as u64;
        match sender.send(batch).await {
            Ok(()) => {
                export.sent.inc_by(spans);
                if !is_reached {
                    tracing::info!("the collector of spans answers again");
                }
                is_reached = true;
            }
            Err(error) => {
                export.lost.inc_by(spans);
                if is_reached {
                    tracing::warn!(error = %error_chain(&error), "spans cannot be sent, and are dropped");
                }
                is_reached = false;
            }
        }
    }
}

/// Waits for a batch. Returns an empty one once `stop` is cancelled and no span waits.
async fn gather(queue: &mut mpsc::Receiver<SpanData>, stop: &CancellationToken) -> Vec<SpanData> {
    let mut batch = Vec::new();
    stop.run_until_cancelled(queue.recv_many(&mut batch, BATCH)).await;
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH && !stop.is_cancelled() {
        let room = BATCH - batch.len();
        let more = stop.run_until_cancelled(queue.recv_many(&mut batch, room));
        if !matches!(timeout_at(until, more).await, Ok(Some(1..))) {
            break;
        }
    }
    while batch.len() < BATCH
        && let Ok(span) = queue.try_recv()
    {
        batch.push(span);
    }
    batch
}
