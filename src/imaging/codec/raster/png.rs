//! PNG, row by row; an interlaced one, whose rows come last to be complete, whole. Of an APNG the default image.

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::{BAND_ROWS, Failed, Picture, Pixel, WORKING_MEMORY, check_size, is_end};
use crate::imaging::canvas::{Canvas, Layout};
use crate::imaging::colour::MAX_PROFILE_BYTES;
use crate::imaging::work_budget::{Input, InputReader};
use crate::imaging::{ImageError, Recipe};

/// A PNG whose header was read.
pub(super) struct Png<'a> {
    reader: Reader<InputReader<'a>>,
    width: u32,
    height: u32,
    pixel: Pixel,
    profile: Option<Vec<u8>>,
}

impl std::fmt::Debug for Png<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Png({} x {})", self.width, self.height)
    }
}

impl<'a> Png<'a> {
    pub(super) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let limits = Limits { bytes: usize::try_from(WORKING_MEMORY).unwrap_or(usize::MAX) };
        let mut decoder = Decoder::new_with_limits(input.reader(), limits);
        decoder.set_ignore_text_chunk(true);
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        let (width, height) = decoder.read_header_info().map_err(classify)?.size();
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let reader = decoder.read_info().map_err(classify)?;
        let pixel = match reader.output_color_type() {
            (ColorType::Grayscale, BitDepth::Eight) => Pixel::Grey,
            (ColorType::GrayscaleAlpha, BitDepth::Eight) => Pixel::GreyAlpha,
            (ColorType::Rgb, BitDepth::Eight) => Pixel::Rgb,
            (ColorType::Rgba, BitDepth::Eight) => Pixel::Rgba,
            _ => return Err(ImageError::Unsupported),
        };
        let profile = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        Ok(Self { reader, width, height, pixel, profile })
    }
}

impl Picture for Png<'_> {
    fn layout(&self) -> Layout {
        self.pixel.layout(self.width, self.height)
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn memory(&self) -> u64 {
        let rows = if self.reader.info().interlaced { self.height as usize } else { BAND_ROWS };
        // Two raw rows of up to eight bytes a pixel are the decoder's own.
        let raw = 16 * u64::from(self.width);
        WORKING_MEMORY + raw + (rows * self.width as usize * self.pixel.bytes()) as u64
    }

    fn decode<'a>(mut self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), Failed<'a>>
    where
        Self: 'a,
    {
        let row_bytes = self.width as usize * self.pixel.bytes();
        if self.reader.info().interlaced {
            let mut pixels = canvas.workspace().take(row_bytes * self.height as usize);
            let frame = self.reader.next_frame(&mut pixels).map_err(classify)?;
            // What a smaller frame left untouched would be an older photo.
            if frame.buffer_size() != pixels.len() {
                return Err(ImageError::Corrupt.into());
            }
            self.pixel.push(&mut pixels, canvas)?;
            canvas.workspace().give(pixels);
            return Ok(());
        }
        let mut band = canvas.workspace().take(row_bytes * BAND_ROWS);
        let mut left = self.height as usize;
        while left > 0 {
            let rows = left.min(BAND_ROWS);
            for to in band.chunks_exact_mut(row_bytes).take(rows) {
                let row = self.reader.next_row().map_err(classify)?.ok_or(ImageError::Truncated)?;
                to.copy_from_slice(row.data().get(..row_bytes).ok_or(ImageError::Corrupt)?);
            }
            self.pixel.push(&mut band[..rows * row_bytes], canvas)?;
            left -= rows;
        }
        // Reads what is left of the compressed data, and holds it against its checksum.
        self.reader.next_row().map_err(classify)?;
        canvas.workspace().give(band);
        Ok(())
    }
}

fn classify(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if is_end(&error) => ImageError::Truncated,
        DecodingError::LimitsExceeded => ImageError::TooMuchMemory,
        _ => ImageError::Corrupt,
    }
}
