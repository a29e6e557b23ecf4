//! Where the decoder writes its samples, and how decoding fails.

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
pub(in crate::imaging) enum RegularError {
    /// The file is not as regular as this decoder requires. libjpeg-turbo decides whether it is acceptable.
    Fallback(FallbackReason),
    /// [`BandSink::filled`] returned this error.
    Stopped(ImageError),
}

impl From<FallbackReason> for RegularError {
    fn from(reason: FallbackReason) -> Self {
        Self::Fallback(reason)
    }
}

/// What was read, or why another decoder has to read this file.
pub(super) type OrFallback<T = ()> = Result<T, FallbackReason>;

/// What is irregular in a file whose header is regular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) enum FallbackReason {
    /// A table is missing, is no prefix code, or has symbols that no encoder of 8-bit samples writes.
    Tables,
    /// The data contains a code that no table has, or a run beyond the end of a block.
    Code,
    /// A coefficient is larger than 8-bit samples need.
    Range,
    /// Another marker, or data, is where a restart marker must be.
    Restart,
    /// The data ends before the pixels do.
    Truncated,
    /// All pixels are decoded, but libjpeg-turbo may refuse what stands before the end of image.
    Trailer,
}

impl FallbackReason {
    /// Returns the label of the reason in metrics.
    pub(in crate::imaging) fn label(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Code => "code",
            Self::Range => "range",
            Self::Restart => "restart",
            Self::Truncated => "truncated",
            Self::Trailer => "trailer",
        }
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
