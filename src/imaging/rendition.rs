//! Sizes of the smaller copies of stored photos, and how one is made.

use super::plan;
use super::recipe::{Coding, Recipe};

/// Most sizes of one server. Each is a file for each photo.
const MOST: usize = 16;
/// Longest side that a stored photo may have.
const MAX_SIDE: u32 = 16_384;

/// What is added to the quality of photos: the same details lie in fewer pixels. With the quality of photos, 80, a picture of a
/// flower had a PSNR of 29.4 dB at 320 pixels against a copy that was not compressed; 85 gives 30.3, and 90 31.5.
const MORE_QUALITY: u8 = 6;
/// Above this quality nothing is added.
const MOST_QUALITY: u8 = 95;

/// The longer sides of the renditions that a server makes, ascending, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenditionSizes(Vec<u32>);

/// A finished rendition: a baseline JPEG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRendition {
    /// The longer side in pixels, which names it.
    pub side: u32,
    /// The JPEG file.
    pub bytes: Vec<u8>,
}

/// A rendition that a photo has or could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RenditionSize {
    /// The longer side in pixels, which names it.
    pub side: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl RenditionSizes {
    /// Creates the sizes. Returns `None` if there are more than 16, or one is zero or above 16,384.
    pub fn new(mut sides: Vec<u32>) -> Option<Self> {
        sides.sort_unstable();
        sides.dedup();
        let are_good = sides.len() <= MOST && sides.iter().all(|side| (1..=MAX_SIDE).contains(side));
        are_good.then_some(Self(sides))
    }

    /// Returns whether there are renditions with this longer side.
    pub(crate) fn has(&self, side: u32) -> bool {
        self.0.binary_search(&side).is_ok()
    }

    /// Returns the renditions of a photo of this size: those that are smaller.
    pub(crate) fn of(&self, width: u32, height: u32) -> impl Iterator<Item = RenditionSize> {
        let smaller = self.0.iter().copied().take_while(move |side| *side < width.max(height));
        smaller.map(move |side| {
            let (width, height) = plan::fit(width, height, side);
            RenditionSize { side, width, height }
        })
    }
}

impl Recipe {
    /// Returns the recipe of the rendition with this longer side, which is made from the stored photo. It has no metadata.
    pub(crate) fn rendition(&self, side: u32) -> Self {
        // The photo may have been stored under other settings.
        let max_pixels = u64::from(MAX_SIDE).pow(2);
        let quality = self.coding().rendition().quality;
        Self { max_dim: side, quality, keep_exif: false, max_pixels, ..*self }
    }
}

impl Coding {
    /// Returns how the renditions of photos with this coding are encoded.
    pub(super) fn rendition(self) -> Self {
        let quality = self.quality.max(MOST_QUALITY.min(self.quality.saturating_add(MORE_QUALITY)));
        Self { quality, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photo_has_only_smaller_renditions_with_its_aspect_ratio() {
        let sizes = RenditionSizes::new(vec![640, 320, 1080, 320]).unwrap();
        let of = |width, height| -> Vec<_> {
            sizes.of(width, height).map(|size| (size.side, size.width, size.height)).collect()
        };
        assert_eq!(of(1600, 1200), [(320, 320, 240), (640, 640, 480), (1080, 1080, 810)]);
        assert_eq!(of(900, 1080), [(320, 267, 320), (640, 533, 640)]);
        assert_eq!(of(320, 320), []);
        assert!(sizes.has(640) && !sizes.has(641));
        assert_eq!(RenditionSizes::new(vec![]).unwrap().of(1600, 1200).count(), 0);
        assert_eq!(RenditionSizes::new((1..=17).collect()), None);
        assert_eq!(RenditionSizes::new(vec![0]), None);
        assert_eq!(RenditionSizes::new(vec![16_385]), None);
    }
}
