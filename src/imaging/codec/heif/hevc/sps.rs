//! Reads the sequence parameter set of HEVC (ITU-T H.265 section 7.3.2.2): the size that the decoder allocates, the coding
//! tools, and the meaning of the samples.

use super::scaling::ScalingLists;
use super::vui;
use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::codec::heif::picture::{Chroma, Cicp, Header};
use crate::imaging::error::ImageError;

/// Raw samples in place of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pcm {
    pub(super) luma_bits: u32,
    pub(super) chroma_bits: u32,
    pub(super) smallest_log2: u32,
    pub(super) largest_log2: u32,
    pub(super) skips_loop_filter: bool,
}

/// Tools of the range extensions (section 7.3.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RangeExtension {
    pub(super) skip_rotation: bool,
    pub(super) skip_context: bool,
    pub(super) implicit_rdpcm: bool,
    pub(super) no_smoothing: bool,
    pub(super) rice_adaptation: bool,
}

/// Short-term reference pictures of a set, by which the next set may be coded.
type ReferenceSets = Vec<u32>;

/// A sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) header: Header,
    /// Luma samples that the window cuts at the left and at the top.
    pub(super) cut: (u32, u32),
    pub(super) order_bits: usize,
    pub(super) smallest_block_log2: u32,
    pub(super) block_log2: u32,
    pub(super) smallest_transform_log2: u32,
    pub(super) largest_transform_log2: u32,
    pub(super) transform_depth: u32,
    /// The lists, or the default ones. `None` if all frequencies have the same factor.
    pub(super) scaling: Option<ScalingLists>,
    pub(super) sao: bool,
    pub(super) pcm: Option<Pcm>,
    pub(super) reference_sets: ReferenceSets,
    /// Long-term reference pictures, if slices may have any.
    pub(super) long_term: Option<u32>,
    pub(super) temporal_vectors: bool,
    pub(super) strong_smoothing: bool,
    pub(super) range: RangeExtension,
}

impl Sps {
    /// Reads the set from a NAL unit with its two header bytes.
    pub(super) fn read(nal: &[u8]) -> Result<Self, ImageError> {
        let bytes = super::escapes::unescaped(nal.get(2..).ok_or(ImageError::Corrupt)?);
        let mut bits = Bits::new(&bytes);
        bits.skip(4)?;
        let sub_layers = bits.read(3)?;
        bits.skip(1)?;
        profile_tier_level(&mut bits, sub_layers)?;
        bits.golomb()?;
        let chroma = match bits.golomb()? {
            0 => Chroma::None,
            1 => Chroma::Quarter,
            2 => Chroma::Half,
            // Planes that are coded like three grey pictures.
            3 if bits.flag()? => return Err(ImageError::Unsupported),
            3 => Chroma::Full,
            _ => return Err(ImageError::Corrupt),
        };
        let coded = (bits.golomb()?, bits.golomb()?);
        let (shown, cut) = window(&mut bits, coded, chroma)?;
        let depths = (bits.golomb()?, bits.golomb()?);
        let depth = match depths {
            // The planes of a picture have one type of samples.
            (luma, colour) if luma != colour && chroma != Chroma::None => {
                return Err(ImageError::Unsupported);
            }
            (0..=4, _) => u8::try_from(8 + depths.0).map_err(|_| ImageError::Corrupt)?,
            _ => return Err(ImageError::Unsupported),
        };
        let order_bits = 4 + bits.golomb()? as usize;
        let every_sub_layer = bits.flag()?;
        for _ in 0..if every_sub_layer { 3 * (sub_layers + 1) } else { 3 } {
            bits.golomb()?;
        }
        let smallest_block_log2 = bits.golomb()?.saturating_add(3);
        let block_log2 = bits.golomb()?.saturating_add(smallest_block_log2);
        let smallest_transform_log2 = bits.golomb()?.saturating_add(2);
        let largest_transform_log2 = bits.golomb()?.saturating_add(smallest_transform_log2);
        bits.golomb()?;
        let transform_depth = bits.golomb()?;
        // Blocks of 8 x 8 as the largest ones are in no profile. The rest is section 7.4.3.2.1.
        if order_bits > 16
            || !(4..=6).contains(&block_log2)
            || smallest_transform_log2 >= smallest_block_log2
            || largest_transform_log2 > block_log2.min(5)
            || transform_depth > block_log2 - smallest_transform_log2
            || coded.0 == 0
            || coded.1 == 0
            || !coded.0.is_multiple_of(1 << smallest_block_log2)
            || !coded.1.is_multiple_of(1 << smallest_block_log2)
        {
            return Err(ImageError::Corrupt);
        }
        let scaling = match bits.flag()? {
            false => None,
            true if bits.flag()? => Some(ScalingLists::read(&mut bits)?),
            true => Some(ScalingLists::by_default()),
        };
        bits.skip(1)?;
        let sao = bits.flag()?;
        let pcm = if bits.flag()? { Some(pcm(&mut bits, block_log2, depth)?) } else { None };
        let count = bits.golomb()?;
        if count > 64 {
            return Err(ImageError::Corrupt);
        }
        let mut reference_sets = Vec::new();
        for _ in 0..count {
            let set = reference_set(&mut bits, &reference_sets, false)?;
            reference_sets.push(set);
        }
        let mut long_term = None;
        if bits.flag()? {
            let count = bits.golomb()?;
            if count > 32 {
                return Err(ImageError::Corrupt);
            }
            bits.skip(count as usize * (order_bits + 1))?;
            long_term = Some(count);
        }
        let temporal_vectors = bits.flag()?;
        let strong_smoothing = bits.flag()?;
        // Samples have limited range by default (section E.3.1). Phones declare full range.
        let mut cicp = Cicp { full_range: false, ..Cicp::UNSPECIFIED };
        if bits.flag()? {
            cicp = vui::read(&mut bits, sub_layers)?.unwrap_or(cicp);
        }
        let range = if bits.flag()? { extensions(&mut bits)? } else { RangeExtension::default() };
        let header = Header { coded, shown, chroma, depth, block: 1 << block_log2, has_grain: false, cicp };
        Ok(Self {
            header,
            cut,
            order_bits,
            smallest_block_log2,
            block_log2,
            smallest_transform_log2,
            largest_transform_log2,
            transform_depth,
            scaling,
            sao,
            pcm,
            reference_sets,
            long_term,
            temporal_vectors,
            strong_smoothing,
            range,
        })
    }

    /// Returns the coding tree blocks of the picture across and down.
    pub(super) fn blocks(&self) -> (usize, usize) {
        let (width, height) = self.header.coded;
        (width.div_ceil(self.header.block) as usize, height.div_ceil(self.header.block) as usize)
    }
}

/// A length across and one down.
type Pair = (u32, u32);

/// Reads the conformance window. Returns the size of the shown part and its place.
fn window(bits: &mut Bits<'_>, coded: Pair, chroma: Chroma) -> Result<(Pair, Pair), ImageError> {
    if !bits.flag()? {
        return Ok((coded, (0, 0)));
    }
    let (half_width, half_height) = chroma.halves();
    let mut cut = |side: u32, halved: bool| {
        let unit = 1 + u32::from(halved);
        let (before, after) = (bits.golomb()?, bits.golomb()?);
        let cut = before.checked_add(after).and_then(|cut| cut.checked_mul(unit));
        let shown = cut.and_then(|cut| side.checked_sub(cut)).ok_or(ImageError::Corrupt)?;
        Ok((shown, before * unit))
    };
    let ((width, left), (height, top)) = (cut(coded.0, half_width)?, cut(coded.1, half_height)?);
    Ok(((width, height), (left, top)))
}

fn profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(), ImageError> {
    const PROFILE: usize = 88;
    const LEVEL: usize = 8;
    bits.skip(PROFILE + LEVEL)?;
    if sub_layers == 0 {
        return Ok(());
    }
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.flag()?, bits.flag()?));
    }
    for _ in sub_layers..8 {
        bits.skip(2)?;
    }
    for (profile, level) in present {
        bits.skip(if profile { PROFILE } else { 0 } + if level { LEVEL } else { 0 })?;
    }
    Ok(())
}

fn pcm(bits: &mut Bits<'_>, block_log2: u32, depth: u8) -> Result<Pcm, ImageError> {
    let (luma_bits, chroma_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let smallest_log2 = bits.golomb()?.saturating_add(3);
    let largest_log2 = bits.golomb()?.saturating_add(smallest_log2);
    let skips_loop_filter = bits.flag()?;
    if luma_bits.max(chroma_bits) > depth.into() || largest_log2 > block_log2.min(5) {
        return Err(ImageError::Corrupt);
    }
    Ok(Pcm { luma_bits, chroma_bits, smallest_log2, largest_log2, skips_loop_filter })
}

/// Reads a short-term reference picture set (section 7.3.7), which a still picture does not use. Returns the pictures in it.
pub(super) fn reference_set(bits: &mut Bits<'_>, known: &[u32], in_slice: bool) -> Result<u32, ImageError> {
    if !known.is_empty() && bits.flag()? {
        let back = if in_slice { bits.golomb()? as usize } else { 0 };
        bits.skip(1)?;
        bits.golomb()?;
        let from = known.len().checked_sub(back.saturating_add(1)).ok_or(ImageError::Corrupt)?;
        let mut kept = 0;
        for _ in 0..=known[from] {
            if bits.flag()? || bits.flag()? {
                kept += 1;
            }
        }
        return if kept > 16 { Err(ImageError::Corrupt) } else { Ok(kept) };
    }
    let pictures = bits.golomb()?.saturating_add(bits.golomb()?);
    if pictures > 16 {
        return Err(ImageError::Corrupt);
    }
    for _ in 0..pictures {
        bits.golomb()?;
        bits.skip(1)?;
    }
    Ok(pictures)
}

/// Reads the extensions of the set. Only that for ranges changes how intra pictures of one layer are decoded.
fn extensions(bits: &mut Bits<'_>) -> Result<RangeExtension, ImageError> {
    let has_range = bits.flag()?;
    // Multiple layers, depth, screen content, and those to come.
    let others = bits.read(7)?;
    const MULTILAYER: u32 = 0x40;
    if others & !MULTILAYER != 0 {
        return Err(ImageError::Unsupported);
    }
    if !has_range {
        return Ok(RangeExtension::default());
    }
    let skip_rotation = bits.flag()?;
    let skip_context = bits.flag()?;
    let implicit_rdpcm = bits.flag()?;
    // `explicit_rdpcm_enabled_flag` is for inter blocks.
    bits.skip(1)?;
    let extended_precision = bits.flag()?;
    let no_smoothing = bits.flag()?;
    // `high_precision_offsets_enabled_flag` is for weighted inter prediction.
    bits.skip(1)?;
    let rice_adaptation = bits.flag()?;
    let bypass_alignment = bits.flag()?;
    // Both are in the profiles for 16 bits only.
    if extended_precision || bypass_alignment {
        return Err(ImageError::Unsupported);
    }
    Ok(RangeExtension { skip_rotation, skip_context, implicit_rdpcm, no_smoothing, rice_adaptation })
}
