//! Chooses the picture of an ICO that is decoded.

use crate::imaging::error::ImageError;
use crate::imaging::work_budget::Input;

/// Returns entry, offset and length of the chosen picture: the one with the most bits a pixel, among equals the largest.
fn best_of_ico(file: &[u8]) -> Option<(&[u8; 16], usize, usize)> {
    let count = u16::from_le_bytes(*file.get(4..)?.first_chunk()?);
    let entries = file.get(6..)?.as_chunks::<16>().0.iter().take(usize::from(count));
    // 0 means 256.
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    let best = entries.max_by_key(|entry| ([entry[7], entry[6]], side(entry[0]) * side(entry[1])))?;
    let number = |at: usize| Some(u32::from_le_bytes(*best.get(at..)?.first_chunk()?) as usize);
    let offset = number(12)?;
    let rest = file.len().checked_sub(offset)?;
    Some((best, offset, number(8)?.min(rest)))
}

/// Returns the PNG in an ICO if the chosen picture is a PNG, which the ICO decoder would decode without limits.
pub(in crate::imaging::codec) fn png_in_ico<'a>(input: &Input<'a>) -> Result<Option<Input<'a>>, ImageError> {
    let file = input.whole()?;
    let Some((_, offset, length)) = best_of_ico(file) else { return Ok(None) };
    let is_png = file[offset..offset + length].starts_with(b"\x89PNG");
    is_png.then(|| input.part(offset, length)).transpose()
}

/// Returns an ICO with only the chosen picture, so that the decoder cannot choose another one.
pub(super) fn one_picture_ico(file: &[u8]) -> Result<Vec<u8>, ImageError> {
    const DATA: u32 = 6 + 16;
    let (entry, offset, length) = best_of_ico(file).ok_or(ImageError::Corrupt)?;
    let picture = &file[offset..offset + length];
    let mut ico = file.get(..4).ok_or(ImageError::Corrupt)?.to_vec();
    ico.extend(1u16.to_le_bytes());
    ico.extend(&entry[..8]);
    ico.extend(u32::try_from(picture.len()).map_err(|_| ImageError::Corrupt)?.to_le_bytes());
    ico.extend(DATA.to_le_bytes());
    ico.extend(picture);
    Ok(ico)
}
