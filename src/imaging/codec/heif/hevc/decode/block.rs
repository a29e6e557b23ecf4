//! Predicts the blocks of a transform unit, and completes them with their residuals.

use super::intra::{HORIZONTAL, Predict, VERTICAL};
use super::isa::Isa;
use super::neighbours::Available;
use super::picture::Decoder;
use super::reconstruct::{AddResiduals, predict_across};
use super::residual::{Coded, Residual};
use super::sample::Sample;
use super::scaler::Scaling;
use super::tables;
use super::transform::{self, Cosines};
use super::tree::Unit;
use crate::imaging::codec::heif::picture::Chroma;

/// Order of 4 x 4 blocks in a coding tree block: the bits of column and row alternate (section 6.5.2).
const ORDER: [u8; 256] = {
    let mut order = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut bit, mut place) = (0, 0);
        while bit < 4 {
            place |= (n >> bit & 1) << (2 * bit) | (n >> (bit + 4) & 1) << (2 * bit + 1);
            bit += 1;
        }
        order[n] = place as u8;
        n += 1;
    }
    order
};

/// A block of one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) component: usize,
    /// In samples of the component.
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) log2: u32,
    pub(super) mode: u8,
}

impl<S: Sample, I: Isa> Decoder<'_, S, I> {
    pub(super) fn predict(&mut self, unit: &Unit, place: Place) {
        let Place { component, x, y, log2, mode } = place;
        let available = self.available(place);
        let is_luma = component == 0;
        let range = self.sps.range;
        self.isa.run(Predict {
            isa: self.isa,
            plane: &mut self.planes[component % 3],
            place: (x, y),
            available,
            log2,
            mode,
            smooths: !range.no_smoothing && (is_luma || self.sps.header.chroma == Chroma::Full),
            smooths_strongly: self.sps.strong_smoothing && is_luma,
            edges: (is_luma, is_luma && !(range.implicit_rdpcm && unit.bypasses)),
            depth: self.tools.depth,
        });
    }

    /// Returns which neighbours of a block are decoded, in the same slice and tile (section 6.4.1).
    fn available(&self, place: Place) -> Available {
        let Place { component, x, y, log2, .. } = place;
        let (half_width, half_height) =
            if component == 0 { (false, false) } else { self.sps.header.chroma.halves() };
        let (right, down) = (u32::from(half_width), u32::from(half_height));
        let side = 1usize << log2;
        // In luma samples, and in 4 x 4 blocks of the coding tree block.
        let (luma_x, luma_y) = (x << right, y << down);
        let (column, row) = ((luma_x - self.current.x) / 4, (luma_y - self.current.y) / 4);
        let (columns, rows) = (side << right >> 2, side << down >> 2);
        let count = self.sps.header.block as usize / 4;
        let own = ORDER[(row << 4 | column) & 255];
        let is_before = |column: usize, row: usize| ORDER[(row << 4 | column) & 255] < own;
        let Header { width, height } = Header::of(self.sps.header.coded);

        let left = column > 0 || self.current.has_left;
        let top = row > 0 || self.current.has_top;
        let corner = match (column > 0, row > 0) {
            (true, true) => true,
            (false, true) => self.current.has_left,
            (true, false) => self.current.has_top,
            (false, false) => self.current.has_corner,
        };
        let at_right = |n: usize| {
            let column = column + columns + n;
            if row == 0 {
                if column < count { self.current.has_top } else { self.current.has_top_right }
            } else {
                column < count && is_before(column, row - 1)
            }
        };
        let below = |n: usize| {
            let row = row + rows + n;
            row < count && if column == 0 { self.current.has_left } else { is_before(column - 1, row) }
        };
        let (mut top_right, mut below_left) = if self.sps.header.chroma == Chroma::Half {
            // Blocks of chroma are half as wide as high here, so they may have some of these neighbours only.
            let right = (0..columns).take_while(|n| at_right(*n)).count();
            (right, (0..rows).take_while(|n| below(*n)).count())
        } else {
            (if at_right(0) { columns } else { 0 }, if below(0) { rows } else { 0 })
        };
        top_right = top_right.min((width - self.current.x) / 4 - (column + columns));
        below_left = below_left.min((height - self.current.y) / 4 - (row + rows));
        Available {
            below_left: below_left << 2 >> down,
            left,
            corner,
            top,
            top_right: top_right << 2 >> right,
        }
    }

    /// Decodes the residuals of a block and adds them. Of chroma, `chroma` is whether residuals are coded, and the part of
    /// luma's residuals that is added, in eighths.
    pub(super) fn complete(&mut self, unit: &Unit, place: Place, chroma: Option<(bool, i32)>) {
        let Place { component, x, y, log2, mode } = place;
        let (is_coded, across) = chroma.unwrap_or((true, 0));
        if is_coded {
            self.residuals_of(unit, place);
        } else {
            self.residuals[..1 << (2 * log2)].fill(0);
        }
        if across != 0 {
            predict_across(&mut self.residuals, &self.luma_residuals, log2, across);
        }
        let block = self.planes[component % 3].block(x, y);
        let depth = self.tools.depth;
        self.isa.run(AddResiduals { isa: self.isa, block, residuals: &self.residuals, log2, depth });
        if component == 0 && self.pps.cross_component {
            std::mem::swap(&mut self.residuals, &mut self.luma_residuals);
        }
        debug_assert!(mode < 35);
    }

    fn residuals_of(&mut self, unit: &Unit, place: Place) {
        let Place { component, log2, mode, .. } = place;
        let format = self.sps.header.chroma;
        let is_chroma = component > 0;
        let is_straight = mode == HORIZONTAL || mode == VERTICAL;
        // Small blocks are scanned across the direction of their prediction (section 7.4.9.11).
        let by_mode = log2 == 2 || log2 == 3 && (!is_chroma || format == Chroma::Full);
        let scan = match mode {
            6..=14 if by_mode => tables::VERTICAL,
            22..=30 if by_mode => tables::HORIZONTAL,
            _ => tables::DIAGONAL,
        };
        let scaling = match &self.factors {
            _ if unit.bypasses => Scaling::None,
            None => Scaling::Flat,
            Some(factors) => Scaling::List(&factors[(log2 - 2) as usize & 3][component % 3]),
        };
        let qp = self.qp_of(component);
        let Coded { extent, skips_transform } = self.isa.run(Residual {
            cabac: &mut self.cabac,
            contexts: &mut self.contexts,
            statistics: &mut self.statistics,
            coefficients: &mut self.coefficients,
            tools: &self.tools,
            scaling,
            qp,
            log2,
            is_chroma,
            scan,
            is_straight,
        });
        let (coefficients, residuals) = (&mut *self.coefficients, &mut *self.residuals);
        let depth = self.tools.depth;
        if unit.bypasses || skips_transform {
            let turned = self.sps.range.skip_rotation && log2 == 2;
            if unit.bypasses {
                transform::bypass(coefficients, residuals, log2, turned);
            } else {
                transform::skip(coefficients, residuals, log2, depth, turned);
            }
            if self.sps.range.implicit_rdpcm && is_straight {
                transform::accumulate(residuals, log2, mode == VERTICAL);
            }
        } else if log2 == 2 && !is_chroma {
            self.isa.sine(coefficients, residuals, depth);
        } else {
            self.isa.cosine(Cosines { coefficients, residuals, log2, extent, depth });
        }
    }

    /// Returns the quantiser of a component, which is at least 0.
    fn qp_of(&self, component: usize) -> u32 {
        let offset = 6 * (i32::from(self.sps.header.depth) - 8);
        let luma = self.quantiser.qp;
        let Some(n) = component.checked_sub(1) else { return (luma + offset) as u32 };
        let own = self.pps.chroma_qp[n & 1] + self.slice.chroma_qp[n & 1] + self.quantiser.offsets[n & 1];
        let index = (luma + own).clamp(-offset, 57);
        (tables::chroma_qp(self.sps.header.chroma, index) + offset) as u32
    }
}

/// The coded size in samples.
struct Header {
    width: usize,
    height: usize,
}

impl Header {
    fn of((width, height): (u32, u32)) -> Self {
        Self { width: width as usize, height: height as usize }
    }
}
