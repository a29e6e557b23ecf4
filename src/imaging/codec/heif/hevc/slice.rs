//! Reads headers of slice segments of HEVC (ITU-T H.265 section 7.3.6).

use super::pps::{Deblocking, Pps};
use super::scaling::signed;
use super::sps::{self, Sps};
use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::error::ImageError;

/// Types of NAL units of pictures that refer to no other picture (IRAP, table 7-1).
const INTRA_PICTURES: std::ops::RangeInclusive<u8> = 16..=23;
/// Those of pictures that reset the decoder (IDR). Their headers name no reference pictures.
const RESETS: [u8; 2] = [19, 20];

/// The part of a header that all segments of a slice share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slice {
    /// First block of the slice in raster order.
    pub(super) first: usize,
    pub(super) sao_luma: bool,
    pub(super) sao_chroma: bool,
    pub(super) qp: i32,
    pub(super) chroma_qp: [i32; 2],
    pub(super) chroma_offsets: bool,
    pub(super) deblocking: Deblocking,
    pub(super) filters_across: bool,
}

/// The header of a slice segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// First block of the segment in raster order.
    pub(super) first: usize,
    pub(super) is_dependent: bool,
    pub(super) slice: Slice,
    /// Where the coded data begins.
    pub(super) data: usize,
}

/// Returns the number of the picture parameter set that a segment uses.
pub(super) fn pps_id(kind: u8, payload: &[u8]) -> Result<u32, ImageError> {
    let mut bits = Bits::new(payload);
    bits.skip(1 + usize::from(INTRA_PICTURES.contains(&kind)))?;
    bits.golomb()
}

impl Segment {
    /// Reads the header of a segment. `kind` is the type of its NAL unit. A dependent segment continues the slice of the previous
    /// segment, which is `before`.
    pub(super) fn read(
        kind: u8,
        payload: &[u8],
        sps: &Sps,
        pps: &Pps,
        before: Option<Slice>,
    ) -> Result<Self, ImageError> {
        let bits = &mut Bits::new(payload);
        let is_first = bits.flag()?;
        if INTRA_PICTURES.contains(&kind) {
            bits.skip(1)?;
        }
        bits.golomb()?;
        let mut is_dependent = false;
        let mut first = 0;
        if !is_first {
            is_dependent = pps.dependent_slices && bits.flag()?;
            let (across, down) = sps.blocks();
            let count = across * down;
            first = bits.read(usize::BITS - (count - 1).leading_zeros())? as usize;
            if first == 0 || first >= count {
                return Err(ImageError::Corrupt);
            }
        }
        let slice = if is_dependent {
            before.ok_or(ImageError::Corrupt)?
        } else {
            Slice::read(bits, kind, first, sps, pps)?
        };
        if pps.has_tiles || pps.wavefront {
            // These are the sizes of substreams. The decoder reads one after the other and finds their ends itself.
            let count = bits.golomb()? as usize;
            if count > 0 {
                let len = bits.golomb()? as usize;
                bits.skip(len.saturating_add(1).saturating_mul(count))?;
            }
        }
        if pps.slice_extension {
            let bytes = bits.golomb()? as usize;
            bits.skip(8 * bytes)?;
        }
        if !bits.flag()? {
            return Err(ImageError::Corrupt);
        }
        Ok(Self { first, is_dependent, slice, data: bits.position().div_ceil(8) })
    }
}

impl Slice {
    fn read(bits: &mut Bits<'_>, kind: u8, first: usize, sps: &Sps, pps: &Pps) -> Result<Self, ImageError> {
        const INTRA: u32 = 2;
        bits.skip(pps.extra_slice_bits)?;
        if bits.golomb()? != INTRA {
            return Err(ImageError::Unsupported);
        }
        if pps.output_flag {
            bits.skip(1)?;
        }
        if !RESETS.contains(&kind) {
            references(bits, sps)?;
        }
        let has_chroma = sps.header.chroma != crate::imaging::codec::heif::picture::Chroma::None;
        let sao_luma = sps.sao && bits.flag()?;
        let sao_chroma = sps.sao && has_chroma && bits.flag()?;
        let qp = signed(bits)?.saturating_add(pps.qp);
        let mut chroma_qp = [0; 2];
        if pps.slice_chroma_qp {
            chroma_qp = [signed(bits)?, signed(bits)?];
        }
        let chroma_offsets = pps.chroma_offsets.is_some() && bits.flag()?;
        let mut deblocking = pps.deblocking;
        if pps.deblocking_override && bits.flag()? {
            deblocking = Deblocking::read(bits)?;
        }
        let mut filters_across = pps.filters_across_slices;
        if filters_across && (sao_luma || sao_chroma || !deblocking.is_off) {
            filters_across = bits.flag()?;
        }
        let lowest = -6 * (i32::from(sps.header.depth) - 8);
        if !(lowest..=51).contains(&qp) || chroma_qp.iter().any(|offset| offset.unsigned_abs() > 12) {
            return Err(ImageError::Corrupt);
        }
        Ok(Self { first, sao_luma, sao_chroma, qp, chroma_qp, chroma_offsets, deblocking, filters_across })
    }
}

/// Skips the lists of reference pictures. An intra picture may have them in its header, although it does not use them.
fn references(bits: &mut Bits<'_>, sps: &Sps) -> Result<(), ImageError> {
    bits.skip(sps.order_bits)?;
    if !bits.flag()? {
        sps::reference_set(bits, &sps.reference_sets, true)?;
    } else if sps.reference_sets.len() > 1 {
        let last = sps.reference_sets.len() - 1;
        bits.skip((usize::BITS - last.leading_zeros()) as usize)?;
    }
    if let Some(known) = sps.long_term {
        let from_known = if known > 0 { bits.golomb()? } else { 0 };
        let own = bits.golomb()?;
        if from_known.saturating_add(own) > 33 {
            return Err(ImageError::Corrupt);
        }
        for n in 0..from_known + own {
            if n < from_known {
                bits.skip(if known > 1 { (32 - (known - 1).leading_zeros()) as usize } else { 0 })?;
            } else {
                bits.skip(sps.order_bits + 1)?;
            }
            if bits.flag()? {
                bits.golomb()?;
            }
        }
    }
    bits.skip(usize::from(sps.temporal_vectors))
}
