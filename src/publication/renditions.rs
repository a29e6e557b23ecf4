//! Renditions that are stored with their photos. They are caches: a store that does not take one fails no upload.

use bytes::Bytes;

use super::Publisher;
use crate::error_chain::error_chain;
use crate::media::{PublishedRenditions, Staging};
use crate::model::MediaKey;

impl Publisher {
    /// Stages renditions of a staged photo, each with its longer side. Those that cannot be staged are logged and counted.
    pub(crate) async fn stage_renditions(
        &self,
        staging: &dyn Staging,
        key: MediaKey,
        renditions: Vec<(u32, Bytes)>,
    ) {
        let count = renditions.len() as u64;
        if count == 0 {
            return;
        }
        if let Err(error) = staging.stage_renditions(key, renditions).await {
            self.renditions_lost.inc_by(count);
            tracing::warn!(%key, error = %error_chain(&error), "renditions of a photo were not staged");
        }
    }

    /// Makes staged renditions visible. Those that the store does not take are logged and counted.
    pub(super) async fn publish_renditions(&self, staging: &dyn Staging) {
        let PublishedRenditions { stored, lost, error } = staging.publish_renditions().await;
        self.renditions_stored.inc_by(stored);
        self.renditions_lost.inc_by(lost);
        if let Some(error) = error {
            tracing::warn!(lost, error = %error_chain(&error), "renditions were not stored with their photos");
        }
    }
}
