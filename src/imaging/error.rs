//! The reasons to refuse a photo.

/// Why a photo could not be made. Clients see the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A side is zero.
    #[error("The image has no pixels: one of its sides is zero.")]
    Empty,
    /// The declared width x height exceeds the limit.
    #[error("The image declares {width} x {height} pixels, more than the {max} pixels that are allowed.")]
    TooManyPixels {
        /// Declared width.
        width: u64,
        /// Declared height.
        height: u64,
        /// The limit on their product.
        max: u64,
    },
    /// The data ends before the pixels do.
    #[error("The image is truncated: its data ends before its pixels do.")]
    Truncated,
    /// The data violates its format.
    #[error("The image is corrupt and cannot be decoded.")]
    Corrupt,
    /// A well-formed variant of a known format that no decoder here supports.
    #[error("The image uses a variant of its format that is not supported.")]
    Unsupported,
    /// Sensor data of a camera. Such a file looks like a TIFF, often with a thumbnail in its first page.
    #[error("Camera RAW is not accepted. Send the photo as JPEG, HEIC, PNG or TIFF.")]
    CameraRaw,
    /// Decoding took longer than the limit.
    #[error("The image takes too long to decode.")]
    TooSlow,
    /// Decoding would need more memory than this server may ever use.
    #[error("The image needs more memory to decode than this server allows.")]
    TooMuchMemory,
    /// The client disconnected, so the photo is not needed.
    #[error("The upload was abandoned.")]
    Abandoned,
}
