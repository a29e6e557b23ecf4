//! Sample adaptive offset: its filter (ITU-T H.265 section 8.7.3).
//!
//! The filter reads samples around each sample as they were before it, so it works from a copy of a row of blocks, and keeps
//! the last line of the row above.

use super::isa::{Isa, Kernel};
use super::maps::{Kind, Maps, Sao};
use super::sample::{Plane, Sample};
use super::unfiltered::Unfiltered;
use crate::imaging::codec::heif::hevc::pps::Pps;
use crate::imaging::codec::heif::hevc::sps::Sps;
use crate::imaging::codec::heif::picture::Chroma;

/// The filter, with the lines that it needs from row to row.
pub(super) struct Filter<S> {
    /// Lines of a row of blocks, with one sample more at each side, and one line more above and below.
    lines: Vec<S>,
    /// The last line of the row before, of each component.
    above: [Vec<S>; 3],
}

impl<S: Sample> Filter<S> {
    pub(super) fn new(sps: &Sps) -> Self {
        let width = sps.header.coded.0 as usize;
        let lines = if sps.sao { (width + 2) * (sps.header.block as usize + 2) } else { 0 };
        let above = [width, width, width].map(|width| vec![S::default(); if sps.sao { width } else { 0 }]);
        Self { lines: vec![S::default(); lines], above }
    }

    /// Filters a row of coding tree blocks. The lines below must be free of blocking already.
    pub(super) fn row<I: Isa>(&mut self, isa: I, picture: &mut Unfiltered<'_, S>, row: usize) {
        let Unfiltered { sps, pps, maps, planes } = picture;
        if !sps.sao {
            return;
        }
        for (component, plane) in planes.iter_mut().enumerate() {
            if component > 0 && sps.header.chroma == Chroma::None {
                break;
            }
            let halves = if component > 0 { sps.header.chroma.halves() } else { (false, false) };
            let mut filter = RowFilter {
                lines: &mut self.lines,
                above: &mut self.above[component],
                pps,
                maps,
                component,
                plane,
                row,
                block: (
                    sps.header.block as usize >> u32::from(halves.0),
                    sps.header.block as usize >> u32::from(halves.1),
                ),
                shifts: (3 - u32::from(halves.0), 3 - u32::from(halves.1)),
                depth: sps.header.depth.into(),
            };
            filter.run(isa);
        }
    }
}

struct RowFilter<'f, S> {
    lines: &'f mut Vec<S>,
    above: &'f mut Vec<S>,
    pps: &'f Pps,
    maps: &'f Maps,
    component: usize,
    plane: &'f mut Plane<S>,
    row: usize,
    /// Width and height of a coding tree block in samples.
    block: (usize, usize),
    /// Bits of the side of an 8 x 8 block of luma in samples.
    shifts: (u32, u32),
    depth: u32,
}

impl<S: Sample> RowFilter<'_, S> {
    fn run<I: Isa>(&mut self, isa: I) {
        let across = self.maps.tile_columns.len();
        let start = self.row * across;
        let blocks = self.maps.blocks.get(start..start + across).unwrap_or_default();
        let top = self.row * self.block.1;
        let height = self.block.1.min(self.plane.height - top);
        let stride = self.plane.width + 2;
        let is_idle = blocks.iter().all(|block| block.sao[self.component].kind == Kind::None);
        if is_idle {
            self.above.clear();
            self.above.extend_from_slice(self.plane.row(top + height - 1));
            return;
        }
        for (n, line) in self.lines.chunks_mut(stride).enumerate().take(height + 2) {
            let from = match n.checked_sub(1) {
                None => self.above.as_slice(),
                Some(n) => self.plane.row(top + n),
            };
            if let Some(room) = line.get_mut(1..1 + from.len()) {
                room.copy_from_slice(from);
            }
        }
        self.above.clear();
        self.above.extend_from_slice(self.plane.row(top + height - 1));
        for (n, block) in blocks.iter().enumerate() {
            let sao = block.sao[self.component];
            if sao.kind == Kind::None {
                continue;
            }
            let left = n * self.block.0;
            let width = self.block.0.min(self.plane.width - left);
            let usable = self.usable_around(start + n, n);
            isa.run(BlockFilter {
                lines: self.lines,
                stride,
                samples: self.plane.samples.get_mut(top * self.plane.width + left..).unwrap_or_default(),
                sample_stride: self.plane.width,
                left,
                size: (width, height),
                sao,
                usable,
                depth: self.depth,
            });
            if !self.maps.exempt.is_empty() {
                self.restore(left, top, width, height);
            }
        }
    }

    /// Returns whether the filter of a coding tree block may use the samples of those around it, by rows.
    fn usable_around(&self, block: usize, column: usize) -> [[bool; 3]; 3] {
        let across = self.maps.tile_columns.len();
        let own = self.maps.blocks.get(block).map_or(0, |block| block.slice);
        let mut usable = [[true; 3]; 3];
        for (dy, usable) in usable.iter_mut().enumerate() {
            for (dx, usable) in usable.iter_mut().enumerate() {
                let (x, y) = ((column + dx).wrapping_sub(1), (self.row + dy).wrapping_sub(1));
                let other = y.checked_mul(across).and_then(|start| start.checked_add(x));
                let other = other.filter(|_| x < across && y < self.maps.tile_rows.len());
                *usable = other.is_some_and(|other| {
                    let slice = self.maps.blocks.get(other).map_or(0, |block| block.slice);
                    // The later of two slices decides.
                    let later = if slice < own { block } else { other };
                    let slices = self.maps.slice_of(later);
                    (slice == own || slices.is_some_and(|slice| slice.filters_across))
                        && (self.pps.filters_across_tiles || self.maps.is_same_tile((x, y), block))
                });
            }
        }
        usable
    }

    /// Undoes the filter for blocks that are exempt from it.
    fn restore(&mut self, left: usize, top: usize, width: usize, height: usize) {
        let (across, down) = (1usize << self.shifts.0, 1usize << self.shifts.1);
        for y in (0..height).step_by(down) {
            for x in (0..width).step_by(across) {
                let place = ((top + y) >> self.shifts.1) * self.maps.across + ((left + x) >> self.shifts.0);
                if self.maps.exempt.get(place) != Some(&true) {
                    continue;
                }
                for y in y..y + down {
                    let from = (1 + y) * (self.plane.width + 2) + 1 + left + x;
                    let to = (top + y) * self.plane.width + left + x;
                    if let (Some(from), Some(to)) =
                        (self.lines.get(from..from + across), self.plane.samples.get_mut(to..to + across))
                    {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
    }
}

struct BlockFilter<'f, S> {
    lines: &'f [S],
    stride: usize,
    samples: &'f mut [S],
    sample_stride: usize,
    left: usize,
    size: (usize, usize),
    sao: Sao,
    usable: [[bool; 3]; 3],
    depth: u32,
}

impl<S: Sample> Kernel for BlockFilter<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        for y in 0..self.size.1 {
            if self.sao.kind == Kind::Band {
                self.band(y);
            } else {
                self.edge_line(y);
            }
        }
    }
}

/// Steps to the two neighbours of a sample by the direction of edges: columns and rows (table 8-13).
const STEPS: [[(isize, isize); 2]; 4] =
    [[(-1, 0), (1, 0)], [(0, -1), (0, 1)], [(-1, -1), (1, 1)], [(1, -1), (-1, 1)]];

impl<S: Sample> BlockFilter<'_, S> {
    #[inline(always)]
    fn band(&mut self, y: usize) {
        let shift = self.depth - 5;
        let most = (1 << self.depth) - 1;
        let Sao { class, offsets, .. } = self.sao;
        let start = (y + 1) * self.stride + self.left + 1;
        let from = self.lines.get(start..start + self.size.0).unwrap_or_default();
        let start = y * self.sample_stride;
        let to = self.samples.get_mut(start..start + self.size.0).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(from) {
            let value = from.get() as i16;
            let band = ((value >> shift) - i16::from(class)) & 31;
            let mut offset = 0;
            for (n, of_band) in (0..).zip(offsets) {
                offset = if band == n { of_band } else { offset };
            }
            *to = S::new((value + offset).clamp(0, most).into());
        }
    }

    /// Filters a line, except samples at borders whose neighbours may not be used.
    #[inline(always)]
    fn edge_line(&mut self, y: usize) {
        let steps = STEPS[usize::from(self.sao.class & 3)];
        let (width, height) = self.size;
        let part = |at: isize, count: usize| if at < 0 { 0 } else { 1 + usize::from(at >= count as isize) };
        let may = |x: usize| {
            steps
                .iter()
                .all(|(dx, dy)| self.usable[part(y as isize + dy, height)][part(x as isize + dx, width)])
        };
        let (first, middle, last) = (may(0), may(1), may(width - 1));
        if middle {
            let (from, to) = (usize::from(!first), width - usize::from(!last));
            self.edge(y, from, to, steps);
            return;
        }
        if first {
            self.edge(y, 0, 1, steps);
        }
        if last {
            self.edge(y, width - 1, width, steps);
        }
    }

    #[inline(always)]
    fn edge(&mut self, y: usize, from: usize, to: usize, steps: [(isize, isize); 2]) {
        let count = to - from;
        let most = (1 << self.depth) - 1;
        let (x, line) = (from as isize, y as isize);
        let lines = self.lines;
        let first = (self.left + 1) as isize;
        let of = |(dx, dy): (isize, isize)| {
            let start = (line + 1 + dy) as usize * self.stride + (first + x + dx) as usize;
            lines.get(start..start + count).unwrap_or_default()
        };
        let (centre, a, b) = (of((0, 0)), of(steps[0]), of(steps[1]));
        let start = y * self.sample_stride + from;
        let Some(to) = self.samples.get_mut(start..start + count) else { return };
        let [valley, slope_up, slope_down, peak] = self.sao.offsets;
        for (((to, centre), a), b) in to.iter_mut().zip(centre).zip(a).zip(b) {
            let (value, a, b) = (centre.get() as i16, a.get() as i16, b.get() as i16);
            let sign = |other: i16| i16::from(value > other) - i16::from(value < other);
            let shape = sign(a) + sign(b);
            let mut offset = 0;
            offset = if shape == -2 { valley } else { offset };
            offset = if shape == -1 { slope_up } else { offset };
            offset = if shape == 1 { slope_down } else { offset };
            offset = if shape == 2 { peak } else { offset };
            *to = S::new((value + offset).clamp(0, most).into());
        }
    }
}
