//! The formats that the decoders read.

/// An image format that a decoder here reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Ico,
    /// HEIC and AVIF, which share a container.
    #[cfg(any(feature = "heic", feature = "avif"))]
    Heif,
}

impl Format {
    /// Returns the format of a sniffed MIME type, if a decoder here reads it.
    pub fn from_mime(mime: &str) -> Option<Self> {
        match mime {
            "image/jpeg" => Some(Self::Jpeg),
            "image/png" => Some(Self::Png),
            "image/webp" => Some(Self::WebP),
            "image/gif" => Some(Self::Gif),
            "image/bmp" => Some(Self::Bmp),
            "image/tiff" => Some(Self::Tiff),
            "image/vnd.microsoft.icon" => Some(Self::Ico),
            #[cfg(feature = "heic")]
            "image/heic" => Some(Self::Heif),
            #[cfg(feature = "avif")]
            "image/avif" => Some(Self::Heif),
            #[cfg(any(feature = "heic", feature = "avif"))]
            "image/heif" => Some(Self::Heif),
            _ => None,
        }
    }
}
