//! Reads an image as tiles: one coded picture, or a grid of them (ISO/IEC 23008-12 section 6.6.2.3).
//!
//! All declarations of a grid are checked before a tile is decoded: the tiles must be coded pictures (no grids), have equal
//! headers, be complete in number, be needed, and have no more bytes than the file can hold.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::boxes::Reader;
use super::codec::Codec;
use super::meta::{Item, Meta};
use super::picture::{Header, MAX_CODED_PIXELS, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::limits::check_size;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::{Input, WorkBudget};

/// Largest excess of a decoder's size over the declared size, because encoders round up to blocks of up to 64 pixels.
const MAX_PADDING: u32 = 64;
/// Smallest side of a tile (ISO/IEC 23000-22 section 7.3.11.4.2). A tile of any size has a fixed cost.
const MIN_TILE_SIDE: u32 = 64;
/// Longest configuration. Parameter sets have some hundred bytes, and an encoder's messages some thousand.
const MAX_CONFIGURATION_BYTES: usize = 16 << 10;
/// Most configurations of a grid. Usually its tiles share one. A writer may use another one for the tiles at the edges.
const MAX_CONFIGURATIONS: usize = 16;

/// The tiles of an image.
pub(super) struct Grid<'a> {
    budget: &'a WorkBudget<'a>,
    codec: Codec,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) columns: u32,
    pub(super) tile_width: u32,
    pub(super) tile_height: u32,
    tiles: Vec<Tile<'a>>,
    pub(super) header: Header,
}

struct Tile<'a> {
    configuration: &'a [u8],
    data: Cow<'a, [u8]>,
}

impl<'a> Grid<'a> {
    /// Reads all headers of the image `item`.
    pub(super) fn open(
        meta: &Meta<'a>,
        item: &Item,
        input: &Input<'a>,
        recipe: &Recipe,
    ) -> Result<Self, ImageError> {
        let layout = Layout::of(meta, item, recipe)?;
        if item.kind != *b"grid" {
            return Self::of_tiles(meta, &layout, &[item], input, recipe);
        }
        layout.check_count(item.derived_from.len())?;
        // An item that is used for several tiles would be read several times, although the file contains it once.
        let distinct: BTreeSet<u32> = item.derived_from.iter().copied().collect();
        if distinct.len() != item.derived_from.len() {
            return Err(ImageError::Unsupported);
        }
        let tiles = item.derived_from.iter().map(|id| meta.item(*id)).collect::<Result<Vec<_>, _>>()?;
        Self::of_tiles(meta, &layout, &tiles, input, recipe)
    }

    /// Reads all headers of the image that has the layout of the grid `item`, and other tiles.
    pub(super) fn of_other_tiles(
        meta: &Meta<'a>,
        item: &Item,
        tiles: &[&Item],
        input: &Input<'a>,
        recipe: &Recipe,
    ) -> Result<Self, ImageError> {
        Self::of_tiles(meta, &Layout::of(meta, item, recipe)?, tiles, input, recipe)
    }

    fn of_tiles(
        meta: &Meta<'a>,
        layout: &Layout,
        items: &[&Item],
        input: &Input<'a>,
        recipe: &Recipe,
    ) -> Result<Self, ImageError> {
        let (&first, _) = items.split_first().ok_or(ImageError::Corrupt)?;
        let codec = Codec::of_item(&first.kind).ok_or(ImageError::Unsupported)?;
        let (tile_width, tile_height) = declared_size(meta, first)?;
        layout.check(items.len(), (tile_width, tile_height), recipe)?;
        let mut header = None;
        let mut headers = Headers { codec, read: Vec::new() };
        let mut tiles: Vec<Tile<'a>> = Vec::with_capacity(items.len());
        let mut copied = 0;
        for &item in items {
            if item.kind != first.kind || declared_size(meta, item)? != (tile_width, tile_height) {
                return Err(ImageError::Corrupt);
            }
            let len = meta.data_len(item)?;
            // Tiles that share data are each charged for it, because it is decoded for each of them.
            input.budget().read(len as u64)?;
            // Data in several extents is copied, and two tiles may not use the same extent.
            copied += if item.is_in_pieces() { len } else { 0 };
            if copied > input.len() {
                return Err(ImageError::Corrupt);
            }
            let configuration = meta.property(item, codec.configuration()).ok_or(ImageError::Corrupt)?;
            let tile = Tile { configuration, data: meta.data(item)? };
            let read = headers.read(&tile)?;
            if header.is_some_and(|header| header != read) {
                return Err(ImageError::Corrupt);
            }
            header = Some(read);
            tiles.push(tile);
        }
        let header = header.ok_or(ImageError::Corrupt)?;
        check_header(&header, tile_width, tile_height)?;
        let Layout { columns, width, height, .. } = *layout;
        let budget = input.budget();
        Ok(Self { budget, codec, width, height, columns, tile_width, tile_height, tiles, header })
    }

    /// Decodes one row of tiles. A decoder cannot be stopped within a tile, so the budget is charged for each tile before.
    pub(super) fn strip(&self, row: usize) -> Result<Vec<Picture>, ImageError> {
        let columns = self.columns as usize;
        let tiles = self.tiles.get(row * columns..(row + 1) * columns).ok_or(ImageError::Corrupt)?;
        let decode = |tile: &Tile<'_>| {
            self.budget.read(tile.data.len() as u64)?;
            self.budget.decode(self.header.pixels())?;
            self.codec.decode(tile.configuration, &tile.data)
        };
        tiles.iter().map(decode).collect()
    }

    /// Asserts that code with and without SIMD decodes the tiles alike.
    #[cfg(all(feature = "heic", any(test, fuzzing)))]
    pub(super) fn assert_paths_agree(&self) {
        if self.codec == Codec::Hevc {
            for tile in &self.tiles {
                super::hevc::assert_paths_agree(tile.configuration, &tile.data);
            }
        }
    }

    /// Returns an upper bound of the bytes at the peak of decoding: a row of tiles, and the working memory for one tile.
    pub(super) fn memory(&self) -> u64 {
        let data = self.tiles.iter().map(|tile| self.codec.data_memory(&tile.data)).max().unwrap_or(0);
        let copied: u64 = self.tiles.iter().filter_map(Tile::copied).sum();
        u64::from(self.columns) * Codec::picture_memory(&self.header)
            + self.codec.working_memory(&self.header)
            + data
            + copied
    }
}

/// Reads the headers of tiles, once for each configuration.
struct Headers<'a> {
    codec: Codec,
    read: Vec<(&'a [u8], Header)>,
}

impl<'a> Headers<'a> {
    fn read(&mut self, tile: &Tile<'a>) -> Result<Header, ImageError> {
        let configuration = tile.configuration;
        let known = self.read.iter().find(|(known, _)| std::ptr::eq(*known, configuration));
        if let Some((_, header)) = known
            && self.codec.has_headers_in_configuration()
        {
            return Ok(*header);
        }
        let is_new = known.is_none();
        if is_new && (self.read.len() == MAX_CONFIGURATIONS || configuration.len() > MAX_CONFIGURATION_BYTES)
        {
            return Err(ImageError::Unsupported);
        }
        let header = self.codec.header(configuration, &tile.data)?;
        if is_new {
            self.read.push((configuration, header));
        }
        Ok(header)
    }
}

impl Tile<'_> {
    /// Returns the bytes that are held besides the file.
    fn copied(&self) -> Option<u64> {
        matches!(self.data, Cow::Owned(_)).then_some(self.data.len() as u64)
    }
}

/// Checks the headers of a coded picture against the size that the container declares.
fn check_header(header: &Header, width: u32, height: u32) -> Result<(), ImageError> {
    let (coded, shown) = (header.coded, header.shown);
    check_size(coded.0.into(), coded.1.into(), MAX_CODED_PIXELS)?;
    let fits = |coded: u32, shown: u32, declared: u32| {
        shown >= declared
            && shown - declared < MAX_PADDING
            && coded >= shown
            && coded - shown < 2 * MAX_PADDING
    };
    if fits(coded.0, shown.0, width) && fits(coded.1, shown.1, height) {
        Ok(())
    } else {
        Err(ImageError::Corrupt)
    }
}

/// Returns the size that the `ispe` property of an item declares.
fn declared_size(meta: &Meta<'_>, item: &Item) -> Result<(u32, u32), ImageError> {
    let mut ispe = Reader::new(meta.property(item, b"ispe").ok_or(ImageError::Corrupt)?);
    ispe.full()?;
    let size = (ispe.u32()?, ispe.u32()?);
    if size.0 == 0 || size.1 == 0 { Err(ImageError::Empty) } else { Ok(size) }
}

struct Layout {
    columns: u32,
    rows: u32,
    width: u32,
    height: u32,
}

impl Layout {
    /// Returns the layout that an item declares. An item that is not a grid is a single tile.
    fn of(meta: &Meta<'_>, item: &Item, recipe: &Recipe) -> Result<Self, ImageError> {
        let (width, height) = declared_size(meta, item)?;
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        if item.kind != *b"grid" {
            return Ok(Self { columns: 1, rows: 1, width, height });
        }
        let layout = Self::read(&meta.data(item)?)?;
        if (layout.width, layout.height) == (width, height) { Ok(layout) } else { Err(ImageError::Corrupt) }
    }

    fn read(data: &[u8]) -> Result<Self, ImageError> {
        let mut data = Reader::new(data);
        if data.u8()? != 0 {
            return Err(ImageError::Unsupported);
        }
        let wide = data.u8()? & 1 == 1;
        let (rows, columns) = (u32::from(data.u8()?) + 1, u32::from(data.u8()?) + 1);
        Ok(Self { columns, rows, width: data.number(wide)?, height: data.number(wide)? })
    }

    /// Checks that the grid has this number of tiles.
    fn check_count(&self, tiles: usize) -> Result<(), ImageError> {
        let fits = tiles as u64 == u64::from(self.columns) * u64::from(self.rows);
        if fits { Ok(()) } else { Err(ImageError::Corrupt) }
    }

    /// Checks that tiles of this number and size cover the grid, and that it needs each of them.
    fn check(&self, tiles: usize, (width, height): (u32, u32), recipe: &Recipe) -> Result<(), ImageError> {
        self.check_count(tiles)?;
        let single = self.columns * self.rows == 1;
        let covers = |tile: u32, count: u32, whole: u32| {
            let (tile, count, whole) = (u64::from(tile), u64::from(count), u64::from(whole));
            (count - 1) * tile < whole && whole <= count * tile
        };
        let fits = (single || width.min(height) >= MIN_TILE_SIDE)
            && covers(width, self.columns, self.width)
            && covers(height, self.rows, self.height);
        // The last tiles may be mostly outside of the picture, and are still decoded.
        let decoded = (u64::from(width) * u64::from(height)).saturating_mul(tiles as u64);
        if fits && decoded <= recipe.max_pixels.saturating_mul(2) { Ok(()) } else { Err(ImageError::Corrupt) }
    }
}
