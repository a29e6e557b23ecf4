//! Reads the rows of an image from top to bottom. Of a grid, it holds one row of tiles at a time.

use super::colour::Converter;
use super::grid::Grid;
use super::picture::{Cicp, Picture};
use crate::imaging::error::ImageError;

pub(super) struct Rows<'c> {
    grid: &'c Grid<'c>,
    converter: Converter,
    strip: Vec<Picture>,
    next: u32,
}

impl<'c> Rows<'c> {
    pub(super) fn new(grid: &'c Grid<'c>, cicp: Option<Cicp>) -> Result<Self, ImageError> {
        let converter = Converter::new(grid.header, cicp)?;
        Ok(Self { grid, converter, strip: Vec::new(), next: 0 })
    }

    /// Reads the next row as RGB; `row` has three bytes for each pixel across.
    pub(super) fn rgb(&mut self, row: &mut [u8]) -> Result<(), ImageError> {
        self.read::<3>(row, Converter::rgb)
    }

    /// Reads the luma of the next row; `row` has one byte for each pixel across.
    pub(super) fn grey(&mut self, row: &mut [u8]) -> Result<(), ImageError> {
        self.read::<1>(row, Converter::grey)
    }

    fn read<const BYTES: usize>(
        &mut self,
        row: &mut [u8],
        convert: impl Fn(&mut Converter, &Picture, usize, &mut [u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let (strip, within) = (self.next / self.grid.tile_height, self.next % self.grid.tile_height);
        if within == 0 {
            // The old row of tiles is freed before the next one is decoded, so that two are never held.
            self.strip = Vec::new();
            self.strip = self.grid.strip(strip as usize)?;
        }
        let tile_bytes = self.grid.tile_width as usize * BYTES;
        for (picture, part) in self.strip.iter().zip(row.chunks_mut(tile_bytes)) {
            convert(&mut self.converter, picture, within as usize, part)?;
        }
        self.next += 1;
        Ok(())
    }
}
