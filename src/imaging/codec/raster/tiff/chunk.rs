//! Decompresses the rows of one strip or tile, one at a time and only as far as the caller reads. The budget is charged for
//! pieces of 64 KiB before a decompressor reads them.

use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress};
use weezl::{BitOrder, LzwStatus};

use super::group4::Group4;
use super::page::{Compression, Page};
use crate::imaging::codec::jpeg::Embedded;
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::Input;

/// Bytes of a chunk that are charged at a time, and decompressed bytes between two checks of the budget.
const PIECE_BYTES: u64 = 64 << 10;
/// Bytes that a decompressor holds: 45 KiB for deflate, 100 KiB for LZW.
const DECOMPRESSOR_BYTES: u64 = 256 << 10;
/// Largest excess of a JPEG's height over that of its strip, because it may be rounded up to whole blocks.
const JPEG_BLOCK_ROWS: u32 = 16;
const MAX_JPEG_SIDE: u32 = 65_535;
/// Bytes of the longest code that a decompressor looks ahead for.
const PADDING_BYTES: u8 = 2;

/// Reads strips or tiles of one picture, one after another.
pub(super) struct ChunkReader<'a> {
    decoder: Decoder<'a>,
    /// The unread part of the chunk.
    data: ChunkData<'a>,
    /// Bytes that were decompressed since the budget was last checked.
    unchecked: u64,
}

enum Decoder<'a> {
    None,
    PackBits(PackBits),
    Lzw(weezl::decode::Decoder),
    Deflate(Box<Decompress>),
    /// The decoder reads its bytes itself.
    Group4(Option<Group4<ChunkData<'a>>>),
    /// The decoder decodes a whole chunk at once.
    Jpeg {
        decoder: Embedded,
        pixels: Vec<u8>,
        row: usize,
        row_bytes: usize,
    },
}

impl<'a> ChunkReader<'a> {
    pub(super) fn new(page: &Page<'_>, input: Input<'a>) -> Result<Self, ImageError> {
        let decoder = match page.compression {
            Compression::None => Decoder::None,
            Compression::PackBits => Decoder::PackBits(PackBits::default()),
            Compression::Lzw => {
                // Decompression stops when the row is full, because writers may omit the code that ends the data.
                let codes = weezl::decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8);
                Decoder::Lzw(codes.with_yield_on_full_buffer(true).build())
            }
            Compression::Deflate => Decoder::Deflate(Box::new(Decompress::new(true))),
            Compression::Group4 => Decoder::Group4(None),
            Compression::Jpeg => {
                let samples = page.chunk_samples();
                let decoder = Embedded::new(page.tables, page.is_ycbcr, samples)?;
                let row_bytes = page.chunk.0 as usize * samples as usize;
                Decoder::Jpeg { decoder, pixels: Vec::new(), row: 0, row_bytes }
            }
        };
        Ok(Self { decoder, data: ChunkData::empty(input), unchecked: 0 })
    }

    /// Returns the most bytes that a reader of this page holds, for a file of `file` bytes.
    pub(super) fn memory(page: &Page<'_>, file: u64) -> u64 {
        PIECE_BYTES
            + match page.compression {
                Compression::None | Compression::PackBits => 0,
                Compression::Lzw | Compression::Deflate => DECOMPRESSOR_BYTES,
                Compression::Group4 => Group4::<ChunkData<'_>>::memory(page.chunk.0),
                Compression::Jpeg => {
                    let (width, height) = largest_jpeg(page);
                    let pixels = u64::from(width) * u64::from(height) * u64::from(page.chunk_samples());
                    pixels + Embedded::memory(file)
                }
            }
    }

    /// Opens chunk `index` to read `rows` rows. Fails if the chunk is missing or contradicts the page, or without budget.
    pub(super) fn open(&mut self, page: &Page<'_>, index: u32, rows: u32) -> Result<(), ImageError> {
        let input = self.data.input;
        let offset = u64::from(page.offsets.number(index).ok_or(ImageError::Truncated)?);
        let rest = (input.len() as u64).checked_sub(offset).ok_or(ImageError::Truncated)?;
        let length = match page.lengths {
            Some(lengths) => u64::from(lengths.number(index).ok_or(ImageError::Truncated)?).min(rest),
            None => rest,
        };
        let pixels = u64::from(page.chunk.0) * u64::from(rows);
        // The chunks of all planes together have each pixel once.
        input.budget().decode(pixels * u64::from(page.chunk_samples()) / u64::from(page.samples))?;
        self.data =
            ChunkData { offset, left: length, is_reversed: page.is_bit_reversed, ..ChunkData::empty(input) };
        match &mut self.decoder {
            Decoder::None => {}
            Decoder::PackBits(state) => *state = PackBits::default(),
            Decoder::Lzw(decoder) => {
                // Writers of 1987 put the lowest bit of a code first. libtiff detects them by the same rule.
                if matches!(self.data.fill()?, [0, second, ..] if second & 1 == 1) {
                    return Err(ImageError::Unsupported);
                }
                decoder.reset();
            }
            Decoder::Deflate(decoder) => decoder.reset(true),
            Decoder::Group4(decoder) => {
                let data = std::mem::replace(&mut self.data, ChunkData::empty(input));
                *decoder = Some(Group4::new(data, page.chunk.0)?);
            }
            Decoder::Jpeg { decoder, pixels, row, row_bytes } => {
                let (width, height) = decoder.open(input.extent(offset, length)?)?;
                if width != page.chunk.0 || height > largest_jpeg(page).1 {
                    return Err(ImageError::Corrupt);
                }
                if height < rows {
                    return Err(ImageError::Truncated);
                }
                input.budget().decode(u64::from(width) * u64::from(height - rows))?;
                let bytes = *row_bytes * height as usize;
                if pixels.capacity() < bytes {
                    // Growing the buffer would copy the old pixels and hold both.
                    *pixels = Vec::new();
                }
                pixels.resize(bytes, 0);
                decoder.decode(pixels, input.budget())?;
                *row = 0;
            }
        }
        Ok(())
    }

    /// Reads the next row of the chunk. Fails if the chunk has fewer rows or is corrupt, or if the budget is used up.
    pub(super) fn read(&mut self, row: &mut [u8]) -> Result<(), ImageError> {
        let data = &mut self.data;
        self.unchecked += row.len() as u64;
        if self.unchecked >= PIECE_BYTES {
            self.unchecked = 0;
            data.input.budget().check()?;
        }
        match &mut self.decoder {
            Decoder::None => data.copy(row),
            Decoder::PackBits(state) => state.read(data, row),
            Decoder::Lzw(decoder) => fill(data, row, |from, to| {
                let step = decoder.decode_bytes(from, to);
                let moved = (step.consumed_in, step.consumed_out);
                match step.status {
                    // Bits that were read before may contain a code that clears the table.
                    Ok(LzwStatus::Ok) => Ok(Some(moved)),
                    Ok(_) => Ok(Some(moved).filter(|moved| *moved != (0, 0))),
                    Err(_) => Err(ImageError::Corrupt),
                }
            }),
            Decoder::Deflate(decoder) => fill(data, row, |from, to| {
                let (read, written) = (decoder.total_in(), decoder.total_out());
                decoder.decompress(from, to, FlushDecompress::None).map_err(|_| ImageError::Corrupt)?;
                let step = |total: u64, before: u64| usize::try_from(total - before).unwrap_or(0);
                let moved = (step(decoder.total_in(), read), step(decoder.total_out(), written));
                Ok(Some(moved).filter(|moved| *moved != (0, 0)))
            }),
            Decoder::Group4(decoder) => decoder.as_mut().ok_or(ImageError::Truncated)?.read(row),
            Decoder::Jpeg { pixels, row: next, row_bytes, .. } => {
                let from = pixels.chunks_exact(*row_bytes).nth(*next).ok_or(ImageError::Truncated)?;
                row.copy_from_slice(from);
                *next += 1;
                Ok(())
            }
        }
    }
}

/// Returns width and height of the largest JPEG that a chunk of this page may be.
fn largest_jpeg(page: &Page<'_>) -> (u32, u32) {
    let height = page.chunk.1.checked_next_multiple_of(JPEG_BLOCK_ROWS).unwrap_or(u32::MAX);
    (page.chunk.0.min(MAX_JPEG_SIDE), height.min(MAX_JPEG_SIDE))
}

/// Fills `row` by steps of a decompressor. A step returns how many bytes it read and wrote, or `None` at the end of the data.
fn fill(
    data: &mut ChunkData<'_>,
    row: &mut [u8],
    mut step: impl FnMut(&[u8], &mut [u8]) -> Result<Option<(usize, usize)>, ImageError>,
) -> Result<(), ImageError> {
    let mut filled = 0;
    while filled < row.len() {
        let (read, written) = step(data.fill()?, &mut row[filled..])?.ok_or(ImageError::Truncated)?;
        data.consume(read);
        filled += written;
    }
    Ok(())
}

/// Decodes PackBits (TIFF 6.0 section 9). This is its state between two bytes of output.
#[derive(Default)]
struct PackBits {
    /// Bytes that remain to be copied.
    literal: usize,
    /// How often `byte` remains to be written.
    repeat: usize,
    byte: u8,
}

impl PackBits {
    fn read(&mut self, data: &mut ChunkData<'_>, mut row: &mut [u8]) -> Result<(), ImageError> {
        while !row.is_empty() {
            if self.repeat > 0 {
                let (now, later) = row.split_at_mut(self.repeat.min(row.len()));
                now.fill(self.byte);
                (self.repeat, row) = (self.repeat - now.len(), later);
            } else if self.literal > 0 {
                let (now, later) = row.split_at_mut(self.literal.min(row.len()));
                data.copy(now)?;
                (self.literal, row) = (self.literal - now.len(), later);
            } else {
                match data.byte()? {
                    count @ 0..=127 => self.literal = usize::from(count) + 1,
                    128 => {}
                    count => (self.repeat, self.byte) = (257 - usize::from(count), data.byte()?),
                }
            }
        }
        Ok(())
    }
}

/// Reads the compressed bytes of a chunk.
struct ChunkData<'a> {
    input: Input<'a>,
    /// Offset of the next piece in the file.
    offset: u64,
    /// Bytes of the later pieces.
    left: u64,
    is_reversed: bool,
    piece: Cow<'a, [u8]>,
    /// Bytes of the piece that were consumed.
    at: usize,
    /// Zeros that the iterator still appends. See [`Iterator::next`].
    padding: u8,
}

impl<'a> ChunkData<'a> {
    fn empty(input: Input<'a>) -> Self {
        let piece = Cow::Borrowed(&[][..]);
        Self { input, offset: 0, left: 0, is_reversed: false, piece, at: 0, padding: PADDING_BYTES }
    }

    /// Returns the next bytes, or none at the end of the chunk.
    fn fill(&mut self) -> Result<&[u8], ImageError> {
        if self.at == self.piece.len() && self.left > 0 {
            let length = self.left.min(PIECE_BYTES);
            let piece = self.input.extent(self.offset, length)?;
            self.piece = match self.is_reversed {
                true => piece.iter().map(|byte| byte.reverse_bits()).collect(),
                false => Cow::Borrowed(piece),
            };
            (self.at, self.offset, self.left) = (0, self.offset + length, self.left - length);
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.piece.len());
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        let byte = *self.fill()?.first().ok_or(ImageError::Truncated)?;
        self.consume(1);
        Ok(byte)
    }

    fn copy(&mut self, to: &mut [u8]) -> Result<(), ImageError> {
        fill(self, to, |from, to| {
            let count = from.len().min(to.len());
            to[..count].copy_from_slice(&from[..count]);
            Ok((count > 0).then_some((count, count)))
        })
    }
}

/// Iterates over the bytes of a chunk, and then over some zeros, because a reader of codes looks ahead past the last byte.
impl Iterator for ChunkData<'_> {
    type Item = Result<u8, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.byte() {
            Err(ImageError::Truncated) => {
                self.padding = self.padding.checked_sub(1)?;
                Some(Ok(0))
            }
            byte => Some(byte),
        }
    }
}
