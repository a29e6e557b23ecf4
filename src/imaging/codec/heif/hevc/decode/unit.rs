//! Parses transform trees (ITU-T H.265 sections 7.3.8.8, 7.3.8.10, 7.3.8.12 and 7.3.8.14).

use super::Fault;
use super::block::Place;
use super::contexts::{
    CBF_CHROMA, CBF_LUMA, CHROMA_QP_OFFSET_FLAG, CHROMA_QP_OFFSET_INDEX, QP_DELTA, RES_SCALE_ABS,
    RES_SCALE_SIGN, SPLIT_TRANSFORM,
};
use super::isa::Isa;
use super::maps::edge;
use super::picture::Decoder;
use super::sample::Sample;
use super::tree::Unit;
use crate::imaging::codec::heif::picture::Chroma;

/// A node of the transform tree.
#[derive(Debug, Clone, Copy)]
struct Node {
    x: usize,
    y: usize,
    log2: u32,
    depth: u32,
    /// Number among the four parts of its parent.
    part: usize,
    /// Whether chroma has residuals: of Cb and Cr, each of the upper and of the lower half in 4:2:2 pictures.
    cbf: [[bool; 2]; 2],
}

impl<S: Sample, I: Isa> Decoder<'_, S, I> {
    /// Decodes the blocks of a coding unit.
    pub(super) fn transform_tree(&mut self, unit: &Unit) -> Result<(), Fault> {
        let has_chroma = self.sps.header.chroma != Chroma::None;
        let cbf = [[has_chroma; 2]; 2];
        self.transform_node(unit, Node { x: unit.x, y: unit.y, log2: unit.log2, depth: 0, part: 0, cbf })
    }

    fn transform_node(&mut self, unit: &Unit, mut node: Node) -> Result<(), Fault> {
        let Node { x, y, log2, depth, cbf: parent, .. } = node;
        let must_split = unit.is_split && depth == 0;
        let most_depth = self.sps.transform_depth + u32::from(unit.is_split);
        let splits = if log2 <= self.sps.largest_transform_log2
            && log2 > self.sps.smallest_transform_log2
            && depth < most_depth
            && !must_split
        {
            self.cabac.flag(&mut self.contexts, SPLIT_TRANSFORM + (5 - log2) as u8)
        } else {
            log2 > self.sps.largest_transform_log2 || must_split
        };
        let chroma = self.sps.header.chroma;
        if (log2 > 2 && chroma != Chroma::None) || chroma == Chroma::Full {
            let halves = chroma == Chroma::Half && (!splits || log2 == 3);
            for (cbf, parent) in node.cbf.iter_mut().zip(parent) {
                *cbf = [false; 2];
                if parent != [false; 2] {
                    cbf[0] = self.cabac.flag(&mut self.contexts, CBF_CHROMA + depth as u8);
                    if halves {
                        cbf[1] = self.cabac.flag(&mut self.contexts, CBF_CHROMA + depth as u8);
                    }
                }
            }
        }
        if !splits {
            return self.transform_unit(unit, node);
        }
        let half = 1usize << (log2 - 1);
        for part in 0..4 {
            let (x, y) = (x + part % 2 * half, y + part / 2 * half);
            self.transform_node(unit, Node { x, y, log2: log2 - 1, depth: depth + 1, part, cbf: node.cbf })?;
        }
        Ok(())
    }

    fn transform_unit(&mut self, unit: &Unit, node: Node) -> Result<(), Fault> {
        let Node { x, y, log2, depth, part, cbf } = node;
        let chroma = self.sps.header.chroma;
        let has_luma = self.cabac.flag(&mut self.contexts, CBF_LUMA + u8::from(depth == 0));
        let has_chroma = chroma != Chroma::None && cbf != [[false; 2]; 2];
        if has_luma || has_chroma {
            self.quantiser_syntax(unit, has_chroma)?;
        }
        self.mark_edges(x, y, log2);
        // Number of the prediction, if there are several.
        let prediction = if !unit.is_split {
            0
        } else {
            let half = 1usize << (unit.log2 - 1);
            usize::from(x >= unit.x + half) + 2 * usize::from(y >= unit.y + half)
        };
        let place = Place { component: 0, x, y, log2, mode: unit.luma_modes[prediction] };
        self.predict(unit, place);
        if has_luma {
            self.complete(unit, place, None);
        }
        match chroma {
            Chroma::None => {}
            Chroma::Full => {
                let follows = unit.chroma_follows[prediction];
                for component in [1, 2] {
                    let mode = unit.chroma_modes[prediction];
                    let place = Place { component, x, y, log2, mode };
                    let mut scale = 0;
                    if self.pps.cross_component && has_luma && follows {
                        scale = self.cross_component_scale(component);
                    }
                    self.chroma_blocks(unit, place, cbf[component - 1], scale);
                }
            }
            _ if log2 == 2 && part < 3 => {}
            _ => {
                let (x, y, log2) = if log2 == 2 { (x - 4, y - 4, 2) } else { (x, y, log2 - 1) };
                let down = u32::from(chroma == Chroma::Quarter);
                for component in [1, 2] {
                    let mode = unit.chroma_modes[0];
                    let place = Place { component, x: x >> 1, y: y >> down, log2, mode };
                    self.chroma_blocks(unit, place, cbf[component - 1], 0);
                }
            }
        }
        Ok(())
    }

    /// Predicts and completes the blocks of a component of chroma: two in 4:2:2 pictures, otherwise one.
    fn chroma_blocks(&mut self, unit: &Unit, place: Place, cbf: [bool; 2], scale: i32) {
        let count = if self.sps.header.chroma == Chroma::Half { 2 } else { 1 };
        for (n, cbf) in cbf.into_iter().enumerate().take(count) {
            let place = Place { y: place.y + (n << place.log2), ..place };
            self.predict(unit, place);
            if cbf || scale != 0 {
                self.complete(unit, place, Some((cbf, scale)));
            }
        }
    }

    /// Parses changes of the quantiser (section 7.3.8.14).
    fn quantiser_syntax(&mut self, unit: &Unit, has_chroma: bool) -> Result<(), Fault> {
        if self.pps.qp_delta_depth.is_some() && !self.quantiser.is_coded {
            self.quantiser.is_coded = true;
            let delta = self.quantiser_delta()?;
            let offset = 6 * (i32::from(self.sps.header.depth) - 8);
            let range = 52 + offset;
            if !(-(26 + offset / 2)..=25 + offset / 2).contains(&delta) {
                return Err(Fault::Corrupt);
            }
            let qp = self.quantiser.predicted + delta + range + offset;
            self.quantiser.qp = qp.rem_euclid(range) - offset;
        }
        let lists = self.pps.chroma_offsets.as_ref().filter(|_| self.slice.chroma_offsets);
        if let Some((_, offsets)) = lists
            && has_chroma
            && !unit.bypasses
            && !self.quantiser.are_offsets_coded
        {
            self.quantiser.are_offsets_coded = true;
            self.quantiser.offsets = [0; 2];
            if self.cabac.flag(&mut self.contexts, CHROMA_QP_OFFSET_FLAG) {
                let mut index = 0;
                while index + 1 < offsets.len() && self.cabac.flag(&mut self.contexts, CHROMA_QP_OFFSET_INDEX)
                {
                    index += 1;
                }
                self.quantiser.offsets = offsets.get(index).copied().unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Parses `cu_qp_delta_abs` and `cu_qp_delta_sign_flag`.
    fn quantiser_delta(&mut self) -> Result<i32, Fault> {
        let mut delta = 0u32;
        while delta < 5 && self.cabac.flag(&mut self.contexts, QP_DELTA + u8::from(delta > 0)) {
            delta += 1;
        }
        if delta == 5 {
            // An Exp-Golomb code of order 0 (section 9.3.3.3).
            let mut bits = 0;
            while self.cabac.bypass(1) == 1 {
                bits += 1;
                if bits > 7 {
                    return Err(Fault::Corrupt);
                }
            }
            delta += (1 << bits) - 1;
            if bits > 0 {
                delta += self.cabac.bypass(bits);
            }
        }
        let delta = delta.cast_signed();
        Ok(if delta > 0 && self.cabac.bypass(1) == 1 { -delta } else { delta })
    }

    /// Parses the factor by which residuals of luma predict those of chroma (section 7.3.8.12).
    fn cross_component_scale(&mut self, component: usize) -> i32 {
        let component = component as u8 - 1;
        let mut log2 = 0u8;
        while log2 < 4 && self.cabac.flag(&mut self.contexts, RES_SCALE_ABS + 4 * component + log2) {
            log2 += 1;
        }
        if log2 == 0 {
            return 0;
        }
        let scale = 1 << (log2 - 1);
        if self.cabac.flag(&mut self.contexts, RES_SCALE_SIGN + component) { -scale } else { scale }
    }

    /// Marks the edges of a block for the deblocking filter.
    pub(super) fn mark_edges(&mut self, x: usize, y: usize, log2: u32) {
        if self.slice.deblocking.is_off {
            return;
        }
        let across = self.maps.across;
        let (column, row, eighths) = (x / 8, y / 8, (1usize << log2).div_ceil(8));
        let half = |at: usize| if log2 > 2 { 3 } else { 1 << ((at / 4) & 1) };
        if x.is_multiple_of(8) && (x > self.current.x || self.current.filters_left) {
            for row in row..row + eighths {
                if let Some(edges) = self.maps.edges.get_mut(row * across + column) {
                    *edges |= edge::LEFT * half(y);
                }
            }
        }
        if y.is_multiple_of(8) && (y > self.current.y || self.current.filters_top) {
            let start = row * across + column;
            for edges in self.maps.edges.get_mut(start..start + eighths).unwrap_or_default() {
                *edges |= edge::TOP * half(x);
            }
        }
    }
}
