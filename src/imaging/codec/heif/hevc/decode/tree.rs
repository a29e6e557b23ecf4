//! Parses coding tree blocks down to coding units (ITU-T H.265 sections 7.3.8.2 to 7.3.8.7) and their prediction modes.

use super::Fault;
use super::cabac::Cabac;
use super::contexts::{INTRA_CHROMA, PART_MODE, PREV_INTRA_LUMA, SPLIT_CU, TRANSQUANT_BYPASS};
use super::intra::{DC, HORIZONTAL, PLANAR, VERTICAL};
use super::isa::Isa;
use super::picture::Decoder;
use super::sample::Sample;
use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::codec::heif::hevc::sps::Pcm;
use crate::imaging::codec::heif::picture::Chroma;

/// A coding unit: what its transform units need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) log2: u32,
    pub(super) bypasses: bool,
    /// Whether luma has four predictions.
    pub(super) is_split: bool,
    pub(super) luma_modes: [u8; 4],
    /// Only 4:4:4 pictures have more than one.
    pub(super) chroma_modes: [u8; 4],
    /// Whether chroma has the mode of luma (`intra_chroma_pred_mode` 4).
    pub(super) chroma_follows: [bool; 4],
}

/// Modes of chroma in 4:2:2 pictures by that of luma, whose angles differ (table 8-3).
const HALF_WIDTH_MODES: [u8; 35] = [
    0, 1, 2, 2, 2, 2, 3, 5, 7, 8, 10, 12, 13, 15, 17, 18, 19, 20, 21, 22, 23, 23, 24, 24, 25, 25, 26, 27, 27,
    28, 28, 29, 29, 30, 31,
];

impl<S: Sample, I: Isa> Decoder<'_, S, I> {
    /// Decodes a coding tree block.
    pub(super) fn tree_block(&mut self, block: usize) -> Result<(), Fault> {
        if self.slice.sao_luma || self.slice.sao_chroma {
            self.sao_syntax(block);
        }
        // Only blocks in the same row predict each other's modes.
        self.top_modes = [DC; 16];
        if !self.current.has_left {
            self.left_modes = [DC; 16];
        }
        let (x, y) = (self.current.x, self.current.y);
        self.coding_tree(x, y, self.sps.block_log2, 0)
    }

    fn coding_tree(&mut self, x: usize, y: usize, log2: u32, depth: u32) -> Result<(), Fault> {
        let size = 1usize << log2;
        let (width, height) = (self.sps.header.coded.0 as usize, self.sps.header.coded.1 as usize);
        let is_smallest = log2 <= self.sps.smallest_block_log2;
        let splits = if x + size <= width && y + size <= height {
            !is_smallest && self.split_flag(x, y, depth)
        } else {
            !is_smallest
        };
        if depth <= self.pps.qp_delta_depth.unwrap_or(0) {
            self.start_quantiser_group(x, y);
        }
        if self.slice.chroma_offsets
            && self.pps.chroma_offsets.as_ref().is_some_and(|(most, _)| depth <= *most)
        {
            self.quantiser.are_offsets_coded = false;
        }
        if !splits {
            return self.coding_unit(x, y, log2, depth);
        }
        let half = size / 2;
        for (x, y) in [(x, y), (x + half, y), (x, y + half), (x + half, y + half)] {
            if x < width && y < height {
                self.coding_tree(x, y, log2 - 1, depth + 1)?;
            }
        }
        Ok(())
    }

    fn split_flag(&mut self, x: usize, y: usize, depth: u32) -> bool {
        let (left, top) =
            (x > self.current.x || self.current.has_left, y > self.current.y || self.current.has_top);
        let deeper_left = left && u32::from(self.left_depths[(y / 8) & 7]) > depth;
        let above = self.top_depths.get(x / 8).copied().unwrap_or(0);
        let deeper_above = top && u32::from(above) > depth;
        let context = SPLIT_CU + u8::from(deeper_left) + u8::from(deeper_above);
        self.cabac.flag(&mut self.contexts, context)
    }

    /// Predicts the quantiser of a group of coding units (section 8.6.1).
    fn start_quantiser_group(&mut self, x: usize, y: usize) {
        let known = |x: usize, y: usize| self.maps.qp.get(y / 8 * self.maps.across + x / 8).copied();
        let last = self.quantiser.last;
        let neighbour = |is_inside: bool, x: usize, y: usize| {
            if is_inside { known(x, y).map_or(last, i32::from) } else { last }
        };
        let left = neighbour(x > self.current.x, x.wrapping_sub(1), y);
        let top = neighbour(y > self.current.y, x, y.wrapping_sub(1));
        self.quantiser.predicted = (left + top + 1) >> 1;
        self.quantiser.qp = self.quantiser.predicted;
        self.quantiser.is_coded = false;
    }

    fn coding_unit(&mut self, x: usize, y: usize, log2: u32, depth: u32) -> Result<(), Fault> {
        let bypasses = self.pps.transquant_bypass && self.cabac.flag(&mut self.contexts, TRANSQUANT_BYPASS);
        let is_smallest = log2 == self.sps.smallest_block_log2;
        let is_split = is_smallest && !self.cabac.flag(&mut self.contexts, PART_MODE);
        let mut is_exempt = bypasses;
        let pcm =
            self.sps.pcm.filter(|pcm| !is_split && (pcm.smallest_log2..=pcm.largest_log2).contains(&log2));
        match pcm {
            Some(pcm) if self.cabac.terminate() => {
                self.raw_samples(x, y, log2, pcm)?;
                self.keep_modes(x, y, 1 << log2, DC);
                self.mark_edges(x, y, log2);
                is_exempt |= pcm.skips_loop_filter;
            }
            _ => {
                let (luma_modes, chroma) = self.modes(x, y, log2, is_split);
                let (chroma_modes, chroma_follows) = chroma;
                let unit = Unit { x, y, log2, bypasses, is_split, luma_modes, chroma_modes, chroma_follows };
                self.transform_tree(&unit)?;
            }
        }
        self.keep_unit(x, y, log2, depth, is_exempt);
        Ok(())
    }

    /// Keeps what other coding units and the filters need of one.
    fn keep_unit(&mut self, x: usize, y: usize, log2: u32, depth: u32, is_exempt: bool) {
        let eighths = 1usize << (log2 - 3);
        let (column, row) = (x / 8, y / 8);
        if let Some(depths) = self.left_depths.get_mut((row & 7)..(row & 7) + eighths) {
            depths.fill(depth as u8);
        }
        if let Some(depths) = self.top_depths.get_mut(column..column + eighths) {
            depths.fill(depth as u8);
        }
        let across = self.maps.across;
        for row in row..row + eighths {
            let places = row * across + column..row * across + column + eighths;
            if let Some(qp) = self.maps.qp.get_mut(places.clone()) {
                qp.fill(self.quantiser.qp as i8);
            }
            if is_exempt && let Some(exempt) = self.maps.exempt.get_mut(places) {
                exempt.fill(true);
            }
        }
        self.quantiser.last = self.quantiser.qp;
    }

    /// Parses the modes of a coding unit: of luma, and of chroma with whether it follows luma.
    fn modes(&mut self, x: usize, y: usize, log2: u32, is_split: bool) -> ([u8; 4], ([u8; 4], [bool; 4])) {
        let parts = if is_split { 4 } else { 1 };
        let side = if is_split { 1usize << (log2 - 1) } else { 1 << log2 };
        let mut is_likely = [false; 4];
        for flag in is_likely.iter_mut().take(parts) {
            *flag = self.cabac.flag(&mut self.contexts, PREV_INTRA_LUMA);
        }
        let mut luma = [DC; 4];
        for part in 0..parts {
            let (x, y) = (x + part % 2 * side, y + part / 2 * side);
            let candidates = self.likely_modes(x, y);
            luma[part] = if is_likely[part] {
                candidates[Self::likely_index(&mut self.cabac)]
            } else {
                remaining_mode(candidates, self.cabac.bypass(5) as u8)
            };
            self.keep_modes(x, y, side, luma[part]);
        }
        if !is_split {
            luma = [luma[0]; 4];
        }
        let mut chroma = ([DC; 4], [false; 4]);
        match self.sps.header.chroma {
            Chroma::None => {}
            Chroma::Full if is_split => {
                for (part, luma) in luma.into_iter().enumerate() {
                    (chroma.0[part], chroma.1[part]) = self.chroma_mode(luma);
                }
            }
            format => {
                let (mut mode, follows) = self.chroma_mode(luma[0]);
                if format == Chroma::Half {
                    mode = HALF_WIDTH_MODES[usize::from(mode) % 35];
                }
                chroma = ([mode; 4], [follows; 4]);
            }
        }
        (luma, chroma)
    }

    /// Parses `mpm_idx`.
    fn likely_index(cabac: &mut Cabac<'_>) -> usize {
        if cabac.bypass(1) == 0 { 0 } else { 1 + cabac.bypass(1) as usize }
    }

    /// Returns the three likely modes of a block of luma (section 8.4.2).
    fn likely_modes(&self, x: usize, y: usize) -> [u8; 3] {
        let (left, top) = (self.left_modes[(y / 4) & 15], self.top_modes[(x / 4) & 15]);
        if left != top {
            let third = match (left, top) {
                _ if left != PLANAR && top != PLANAR => PLANAR,
                _ if left != DC && top != DC => DC,
                _ => VERTICAL,
            };
            return [left, top, third];
        }
        if left < 2 {
            return [PLANAR, DC, VERTICAL];
        }
        [left, 2 + (left + 29) % 32, 2 + (left - 1) % 32]
    }

    fn keep_modes(&mut self, x: usize, y: usize, side: usize, mode: u8) {
        let (column, row, quarters) = ((x / 4) & 15, (y / 4) & 15, side / 4);
        for (modes, at) in [(&mut self.top_modes, column), (&mut self.left_modes, row)] {
            if let Some(modes) = modes.get_mut(at..at + quarters) {
                modes.fill(mode);
            }
        }
    }

    /// Parses `intra_chroma_pred_mode` (section 8.4.3). Returns the mode and whether it is that of luma.
    fn chroma_mode(&mut self, luma: u8) -> (u8, bool) {
        if !self.cabac.flag(&mut self.contexts, INTRA_CHROMA) {
            return (luma, true);
        }
        const MODES: [u8; 4] = [PLANAR, VERTICAL, HORIZONTAL, DC];
        const INSTEAD_OF_LUMA: u8 = 34;
        let mode = MODES[self.cabac.bypass(2) as usize & 3];
        (if mode == luma { INSTEAD_OF_LUMA } else { mode }, false)
    }

    /// Reads the samples of a coding unit (section 7.3.8.7).
    fn raw_samples(&mut self, x: usize, y: usize, log2: u32, pcm: Pcm) -> Result<(), Fault> {
        let data = self.cabac.following();
        let mut bits = Bits::new(data);
        let (half_width, half_height) = self.sps.header.chroma.halves();
        let depth = u32::from(self.sps.header.depth);
        for (component, plane) in self.planes.iter_mut().enumerate() {
            let is_chroma = component > 0;
            if is_chroma && self.sps.header.chroma == Chroma::None {
                break;
            }
            let (right, down) = (u32::from(is_chroma && half_width), u32::from(is_chroma && half_height));
            let stored = if is_chroma { pcm.chroma_bits } else { pcm.luma_bits };
            let (width, height) = ((1usize << log2) >> right, (1usize << log2) >> down);
            for row in y >> down..(y >> down) + height {
                let start = row * plane.width + (x >> right);
                let room = plane.samples.get_mut(start..start + width).ok_or(Fault::Corrupt)?;
                for sample in room {
                    let value = bits.read(stored).map_err(|_| Fault::Truncated)?;
                    *sample = S::new((value << (depth - stored)).cast_signed());
                }
            }
        }
        self.cabac = Cabac::new(data.get(bits.position().div_ceil(8)..).unwrap_or_default())?;
        Ok(())
    }
}

/// Returns the mode with a number among those that are not likely.
fn remaining_mode(mut likely: [u8; 3], number: u8) -> u8 {
    likely.sort_unstable();
    likely.into_iter().fold(number, |mode, likely| mode + u8::from(mode >= likely))
}
