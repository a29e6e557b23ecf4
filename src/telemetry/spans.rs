//! Spans: how long a request and the steps of its photos took, for those who follow a request through several services.
//!
//! A part that ends something reports it here. The spans are events of `tracing` with the target [`SPANS`], so that rooms that know no
//! HTTP need not pass a trace on: an event belongs to the request whose `tracing` span it is in. They are no lines of the log.
//! Without a collector nobody listens, and they cost nothing.

use std::time::Duration;

use hyper::Uri;
use uuid::Uuid;

/// The target of the events.
pub(crate) const SPANS: &str = "vintedbot_ingest::spans";
/// The name of the `tracing` span of a request, with the fields `trace_id`, `span_id` and `trace_flags`.
pub(crate) const REQUEST: &str = "request";

/// A collector of OpenTelemetry, and how this server names itself there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The URL without `/v1/traces`.
    pub endpoint: Uri,
    /// Headers of each request, such as a key, with percent-encoded values.
    pub headers: Vec<(String, String)>,
    /// `service.name`.
    pub service: String,
}

/// A request that ended.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    /// The span of the client, of which that of the request is a part. 0: none.
    pub parent: u64,
    /// The method, or `other`.
    pub method: &'static str,
    /// The path of the route, with the names of its parameters in braces. Empty without a route.
    pub route: &'static str,
    /// The status of the response.
    pub status: u16,
    /// From request head to response head.
    pub time: Duration,
}

/// Reports a request at its end.
pub(crate) fn request(span: &RequestSpan) {
    let RequestSpan { parent, method, route, status, time } = *span;
    tracing::trace!(target: SPANS, parent, method, route, status, micros = micros(time));
}

/// Reports a step of a photo, or of all photos of a request, at its end. `mime` is empty for the latter.
pub(crate) fn step(step: &'static str, mime: &'static str, time: Duration) {
    tracing::trace!(target: SPANS, step, mime, micros = micros(time));
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the id of a new span. It is not zero, because a UUID has a variant.
pub(crate) fn new_id() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

/// Decides which of the traces that begin here are recorded, by their ids: all instances decide alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sampler(u64);

/// The number of values of the part of an id that decides. Of a UUID of version 7 these bits are random; others count.
const RANDOM: u64 = 1 << 32;

impl Sampler {
    /// Creates a sampler that takes this share of all traces, 0 to 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "of 0 to 2^32"
    )]
    pub(crate) fn of_share(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * RANDOM as f64) as u64)
    }

    /// Returns whether this trace is recorded.
    pub(crate) fn takes(self, trace: u128) -> bool {
        trace % u128::from(RANDOM) < u128::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampler_takes_its_share_of_new_traces() {
        let taken = |share| {
            let sampler = Sampler::of_share(share);
            (0..2000).filter(|_| sampler.takes(Uuid::now_v7().as_u128())).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 2000));
        assert!(
            (100..400).contains(&taken(0.125)),
            "an eighth of 2000 is 250, within ten standard deviations"
        );
    }
}
