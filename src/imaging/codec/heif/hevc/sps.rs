//! Reads the sequence parameter set of HEVC (ITU-T H.265 section 7.3.2.2): the size that a decoder will allocate, and the
//! meaning of the samples. The decoder reads the set, too, but only reports the size after cropping, so a file with a small
//! window could make it allocate a picture of any size.

use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::codec::heif::picture::{Chroma, Cicp, Header};
use crate::imaging::error::ImageError;

/// Reads the set from a NAL unit with its two header bytes.
pub(super) fn read(nal: &[u8]) -> Result<Header, ImageError> {
    let bytes = unescaped(nal.get(2..).ok_or(ImageError::Corrupt)?);
    let mut bits = Bits::new(&bytes);
    bits.skip(4)?;
    let sub_layers = bits.read(3)?;
    bits.skip(1)?;
    profile_tier_level(&mut bits, sub_layers)?;
    bits.golomb()?;
    let chroma = match bits.golomb()? {
        0 => Chroma::None,
        1 => Chroma::Quarter,
        // Cameras write 4:2:2 and editors 4:4:4, phones neither. The decoder does not decode them correctly.
        2 | 3 => return Err(ImageError::Unsupported),
        _ => return Err(ImageError::Corrupt),
    };
    let coded = (bits.golomb()?, bits.golomb()?);
    let mut shown = coded;
    if bits.flag()? {
        let (half_width, half_height) = chroma.halves();
        let mut cut = |side: u32, halved: bool| {
            let (before, after) = (bits.golomb()?, bits.golomb()?);
            let cut = before.checked_add(after).and_then(|cut| cut.checked_mul(1 + u32::from(halved)));
            cut.and_then(|cut| side.checked_sub(cut)).ok_or(ImageError::Corrupt)
        };
        shown = (cut(coded.0, half_width)?, cut(coded.1, half_height)?);
    }
    let depths = (bits.golomb()?, bits.golomb()?);
    let depth = match depths {
        // The decoder reports one depth for all planes.
        (luma, colour) if luma != colour && chroma != Chroma::None => return Err(ImageError::Unsupported),
        (0..=4, _) => u8::try_from(8 + depths.0).map_err(|_| ImageError::Corrupt)?,
        _ => return Err(ImageError::Unsupported),
    };
    let (order_bits, block) = block_sizes(&mut bits, sub_layers)?;
    // The rest only describes colours. Samples have limited range by default (section E.3.1). Phones declare full range.
    const UNSPECIFIED_COLOUR: Cicp = Cicp { full_range: false, ..Cicp::UNSPECIFIED };
    let cicp = video_signal(&mut bits, order_bits).ok().flatten().unwrap_or(UNSPECIFIED_COLOUR);
    Ok(Header { coded, shown, chroma, depth, block, has_grain: false, cicp })
}

fn unescaped(nal: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for byte in nal {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
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

/// Reads the sizes of blocks. Returns the bits of a picture's order number, and the side of a coding tree block.
fn block_sizes(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(usize, u32), ImageError> {
    let order_bits = bits.golomb()?;
    let every_sub_layer = bits.flag()?;
    for _ in 0..if every_sub_layer { 3 * (sub_layers + 1) } else { 3 } {
        bits.golomb()?;
    }
    let smallest = bits.golomb()?;
    let largest = 3u32.saturating_add(smallest).saturating_add(bits.golomb()?);
    // Below 16 x 16, which no profile has, the tables of the decoder become disproportionately large.
    if order_bits > 12 || !(4..=6).contains(&largest) {
        return Err(ImageError::Corrupt);
    }
    Ok((4 + order_bits as usize, 1 << largest))
}

/// Returns the colours, if the set describes them.
fn video_signal(bits: &mut Bits<'_>, order_bits: usize) -> Result<Option<Cicp>, ImageError> {
    for _ in 0..4 {
        bits.golomb()?;
    }
    if bits.flag()? && bits.flag()? {
        scaling_lists(bits)?;
    }
    bits.skip(2)?;
    let raw_blocks = bits.flag()?;
    if raw_blocks {
        bits.skip(8)?;
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1)?;
    }
    reference_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.golomb()? {
            bits.skip(order_bits + 1)?;
        }
    }
    bits.skip(2)?;
    if !bits.flag()? {
        return Ok(None);
    }
    const EXTENDED_ASPECT: u32 = 255;
    if bits.flag()? && bits.read(8)? == EXTENDED_ASPECT {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if !bits.flag()? {
        return Ok(None);
    }
    bits.skip(3)?;
    let mut cicp = Cicp { full_range: bits.flag()?, ..Cicp::UNSPECIFIED };
    if bits.flag()? {
        let mut code = || Ok(u16::try_from(bits.read(8)?).unwrap_or(0));
        cicp = Cicp { primaries: code()?, transfer: code()?, matrix: code()?, ..cicp };
    }
    Ok(Some(cicp))
}

fn scaling_lists(bits: &mut Bits<'_>) -> Result<(), ImageError> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.golomb()?;
                continue;
            }
            let first = usize::from(size > 1);
            for _ in 0..first + 64.min(1 << (4 + 2 * size)) {
                bits.golomb()?;
            }
        }
    }
    Ok(())
}

/// Skips short-term reference picture sets, which a still picture does not use.
fn reference_sets(bits: &mut Bits<'_>) -> Result<(), ImageError> {
    let count = bits.golomb()?;
    if count > 64 {
        return Err(ImageError::Corrupt);
    }
    let mut pictures = 0;
    for set in 0..count {
        if set > 0 && bits.flag()? {
            bits.skip(1)?;
            bits.golomb()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                if bits.flag()? || bits.flag()? {
                    kept += 1;
                }
            }
            pictures = kept;
        } else {
            pictures = bits.golomb()?.saturating_add(bits.golomb()?);
            if pictures > 16 {
                return Err(ImageError::Corrupt);
            }
            for _ in 0..pictures {
                bits.golomb()?;
                bits.skip(1)?;
            }
        }
    }
    Ok(())
}
