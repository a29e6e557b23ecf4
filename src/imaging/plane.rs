//! One colour component of a picture.

/// Samples of 8 bits in rows without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u8>,
}

impl Plane {
    /// The rows from top to bottom.
    pub(super) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.samples.chunks_exact(self.width)
    }
}
