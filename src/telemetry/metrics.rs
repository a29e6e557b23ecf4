//! Counters and gauges in the Prometheus (OpenMetrics) text format.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Content type of what [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a cached read to a request of 20 photos on a slow line.
const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Labels of a request. Each has few values, whatever clients send.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Values that are read off the moment metrics are asked for.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the help texts of the registry say it")]
pub struct Snapshot {
    pub pool_queue_depth: u64,
    pub pool_busy_workers: u64,
    pub budget_sources_bytes: u64,
    pub budget_outputs_bytes: u64,
    pub budget_images_bytes: u64,
    pub connections: u64,
    pub media_missing: u64,
    pub media_unreferenced_left: u64,
    pub collector_last_run: u64,
    pub image_panics: u64,
    pub collected: u64,
    pub collected_bytes: u64,
    pub limits_counted_alone: u64,
    pub upload_quota_fallbacks: u64,
    pub quarantined: u64,
    pub scrubbed: u64,
    pub connections_evicted: u64,
    pub connections_refused: u64,
    pub log_lines_dropped: u64,
}

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latencies: Family<RouteLabels, Histogram>,
    bytes_in: Counter,
    bytes_out: Counter,
    photos: Counter,
    recognised: Counter,
    image_panics: Counter,
    collected: Counter,
    collected_bytes: Counter,
    limits_counted_alone: Counter,
    upload_quota_fallbacks: Counter,
    quarantined: Counter,
    scrubbed: Counter,
    connections_closed: Family<ReasonLabels, Counter>,
    log_lines_dropped: Counter,
    rejects: Family<ReasonLabels, Counter>,
    gauges: [Gauge<u64, AtomicU64>; 9],
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vintedbot");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let latencies =
            Family::new_with_constructor((|| Histogram::new(LATENCY_BUCKETS)) as fn() -> Histogram);
        registry.register_with_unit(
            "http_request_duration",
            "From request head to response head",
            Unit::Seconds,
            latencies.clone(),
        );
        let counter = |registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>| {
            let counter = Counter::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, counter.clone()),
                None => registry.register(name, help, counter.clone()),
            }
            counter
        };
        let bytes_in = counter(&mut registry, "http_request_body", "Request bodies read", Some(Unit::Bytes));
        let bytes_out = counter(
            &mut registry,
            "http_response_body",
            "Response bodies of known length",
            Some(Unit::Bytes),
        );
        let photos = counter(&mut registry, "photos_stored", "Photos in committed drafts", None);
        let recognised = counter(
            &mut registry,
            "photos_recognised",
            "Photos in committed drafts that were known by their source and not decoded again",
            None,
        );
        let image_panics = counter(&mut registry, "image_panics", "Photos on which a decoder panicked", None);
        let collected =
            counter(&mut registry, "media_collected", "Photos removed to which nothing referred", None);
        let collected_bytes =
            counter(&mut registry, "media_collected", "Bytes of the photos removed", Some(Unit::Bytes));
        let limits_counted_alone = counter(
            &mut registry,
            "limits_counted_alone",
            "Requests counted against a limit by this process alone because Redis did not answer",
            None,
        );
        let upload_quota_fallbacks = counter(
            &mut registry,
            "upload_quota_fallback",
            "New photos counted against the upload quota by this process alone because Redis did not answer",
            None,
        );
        let quarantined = counter(
            &mut registry,
            "media_quarantined",
            "Stored photos moved to quarantine because their bytes were not those of their name",
            None,
        );
        let scrubbed = counter(
            &mut registry,
            "media_scrubbed",
            "Stored photos read by the scrub and compared with their name",
            None,
        );
        let log_lines_dropped = counter(
            &mut registry,
            "log_lines_dropped",
            "Log lines dropped because stdout did not take them",
            None,
        );
        let connections_closed = Family::default();
        registry.register(
            "connections_closed",
            "Connections closed for want of room, by reason: evicted had no request in work, refused were new",
            connections_closed.clone(),
        );
        let rejects = Family::default();
        registry.register("rejects", "Requests refused, by reason", rejects.clone());
        let gauges = [
            ("pool_queue_depth", "Photos waiting for an image worker"),
            ("pool_busy_workers", "Image workers that have a photo"),
            ("memory_budget_sources_bytes", "Budget held by photos as they came"),
            ("memory_budget_outputs_bytes", "Budget held by encoded photos on their way to disk"),
            ("memory_budget_images_bytes", "Budget held by photos in work"),
            ("connections", "Open connections"),
            ("media_missing", "Photos that the catalog refers to and the store does not have"),
            ("media_unreferenced_left", "Photos that look like another catalog's, left alone"),
            (
                "collector_last_run",
                "When unreferenced photos were last collected, in seconds since 1970; 0 is never",
            ),
        ]
        .map(|(name, help)| {
            let gauge = Gauge::<u64, AtomicU64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        });
        Self {
            registry,
            requests,
            latencies,
            bytes_in,
            bytes_out,
            photos,
            recognised,
            image_panics,
            collected,
            collected_bytes,
            limits_counted_alone,
            upload_quota_fallbacks,
            quarantined,
            scrubbed,
            connections_closed,
            log_lines_dropped,
            rejects,
            gauges,
        }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn request(&self, method: &hyper::Method, route: &'static str, status: u16, elapsed: Duration) {
        let known = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"];
        let method = known.into_iter().find(|name| *name == method.as_str()).unwrap_or("other");
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
        self.latencies.get_or_create(&RouteLabels { route }).observe(elapsed.as_secs_f64());
    }

    /// Counts bytes of bodies.
    pub fn bytes(&self, read: u64, written: u64) {
        self.bytes_in.inc_by(read);
        self.bytes_out.inc_by(written);
    }

    /// Counts photos of a committed draft, and how many of them were recognised.
    pub fn stored(&self, photos: u64, recognised: u64) {
        self.photos.inc_by(photos);
        self.recognised.inc_by(recognised);
    }

    /// Counts a refused request.
    pub fn reject(&self, reason: &'static str) {
        self.rejects.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The exposition text.
    pub fn render(&self, now: &Snapshot) -> String {
        let values = [
            now.pool_queue_depth,
            now.pool_busy_workers,
            now.budget_sources_bytes,
            now.budget_outputs_bytes,
            now.budget_images_bytes,
            now.connections,
            now.media_missing,
            now.media_unreferenced_left,
            now.collector_last_run,
        ];
        for (gauge, value) in self.gauges.iter().zip(values) {
            gauge.set(value);
        }
        // Counted elsewhere. Of two readers at once the later value stands.
        let closed = |reason| self.connections_closed.get_or_create_owned(&ReasonLabels { reason });
        for (counter, value) in [
            (&closed("evicted"), now.connections_evicted),
            (&closed("refused"), now.connections_refused),
            (&self.log_lines_dropped, now.log_lines_dropped),
            (&self.image_panics, now.image_panics),
            (&self.collected, now.collected),
            (&self.collected_bytes, now.collected_bytes),
            (&self.limits_counted_alone, now.limits_counted_alone),
            (&self.upload_quota_fallbacks, now.upload_quota_fallbacks),
            (&self.quarantined, now.quarantined),
            (&self.scrubbed, now.scrubbed),
        ] {
            counter.inner().fetch_max(value, Ordering::Relaxed);
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_and_panics_are_counted() {
        let metrics = Metrics::default();
        metrics.stored(5, 2);
        metrics.render(&Snapshot { image_panics: 3, ..Snapshot::default() });
        let text = metrics.render(&Snapshot { image_panics: 2, ..Snapshot::default() });
        for line in [
            "vintedbot_photos_stored_total 5",
            "vintedbot_photos_recognised_total 2",
            "vintedbot_image_panics_total 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
    }
}
