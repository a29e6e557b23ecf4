//! Pixels only: source bytes in, an upright, clean, small JPEG out.
//!
//! This room knows neither requests nor stores. It refuses whatever would cost more than the [`Recipe`] allows before it
//! allocates for it, and never shows a decoder's own words to anybody. The seam is [`inspect`] and [`Inspected::encode`].

mod codec;
mod colour;
mod declared;
mod exif;
mod orient;
mod plan;
mod pool;
mod resize;

use std::time::{Duration, Instant};

pub use codec::Format;
pub use pool::{Pool, PoolError};

use self::exif::Orientation;

/// What to make of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Longer side of the output in pixels; smaller inputs keep their size.
    pub max_dim: u32,
    /// JPEG quality, 1..=95.
    pub quality: u8,
    /// Largest declared width x height of an input.
    pub max_pixels: u64,
    /// The most memory in bytes that one photo may be given; decoders that can use less for a large photo do.
    pub memory: u64,
    /// How long one photo may take; checked between steps.
    pub timeout: Duration,
}

/// A finished photo: a baseline JPEG, upright, sRGB, without metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The JPEG file.
    pub bytes: Vec<u8>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

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
    /// Decoding took longer than the limit.
    #[error("The image takes too long to decode.")]
    TooSlow,
    /// Decoding would need more memory than this server may ever use.
    #[error("The image needs more memory to decode than this server allows.")]
    TooMuchMemory,
}

/// Three bytes a pixel, rows without padding.
struct Rgb {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// A photo whose header was read and found acceptable; nothing is decoded yet.
#[derive(Debug)]
pub struct Inspected<'a> {
    source: codec::Source<'a>,
    orientation: Orientation,
    recipe: Recipe,
}

/// Holds the size that the first bytes of a file declare, if they do, against the limits of `recipe`.
///
/// # Errors
/// Zero size, or over the pixel limit.
pub fn check_declared(format: Format, head: &[u8], recipe: &Recipe) -> Result<(), ImageError> {
    match declared::size(format, head) {
        Some((width, height)) => codec::check_size(width, height, recipe.max_pixels).map(|_| ()),
        None => Ok(()),
    }
}

/// Reads the header of `bytes` and holds it against the limits of `recipe`.
///
/// # Errors
/// The header is corrupt, of zero size, over the pixel limit or of an unsupported variant.
pub fn inspect<'a>(format: Format, bytes: &'a [u8], recipe: &Recipe) -> Result<Inspected<'a>, ImageError> {
    let source = codec::open(format, bytes, recipe)?;
    let orientation = source.orientation(format, bytes);
    Ok(Inspected { source, orientation, recipe: *recipe })
}

impl Inspected<'_> {
    /// Upper estimate of the memory in bytes that [`encode`](Self::encode) holds at its peak, the source not counted.
    pub fn memory(&self) -> u64 {
        let (width, height) = self.source.decoded_size();
        let (out_width, out_height) = plan::fit(width, height, self.recipe.max_dim);
        let output = 3 * u64::from(out_width) * u64::from(out_height);
        // The resizer's picture between its two passes, the small one, the upright one, and the file.
        let between = 3 * u64::from(out_width) * u64::from(height);
        let resized = if (out_width, out_height) == (width, height) { 0 } else { between + output };
        self.source.memory() + resized + 2 * output
    }

    /// Decodes, resizes, turns and encodes.
    ///
    /// # Errors
    /// The pixels are corrupt, truncated or unsupported, or the time ran out.
    pub fn encode(self) -> Result<Encoded, ImageError> {
        let deadline = Deadline(Instant::now() + self.recipe.timeout);
        let (full_width, full_height) = self.source.size();
        let (decoded, profile) = self.source.decode()?;
        deadline.check()?;
        // From the full size, so that a scaled decode rounds exactly as a full one.
        let (width, height) = plan::fit(full_width, full_height, self.recipe.max_dim);
        let small = resize::lanczos3(decoded, width, height)?;
        deadline.check()?;
        let small = colour::to_srgb(small, profile.as_deref());
        let upright = orient::upright(small, self.orientation);
        let bytes = codec::jpeg::encode(&upright, self.recipe.quality)?;
        deadline.check()?;
        Ok(Encoded { bytes, width: upright.width, height: upright.height })
    }
}

struct Deadline(Instant);

impl Deadline {
    fn check(&self) -> Result<(), ImageError> {
        if Instant::now() > self.0 { Err(ImageError::TooSlow) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
