//! The output to make from a photo, and its limits.

use std::time::Duration;

/// What the encoder does to make a file smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// The tables of the JPEG standard and plain rounding: the file that libjpeg-turbo writes with optimised Huffman tables.
    #[default]
    Standard,
    /// Other tables, and small coefficients become zero where the picture hides it: fewer bytes for the same SSIMULACRA2.
    Adaptive,
}

/// How the output is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// JPEG quality, 1..=100.
    pub quality: u8,
    /// What the encoder does to make the file smaller.
    pub effort: Effort,
}

/// The output that is made from a photo, and the limits on its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Longer side of the output in pixels; smaller inputs keep their size.
    pub max_dim: u32,
    /// JPEG quality, 1..=95.
    pub quality: u8,
    /// What the encoder does to make the file smaller.
    pub effort: Effort,
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

impl Recipe {
    /// Returns how the output is encoded.
    pub fn coding(&self) -> Coding {
        Coding { quality: self.quality, effort: self.effort }
    }
}

#[cfg(test)]
impl Recipe {
    /// A small output, and limits that tests of small pictures do not reach. A test names the values that it depends on.
    pub(crate) const TEST: Self = Self {
        max_dim: 64,
        quality: 80,
        effort: Effort::Standard,
        max_pixels: 1_000_000,
        memory: 64 << 20,
        keep_exif: false,
        timeout: Duration::from_secs(20),
        processor_time: Duration::from_secs(20),
    };
}
