//! Fingerprints of recipes. If they are equal, equal sources give equal outputs, and a photo is not encoded again.
//!
//! A fingerprint covers the settings that decide the output, and those that decide whether a photo is accepted: a photo that
//! the present settings refuse must not be served because earlier settings accepted it.

use super::recipe::{Effort, Recipe};

/// Version of the pipeline. Add 1 for every change after which the same source and recipe give another output: in a decoder,
/// the resizer, the encoder, the colour conversion or the choice of metadata. Photos are then encoded again.
const VERSION: u32 = 6;

impl Recipe {
    /// Returns 32 bytes that identify this recipe and this version of the pipeline.
    pub fn fingerprint(&self) -> [u8; 32] {
        // The list is explicit, so that a new field does not compile before a developer decides whether it belongs to the
        // fingerprint. Memory does, because decoders shrink a photo further when they have little of it.
        let Self { max_dim, quality, effort, max_pixels, memory, keep_exif, timeout: _, processor_time: _ } =
            self;
        // Nothing for the default, so that photos stay known which were stored before this setting existed.
        let effort = match effort {
            Effort::Standard => "",
            Effort::Adaptive => ", adaptive",
        };
        let text = format!(
            "vintedbot pipeline {VERSION}: max_dim {max_dim}, quality {quality}, max_pixels {max_pixels}, \
             memory {memory}, keep_exif {keep_exif}{effort}"
        );
        blake3::hash(text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn recipe_with_another_output_has_another_fingerprint() {
        let recipe = Recipe { max_dim: 1600, processor_time: Duration::from_secs(5), ..Recipe::TEST };
        let changed = [
            recipe,
            Recipe { max_dim: 1601, ..recipe },
            Recipe { quality: 81, ..recipe },
            Recipe { effort: Effort::Adaptive, ..recipe },
            Recipe { max_pixels: 1_000_001, ..recipe },
            Recipe { memory: 1 << 27, ..recipe },
            Recipe { keep_exif: true, ..recipe },
        ];
        let different: HashSet<_> = changed.iter().map(Recipe::fingerprint).collect();
        assert_eq!(different.len(), changed.len());
        // Photos stored before JPEG_EFFORT existed are recognised.
        let earlier = "max_dim 1600, quality 80, max_pixels 1000000, memory 67108864, keep_exif false";
        let earlier = blake3::hash(format!("vintedbot pipeline {VERSION}: {earlier}").as_bytes());
        assert_eq!(recipe.fingerprint(), *earlier.as_bytes());
        assert_eq!(Recipe { timeout: Duration::ZERO, ..recipe }.fingerprint(), recipe.fingerprint());
    }
}
