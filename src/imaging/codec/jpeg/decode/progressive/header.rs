//! Reads the scan headers of a progressive JPEG, and checks that the scans together contain every bit once.
//!
//! libjpeg-turbo warns of an order in which a scan refines bits that no scan has sent, and decodes files with missing bits in
//! its own way (it smooths them). Such files are left to it.

use crate::imaging::codec::jpeg::decode::huffman::Definition;
use crate::imaging::codec::jpeg::decode::part::Part;
use crate::imaging::codec::jpeg::markers::{RST0, RST7};

/// Most scans. Cameras and optimisers write 3 to about 15. libjpeg-turbo refuses files with more, see `turbo`.
const MAX_SCANS: usize = 100;
/// Most lowest bits that a scan may leave to later ones (T.81 table B.3).
const MAX_LOW: u8 = 13;
/// Marks coefficients that are in no scan so far.
const UNSEEN: u8 = u8::MAX;

/// The header of a scan with all that the decoder needs of the segments before it.
#[derive(Debug)]
pub(in super::super) struct ScanHeader<'a> {
    /// The components of the scan, in order of the frame.
    pub(in super::super) parts: Vec<ScanPart<'a>>,
    /// First and last coefficient in zigzag order.
    pub(super) first: u8,
    pub(super) last: u8,
    /// Lowest bits of the coefficients that are left to later scans.
    pub(super) low: u8,
    /// True if an earlier scan contains the higher bits.
    pub(super) is_refinement: bool,
    /// MCUs between restart markers; 0 for none.
    pub(in super::super) restart: u16,
    /// The entropy-coded data, without the marker that ends it. Of the last scan all the rest of the file, so that restart markers
    /// after its last bit are judged together with what else follows.
    pub(in super::super) data: &'a [u8],
}

#[derive(Debug)]
pub(in super::super) struct ScanPart<'a> {
    pub(super) component: usize,
    /// The numbers of its DC table (upper half) and its AC table.
    pub(in super::super) tables: u8,
    /// The tables as they are defined when the scan begins.
    pub(in super::super) dc: Option<Definition<'a>>,
    pub(in super::super) ac: Option<Definition<'a>>,
}

/// Records which bits of the coefficients the scans so far contain.
#[derive(Debug)]
pub(in super::super) struct Progression {
    scans: usize,
    /// For each coefficient of each component, how many of its lowest bits are missing.
    missing_bits: [[u8; 64]; 4],
}

impl Default for Progression {
    fn default() -> Self {
        Self { scans: 0, missing_bits: [[UNSEEN; 64]; 4] }
    }
}

impl Progression {
    /// Reads the next scan header. Returns `None` if it is irregular or does not fit the scans before it.
    pub(in super::super) fn scan<'a>(&mut self, frame: &[Part], payload: &'a [u8]) -> Option<ScanHeader<'a>> {
        self.scans += 1;
        let (count, rest) = payload.split_first()?;
        let count = usize::from(*count);
        let (selectors, parameters) = rest.split_at_checked(2 * count)?;
        let [first @ ..=63, last @ ..=63, bits] = *parameters else { return None };
        let (high, low) = (bits >> 4, bits & 15);
        let is_refinement = high > 0;
        // The first coefficient has scans of its own, which may contain several components.
        let is_band = if first == 0 { last == 0 } else { first <= last && count == 1 };
        let is_step = !is_refinement || high == low + 1;
        if self.scans > MAX_SCANS || count == 0 || low > MAX_LOW || !is_band || !is_step {
            return None;
        }
        let mut parts: Vec<ScanPart<'a>> = Vec::with_capacity(count.min(frame.len()));
        for [id, tables] in selectors.as_chunks::<2>().0 {
            let component = frame.iter().position(|part| part.id == *id)?;
            let is_unique = frame[component + 1..].iter().all(|part| part.id != *id);
            let is_in_order = parts.last().is_none_or(|before| before.component < component);
            (is_unique && is_in_order).then_some(())?;
            let bits = &mut self.missing_bits[component];
            let expected = if is_refinement { high } else { UNSEEN };
            let has_average = first == 0 || bits[0] != UNSEEN;
            let band = &mut bits[usize::from(first)..=usize::from(last)];
            (has_average && band.iter().all(|missing| *missing == expected)).then_some(())?;
            band.fill(low);
            parts.push(ScanPart { component, tables: *tables, dc: None, ac: None });
        }
        Some(ScanHeader { parts, first, last, low, is_refinement, restart: 0, data: &[] })
    }

    /// Returns whether the scans so far contain all bits of the first `count` components.
    pub(in super::super) fn is_complete(&self, count: usize) -> bool {
        self.missing_bits[..count].as_flattened().iter().all(|missing| *missing == 0)
    }
}

/// Splits `rest` into the entropy-coded data of a scan, with its restart markers, and the file from the next marker on.
pub(in super::super) fn entropy_coded(rest: &[u8]) -> (&[u8], &[u8]) {
    let ends = |at: &usize| !matches!(rest.get(at + 1), Some(0 | RST0..=RST7));
    let end = memchr::memchr_iter(0xFF, rest).find(ends).unwrap_or(rest.len());
    rest.split_at(end)
}
