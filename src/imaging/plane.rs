//! One colour component of a picture.

/// Holds 8-bit samples in rows without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u8>,
}
