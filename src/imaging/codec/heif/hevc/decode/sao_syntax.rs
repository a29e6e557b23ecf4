//! The syntax of sample adaptive offset (ITU-T H.265 section 7.3.8.3).

use super::contexts::{SAO_MERGE, SAO_TYPE};
use super::isa::Isa;
use super::maps::{Kind, Sao};
use super::picture::Decoder;
use super::sample::Sample;

impl<S: Sample, I: Isa> Decoder<'_, S, I> {
    /// Parses the offsets of a coding tree block.
    pub(super) fn sao_syntax(&mut self, block: usize) {
        let across = self.maps.tile_columns.len();
        for (exists, other) in [
            (self.current.has_left, block.wrapping_sub(1)),
            (self.current.has_top, block.wrapping_sub(across)),
        ] {
            if exists && self.cabac.flag(&mut self.contexts, SAO_MERGE) {
                let sao = self.maps.blocks.get(other).map(|other| other.sao).unwrap_or_default();
                self.set_sao(block, sao);
                return;
            }
        }
        let mut sao = [Sao::default(); 3];
        if self.slice.sao_luma {
            sao[0] = self.sao_of(0, None);
        }
        if self.slice.sao_chroma {
            sao[1] = self.sao_of(1, None);
            sao[2] = self.sao_of(2, Some(sao[1]));
        }
        self.set_sao(block, sao);
    }

    fn set_sao(&mut self, block: usize, sao: [Sao; 3]) {
        if let Some(block) = self.maps.blocks.get_mut(block) {
            block.sao = sao;
        }
    }

    /// Parses the offsets of a component. `first` is what the first component of chroma has, with which the second shares
    /// its kind.
    fn sao_of(&mut self, component: usize, first: Option<Sao>) -> Sao {
        let kind = match first {
            Some(first) => first.kind,
            None if !self.cabac.flag(&mut self.contexts, SAO_TYPE) => Kind::None,
            None if self.cabac.bypass(1) == 0 => Kind::Band,
            None => Kind::Edge,
        };
        let mut sao = Sao { kind, class: 0, offsets: [0; 4] };
        if kind == Kind::None {
            return sao;
        }
        let most = (1 << (self.tools.depth.min(10) - 5)) - 1;
        for offset in &mut sao.offsets {
            while *offset < most && self.cabac.bypass(1) == 1 {
                *offset += 1;
            }
        }
        if kind == Kind::Band {
            for offset in &mut sao.offsets {
                if *offset != 0 && self.cabac.bypass(1) == 1 {
                    *offset = -*offset;
                }
            }
            sao.class = self.cabac.bypass(5) as u8;
        } else {
            let [.., third, fourth] = &mut sao.offsets;
            (*third, *fourth) = (-*third, -*fourth);
            sao.class = match first {
                Some(first) => first.class,
                None => self.cabac.bypass(2) as u8,
            };
        }
        let shift = self.pps.sao_shifts[usize::from(component > 0)];
        sao.offsets = sao.offsets.map(|offset| offset << shift);
        sao
    }
}
