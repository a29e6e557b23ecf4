//! Defines the interface of all decoders.

use crate::imaging::canvas::Canvas;
use crate::imaging::error::ImageError;
use crate::imaging::layout::Layout;
use crate::imaging::orientation::Orientation;

/// An opened file: its header is read and within the limits, and no pixel is decoded yet.
pub(in crate::imaging) trait Picture: std::fmt::Debug {
    /// Returns the layout of the pixels that [`decode`](Self::decode) writes.
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

    /// Returns why a faster decoder began this file and left it, as a label of metrics. `None` if none did.
    fn fallback_reason(&self) -> Option<&'static str> {
        None
    }

    /// Returns whether [`decode`](Self::decode) passes all pixels to the canvas at once, with [`Canvas::push_whole`], which needs
    /// memory of its own.
    fn pushes_whole(&self) -> bool {
        false
    }

    /// Returns an upper bound of the bytes that decoding holds at its peak, tables included and the canvas excluded.
    fn memory(&self) -> u64;

    /// Decodes all rows to the canvas, which was made for [`layout`](Self::layout). After an error the canvas is invalid.
    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a;
}

pub(in crate::imaging) enum DecodeError<'a> {
    Image(ImageError),
    /// A fast decoder does not support the file. This picture uses a more general decoder, which needs other memory.
    Fallback(Box<dyn Picture + 'a>),
}

impl From<ImageError> for DecodeError<'_> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}
