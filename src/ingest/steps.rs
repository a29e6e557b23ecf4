//! How long the steps of photos take, as metrics and as spans.
//!
//! Rows of most photos are resized while later rows are decoded, so both are one step.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::metrics::{Metrics, Unit};
use crate::telemetry::spans;

/// Upper bounds in seconds: from a screenshot that is encoded to a photo on a slow line.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];

/// A step of one photo, or of all photos of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// From the first byte to the last.
    Receive,
    /// Until a worker begins.
    Wait,
    /// Decoding and resizing.
    Decode,
    /// Facts, encoding and renditions.
    Encode,
    /// Writing what was encoded to where the commit takes it from.
    Store,
    /// Publishing and recording all photos of a request, the flush of the catalog included.
    Commit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Wait => "wait",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Store => "store",
            Self::Commit => "commit",
        }
    }
}

/// Labels of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    step: &'static str,
    /// The sniffed type of the photo. Empty for a step of a whole request, which is no label for Prometheus.
    mime: &'static str,
}

/// Durations since the start.
#[derive(Debug, Clone)]
pub(super) struct Steps(Family<Labels, Histogram, fn() -> Histogram>);

impl Default for Steps {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl Steps {
    /// Counts a step of a photo with this sniffed type.
    pub(super) fn took(&self, step: Step, mime: &'static str, time: Duration) {
        self.0.get_or_create(&Labels { step: step.name(), mime }).observe(time.as_secs_f64());
        spans::step(step.name(), mime, time);
    }

    pub(super) fn register(&self, metrics: &mut Metrics) {
        let help = "Steps of photos: receive, wait, decode (and resize), encode, store and commit, by type";
        metrics.register("photo_step_duration", Unit::Seconds, help, self.0.clone());
    }
}
