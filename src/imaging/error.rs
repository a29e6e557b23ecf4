//! Why a photo is refused.

/// Why a photo could not be made. Each text is a sentence for the app's developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A side is zero.
    #[error("The image has no pixels: one of its sides is zero.")]
    Empty,
    /// Declared width x height is over the limit.
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
    /// The data is not what its type demands.
    #[error("The image is corrupt and cannot be decoded.")]
    Corrupt,
    /// A well-formed variant of a known type that no decoder here reads.
    #[error("The image uses a variant of its format that is not supported.")]
    Unsupported,
    /// The sensor data of a camera, whose file looks like a TIFF and often has a thumbnail in its first page.
    #[error("Camera RAW is not accepted. Send the photo as JPEG, HEIC, PNG or TIFF.")]
    CameraRaw,
    /// Decoding took longer than the limit.
    #[error("The image takes too long to decode.")]
    TooSlow,
    /// Decoding would need more memory than this server may ever use.
    #[error("The image needs more memory to decode than this server allows.")]
    TooMuchMemory,
    /// Nobody waits for the photo any more.
    #[error("The upload was abandoned.")]
    Abandoned,
}
