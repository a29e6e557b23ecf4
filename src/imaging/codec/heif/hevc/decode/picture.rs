//! The picture that is decoded: its planes, and the walk through its coding tree blocks.

use super::Fault;
use super::cabac::Cabac;
use super::contexts::{self, Contexts};
use super::isa::Isa;
use super::maps::{Maps, TreeBlock};
use super::residual::Tools;
use super::sample::{Plane, Sample};
use super::transform;
use super::unfiltered::Unfiltered;
use super::{deblock, sao};
use crate::imaging::codec::heif::hevc::pps::Pps;
use crate::imaging::codec::heif::hevc::slice::{Segment, Slice};
use crate::imaging::codec::heif::hevc::sps::Sps;
use crate::imaging::codec::heif::picture::Chroma;
use crate::imaging::error::ImageError;

/// The state of the arithmetic decoder that is kept at some places.
#[derive(Clone)]
struct Saved {
    contexts: Contexts,
    statistics: [u8; 4],
}

/// The coding tree block that is decoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Current {
    /// Place in luma samples.
    pub(super) x: usize,
    pub(super) y: usize,
    /// Whether the blocks around are decoded, in the same slice and tile.
    pub(super) has_left: bool,
    pub(super) has_top: bool,
    pub(super) has_corner: bool,
    pub(super) has_top_right: bool,
    /// Whether edges at the left and at the top are filtered.
    pub(super) filters_left: bool,
    pub(super) filters_top: bool,
}

/// The state of the quantiser (sections 7.4.9.14 and 8.6.1).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quantiser {
    pub(super) qp: i32,
    pub(super) predicted: i32,
    /// That of the last block of the group before.
    pub(super) last: i32,
    pub(super) is_coded: bool,
    pub(super) are_offsets_coded: bool,
    /// `CuQpOffsetCb` and `CuQpOffsetCr`.
    pub(super) offsets: [i32; 2],
}

pub(super) struct Decoder<'a, S, I> {
    pub(super) isa: I,
    pub(super) sps: &'a Sps,
    pub(super) pps: &'a Pps,
    pub(super) tools: Tools,
    /// Factors of the scaling lists by size and component.
    pub(super) factors: Option<[[Vec<u8>; 3]; 4]>,
    pub(super) planes: [Plane<S>; 3],
    pub(super) maps: Maps,
    pub(super) cabac: Cabac<'a>,
    pub(super) contexts: Contexts,
    pub(super) statistics: [u8; 4],
    pub(super) slice: Slice,
    pub(super) current: Current,
    pub(super) quantiser: Quantiser,
    /// Depths of the coding blocks above, by 8 samples, and at the left.
    pub(super) top_depths: Vec<u8>,
    pub(super) left_depths: [u8; 8],
    /// Luma modes above and at the left within the row of blocks, by 4 samples.
    pub(super) top_modes: [u8; 16],
    pub(super) left_modes: [u8; 16],
    pub(super) coefficients: Box<transform::Block>,
    pub(super) residuals: Box<transform::Block>,
    pub(super) luma_residuals: Box<transform::Block>,
    /// Coding tree blocks in the order of decoding, if it is not the raster order.
    order: Option<Vec<u32>>,
    /// Place in that order of the next block.
    next: usize,
    after_second_block: Option<Saved>,
    after_segment: Option<Saved>,
}

impl<'a, S: Sample, I: Isa> Decoder<'a, S, I> {
    pub(super) fn new(isa: I, sps: &'a Sps, pps: &'a Pps) -> Self {
        let (width, height) = (sps.header.coded.0 as usize, sps.header.coded.1 as usize);
        let (half_width, half_height) = sps.header.chroma.halves();
        let chroma = match sps.header.chroma {
            Chroma::None => (0, 0),
            _ => (width >> u32::from(half_width), height >> u32::from(half_height)),
        };
        let (across, down) = sps.blocks();
        let eighths = width.div_ceil(8) * height.div_ceil(8);
        let may_exempt = pps.transquant_bypass || sps.pcm.is_some_and(|pcm| pcm.skips_loop_filter);
        let maps = Maps {
            blocks: vec![TreeBlock::default(); across * down],
            across: width.div_ceil(8),
            qp: vec![0; eighths],
            edges: vec![0; eighths],
            exempt: vec![false; if may_exempt { eighths } else { 0 }],
            slices: Vec::new(),
            tile_columns: parts(&pps.columns),
            tile_rows: parts(&pps.rows),
        };
        let lists = sps.scaling.as_ref().map(|lists| pps.scaling.as_ref().unwrap_or(lists));
        let factors = lists
            .map(|lists| [0, 1, 2, 3].map(|size| [0, 1, 2].map(|component| lists.factors(size, component))));
        let tools = Tools {
            sign_hiding: pps.sign_hiding,
            transform_skip: pps.transform_skip,
            skip_log2: pps.skip_log2,
            skip_context: sps.range.skip_context,
            skip_rdpcm: sps.range.implicit_rdpcm,
            rice_adaptation: sps.range.rice_adaptation,
            depth: sps.header.depth.into(),
        };
        Self {
            isa,
            sps,
            pps,
            tools,
            factors,
            planes: [(width, height), chroma, chroma].map(|(width, height)| Plane::new(width, height)),
            maps,
            cabac: Cabac::idle(),
            contexts: [0; 256],
            statistics: [0; 4],
            slice: Slice::default(),
            current: Current::default(),
            quantiser: Quantiser::default(),
            top_depths: vec![0; width.div_ceil(8)],
            left_depths: [0; 8],
            top_modes: [0; 16],
            left_modes: [0; 16],
            coefficients: Box::new([0; 1024]),
            residuals: Box::new([0; 1024]),
            luma_residuals: Box::new([0; 1024]),
            order: pps.has_tiles.then(|| tile_order(pps, across)),
            next: 0,
            after_second_block: None,
            after_segment: None,
        }
    }

    /// Decodes a slice segment (section 7.3.8.1).
    pub(super) fn segment(&mut self, segment: &Segment, data: &'a [u8]) -> Result<(), ImageError> {
        // Segments follow in the order of decoding, without gaps.
        if self.raster(self.next) != Some(segment.first) {
            return Err(ImageError::Corrupt);
        }
        self.slice = segment.slice;
        if !segment.is_dependent {
            self.maps.slices.push(segment.slice);
            self.quantiser.offsets = [0; 2];
        }
        self.cabac = Cabac::new(data).map_err(Fault::reason)?;
        let mut is_start = true;
        loop {
            let block = self.raster(self.next).ok_or(ImageError::Corrupt)?;
            let starts = self.enter(block);
            if starts.tile || starts.row || is_start {
                self.prepare(segment.is_dependent && is_start, starts);
            }
            is_start = false;
            self.tree_block(block).map_err(Fault::reason)?;
            if self.cabac.is_past_end() {
                return Err(ImageError::Truncated);
            }
            self.next += 1;
            if self.pps.wavefront && starts.is_second {
                self.after_second_block = Some(self.save());
            }
            let ends = self.cabac.terminate();
            if ends {
                break;
            }
            let Some(next) = self.raster(self.next) else { return Err(ImageError::Corrupt) };
            let after = self.starts(next);
            if after.tile || after.row {
                if !self.cabac.terminate() {
                    return Err(ImageError::Corrupt);
                }
                self.cabac = Cabac::new(self.cabac.following()).map_err(Fault::reason)?;
            }
        }
        if self.pps.dependent_slices {
            self.after_segment = Some(self.save());
        }
        if self.cabac.is_past_end() { Err(ImageError::Truncated) } else { Ok(()) }
    }

    /// Filters the picture and returns its planes.
    pub(super) fn finish(mut self) -> Result<[Plane<S>; 3], ImageError> {
        if self.next < self.maps.blocks.len() {
            return Err(ImageError::Truncated);
        }
        let (_, down) = self.sps.blocks();
        let mut sao = sao::Filter::new(self.sps);
        let mut picture =
            Unfiltered { sps: self.sps, pps: self.pps, maps: &self.maps, planes: &mut self.planes };
        for row in 0..down {
            deblock::row(self.isa, &mut picture, row);
            // The last lines of a row change when the edge below them is filtered.
            if let Some(before) = row.checked_sub(1) {
                sao.row(self.isa, &mut picture, before);
            }
        }
        sao.row(self.isa, &mut picture, down - 1);
        Ok(self.planes)
    }

    /// Returns the coding tree block at a place in the order of decoding.
    fn raster(&self, place: usize) -> Option<usize> {
        match &self.order {
            Some(order) => order.get(place).map(|block| *block as usize),
            None => (place < self.maps.blocks.len()).then_some(place),
        }
    }

    fn save(&self) -> Saved {
        Saved { contexts: self.contexts, statistics: self.statistics }
    }

    /// Returns what begins at a coding tree block.
    fn starts(&self, block: usize) -> Starts {
        let across = self.maps.tile_columns.len();
        let (x, y) = (block % across, block / across);
        let is_first = |starts: &[usize], at: usize| starts.binary_search(&at).is_ok();
        let first_column = is_first(&self.pps.columns, x);
        Starts {
            tile: first_column && is_first(&self.pps.rows, y),
            row: self.pps.wavefront && first_column,
            is_second: x > 0 && is_first(&self.pps.columns, x - 1),
        }
    }

    /// Sets the contexts at the start of a segment, a tile, or a row of blocks (section 9.3.1).
    fn prepare(&mut self, is_dependent: bool, starts: Starts) {
        if !is_dependent || starts.tile || starts.row {
            self.quantiser.last = self.slice.qp;
        }
        let saved = if starts.tile {
            None
        } else if starts.row {
            self.after_second_block.as_ref().filter(|_| self.current.has_top_right)
        } else if is_dependent {
            self.after_segment.as_ref()
        } else {
            None
        };
        match saved {
            Some(saved) => (self.contexts, self.statistics) = (saved.contexts, saved.statistics),
            None => (self.contexts, self.statistics) = (contexts::initial(self.slice.qp), [0; 4]),
        }
    }

    /// Makes a coding tree block the current one.
    fn enter(&mut self, block: usize) -> Starts {
        let across = self.maps.tile_columns.len();
        let (x, y) = (block % across, block / across);
        let slice = self.maps.slices.len() as u32;
        if let Some(block) = self.maps.blocks.get_mut(block) {
            block.slice = slice;
        }
        let other = |dx: usize, dy: usize| {
            let (x, y) = ((x + dx).checked_sub(1)?, y.checked_sub(dy)?);
            let other = self.maps.blocks.get(y * across + x).filter(|_| x < across)?;
            Some((other.slice, self.maps.is_same_tile((x, y), block)))
        };
        let is_usable = |other: Option<(u32, bool)>| other == Some((slice, true));
        let is_filtered = |other: Option<(u32, bool)>| {
            other.is_some_and(|(of, same_tile)| {
                of > 0
                    && (of == slice || self.slice.filters_across)
                    && (same_tile || self.pps.filters_across_tiles)
            }) && !self.slice.deblocking.is_off
        };
        let (left, top) = (other(0, 0), other(1, 1));
        let size = self.sps.header.block as usize;
        self.current = Current {
            x: x * size,
            y: y * size,
            has_left: is_usable(left),
            has_top: is_usable(top),
            has_corner: is_usable(other(0, 1)),
            has_top_right: is_usable(other(2, 1)),
            filters_left: is_filtered(left),
            filters_top: is_filtered(top),
        };
        self.starts(block)
    }
}

impl Maps {
    /// Returns whether a coding tree block at a place is in the tile of another one.
    pub(super) fn is_same_tile(&self, (x, y): (usize, usize), block: usize) -> bool {
        let across = self.tile_columns.len();
        self.tile_columns.get(x) == self.tile_columns.get(block % across)
            && self.tile_rows.get(y) == self.tile_rows.get(block / across)
    }

    /// Returns the slice of a decoded coding tree block.
    pub(super) fn slice_of(&self, block: usize) -> Option<&Slice> {
        let number = self.blocks.get(block)?.slice as usize;
        self.slices.get(number.checked_sub(1)?)
    }
}

/// What begins at a coding tree block.
#[derive(Debug, Clone, Copy)]
struct Starts {
    tile: bool,
    /// A row of blocks that begins a substream.
    row: bool,
    /// Whether the block is the second one of a row in its tile.
    is_second: bool,
}

/// Returns the number of the part that each place is in.
fn parts(starts: &[usize]) -> Vec<u8> {
    let mut parts = Vec::new();
    for (n, pair) in starts.windows(2).enumerate() {
        parts.resize(pair[1], n as u8);
    }
    parts
}

/// Returns the coding tree blocks tile by tile (section 6.5.1).
fn tile_order(pps: &Pps, across: usize) -> Vec<u32> {
    let mut order = Vec::new();
    for rows in pps.rows.windows(2) {
        for columns in pps.columns.windows(2) {
            for y in rows[0]..rows[1] {
                order.extend((columns[0]..columns[1]).map(|x| (y * across + x) as u32));
            }
        }
    }
    order
}
