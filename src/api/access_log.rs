//! The line and the metrics of each request.

use std::time::SystemTime;

use hyper::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;

use crate::model::UserId;
use crate::telemetry::metrics::{Counter, Metrics, ReasonLabels, Unit};
use crate::telemetry::spans::{self, RequestSpan};
use crate::web::problem::{Problem, ProblemKind};
use crate::web::stack::Exchange;

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

/// Labels of an exemplar: a trace that is recorded, by which a dashboard finds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
}

type Latency = HistogramWithExemplars<TraceLabels>;

/// Logs and counts requests.
pub(crate) struct AccessLog {
    requests: Family<RequestLabels, Counter>,
    latencies: Family<RouteLabels, Latency, fn() -> Latency>,
    bytes_in: Counter,
    bytes_out: Counter,
    rejects: Family<ReasonLabels, Counter>,
}

impl AccessLog {
    /// Creates the log and registers its metrics.
    pub(crate) fn new(metrics: &mut Metrics) -> Self {
        let log = Self {
            requests: Family::default(),
            latencies: Family::new_with_constructor(|| Latency::new(LATENCY_BUCKETS.into_iter())),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            rejects: Family::default(),
        };
        // A counter that first appears with 1 never grew for Prometheus. Alerts need the first failure.
        for kind in ProblemKind::ALL.iter().filter(|kind| kind.status().is_server_error()) {
            drop(log.rejects.get_or_create(&ReasonLabels { reason: kind.slug() }));
        }
        metrics.register("http_requests", Unit::Of("requests"), "Requests answered", log.requests.clone());
        let help = "From request head to response head";
        metrics.register("http_request_duration", Unit::Seconds, help, log.latencies.clone());
        metrics.register("http_request_body", Unit::Bytes, "Request bodies read", log.bytes_in.clone());
        let help = "Response bodies of known length";
        metrics.register("http_response_body", Unit::Bytes, help, log.bytes_out.clone());
        let help = "Requests refused, by kind of problem";
        metrics.register("rejects", Unit::Of("requests"), help, log.rejects.clone());
        log
    }

    /// Logs and counts a finished request. The line of a monitoring request that succeeded has the level debug.
    pub(super) fn finished(&self, exchange: &Exchange<'_>, refusal: Option<&Problem>) {
        let Exchange {
            method,
            path,
            route,
            template,
            is_monitor,
            status,
            ip,
            trace,
            user,
            elapsed,
            bytes_in,
            bytes_out,
        } = *exchange;
        let named = label(method);
        self.requests.get_or_create(&RequestLabels { method: named, route, status }).inc();
        let exemplar = trace.recorded_id().map(|id| TraceLabels { trace_id: id.to_owned() });
        let time = exemplar.is_some().then(SystemTime::now);
        self.latencies.get_or_create(&RouteLabels { route }).observe(elapsed.as_secs_f64(), exemplar, time);
        spans::request(&RequestSpan {
            parent: trace.parent(),
            method: named,
            route: template,
            status,
            time: elapsed,
        });
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
        let refusal = refusal.map(|refusal| refusal.kind().slug());
        if let Some(reason) = refusal {
            self.rejects.get_or_create(&ReasonLabels { reason }).inc();
        }
        // A macro, because the level of an event is a constant.
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    %method,
                    path,
                    status,
                    client = %ip,
                    user = user.map(UserId::get),
                    ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                    bytes_in,
                    bytes_out,
                    refusal,
                    "request"
                )
            };
        }
        // Probes and scrapes come every few seconds, and say nothing as long as they succeed.
        if is_monitor && status < 400 {
            log!(debug);
        } else {
            log!(info);
        }
    }
}

/// Returns the method as a metric label. Unknown methods share one label, so that clients cannot create labels.
fn label(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}
