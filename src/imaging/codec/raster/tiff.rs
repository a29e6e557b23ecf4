//! TIFF, strip by strip or one row of tiles at a time.
//!
//! Read here are whole pixels of 8 or 16 bits: grey, RGB, CMYK, with or without alpha, in all compressions that the decoder
//! knows. What else there is, is left to the decoder of whole pictures, but for JPEGs within: those are judged here.

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{Failed, Picture, Pixel, WORKING_MEMORY, check_size, is_end};
use crate::imaging::canvas::{Canvas, Layout};
use crate::imaging::codec::markers;
use crate::imaging::colour::MAX_PROFILE_BYTES;
use crate::imaging::work_budget::{Input, InputReader};
use crate::imaging::{ImageError, Recipe};

const PLANAR: u16 = 2;
const UNSIGNED: u16 = 1;
const JPEG: u16 = 7;
const ASSOCIATED_ALPHA: u16 = 1;
/// Quantisation and Huffman tables take about 2 kB.
const MAX_TABLES_BYTES: usize = 64 << 10;

/// A TIFF whose directory was read.
pub(super) struct Tiff<'a> {
    input: Input<'a>,
    decoder: Decoder<InputReader<'a>>,
    width: u32,
    height: u32,
    pixel: Pixel,
    /// Whether colours are multiplied by alpha already.
    is_premultiplied: bool,
    is_jpeg: bool,
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
    pub(super) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Option<Self>, ImageError> {
        let mut limits = Limits::default();
        limits.intermediate_buffer_size = usize::try_from(WORKING_MEMORY).unwrap_or(usize::MAX);
        limits.ifd_value_size = limits.intermediate_buffer_size;
        let mut decoder = Decoder::new(input.reader()).map_err(classify)?.with_limits(limits.clone());
        let (width, height) = decoder.dimensions().map_err(classify)?;
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let is_jpeg = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten() == Some(JPEG);
        let (pixel, depth) = match decoder.colortype().map_err(classify)? {
            ColorType::Gray(bits @ (8 | 16)) => (Pixel::Grey, bits / 8),
            ColorType::GrayA(bits @ (8 | 16)) => (Pixel::GreyAlpha, bits / 8),
            ColorType::RGB(bits @ (8 | 16)) => (Pixel::Rgb, bits / 8),
            ColorType::RGBA(bits @ (8 | 16)) => (Pixel::Rgba, bits / 8),
            ColorType::CMYK(bits @ (8 | 16)) => (Pixel::Cmyk, bits / 8),
            _ if is_jpeg => return Err(ImageError::Unsupported),
            _ => return Ok(None),
        };
        let number = |decoder: &mut Decoder<_>, tag| decoder.find_tag_unsigned::<u16>(tag).ok().flatten();
        let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(classify)?;
        let is_unsigned = formats.unwrap_or_default().iter().all(|format| *format == UNSIGNED);
        if number(&mut decoder, Tag::PlanarConfiguration) == Some(PLANAR) || !is_unsigned {
            return if is_jpeg { Err(ImageError::Unsupported) } else { Ok(None) };
        }
        let extra =
            decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).ok().flatten().unwrap_or_default();
        let is_premultiplied = extra.first() == Some(&ASSOCIATED_ALPHA);
        let (chunk_width, chunk_height) = decoder.chunk_dimensions();
        if chunk_width == 0 || chunk_height == 0 {
            return Err(ImageError::Corrupt);
        }
        let chunk = (chunk_width, chunk_height.min(height));
        let profile = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        let mut tiff = Self {
            input: *input,
            decoder,
            width,
            height,
            pixel,
            is_premultiplied,
            is_jpeg,
            depth: depth.into(),
            chunk,
            profile,
        };
        if is_jpeg {
            tiff.check_jpegs()?;
        }
        limits.decoding_buffer_size = tiff.chunk_bytes();
        tiff.decoder = tiff.decoder.with_limits(limits);
        Ok(Some(tiff))
    }

    /// Each chunk is a JPEG with a size of its own, for which memory would be taken whatever the directory says; and the
    /// decoder paints grey where data is missing. Only what writers of TIFF emit is let in: baseline, of the chunk's size and
    /// samples, with an end; the shared tables hold no picture.
    fn check_jpegs(&mut self) -> Result<(), ImageError> {
        let tables = self.decoder.find_tag(Tag::JPEGTables).map_err(classify)?;
        let tables =
            tables.map(|tables| tables.into_u8_vec().map_err(classify)).transpose()?.unwrap_or_default();
        if tables.len() > MAX_TABLES_BYTES || markers::frame(&tables).is_some() || markers::has_scan(&tables)
        {
            return Err(ImageError::Corrupt);
        }
        let (offsets, lengths) = match self.decoder.get_chunk_type() {
            ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let offsets = self.decoder.get_tag_u64_vec(offsets).map_err(classify)?;
        let lengths = self.decoder.get_tag_u64_vec(lengths).map_err(classify)?;
        for (offset, length) in offsets.into_iter().zip(lengths) {
            let jpeg = self.input.extent(offset, length)?;
            let frame = markers::frame(jpeg).ok_or(ImageError::Corrupt)?;
            let fits = u32::from(frame.width) <= self.chunk.0 && u32::from(frame.height) <= self.chunk.1;
            if !fits || !frame.is_sequential || usize::from(frame.components) != self.pixel.bytes() {
                return Err(ImageError::Corrupt);
            }
            if !markers::has_end(jpeg) {
                return Err(ImageError::Truncated);
            }
        }
        Ok(())
    }

    /// Whether rows are put together before they are handed on: of several tiles, or of 16 bits.
    fn needs_band(&self) -> bool {
        self.chunk.0 < self.width || self.depth > 1
    }

    fn push(&self, pixels: &mut [u8], canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        if self.is_premultiplied {
            self.pixel.push_premultiplied(pixels, canvas)
        } else {
            self.pixel.push(pixels, canvas)
        }
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk.0 as usize * self.chunk.1 as usize * self.pixel.bytes() * self.depth
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
        // A chunk as it comes, one of JPEG decoded whole before it is copied, and what is made of 16 bits or of a row of tiles.
        let band = self.width as usize * self.chunk.1 as usize * self.pixel.bytes();
        let copies = 1 + usize::from(self.is_jpeg);
        let bands = usize::from(self.needs_band());
        WORKING_MEMORY + (bands * band + copies * self.chunk_bytes()) as u64
    }

    fn decode<'a>(mut self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), Failed<'a>>
    where
        Self: 'a,
    {
        let (width, pixel) = (self.width as usize, self.pixel.bytes());
        let across = self.width.div_ceil(self.chunk.0);
        let band_bytes = if self.needs_band() { width * self.chunk.1 as usize * pixel } else { 0 };
        let mut band = canvas.workspace().take(band_bytes);
        for down in 0..self.height.div_ceil(self.chunk.1) {
            let rows = self.chunk.1.min(self.height - down * self.chunk.1) as usize;
            for column in 0..across {
                let chunk = self.decoder.read_chunk(down * across + column).map_err(classify)?;
                let left = (column * self.chunk.0) as usize;
                let chunk_row = (self.chunk.0 as usize).min(width - left) * pixel;
                let needed = rows * chunk_row;
                match chunk {
                    DecodingResult::U8(bytes) if bytes.len() < needed => {
                        return Err(ImageError::Truncated.into());
                    }
                    DecodingResult::U16(words) if words.len() < needed => {
                        return Err(ImageError::Truncated.into());
                    }
                    DecodingResult::U8(mut bytes) if across == 1 => {
                        self.push(&mut bytes[..needed], canvas)?;
                    }

                    DecodingResult::U8(bytes) => {
                        for (row, from) in bytes.chunks_exact(chunk_row).enumerate() {
                            band[row * width * pixel + left * pixel..][..chunk_row].copy_from_slice(from);
                        }
                    }
                    DecodingResult::U16(words) => {
                        for (row, from) in words.chunks_exact(chunk_row).enumerate() {
                            let to = &mut band[row * width * pixel + left * pixel..][..chunk_row];
                            to.iter_mut().zip(from).for_each(|(to, word)| *to = (word >> 8) as u8);
                        }
                    }
                    _ => return Err(ImageError::Unsupported.into()),
                }
            }
            if self.needs_band() {
                self.push(&mut band[..rows * width * pixel], canvas)?;
            }
        }
        canvas.workspace().give(band);
        Ok(())
    }
}

fn classify(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) if is_end(&error) => ImageError::Truncated,
        TiffError::UnsupportedError(_) => ImageError::Unsupported,
        TiffError::LimitsExceeded => ImageError::TooMuchMemory,
        _ => ImageError::Corrupt,
    }
}
