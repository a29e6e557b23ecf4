//! The registry of metrics. Each part of the server registers its own metrics next to the code that counts.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
pub(crate) use prometheus_client::metrics::MetricType;
pub(crate) use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{self, Metric, Registry};

use super::exposition::Exposition;

/// The prefix of the server's own metrics.
const PREFIX: &str = "vintedbot";
/// The prefix of metrics that every program has.
const PROCESS: &str = "process";

/// What a metric counts or measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes. The format adds the unit to the metric's name.
    Bytes,
    /// Seconds. The format adds the unit to the metric's name.
    Seconds,
    /// Things of this name. The metric's name stays as it is.
    Of(&'static str),
}

/// The label of metrics that count by reason. Reasons are literals, so clients cannot create labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    /// Why it happened.
    pub reason: &'static str,
}

/// All metrics of a process.
pub struct Metrics {
    own: Registry,
    process: Registry,
    descriptions: Vec<Description>,
}

/// The description of a metric in the registry.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name as it is exposed, without the suffixes of samples.
    pub name: String,
    /// The name of the unit.
    pub unit: &'static str,
    /// The help text, without a full stop.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
}

impl Default for Metrics {
    fn default() -> Self {
        let [own, process] = [PREFIX, PROCESS].map(Registry::with_prefix);
        Self { own, process, descriptions: Vec::new() }
    }
}

impl Metrics {
    /// Registers a metric: a handle that its owner counts with, or a [`Reading`].
    pub fn register(&mut self, name: &'static str, unit: Unit, help: &'static str, metric: impl Metric) {
        self.descriptions.push(add(&mut self.own, PREFIX, name, unit, help, metric));
    }

    /// Registers a metric of the process under the name that it has in all programs.
    pub(super) fn register_process(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        metric: impl Metric,
    ) {
        self.descriptions.push(add(&mut self.process, PROCESS, name, unit, help, metric));
    }

    /// Returns the metrics in the order in which they were registered.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// Returns the values of all metrics in this format.
    pub(crate) fn render(&self, format: Exposition) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.own)
            .and_then(|()| encode_registry(&mut text, &self.process))
            .and_then(|()| encode_eof(&mut text));
        if let Err(error) = written {
            tracing::error!(%error, "metrics could not be written");
        }
        format.write(text)
    }
}

fn add(
    registry: &mut Registry,
    prefix: &str,
    name: &'static str,
    unit: Unit,
    help: &'static str,
    metric: impl Metric,
) -> Description {
    let kind = metric.metric_type();
    let (suffix, unit) = match unit {
        Unit::Bytes => (Some(registry::Unit::Bytes), "bytes"),
        Unit::Seconds => (Some(registry::Unit::Seconds), "seconds"),
        Unit::Of(things) => (None, things),
    };
    let mut full_name = format!("{prefix}_{name}");
    match suffix {
        Some(suffix) => {
            full_name = format!("{full_name}_{unit}");
            registry.register_with_unit(name, help, suffix, metric);
        }
        None => registry.register(name, help, metric),
    }
    Description { name: full_name, unit, help, kind }
}

/// The value of a [`Reading`].
#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(u64),
    Fraction(f64),
}

/// A metric whose value is read from its owner for each scrape.
pub(crate) struct Reading {
    kind: MetricType,
    read: Box<dyn Fn() -> Value + Send + Sync>,
}

impl Reading {
    /// Creates a counter. The result of `read` must never decrease.
    pub(crate) fn counter(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { kind: MetricType::Counter, read: Box::new(move || Value::Whole(read())) }
    }

    /// Creates a counter of fractions, such as seconds.
    pub(super) fn counter_of(read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { kind: MetricType::Counter, read: Box::new(move || Value::Fraction(read())) }
    }

    /// Creates a gauge.
    pub(crate) fn gauge(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { kind: MetricType::Gauge, read: Box::new(move || Value::Whole(read())) }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl EncodeMetric for Reading {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self.kind, (self.read)()) {
            (MetricType::Counter, Value::Whole(value)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }
            (MetricType::Counter, Value::Fraction(value)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }
            (_, Value::Whole(value)) => encoder.encode_gauge(&value),
            (_, Value::Fraction(value)) => encoder.encode_gauge(&value),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_readings_are_rendered_with_help_type_and_unit() {
        let mut metrics = Metrics::default();
        let counter = Counter::<u64>::default();
        metrics.register("photos_stored", Unit::Of("photos"), "Photos in committed drafts", counter.clone());
        metrics.register("read", Unit::Bytes, "Bytes read", Reading::counter(|| 7));
        metrics.register("connections", Unit::Of("connections"), "Open connections", Reading::gauge(|| 3));
        counter.inc_by(5);
        let text = metrics.render(Exposition::OpenMetrics);
        for line in [
            "# HELP vintedbot_photos_stored Photos in committed drafts.",
            "# TYPE vintedbot_photos_stored counter",
            "vintedbot_photos_stored_total 5",
            "# UNIT vintedbot_read_bytes bytes",
            "vintedbot_read_bytes_total 7",
            "# TYPE vintedbot_connections gauge",
            "vintedbot_connections 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
        let names: Vec<_> = metrics.descriptions().iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["vintedbot_photos_stored", "vintedbot_read_bytes", "vintedbot_connections"]);
    }
}
