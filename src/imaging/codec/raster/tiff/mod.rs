//! TIFF, one strip or one row of tiles at a time.
//!
//! Our reader decodes the first page with the decompressors of libraries: grey, palettes, RGB and CMYK of up to 16 bits, with
//! or without alpha and further samples, in one plane or several. It refuses variants that [`page`] does not support, so that
//! no page gives wrong pixels. Camera RAW is a TIFF whose first page is often a thumbnail, and has its own error.

mod chunk;
mod group4;
mod page;
mod samples;
#[cfg(test)]
mod tests;

use self::chunk::ChunkReader;
use self::page::{Alpha, Page};
use super::pixel::BAND_ROWS;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::layout::Layout;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// Bytes of a palette, tables, and the decoder's state.
const WORKING_MEMORY: u64 = 256 << 10;

/// A TIFF whose directory was read.
pub(in crate::imaging::codec) struct Tiff<'a> {
    input: Input<'a>,
    page: Page<'a>,
}

impl std::fmt::Debug for Tiff<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tiff({} x {})", self.page.width, self.page.height)
    }
}

impl<'a> Tiff<'a> {
    /// Reads the first directory.
    ///
    /// # Errors
    /// The page is of zero size, over the pixel limit, unsupported or corrupt, or needs more memory than a photo may have.
    pub(in crate::imaging::codec) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let page = Page::read(input.whole()?, recipe.max_pixels)?;
        let tiff = Self { input: *input, page };
        input.budget().grant(tiff.memory())?;
        Ok(tiff)
    }

    /// Returns the number of rows that are collected before they are pushed: those of a tile, unless each chunk has whole rows.
    fn band_rows(&self) -> usize {
        let (height, chunk) = (self.page.height as usize, self.page.chunk.1 as usize);
        height.min(if self.page.grid().0 == 1 { BAND_ROWS } else { chunk })
    }

    /// Returns the number of decoded planes.
    fn planes(&self) -> u32 {
        if self.page.is_planar { self.page.used_samples() } else { 1 }
    }

    /// Returns the number of chunks that are open at the same time.
    fn readers(&self) -> u32 {
        if self.page.grid().0 == 1 { self.planes() } else { 1 }
    }
}

impl Picture for Tiff<'_> {
    fn layout(&self) -> Layout {
        self.page.pixel().layout(self.page.width, self.page.height)
    }

    fn profile(&self) -> Option<&[u8]> {
        self.page.profile
    }

    fn memory(&self) -> u64 {
        let page = &self.page;
        let band = self.band_rows() as u64 * u64::from(page.width) * page.pixel().bytes() as u64;
        let reader = ChunkReader::memory(page, self.input.len() as u64);
        WORKING_MEMORY + band + page.row_bytes() + u64::from(self.readers()) * reader
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        let page = &self.page;
        let readers = (0..self.readers()).map(|_| ChunkReader::new(page, self.input));
        let mut readers = readers.collect::<Result<Vec<_>, _>>()?;
        let row_bytes = usize::try_from(page.row_bytes()).map_err(|_| ImageError::TooMuchMemory)?;
        let pixel_row = page.width as usize * page.pixel().bytes();
        let mut walk = Walk {
            row: canvas.workspace().take(row_bytes),
            band: canvas.workspace().take(self.band_rows() * pixel_row),
            filled: 0,
            page,
            pixel_row,
        };
        let (_, down) = page.grid();
        for chunk_row in 0..down {
            let rows = page.chunk.1.min(page.height - chunk_row * page.chunk.1);
            if page.grid().0 == 1 {
                walk.strips(&mut readers, chunk_row, rows, canvas)?;
            } else if let [reader] = readers.as_mut_slice() {
                for plane in 0..self.planes() {
                    walk.tiles(reader, plane, chunk_row, rows)?;
                }
                walk.filled = rows as usize;
                walk.push(canvas)?;
            }
        }
        walk.push(canvas)?;
        canvas.workspace().give(walk.row);
        canvas.workspace().give(walk.band);
        Ok(())
    }
}

struct Walk<'p> {
    page: &'p Page<'p>,
    row: Vec<u8>,
    /// Rows of pixels that are pushed together.
    band: Vec<u8>,
    filled: usize,
    pixel_row: usize,
}

impl Walk<'_> {
    /// Reads a strip of each plane, side by side.
    fn strips(
        &mut self,
        readers: &mut [ChunkReader<'_>],
        chunk_row: u32,
        rows: u32,
        canvas: &mut Canvas<'_>,
    ) -> Result<(), ImageError> {
        let (page, (_, down)) = (self.page, self.page.grid());
        for (plane, reader) in (0..).zip(&mut *readers) {
            reader.open(page, plane * down + chunk_row, rows)?;
        }
        for _ in 0..rows {
            for (plane, reader) in (0..).zip(&mut *readers) {
                self.read(reader, plane, self.filled * self.pixel_row, self.pixel_row)?;
            }
            self.filled += 1;
            if (self.filled + 1) * self.pixel_row > self.band.len() {
                self.push(canvas)?;
            }
        }
        Ok(())
    }

    /// Reads a row of tiles of one plane into the band.
    fn tiles(
        &mut self,
        reader: &mut ChunkReader<'_>,
        plane: u32,
        chunk_row: u32,
        rows: u32,
    ) -> Result<(), ImageError> {
        let (page, (across, down)) = (self.page, self.page.grid());
        for column in 0..across {
            reader.open(page, (plane * down + chunk_row) * across + column, rows)?;
            let left = column * page.chunk.0;
            let count = page.chunk.0.min(page.width - left) as usize * page.pixel().bytes();
            for row in 0..rows as usize {
                let at = row * self.pixel_row + left as usize * page.pixel().bytes();
                self.read(reader, plane, at, count)?;
            }
        }
        Ok(())
    }

    /// Reads the next row of a chunk into `count` bytes of the band from `at` on.
    fn read(
        &mut self,
        reader: &mut ChunkReader<'_>,
        plane: u32,
        at: usize,
        count: usize,
    ) -> Result<(), ImageError> {
        reader.read(&mut self.row)?;
        if self.page.is_differenced {
            samples::undo_differencing(self.page, &mut self.row);
        }
        let plane = self.page.is_planar.then_some(plane);
        samples::unpack(self.page, plane, &self.row, &mut self.band[at..at + count]);
        Ok(())
    }

    /// Pushes the filled rows to the canvas.
    fn push(&mut self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let rows = &mut self.band[..self.filled * self.pixel_row];
        self.filled = 0;
        match self.page.alpha {
            Alpha::Premultiplied => self.page.pixel().push_premultiplied(rows, canvas),
            Alpha::None | Alpha::Straight => self.page.pixel().push(rows, canvas),
        }
    }
}
