//! The output to make from a photo, and its limits.

use std::time::Duration;

/// The output that is made from a photo, and the limits on its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Longer side of the output in pixels; smaller inputs keep their size.
    pub max_dim: u32,
    /// JPEG quality, 1..=95.
    pub quality: u8,
    /// Largest declared width x height of an input.
    pub max_pixels: u64,
    /// Most bytes of memory for one photo. Some decoders use less memory if this limit requires it.
    pub memory: u64,
    /// True if the output keeps camera, exposure, dates and GPS position from the source's EXIF. Otherwise it has no metadata.
    pub keep_exif: bool,
    /// Wall time that one photo may take on a worker. Waits between the turns of its job do not count.
    pub timeout: Duration,
    /// Processor time that one photo may take.
    pub processor_time: Duration,
}
