//! Reads the video usability information of a sequence parameter set (ITU-T H.265 section E.2): only the colours count, but
//! the extensions of the set follow it.

use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::codec::heif::picture::Cicp;
use crate::imaging::error::ImageError;

/// Returns the colours, if the information describes them.
pub(super) fn read(bits: &mut Bits<'_>, sub_layers: u32) -> Result<Option<Cicp>, ImageError> {
    const EXTENDED_ASPECT: u32 = 255;
    if bits.flag()? && bits.read(8)? == EXTENDED_ASPECT {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    let colours = if bits.flag()? { Some(video_signal(bits)?) } else { None };
    if bits.flag()? {
        bits.golomb()?;
        bits.golomb()?;
    }
    bits.skip(3)?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.golomb()?;
        }
    }
    if bits.flag()? {
        bits.skip(64)?;
        if bits.flag()? {
            bits.golomb()?;
        }
        if bits.flag()? {
            hypothetical_decoder(bits, sub_layers)?;
        }
    }
    if bits.flag()? {
        bits.skip(3)?;
        for _ in 0..5 {
            bits.golomb()?;
        }
    }
    Ok(colours)
}

fn video_signal(bits: &mut Bits<'_>) -> Result<Cicp, ImageError> {
    bits.skip(3)?;
    let mut cicp = Cicp { full_range: bits.flag()?, ..Cicp::UNSPECIFIED };
    if bits.flag()? {
        let mut code = || Ok(u16::try_from(bits.read(8)?).unwrap_or(0));
        cicp = Cicp { primaries: code()?, transfer: code()?, matrix: code()?, ..cicp };
    }
    Ok(cicp)
}

/// Skips the parameters of buffers (section E.2.2), which a still picture does not use.
fn hypothetical_decoder(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(), ImageError> {
    let kinds = [bits.flag()?, bits.flag()?];
    let mut by_picture = false;
    if kinds != [false; 2] {
        by_picture = bits.flag()?;
        if by_picture {
            bits.skip(19)?;
        }
        bits.skip(8)?;
        if by_picture {
            bits.skip(4)?;
        }
        bits.skip(15)?;
    }
    for _ in 0..=sub_layers {
        let is_fixed_generally = bits.flag()?;
        let is_fixed = is_fixed_generally || bits.flag()?;
        let mut low_delay = false;
        if is_fixed {
            bits.golomb()?;
        } else {
            low_delay = bits.flag()?;
        }
        let buffers = if low_delay { 0 } else { bits.golomb()? };
        if buffers > 31 {
            return Err(ImageError::Corrupt);
        }
        for _ in kinds.iter().filter(|kind| **kind) {
            for _ in 0..=buffers {
                for _ in 0..if by_picture { 4 } else { 2 } {
                    bits.golomb()?;
                }
                bits.skip(1)?;
            }
        }
    }
    Ok(())
}
