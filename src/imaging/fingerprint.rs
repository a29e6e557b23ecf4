//! What distinguishes one way of making photos from another: equal fingerprints make equal outputs of equal sources, so that
//! a photo that comes again need not be made again.
//!
//! Only what decides the output counts, and what decides whether there is one: a photo that a stricter setting would
//! refuse must not be served because a laxer one let it in.

use super::recipe::Recipe;

/// To be raised by whoever changes what comes out of the same source under the same recipe: another decoder, resizer,
/// encoder or colour conversion, another choice of metadata. Photos that come again are then made anew.
const VERSION: u32 = 4;

impl Recipe {
    /// 32 bytes that name this recipe and this version of the pipeline.
    pub fn fingerprint(&self) -> [u8; 32] {
        // Named one by one, so that a new field does not compile before somebody decided whether it counts.
        // The memory counts because decoders shrink a photo further when they have little of it.
        let Self { max_dim, quality, max_pixels, memory, keep_exif, timeout: _, processor_time: _ } = self;
        let text = format!(
            "vintedbot pipeline {VERSION}: max_dim {max_dim}, quality {quality}, max_pixels {max_pixels}, \
             memory {memory}, keep_exif {keep_exif}"
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
    fn whatever_changes_the_output_changes_the_fingerprint() {
        let recipe = Recipe {
            max_dim: 1600,
            quality: 80,
            max_pixels: 1_000_000,
            memory: 1 << 26,
            keep_exif: false,
            timeout: Duration::from_secs(20),
            processor_time: Duration::from_secs(5),
        };
        let changed = [
            recipe,
            Recipe { max_dim: 1601, ..recipe },
            Recipe { quality: 81, ..recipe },
            Recipe { max_pixels: 1_000_001, ..recipe },
            Recipe { memory: 1 << 27, ..recipe },
            Recipe { keep_exif: true, ..recipe },
        ];
        let different: HashSet<_> = changed.iter().map(Recipe::fingerprint).collect();
        assert_eq!(different.len(), changed.len());
        assert_eq!(Recipe { timeout: Duration::ZERO, ..recipe }.fingerprint(), recipe.fingerprint());
    }
}
