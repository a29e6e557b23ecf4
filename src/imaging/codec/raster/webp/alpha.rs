//! Decodes the alpha of a lossy WebP (RFC 9649 section 2.7.1.2).

use super::lossless;
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;

/// Returns an upper estimate of the bytes that decoding holds, including the plane.
pub(super) fn memory(width: u32, height: u32, len: usize) -> u64 {
    lossless::memory(width, height, len) + u64::from(width) * u64::from(height)
}

/// Decodes the plane of opacity in an `ALPH` chunk. Fails if the chunk is corrupt or incomplete, or without budget.
pub(super) fn decode(
    chunk: &[u8],
    width: u32,
    height: u32,
    budget: &WorkBudget<'_>,
) -> Result<Vec<u8>, ImageError> {
    let (info, data) = chunk.split_first().ok_or(ImageError::Truncated)?;
    let (compression, filter, preprocessing) = (info & 3, info >> 2 & 3, info >> 4 & 3);
    if compression > 1 || preprocessing > 1 {
        return Err(ImageError::Corrupt);
    }
    let (columns, count) = (width as usize, width as usize * height as usize);
    let mut plane = Vec::with_capacity(count);
    if compression == 1 {
        let coded = lossless::decode(data, width, height, budget)?;
        coded.rows(budget, |row| {
            plane.extend(row.iter().map(|pixel| pixel.to_le_bytes()[1]));
            Ok(())
        })?;
    } else {
        plane.extend_from_slice(data.get(..count).ok_or(ImageError::Truncated)?);
    }
    let mut rows = plane.chunks_exact_mut(columns);
    let mut above: Option<&mut [u8]> = None;
    while let Some(row) = rows.next().filter(|_| filter != 0) {
        budget.check()?;
        match (&above, filter) {
            (Some(above), 2) => {
                row.iter_mut().zip(above.iter()).for_each(|(to, above)| *to = to.wrapping_add(*above));
            }
            (Some(above), 3) => add_gradient(row, above),
            // For every filter the first row is predicted from the left.
            _ => {
                let mut left = above.map_or(0, |above| above[0]);
                for to in &mut *row {
                    left = to.wrapping_add(left);
                    *to = left;
                }
            }
        }
        above = Some(row);
    }
    Ok(plane)
}

/// Adds to each sample of a row the sample on its left, and the step from above left to above.
fn add_gradient(row: &mut [u8], above: &[u8]) {
    let (mut left, mut corner) = (i16::from(above[0]), i16::from(above[0]));
    for (to, above) in row.iter_mut().zip(above) {
        let above = i16::from(*above);
        let predicted = (left + above - corner).clamp(0, 255) as u8;
        *to = to.wrapping_add(predicted);
        (left, corner) = (i16::from(*to), above);
    }
}
