//! Decodes PNG row by row, but an interlaced PNG whole, since its rows are complete only at the end; of APNG the default image.

use std::borrow::Cow;
use std::io::{BufRead, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};

use png::{
    BitDepth, ColorType, Decoder, DecodingError, InterlaceInfo, Limits, Reader, Transformations,
    expand_interlaced_row,
};

use super::pixel::{Pixel, WORKING_MEMORY, band_rows, is_end};
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::colour::named_profile;
use crate::imaging::error::ImageError;
use crate::imaging::layout::Layout;
use crate::imaging::limits::MAX_PROFILE_BYTES;
use crate::imaging::limits::check_size;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::{Input, InputReader};

/// Raw rows that the decoder holds, including those in its buffer.
const RAW_ROWS: u64 = 16;
/// The code point of the primaries of sRGB.
const BT709: u8 = 1;
/// Least bytes of rows that the decoder holds.
const MIN_RAW_BYTES: u64 = 512 << 10;

const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// A PNG whose header was read.
pub(in crate::imaging::codec) struct Png<'a> {
    reader: Reader<Ended<'a>>,
    width: u32,
    height: u32,
    pixel: Pixel,
    profile: Option<Cow<'static, [u8]>>,
}

impl std::fmt::Debug for Png<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Png({} x {})", self.width, self.height)
    }
}

impl<'a> Png<'a> {
    pub(in crate::imaging::codec) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let file = input.whole()?;
        // Apple's variant has another header and other pixels.
        if file.get(12..16) == Some(b"CgBI") {
            return Err(ImageError::Unsupported);
        }
        let end = end_of_image_data(file);
        let data = input.part(0, end.unwrap_or(file.len()))?.reader();
        // The chunks after the pixels are not used, and may be missing or corrupt.
        let file = Ended { data, is_read: false, end: if end.is_some() { END } else { &[] } };
        let limits = Limits { bytes: usize::try_from(WORKING_MEMORY).unwrap_or(usize::MAX) };
        let mut decoder = Decoder::new_with_limits(file, limits);
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
        // The default image fills the canvas, even if it is a frame of an animation.
        let frame = reader.info().frame_control.as_ref();
        if frame.is_some_and(|frame| (frame.width, frame.height) != (width, height)) {
            return Err(ImageError::Corrupt);
        }
        let profile = profile(&reader);
        Ok(Self { reader, width, height, pixel, profile })
    }

    fn row_bytes(&self) -> usize {
        self.width as usize * self.pixel.bytes()
    }

    /// Decodes the rows of all seven passes. Each pass has some pixels of some rows.
    fn interlaced(&mut self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let row_bytes = self.row_bytes();
        let bits = u8::try_from(8 * self.pixel.bytes()).map_err(|_| ImageError::Unsupported)?;
        let mut pixels = canvas.workspace().take(row_bytes * self.height as usize);
        let mut row = canvas.workspace().take(row_bytes);
        loop {
            canvas.budget().check()?;
            match self.reader.read_row(&mut row).map_err(classify)? {
                Some(InterlaceInfo::Adam7(pass)) => {
                    expand_interlaced_row(&mut pixels, row_bytes, &row, &pass, bits);
                }
                Some(InterlaceInfo::Null(_)) => return Err(ImageError::Corrupt),
                None => break,
            }
        }
        self.pixel.push_whole(&mut pixels, canvas)?;
        canvas.workspace().give(pixels);
        canvas.workspace().give(row);
        Ok(())
    }

    fn in_order(&mut self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let row_bytes = self.row_bytes();
        let mut band = canvas.workspace().take(row_bytes * band_rows(row_bytes));
        let mut left = self.height as usize;
        while left > 0 {
            let rows = left.min(band_rows(row_bytes));
            for row in band.chunks_exact_mut(row_bytes).take(rows) {
                self.reader.read_row(row).map_err(classify)?.ok_or(ImageError::Truncated)?;
            }
            self.pixel.push(&mut band[..rows * row_bytes], canvas)?;
            left -= rows;
        }
        // Reads the rest of the compressed data, and verifies its checksum.
        self.reader.read_row(&mut band).map_err(classify)?;
        canvas.workspace().give(band);
        Ok(())
    }
}

impl Picture for Png<'_> {
    fn layout(&self) -> Layout {
        self.pixel.layout(self.width, self.height)
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn pushes_whole(&self) -> bool {
        self.reader.info().interlaced
    }

    fn memory(&self) -> u64 {
        let info = self.reader.info();
        let rows = if info.interlaced { self.height as usize + 1 } else { band_rows(self.row_bytes()) };
        let raw = RAW_ROWS.min(u64::from(self.height) + 1) * info.raw_row_length() as u64;
        WORKING_MEMORY + MIN_RAW_BYTES + raw + (rows * self.row_bytes()) as u64
    }

    fn decode<'a>(mut self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        if self.reader.info().interlaced {
            self.interlaced(canvas)?;
        } else {
            self.in_order(canvas)?;
        }
        Ok(())
    }
}

/// Reads a file up to the end of its image data, then an end chunk, because the decoder gives the last rows at the next chunk.
struct Ended<'a> {
    data: InputReader<'a>,
    is_read: bool,
    end: &'static [u8],
}

impl Read for Ended<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Ended<'_> {
    fn fill_buf(&mut self) -> IoResult<&[u8]> {
        self.is_read = self.data.fill_buf()?.is_empty();
        if self.is_read { Ok(self.end) } else { self.data.fill_buf() }
    }

    fn consume(&mut self, count: usize) {
        if self.is_read {
            self.end = &self.end[count..];
        } else {
            self.data.consume(count);
        }
    }
}

impl Seek for Ended<'_> {
    /// The decoder requires this trait, and does not use it.
    fn seek(&mut self, _: SeekFrom) -> IoResult<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// Returns the colour profile. Code points override an embedded profile (PNG 3rd edition, section 4.3).
fn profile(reader: &Reader<Ended<'_>>) -> Option<Cow<'static, [u8]>> {
    let info = reader.info();
    let code_points = info.coding_independent_code_points.filter(|points| points.is_video_full_range_image);
    let is_srgb = code_points.is_some_and(|points| points.color_primaries == BT709);
    let named = code_points.and_then(|points| named_profile(points.color_primaries.into())).map(Cow::Owned);
    let embedded = || info.icc_profile.clone().filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
    if is_srgb { None } else { named.or_else(embedded) }
}

/// Returns the end of the consecutive chunks of image data, if the file contains them completely.
fn end_of_image_data(file: &[u8]) -> Option<usize> {
    const AROUND_DATA: usize = 12;
    let (mut at, mut end) = (8, None);
    loop {
        let header = file.get(at..).and_then(<[u8]>::first_chunk::<8>);
        let is_image_data = header.is_some_and(|header| header.ends_with(b"IDAT"));
        match header {
            Some(&[a, b, c, d, ..]) if is_image_data || end.is_none() => {
                at = at.checked_add(AROUND_DATA)?.checked_add(u32::from_be_bytes([a, b, c, d]) as usize)?;
            }
            _ => return end,
        }
        if is_image_data {
            // A chunk that is cut off has no end.
            end = Some(at).filter(|end| *end <= file.len());
            end?;
        }
    }
}

fn classify(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if is_end(&error) => ImageError::Truncated,
        DecodingError::LimitsExceeded => ImageError::TooMuchMemory,
        _ => ImageError::Corrupt,
    }
}
