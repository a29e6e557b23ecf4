//! Where the decoder writes its samples, and how decoding fails.

use super::huffman::NotBaseline;
use crate::imaging::error::ImageError;

/// The rows that the samples of a component are written to.
#[derive(Debug, Default)]
pub(in crate::imaging) struct RowBuffer<'a> {
    /// At least [`PlaneSize::band`] rows of `stride` samples; the last one has at least [`PlaneSize::padded`] samples.
    pub(in crate::imaging) samples: &'a mut [u8],
    /// Samples from the start of one row to the start of the next; at least [`PlaneSize::padded`].
    pub(in crate::imaging) stride: usize,
}

/// Receives decoded samples. The caller owns the rows, and the decoder writes blocks straight into them.
pub(in crate::imaging) trait BandSink {
    /// Returns a buffer for the next band of each component; an empty one for components that the file does not have.
    fn row_buffers(&mut self) -> [RowBuffer<'_>; 4];

    /// Takes the first `rows` rows of the buffer of `component`: [`PlaneSize::band`], or fewer at the bottom of the picture.
    fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError>;
}

/// Why the decoder gave no picture. The rows that it filled before are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) enum BaselineError {
    /// The file is not as regular as this decoder requires. libjpeg-turbo decides whether it is acceptable.
    NotBaseline,
    /// [`BandSink::filled`] returned this error.
    Stopped(ImageError),
}

impl From<NotBaseline> for BaselineError {
    fn from(_: NotBaseline) -> Self {
        Self::NotBaseline
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) struct PlaneSize {
    /// Samples across as `tj3YUVPlaneWidth` defines them: rounded up to a whole number of samples of the least sampled component.
    pub(in crate::imaging) width: usize,
    /// Samples down as `tj3YUVPlaneHeight` defines them.
    pub(in crate::imaging) height: usize,
    /// Samples that are written to a row: those of whole MCUs.
    pub(in crate::imaging) padded: usize,
    /// Rows of a band: those of one MCU.
    pub(in crate::imaging) band: usize,
}
