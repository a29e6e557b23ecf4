//! What to make of a photo, and within which limits.

use std::time::Duration;

/// What to make of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Longer side of the output in pixels; smaller inputs keep their size.
    pub max_dim: u32,
    /// JPEG quality, 1..=95.
    pub quality: u8,
    /// Largest declared width x height of an input.
    pub max_pixels: u64,
    /// The most memory in bytes that one photo may be given; decoders that can use less for a large photo do.
    pub memory: u64,
    /// Whether the output keeps camera, exposure, dates and place of the source's EXIF; it has no metadata otherwise.
    pub keep_exif: bool,
    /// How long one photo may take, from the first step of its job.
    pub timeout: Duration,
    /// How much processor time one photo may take.
    pub processor_time: Duration,
}
