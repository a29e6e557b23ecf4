//! WebP (RFC 9649). Reads the container. Of an animation only the first frame is decoded.

mod alpha;
#[allow(clippy::cast_possible_truncation, reason = "the bits that are read bound each number")]
mod lossless;
#[allow(
    clippy::cast_possible_truncation,
    clippy::needless_range_loop,
    reason = "samples are clamped, bits that are read bound each number, and loops over places become vector code"
)]
mod lossy;
#[allow(clippy::cast_possible_truncation, reason = "samples are clamped")]
mod planes;

use std::ops::Range;

use self::planes::{Opacity, Placed};
use super::pixel::{Pixel, band_rows};
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::layout::{Component, Layout, Model};
use crate::imaging::limits::MAX_PROFILE_BYTES;
use crate::imaging::limits::check_size;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// Bytes before the bit stream of a lossless picture: a signature and the size.
const LOSSLESS_HEADER: usize = 5;
/// Bytes before the chunks of an animation's frame.
const FRAME_HEADER: usize = 16;
/// Flags of the extended header.
const HAS_ALPHA: u8 = 0x10;
const IS_ANIMATED: u8 = 0x02;

#[derive(Debug)]
pub(in crate::imaging::codec) struct WebP<'a> {
    input: Input<'a>,
    width: u32,
    height: u32,
    has_alpha: bool,
    frame: Frame,
    profile: Option<&'a [u8]>,
}

/// The picture and its position on the canvas. Pixels outside of it are transparent, or black without alpha.
#[derive(Debug)]
struct Frame {
    left: u32,
    top: u32,
    image: Image,
}

/// A coded picture. Ranges are offsets in the file.
#[derive(Debug)]
struct Image {
    width: u32,
    height: u32,
    data: Range<usize>,
    is_lossless: bool,
    alpha: Option<Range<usize>>,
}

impl<'a> WebP<'a> {
    pub(in crate::imaging::codec) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let file = input.whole()?;
        if !file.starts_with(b"RIFF") || file.get(8..12) != Some(b"WEBP") {
            return Err(ImageError::Corrupt);
        }
        let chunks = Chunks { file, rest: 12..file.len() };
        let (kind, header) = chunks.clone().next().ok_or(ImageError::Truncated)?;
        if &kind != b"VP8X" {
            let image = Image::find(chunks, recipe)?;
            let has_alpha = image.is_lossless && file[image.data.start + 4] & 0x10 != 0;
            let (width, height) = (image.width, image.height);
            let frame = Frame { left: 0, top: 0, image };
            return Ok(Self { input: *input, width, height, has_alpha, frame, profile: None });
        }
        let header = file[header].first_chunk::<10>().ok_or(ImageError::Truncated)?;
        let (width, height) = (1 + u24(header, 4), 1 + u24(header, 7));
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let frame = if header[0] & IS_ANIMATED != 0 {
            Frame::first(chunks.clone(), recipe)?
        } else {
            Frame { left: 0, top: 0, image: Image::find(chunks.clone(), recipe)? }
        };
        let image = &frame.image;
        let fits = frame.left + image.width <= width && frame.top + image.height <= height;
        let fills = (image.width, image.height) == (width, height);
        if !fits || !(fills || header[0] & IS_ANIMATED != 0) {
            return Err(ImageError::Corrupt);
        }
        let profile = chunks.clone().find(|(kind, _)| kind == b"ICCP").map(|(_, data)| &file[data]);
        let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
        Ok(Self { input: *input, width, height, has_alpha: header[0] & HAS_ALPHA != 0, frame, profile })
    }

    fn pixel(&self) -> Pixel {
        if self.has_alpha { Pixel::Rgba } else { Pixel::Rgb }
    }

    fn row_bytes(&self) -> usize {
        self.width as usize * self.pixel().bytes()
    }

    /// Decodes the lossless picture to the sheet.
    fn lossless(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), ImageError> {
        let Image { width, height, data, .. } = &self.frame.image;
        let budget = self.input.budget();
        let stream = &self.input.slice(data)?[LOSSLESS_HEADER..];
        let coded = lossless::decode(stream, *width, *height, budget)?;
        coded.rows(budget, |row| {
            sheet.row(|pixels| match self.pixel() {
                Pixel::Rgba => {
                    let pixels = pixels.as_chunks_mut::<4>().0.iter_mut();
                    pixels.zip(row).for_each(|(to, pixel)| {
                        let [blue, green, red, alpha] = pixel.to_le_bytes();
                        *to = [red, green, blue, alpha];
                    });
                }
                _ => {
                    let pixels = pixels.as_chunks_mut::<3>().0.iter_mut();
                    pixels.zip(row).for_each(|(to, pixel)| {
                        let [blue, green, red, _] = pixel.to_le_bytes();
                        *to = [red, green, blue];
                    });
                }
            })
        })
    }

    /// Decodes the lossy picture, and its alpha if the picture uses it, to the canvas.
    fn lossy(&self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let Frame { left, top, image: Image { width, height, data, alpha, .. } } = &self.frame;
        let budget = self.input.budget();
        let opacity = match alpha.as_ref().filter(|_| self.has_alpha) {
            Some(chunk) => {
                let samples = alpha::decode(self.input.slice(chunk)?, *width, *height, budget)?;
                Some(Opacity { samples, width: *width as usize })
            }
            None => None,
        };
        // What is outside of the frame is transparent, so white is seen, or black.
        let blank = if self.has_alpha { u8::MAX } else { 0 };
        budget.decode(u64::from(*width) * u64::from(*height))?;
        let picture = lossy::Frame::open(self.input.slice(data)?, *width, *height)?;
        let mut planes = Placed::new(canvas, &(*left..left + width), &(*top..top + height), blank, opacity);
        planes.blank_until(*top)?;
        picture.decode(&mut planes, || budget.check())?;
        planes.blank_until(self.height)
    }

    /// Asserts that our decoder of the lossy coding gives the samples of another one, with vector code and without. Returns false for
    /// other pictures, and for streams that are not accepted.
    #[cfg(any(test, fuzzing))]
    pub(in crate::imaging::codec) fn assert_decoders_agree(&self) -> bool {
        let Image { width, height, data, is_lossless, .. } = &self.frame.image;
        let stream = self.input.slice(data);
        !is_lossless && stream.is_ok_and(|stream| lossy::reference::agree(stream, *width, *height))
    }
}

impl Picture for WebP<'_> {
    fn layout(&self) -> Layout {
        if self.frame.image.is_lossless {
            return self.pixel().layout(self.width, self.height);
        }
        // Alpha is applied before the resize.
        let plane = |divisor| Component::of(self.width, self.height, divisor, divisor);
        Layout {
            width: self.width,
            height: self.height,
            divisor: 1,
            model: Model::YCbCr,
            components: vec![plane(1), plane(2), plane(2)],
        }
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile
    }

    fn memory(&self) -> u64 {
        let Image { width, height, data, is_lossless, alpha } = &self.frame.image;
        if *is_lossless {
            let band = (band_rows(self.row_bytes()) * self.row_bytes()) as u64;
            return band + lossless::memory(*width, *height, data.len());
        }
        let picture = lossy::memory(*width);
        match alpha.as_ref().filter(|_| self.has_alpha) {
            // The alpha plane is decoded first, and then held together with the picture.
            Some(chunk) => {
                let plane = u64::from(*width) * (u64::from(*height) + 1);
                alpha::memory(*width, *height, chunk.len()).max(picture + plane)
            }
            None => picture,
        }
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        if !self.frame.image.is_lossless {
            return Ok(self.lossy(canvas)?);
        }
        let band = canvas.workspace().take(band_rows(self.row_bytes()) * self.row_bytes());
        let (left, width) = (self.frame.left as usize, self.frame.image.width as usize);
        let mut sheet = Sheet {
            canvas,
            pixel: self.pixel(),
            row_bytes: self.row_bytes(),
            columns: left * self.pixel().bytes()..(left + width) * self.pixel().bytes(),
            band,
            filled: 0,
        };
        sheet.blank_rows(self.frame.top)?;
        self.lossless(&mut sheet)?;
        sheet.blank_rows(self.height - self.frame.top - self.frame.image.height)?;
        Ok(sheet.finish()?)
    }
}

/// Writes rows of the frame to the canvas, with blank pixels around them.
struct Sheet<'c, 'b> {
    canvas: &'c mut Canvas<'b>,
    pixel: Pixel,
    row_bytes: usize,
    columns: Range<usize>,
    band: Vec<u8>,
    filled: usize,
}

impl Sheet<'_, '_> {
    /// Adds a row. `fill` writes the pixels of the frame.
    fn row(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<(), ImageError> {
        let row = &mut self.band[self.filled..][..self.row_bytes];
        row[..self.columns.start].fill(0);
        fill(&mut row[self.columns.clone()]);
        row[self.columns.end..].fill(0);
        self.added()
    }

    fn blank_rows(&mut self, count: u32) -> Result<(), ImageError> {
        for _ in 0..count {
            self.band[self.filled..][..self.row_bytes].fill(0);
            self.added()?;
        }
        Ok(())
    }

    fn added(&mut self) -> Result<(), ImageError> {
        self.filled += self.row_bytes;
        if self.filled == self.band.len() { self.push() } else { Ok(()) }
    }

    fn push(&mut self) -> Result<(), ImageError> {
        let filled = std::mem::take(&mut self.filled);
        self.pixel.push(&mut self.band[..filled], self.canvas)
    }

    fn finish(mut self) -> Result<(), ImageError> {
        self.push()?;
        self.canvas.workspace().give(self.band);
        Ok(())
    }
}

impl Frame {
    /// Returns the first frame of an animation.
    fn first(mut chunks: Chunks<'_>, recipe: &Recipe) -> Result<Self, ImageError> {
        let file = chunks.file;
        let (_, frame) = chunks.find(|(kind, _)| kind == b"ANMF").ok_or(ImageError::Truncated)?;
        let header = file[frame.clone()].first_chunk::<FRAME_HEADER>().ok_or(ImageError::Truncated)?;
        let image = Image::find(Chunks { file, rest: frame.start + FRAME_HEADER..frame.end }, recipe)?;
        if (image.width, image.height) != (1 + u24(header, 6), 1 + u24(header, 9)) {
            return Err(ImageError::Corrupt);
        }
        Ok(Self { left: 2 * u24(header, 0), top: 2 * u24(header, 3), image })
    }
}

impl Image {
    /// Returns the first picture among `chunks`.
    fn find(chunks: Chunks<'_>, recipe: &Recipe) -> Result<Self, ImageError> {
        let file = chunks.file;
        let mut alpha = None;
        for (kind, data) in chunks {
            let (width, height, is_lossless) = match &kind {
                b"VP8 " => {
                    let header = file[data.clone()].first_chunk::<10>().ok_or(ImageError::Truncated)?;
                    // A key frame with its start code.
                    if header[0] & 1 != 0 || header[3..6] != [0x9D, 0x01, 0x2A] {
                        return Err(ImageError::Corrupt);
                    }
                    let side = |at| u32::from(u16::from_le_bytes([header[at], header[at + 1]]) & 0x3FFF);
                    (side(6), side(8), false)
                }
                b"VP8L" => {
                    let header = file[data.clone()].first_chunk().ok_or(ImageError::Truncated)?;
                    let [signature, a, b, c, d]: [u8; LOSSLESS_HEADER] = *header;
                    let bits = u32::from_le_bytes([a, b, c, d]);
                    // The signature, and the only version.
                    if signature != 0x2F || bits >> 29 != 0 {
                        return Err(ImageError::Corrupt);
                    }
                    ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, true)
                }
                b"ALPH" => {
                    alpha = alpha.or(Some(data));
                    continue;
                }
                _ => continue,
            };
            let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
            return Ok(Self { width, height, data, is_lossless, alpha });
        }
        Err(ImageError::Truncated)
    }
}

/// Iterates over the chunks of a RIFF file: the kind of each, and the range of its data in the file.
#[derive(Debug, Clone)]
struct Chunks<'a> {
    file: &'a [u8],
    rest: Range<usize>,
}

impl Iterator for Chunks<'_> {
    type Item = ([u8; 4], Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, rest) = self.file.get(self.rest.clone())?.split_first_chunk()?;
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let start = self.rest.start + 8;
        // The last chunk may be cut off, which its decoder detects.
        let end = start.saturating_add(length).min(self.rest.end);
        self.rest.start = (end + (length & 1)).min(self.rest.end);
        Some((*kind, start..end))
    }
}

fn u24(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0])
}
