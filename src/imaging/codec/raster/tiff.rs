//! TIFF, strip by strip or one row of tiles at a time.
//!
//! Read here are whole pixels of 8 or 16 bits: grey, RGB, CMYK, with or without alpha, palettes, in all compressions
//! that the decoder knows. What else there is, is left to the decoder of whole pictures.

use std::io::Cursor;

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{Failed, Picture, Pixel, WORKING_MEMORY, check_size, is_end};
use crate::imaging::canvas::{Canvas, Layout};
use crate::imaging::codec::markers;
use crate::imaging::colour::MAX_PROFILE_BYTES;
use crate::imaging::{ImageError, Recipe};

const PLANAR: u16 = 2;
const UNSIGNED: u16 = 1;
const JPEG: u16 = 7;

/// A TIFF whose directory was read.
pub(super) struct Tiff<'a> {
    file: &'a [u8],
    decoder: Decoder<Cursor<&'a [u8]>>,
    width: u32,
    height: u32,
    pixel: Pixel,
    /// Red, green and blue of each value, where values are indices.
    palette: Option<Vec<[u8; 3]>>,
    /// Bytes a sample.
    depth: usize,
    /// Width and height of a strip or tile.
    chunk: (u32, u32),
    profile: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tiff<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tiff({} x {})", self.width, self.height)
    }
}

impl<'a> Tiff<'a> {
    /// `None` if it is a TIFF of another kind.
    pub(super) fn open(file: &'a [u8], recipe: &Recipe) -> Result<Option<Self>, ImageError> {
        let mut decoder = Decoder::new(Cursor::new(file)).map_err(classify)?;
        let (width, height) = decoder.dimensions().map_err(classify)?;
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let (pixel, depth, is_palette) = match decoder.colortype().map_err(classify)? {
            ColorType::Gray(bits @ (8 | 16)) => (Pixel::Grey, bits / 8, false),
            ColorType::GrayA(bits @ (8 | 16)) => (Pixel::GreyAlpha, bits / 8, false),
            ColorType::RGB(bits @ (8 | 16)) => (Pixel::Rgb, bits / 8, false),
            ColorType::RGBA(bits @ (8 | 16)) => (Pixel::Rgba, bits / 8, false),
            ColorType::CMYK(bits @ (8 | 16)) => (Pixel::Cmyk, bits / 8, false),
            ColorType::Palette(8) => (Pixel::Rgb, 1, true),
            _ => return Ok(None),
        };
        let number = |decoder: &mut Decoder<_>, tag| decoder.find_tag_unsigned::<u16>(tag).ok().flatten();
        let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(classify)?;
        let is_unsigned = formats.unwrap_or_default().iter().all(|format| *format == UNSIGNED);
        if number(&mut decoder, Tag::PlanarConfiguration) == Some(PLANAR) || !is_unsigned {
            return Ok(None);
        }
        let palette = if is_palette { Some(palette(&mut decoder)?) } else { None };
        let (chunk_width, chunk_height) = decoder.chunk_dimensions();
        if chunk_width == 0 || chunk_height == 0 {
            return Err(ImageError::Corrupt);
        }
        let chunk = (chunk_width, chunk_height.min(height));
        let profile = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        let mut tiff =
            Self { file, decoder, width, height, pixel, palette, depth: depth.into(), chunk, profile };
        if number(&mut tiff.decoder, Tag::Compression) == Some(JPEG) {
            tiff.check_jpegs()?;
        }
        let mut limits = Limits::default();
        limits.decoding_buffer_size = tiff.chunk_bytes();
        limits.intermediate_buffer_size = usize::try_from(WORKING_MEMORY).unwrap_or(usize::MAX);
        limits.ifd_value_size = limits.intermediate_buffer_size;
        tiff.decoder = tiff.decoder.with_limits(limits);
        Ok(Some(tiff))
    }

    /// Each chunk is a JPEG with a size of its own, for which memory would be taken whatever the directory says.
    fn check_jpegs(&mut self) -> Result<(), ImageError> {
        let (offsets, lengths) = match self.decoder.get_chunk_type() {
            ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let offsets = self.decoder.get_tag_u64_vec(offsets).map_err(classify)?;
        let lengths = self.decoder.get_tag_u64_vec(lengths).map_err(classify)?;
        for (offset, length) in offsets.into_iter().zip(lengths) {
            let end = offset.checked_add(length).ok_or(ImageError::Corrupt)?;
            let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
            let jpeg = range.and_then(|(from, to)| self.file.get(from..to)).ok_or(ImageError::Truncated)?;
            let (width, height) = markers::declared_size(jpeg).ok_or(ImageError::Corrupt)?;
            if u32::from(width) > self.chunk.0 || u32::from(height) > self.chunk.1 {
                return Err(ImageError::Corrupt);
            }
        }
        Ok(())
    }

    /// Samples of a pixel in the file.
    fn samples(&self) -> usize {
        if self.palette.is_some() { 1 } else { self.pixel.bytes() }
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk.0 as usize * self.chunk.1 as usize * self.samples() * self.depth
    }
}

impl Picture for Tiff<'_> {
    fn layout(&self) -> Layout {
        self.pixel.layout(self.width, self.height)
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn memory(&self) -> u64 {
        let band = self.width as usize * self.chunk.1 as usize * self.pixel.bytes();
        // A compressed chunk of JPEG is decoded whole before it is copied.
        WORKING_MEMORY + (band + 2 * self.chunk_bytes()) as u64
    }

    fn decode<'a>(mut self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), Failed<'a>>
    where
        Self: 'a,
    {
        let (width, samples, pixel) = (self.width as usize, self.samples(), self.pixel.bytes());
        let across = self.width.div_ceil(self.chunk.0);
        let mut band = canvas.workspace().take(width * self.chunk.1 as usize * pixel);
        for down in 0..self.height.div_ceil(self.chunk.1) {
            let rows = self.chunk.1.min(self.height - down * self.chunk.1) as usize;
            for column in 0..across {
                let chunk = self.decoder.read_chunk(down * across + column).map_err(classify)?;
                let left = (column * self.chunk.0) as usize;
                let chunk_width = (self.chunk.0 as usize).min(width - left);
                let bytes: Vec<u8> = match chunk {
                    DecodingResult::U8(bytes) => bytes,
                    DecodingResult::U16(words) => words.into_iter().map(|word| (word >> 8) as u8).collect(),
                    _ => return Err(ImageError::Unsupported.into()),
                };
                let from = bytes.chunks_exact(chunk_width * samples);
                if from.len() < rows {
                    return Err(ImageError::Truncated.into());
                }
                for (from, to) in from.zip(band.chunks_exact_mut(width * pixel)) {
                    let to = &mut to[left * pixel..][..chunk_width * pixel];
                    match &self.palette {
                        None => to.copy_from_slice(from),
                        Some(palette) => {
                            for (to, index) in to.as_chunks_mut::<3>().0.iter_mut().zip(from) {
                                *to = palette.get(usize::from(*index)).copied().unwrap_or_default();
                            }
                        }
                    }
                }
            }
            self.pixel.push(&mut band[..rows * width * pixel], canvas)?;
        }
        canvas.workspace().give(band);
        Ok(())
    }
}

/// The ColorMap (TIFF 6.0 section 5): all reds, all greens, all blues, of 16 bits each.
fn palette(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Vec<[u8; 3]>, ImageError> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(classify)?;
    let count = map.len() / 3;
    let channel = |at: usize| (map[at] >> 8) as u8;
    Ok((0..count).map(|n| [channel(n), channel(count + n), channel(2 * count + n)]).collect())
}

fn classify(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) if is_end(&error) => ImageError::Truncated,
        TiffError::UnsupportedError(_) => ImageError::Unsupported,
        TiffError::LimitsExceeded => ImageError::TooMuchMemory,
        _ => ImageError::Corrupt,
    }
}
