//! Reads the segments before the pixels: those before the scan of a sequential JPEG, and those between the scans of a
//! progressive one.
//!
//! It rejects everything that libjpeg-turbo warns of, refuses, or decodes in its own way: anything but a frame of 8 bits with
//! all tables and nothing between the segments, and either one scan of all components in order, or the scans that
//! [`Progression`] accepts.

use super::huffman::Definition;
use super::part::Part;
use super::progressive::{Progression, ScanHeader, entropy_coded};
use super::trailer;
use crate::imaging::codec::jpeg::markers::SOF_PROGRESSIVE;
use crate::imaging::layout::Model;

const SOI: u8 = 0xD8;
const SOS: u8 = 0xDA;
/// Longest side that libjpeg accepts.
const MAX_SIDE: u16 = 65_500;
/// Most blocks of an MCU (T.81 B.2.3).
const MAX_BLOCKS: u8 = 10;

#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) model: Model,
    parts: [Part; 4],
    count: usize,
    quants: [Option<[u8; 64]>; 4],
    dc: [Option<Definition<'a>>; 4],
    ac: [Option<Definition<'a>>; 4],
    /// MCUs between restart markers; 0 for none.
    pub(super) restart: u16,
    /// The file from the first byte of entropy-coded data.
    pub(super) data: &'a [u8],
    /// The scans of a progressive file; empty if the file is sequential.
    pub(super) scans: Vec<ScanHeader<'a>>,
}

impl<'a> Header<'a> {
    /// Reads the segments of `file`. Returns `None` if anything is irregular.
    pub(super) fn read(file: &'a [u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(&[0xFF, SOI])?;
        let mut header = Self {
            width: 0,
            height: 0,
            model: Model::Grey,
            parts: [Part::default(); 4],
            count: 0,
            quants: [None; 4],
            dc: [None; 4],
            ac: [None; 4],
            restart: 0,
            data: &[],
            scans: Vec::new(),
        };
        let (mut is_jfif, mut is_adobe, mut adobe) = (false, false, None);
        let mut progression = None;
        loop {
            let (marker, payload);
            (marker, payload, rest) = segment(rest)?;
            match marker {
                0xC0 | 0xC1 if header.count == 0 => header.frame(payload)?,
                SOF_PROGRESSIVE if header.count == 0 => {
                    header.frame(payload)?;
                    progression = Some(Progression::default());
                }
                0xC4 => header.huffman(payload)?,
                0xDB => header.quantisation(payload)?,
                0xDD => header.restart = u16::from_be_bytes(*payload.as_array()?),
                0xE0 => {
                    if let [b'J', b'F', b'I', b'F', 0, major, _, _, _, _, _, _, _, _, ..] = payload {
                        is_jfif = true;
                        // libjpeg warns of other versions.
                        (*major == 1).then_some(())?;
                    }
                }
                0xEE => {
                    is_adobe |= payload.starts_with(b"Adobe");
                    if let [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..] = payload {
                        adobe = Some(*transform);
                    }
                }
                0xE1..=0xEF | 0xFE => {}
                SOS => {
                    if let Some(progression) = &mut progression {
                        rest = header.later_scans(payload, rest, progression)?;
                        let end = trailer::end(rest, true)?;
                        // Zeros at the end of a file without an end could be the rest of its last scan.
                        (end == trailer::End::Present || !file.ends_with(&[0, 0])).then_some(())?;
                    } else {
                        header.scan(payload)?;
                        header.data = rest;
                    }
                    header.model = header.colours(is_jfif, is_adobe, adobe)?;
                    return Some(header);
                }
                _ => return None,
            }
        }
    }

    /// Reads all scans, from the one with the header `payload` on. Returns the file after the last of them.
    fn later_scans(
        &mut self,
        mut payload: &'a [u8],
        mut rest: &'a [u8],
        progression: &mut Progression,
    ) -> Option<&'a [u8]> {
        loop {
            let mut scan = progression.scan(self.parts(), payload)?;
            for part in &mut scan.parts {
                part.dc = self.dc.get(usize::from(part.tables >> 4)).copied().flatten();
                part.ac = self.ac.get(usize::from(part.tables & 15)).copied().flatten();
            }
            let (data, after) = entropy_coded(rest);
            let is_last = progression.is_complete(self.count);
            scan.data = if is_last { rest } else { data };
            (scan.restart, rest) = (self.restart, after);
            self.scans.push(scan);
            if is_last {
                return Some(rest);
            }
            loop {
                let (marker, content);
                (marker, content, rest) = segment(rest)?;
                match marker {
                    0xC4 => self.huffman(content)?,
                    0xDD => self.restart = u16::from_be_bytes(*content.as_array()?),
                    // Not JFIF and Adobe, which would change the colours.
                    0xE1..=0xED | 0xEF | 0xFE => {}
                    SOS => {
                        payload = content;
                        break;
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Returns the components in order of the frame and of the scan.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }

    /// Returns the quantisation factors and the DC and AC tables of a part.
    pub(super) fn tables(&self, part: &Part) -> Option<([u8; 64], Definition<'a>, Definition<'a>)> {
        let [quant, dc, ac] = [part.quant, part.dc, part.ac].map(usize::from);
        Some(((*self.quants.get(quant)?)?, (*self.dc.get(dc)?)?, (*self.ac.get(ac)?)?))
    }

    /// Returns how many MCUs the picture has across and down. Returns `None` without components.
    pub(super) fn mcus(&self) -> Option<(usize, usize)> {
        let (across, down) = self.most()?;
        Some((usize::from(self.width).div_ceil(8 * across), usize::from(self.height).div_ceil(8 * down)))
    }

    /// Returns how many blocks of a part the picture has across and down, without those that only complete MCUs (T.81 A.2.2).
    pub(super) fn blocks(&self, part: &Part) -> Option<(usize, usize)> {
        let (across, down) = self.most()?;
        let side = |side: u16, factor: u8, most: usize| {
            (usize::from(side) * usize::from(factor)).div_ceil(most).div_ceil(8)
        };
        Some((side(self.width, part.across, across), side(self.height, part.down, down)))
    }

    /// Returns the largest sampling factors.
    fn most(&self) -> Option<(usize, usize)> {
        let across = self.parts().iter().map(|part| part.across).max()?;
        let down = self.parts().iter().map(|part| part.down).max()?;
        Some((across.into(), down.into()))
    }

    /// Returns the quantisation factors of a part.
    pub(super) fn quant(&self, part: &Part) -> Option<[u8; 64]> {
        *self.quants.get(usize::from(part.quant))?
    }

    fn frame(&mut self, payload: &[u8]) -> Option<()> {
        let [8, h0, h1, w0, w1, count @ (1 | 3 | 4), parts @ ..] = payload else { return None };
        self.height = u16::from_be_bytes([*h0, *h1]);
        self.width = u16::from_be_bytes([*w0, *w1]);
        self.count = usize::from(*count);
        let (parts, []) = parts.as_chunks::<3>() else { return None };
        let is_sized = [self.width, self.height].iter().all(|side| (1..=MAX_SIDE).contains(side));
        if !is_sized || parts.len() != self.count {
            return None;
        }
        for (part, [id, factors, quant]) in self.parts.iter_mut().zip(parts) {
            *part = Part { id: *id, across: factors >> 4, down: factors & 15, quant: *quant, dc: 0, ac: 0 };
        }
        let is_sampled = |part: &Part| (1..=4).contains(&part.across) && (1..=4).contains(&part.down);
        if !self.parts().iter().all(is_sampled) {
            return None;
        }
        if self.count == 1 {
            // A scan of one component has one block in an MCU, regardless of its factors.
            (self.parts[0].across, self.parts[0].down) = (1, 1);
        }
        let blocks: u8 = self.parts().iter().map(|part| part.across * part.down).sum();
        (blocks <= MAX_BLOCKS).then_some(())
    }

    fn huffman(&mut self, mut payload: &'a [u8]) -> Option<()> {
        while let Some((class, rest)) = payload.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let tables = if class & 0xF0 == 0x10 { &mut self.ac } else { &mut self.dc };
            let table = tables.get_mut(usize::from(class & 15)).filter(|_| *class < 0x20 && total <= 256)?;
            *table = Some(Definition { counts, symbols });
            payload = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut payload: &[u8]) -> Option<()> {
        while let Some((index, rest)) = payload.split_first() {
            // Factors of 16 bits, which the upper half of the index declares, are left to libjpeg-turbo.
            let table = self.quants.get_mut(usize::from(*index))?;
            let (factors, rest) = rest.split_first_chunk()?;
            *table = Some(*factors);
            payload = rest;
        }
        Some(())
    }

    fn scan(&mut self, payload: &[u8]) -> Option<()> {
        let (count, rest) = payload.split_first()?;
        let (selectors, [0, 63, 0]) = rest
            .as_chunks::<2>()
            .0
            .split_at_checked(self.count)
            .and_then(|(selectors, _)| Some((selectors, rest.get(2 * self.count..)?)))?
        else {
            return None;
        };
        if self.count == 0 || usize::from(*count) != self.count {
            return None;
        }
        for (index, [id, tables]) in selectors.iter().enumerate() {
            let is_new = self.parts[..index].iter().all(|part| part.id != *id);
            let part = self.parts.get_mut(index).filter(|part| part.id == *id && is_new)?;
            (part.dc, part.ac) = (tables >> 4, tables & 15);
        }
        Some(())
    }

    /// Returns the meaning of the components by the rules of libjpeg's `default_decompress_parms`. Adobe's inks are inverted.
    fn colours(&self, is_jfif: bool, is_adobe: bool, adobe: Option<u8>) -> Option<Model> {
        let ids = [0, 1, 2].map(|index| self.parts[index].id);
        Some(match (self.count, adobe) {
            (1, _) => Model::Grey,
            (3, _) if is_jfif => Model::YCbCr,
            (3, Some(0)) => Model::Rgb,
            // libjpeg warns of a transform that is undefined for the number of components, and uses the common one.
            (3, Some(_)) => Model::YCbCr,
            (3, None) if ids == *b"RGB" => Model::Rgb,
            (3, None) => Model::YCbCr,
            (4, Some(0) | None) => Model::Cmyk { is_inverted: is_adobe },
            (4, Some(_)) => Model::Ycck { is_inverted: is_adobe },
            _ => return None,
        })
    }
}

/// Splits `rest` into the marker and the payload of its first segment, and the rest of the file.
fn segment(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let fill = rest.iter().position(|byte| *byte != 0xFF).filter(|fill| *fill > 0)?;
    let (marker, rest) = rest[fill..].split_first()?;
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (segment, behind) = rest.split_at_checked(length)?;
    Some((*marker, segment.get(2..)?, behind))
}
