//! Metrics of uploads.

use super::{Ingest, UploadedPhoto};
use crate::telemetry::metrics::{Counter, Metrics, Reading, Unit};

/// Counts photos since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    stored: Counter,
    recognised: Counter,
}

impl Counts {
    /// Counts the photos of a committed draft or upload.
    pub(super) fn committed(&self, photos: &[UploadedPhoto]) {
        let recognised = photos.iter().filter(|photo| photo.is_recognised).count();
        self.stored.inc_by(photos.len() as u64);
        self.recognised.inc_by(recognised as u64);
    }
}

impl Ingest {
    /// Registers the metrics of uploads, of the image pool and of the memory budget.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let Counts { stored, recognised } = &self.counts;
        let photos = Unit::Of("photos");
        metrics.register("photos_stored", photos, "Photos in committed drafts", stored.clone());
        let help = "Photos in committed drafts that were known by their source and not decoded again";
        metrics.register("photos_recognised", photos, help, recognised.clone());
        // Zero without a quota.
        let quota = self.quota.clone();
        let fallbacks = Reading::counter(move || quota.as_ref().map_or(0, |quota| quota.fallbacks()));
        let help =
            "New photos counted against the upload quota by this process alone because Redis did not answer";
        metrics.register("upload_quota_fallback", photos, help, fallbacks);
        self.steps.register(metrics);
        self.pool.register(metrics);
        self.budget.register(metrics);
    }
}
