//! Reads picture parameter sets of HEVC (ITU-T H.265 section 7.3.2.3).

use super::scaling::{ScalingLists, signed};
use super::sps::Sps;
use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::error::ImageError;

/// Whether the deblocking filter is off, and its offsets (doubled).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Deblocking {
    pub(super) is_off: bool,
    pub(super) beta: i32,
    pub(super) tc: i32,
}

impl Deblocking {
    /// Reads the flag and the offsets.
    pub(super) fn read(bits: &mut Bits<'_>) -> Result<Self, ImageError> {
        if bits.flag()? {
            return Ok(Self { is_off: true, ..Self::default() });
        }
        let (beta, tc) = (signed(bits)?, signed(bits)?);
        if beta.unsigned_abs().max(tc.unsigned_abs()) > 6 {
            return Err(ImageError::Corrupt);
        }
        Ok(Self { is_off: false, beta: 2 * beta, tc: 2 * tc })
    }
}

/// A picture parameter set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pps {
    pub(super) dependent_slices: bool,
    pub(super) output_flag: bool,
    pub(super) extra_slice_bits: usize,
    pub(super) sign_hiding: bool,
    pub(super) qp: i32,
    pub(super) transform_skip: bool,
    /// Depth of the blocks with an own quantiser, if any have.
    pub(super) qp_delta_depth: Option<u32>,
    pub(super) chroma_qp: [i32; 2],
    pub(super) slice_chroma_qp: bool,
    pub(super) transquant_bypass: bool,
    pub(super) wavefront: bool,
    pub(super) has_tiles: bool,
    /// First block of each column and row of tiles, and the end.
    pub(super) columns: Vec<usize>,
    pub(super) rows: Vec<usize>,
    pub(super) filters_across_tiles: bool,
    pub(super) filters_across_slices: bool,
    pub(super) deblocking_override: bool,
    pub(super) deblocking: Deblocking,
    pub(super) scaling: Option<ScalingLists>,
    pub(super) slice_extension: bool,
    pub(super) skip_log2: u32,
    pub(super) cross_component: bool,
    /// Depth of the blocks with own offsets of the quantiser for chroma, and the offsets, if any have.
    pub(super) chroma_offsets: Option<(u32, Vec<[i32; 2]>)>,
    pub(super) sao_shifts: [u32; 2],
}

impl Pps {
    /// Returns the number of the set in a NAL unit with its two header bytes.
    pub(super) fn id(nal: &[u8]) -> Result<u32, ImageError> {
        Bits::new(nal.get(2..).ok_or(ImageError::Corrupt)?).golomb()
    }

    /// Reads the set from a NAL unit with its two header bytes.
    pub(super) fn read(nal: &[u8], sps: &Sps) -> Result<Self, ImageError> {
        let bytes = super::escapes::unescaped(nal.get(2..).ok_or(ImageError::Corrupt)?);
        let bits = &mut Bits::new(&bytes);
        bits.golomb()?;
        bits.golomb()?;
        let mut pps = Self {
            dependent_slices: bits.flag()?,
            output_flag: bits.flag()?,
            extra_slice_bits: bits.read(3)? as usize,
            sign_hiding: bits.flag()?,
            skip_log2: 2,
            ..Self::default()
        };
        bits.skip(1)?;
        bits.golomb()?;
        bits.golomb()?;
        pps.qp = signed(bits)?.saturating_add(26);
        // Of an intra picture, all neighbours are intra blocks, so `constrained_intra_pred_flag` changes nothing.
        bits.skip(1)?;
        pps.transform_skip = bits.flag()?;
        if bits.flag()? {
            pps.qp_delta_depth = Some(bits.golomb()?);
        }
        pps.chroma_qp = [signed(bits)?, signed(bits)?];
        pps.slice_chroma_qp = bits.flag()?;
        bits.skip(2)?;
        pps.transquant_bypass = bits.flag()?;
        pps.has_tiles = bits.flag()?;
        pps.wavefront = bits.flag()?;
        pps.tiles(bits, sps)?;
        pps.filters_across_slices = bits.flag()?;
        if bits.flag()? {
            pps.deblocking_override = bits.flag()?;
            pps.deblocking = Deblocking::read(bits)?;
        }
        if bits.flag()? {
            pps.scaling = Some(ScalingLists::read(bits)?);
        }
        bits.skip(1)?;
        bits.golomb()?;
        pps.slice_extension = bits.flag()?;
        if bits.flag()? {
            pps.extensions(bits)?;
        }
        let diagonal = sps.block_log2 - sps.smallest_block_log2;
        let depths = [pps.qp_delta_depth, pps.chroma_offsets.as_ref().map(|(depth, _)| *depth)];
        let is_deep = depths.into_iter().flatten().any(|depth| depth > diagonal);
        let is_shifted = pps.chroma_qp.iter().any(|offset| offset.unsigned_abs() > 12);
        if is_deep || is_shifted || pps.sao_shifts.iter().any(|shift| *shift > 2) {
            return Err(ImageError::Corrupt);
        }
        Ok(pps)
    }

    fn tiles(&mut self, bits: &mut Bits<'_>, sps: &Sps) -> Result<(), ImageError> {
        let (across, down) = sps.blocks();
        (self.columns, self.rows) = (vec![0, across], vec![0, down]);
        self.filters_across_tiles = true;
        if !self.has_tiles {
            return Ok(());
        }
        let (columns, rows) = (bits.golomb()? as usize, bits.golomb()? as usize);
        if columns >= across.min(20) || rows >= down.min(22) {
            return Err(ImageError::Corrupt);
        }
        let is_uniform = bits.flag()?;
        for (count, whole, starts) in
            [(columns + 1, across, &mut self.columns), (rows + 1, down, &mut self.rows)]
        {
            starts.clear();
            starts.push(0);
            for n in 1..count {
                let last = starts.last().copied().unwrap_or(0);
                let start = if is_uniform {
                    n * whole / count
                } else {
                    (bits.golomb()? as usize).saturating_add(last + 1)
                };
                if start <= last || start >= whole {
                    return Err(ImageError::Corrupt);
                }
                starts.push(start);
            }
            starts.push(whole);
        }
        self.filters_across_tiles = bits.flag()?;
        Ok(())
    }

    fn extensions(&mut self, bits: &mut Bits<'_>) -> Result<(), ImageError> {
        let has_range = bits.flag()?;
        // Multiple layers, depth, screen content, and those to come.
        if bits.read(7)? != 0 {
            return Err(ImageError::Unsupported);
        }
        if !has_range {
            return Ok(());
        }
        if self.transform_skip {
            self.skip_log2 = bits.golomb()?.saturating_add(2);
        }
        self.cross_component = bits.flag()?;
        if bits.flag()? {
            let depth = bits.golomb()?;
            let count = bits.golomb()?;
            if count > 5 {
                return Err(ImageError::Corrupt);
            }
            let mut offsets = Vec::new();
            for _ in 0..=count {
                let pair = [signed(bits)?, signed(bits)?];
                if pair.iter().any(|offset| offset.unsigned_abs() > 12) {
                    return Err(ImageError::Corrupt);
                }
                offsets.push(pair);
            }
            self.chroma_offsets = Some((depth, offsets));
        }
        self.sao_shifts = [bits.golomb()?, bits.golomb()?];
        Ok(())
    }
}
