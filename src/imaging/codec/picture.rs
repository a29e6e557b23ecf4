//! What every decoder implements.

use crate::imaging::canvas::Canvas;
use crate::imaging::error::ImageError;
use crate::imaging::layout::Layout;
use crate::imaging::orientation::Orientation;

/// An opened file: its header is read and within the limits, and no pixel is decoded yet.
pub(in crate::imaging) trait Picture: std::fmt::Debug {
    /// Returns what [`decode`](Self::decode) will write.
    fn layout(&self) -> Layout;

    /// Returns the ICC profile of the colours, if there is one.
    fn profile(&self) -> Option<&[u8]>;

    /// Returns the EXIF block, for containers that only their own reader understands. The block is not validated.
    fn exif(&self) -> Option<&[u8]> {
        None
    }

    /// Returns the orientation that the container declares. If there is one, the orientation in EXIF is ignored.
    fn orientation(&self) -> Option<Orientation> {
        None
    }

    /// Returns whether [`decode`](Self::decode) passes all pixels to the canvas at once, with [`Canvas::push_whole`], which needs
    /// memory of its own.
    fn pushes_whole(&self) -> bool {
        false
    }

    /// Returns an upper bound of the bytes that decoding holds at its peak, tables included and the canvas excluded.
    fn memory(&self) -> u64;

    /// Decodes all rows to the canvas, which must have been made for [`layout`](Self::layout).
    ///
    /// # Errors
    /// See [`DecodeError`]. The content of the canvas is then invalid.
    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a;
}

/// Why a picture was not decoded.
pub(in crate::imaging) enum DecodeError<'a> {
    /// The picture cannot be decoded.
    Image(ImageError),
    /// A fast decoder met something that it does not support. This picture decodes the same file with a more general decoder,
    /// which needs another amount of memory.
    Fallback(Box<dyn Picture + 'a>),
}

impl From<ImageError> for DecodeError<'_> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}
