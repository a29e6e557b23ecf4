//! The addresses of photos and renditions.

use schemars::JsonSchema;
use serde::Serialize;

use crate::imaging::RenditionSizes;
use crate::media::{MediaName, RenditionName};
use crate::model::MediaKey;

/// Where clients find photos and renditions.
#[derive(Debug, Clone)]
pub(crate) struct MediaUrls {
    base: String,
    sizes: RenditionSizes,
}

/// A smaller copy of a photo.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rendition")]
pub(super) struct RenditionOut {
    /// The address of the copy, which is relative to the server if it begins with a slash.
    url: String,
    /// The width in pixels.
    width: u32,
    /// The height in pixels.
    height: u32,
}

impl MediaUrls {
    /// Returns addresses that begin with `base`, which has no trailing slash. Photos have renditions of `sizes`.
    pub(crate) fn new(base: String, sizes: RenditionSizes) -> Self {
        Self { base, sizes }
    }

    pub(super) fn photo(&self, key: MediaKey) -> String {
        format!("{}/{}", self.base, MediaName::from(key))
    }

    /// Returns the renditions of a photo of this size, the smallest first.
    pub(super) fn renditions(&self, key: MediaKey, (width, height): (u32, u32)) -> Vec<RenditionOut> {
        let renditions = self.sizes.of(width, height).map(|size| {
            let name = RenditionName { key, side: size.side };
            RenditionOut { url: format!("{}/{name}", self.base), width: size.width, height: size.height }
        });
        renditions.collect()
    }
}
