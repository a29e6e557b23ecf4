//! Reads the sequence header of AV1 (AV1 specification section 5.5): the size of the pictures and the meaning of their samples.

use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::codec::heif::picture::{Chroma, Cicp, Header};
use crate::imaging::error::ImageError;

const LARGEST_BLOCK: u32 = 128;

/// Reads the payload of a sequence header OBU.
pub(super) fn read(payload: &[u8]) -> Result<Header, ImageError> {
    let mut bits = Bits::new(payload);
    let profile = bits.read(3)?;
    bits.skip(1)?;
    let reduced = bits.flag()?;
    if reduced {
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let size = (bits.read(width_bits)? + 1, bits.read(height_bits)? + 1);
    if !reduced && bits.flag()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !reduced {
        inter_tools(&mut bits)?;
    }
    bits.skip(3)?;
    let (depth, chroma, cicp) = colour(&mut bits, profile)?;
    if chroma != Chroma::None {
        bits.skip(1)?;
    }
    // Some writers end the header before its last flag, which then counts as set. This costs only memory.
    let has_grain = bits.flag().unwrap_or(true);
    Ok(Header { coded: size, shown: size, chroma, depth, block: LARGEST_BLOCK, has_grain, cicp })
}

/// Skips the timing and levels of an image that is coded like a video.
fn operating_points(bits: &mut Bits<'_>) -> Result<(), ImageError> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.skip(64)?;
        if bits.flag()? {
            bits.golomb()?;
        }
        if bits.flag()? {
            delay_bits = Some(bits.read(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let display_delays = bits.flag()?;
    for _ in 0..=bits.read(5)? {
        bits.skip(12)?;
        if bits.read(5)? > 7 {
            bits.skip(1)?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if display_delays && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Ok(())
}

/// Skips the tools that predict from other frames.
fn inter_tools(bits: &mut Bits<'_>) -> Result<(), ImageError> {
    bits.skip(4)?;
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?;
    }
    let screen_content = bits.flag()? || bits.flag()?;
    // The precision of vectors is declared here, unless each frame declares it.
    if screen_content && !bits.flag()? {
        bits.skip(1)?;
    }
    if order_hint {
        bits.skip(3)?;
    }
    Ok(())
}

fn colour(bits: &mut Bits<'_>, profile: u32) -> Result<(u8, Chroma, Cicp), ImageError> {
    let high = bits.flag()?;
    let depth = match (high, profile) {
        (false, _) => 8,
        (true, 2) if bits.flag()? => 12,
        (true, _) => 10,
    };
    let grey = profile != 1 && bits.flag()?;
    let mut cicp = Cicp::UNSPECIFIED;
    if bits.flag()? {
        let mut code = || Ok(u16::try_from(bits.read(8)?).unwrap_or(0));
        cicp = Cicp { primaries: code()?, transfer: code()?, matrix: code()?, ..cicp };
    }
    const SRGB: Cicp = Cicp { primaries: 1, transfer: 13, matrix: 0, full_range: true };
    if !grey && cicp == SRGB {
        return Ok((depth, Chroma::Full, cicp));
    }
    cicp.full_range = bits.flag()?;
    let chroma = match profile {
        _ if grey => Chroma::None,
        0 => Chroma::Quarter,
        1 => Chroma::Full,
        2 if depth < 12 => Chroma::Half,
        2 => match (bits.flag()?, bits.flag()?) {
            (true, true) => Chroma::Quarter,
            (true, false) => Chroma::Half,
            (false, _) => Chroma::Full,
        },
        _ => return Err(ImageError::Corrupt),
    };
    if chroma == Chroma::Quarter {
        bits.skip(2)?;
    }
    Ok((depth, chroma, cicp))
}
