//! Converts the bytes of a row of a strip or tile to pixels of 8 bits a sample.

use super::page::{Colour, Page};

/// Undoes horizontal differencing (TIFF 6.0 section 14) in a row of a chunk: each sample is relative to that of the pixel to
/// its left. This includes samples that are dropped afterwards.
pub(super) fn undo_differencing(page: &Page<'_>, row: &mut [u8]) {
    let samples = page.chunk_samples() as usize;
    if page.bits == 8 {
        for at in samples..row.len() {
            row[at] = row[at].wrapping_add(row[at - samples]);
        }
        return;
    }
    let (words, _) = row.as_chunks_mut::<2>();
    for at in samples..words.len() {
        let (word, left) = (words[at], words[at - samples]);
        words[at] = match page.is_big_endian {
            true => u16::from_be_bytes(word).wrapping_add(u16::from_be_bytes(left)).to_be_bytes(),
            false => u16::from_le_bytes(word).wrapping_add(u16::from_le_bytes(left)).to_le_bytes(),
        };
    }
}

/// Writes the samples of `row` into `pixels`, which are `page.pixel()`s: all of them, or only the sample `plane` of each.
pub(super) fn unpack(page: &Page<'_>, plane: Option<u32>, row: &[u8], pixels: &mut [u8]) {
    let is_stored = !matches!(page.colour, Colour::Palette | Colour::Grey { is_white_zero: true });
    if page.bits == 8 && page.chunk_samples() == page.used_samples() && plane.is_none() && is_stored {
        pixels.copy_from_slice(&row[..pixels.len()]);
        return;
    }
    // 16-bit samples are truncated to 8 bits, as in Pillow.
    let high = usize::from(!page.is_big_endian);
    match page.bits {
        8 => spread(page, plane, pixels, |at| row[at]),
        16 => spread(page, plane, pixels, |at| row[2 * at + high]),
        bits => {
            let per_byte = 8 / bits as usize;
            let most = u8::MAX >> (8 - bits);
            // An index into a palette is not scaled, a grey is.
            let scale = if page.colour == Colour::Palette { 1 } else { u8::MAX / most };
            spread(page, plane, pixels, |at| {
                let place = per_byte - 1 - at % per_byte;
                (row[at / per_byte] >> (place * bits as usize) & most) * scale
            });
        }
    }
}

/// Spreads samples over `pixels`. `sample` returns the sample at an index of the row.
fn spread(page: &Page<'_>, plane: Option<u32>, pixels: &mut [u8], sample: impl Fn(usize) -> u8) {
    let pixels = pixels.chunks_exact_mut(page.pixel().bytes());
    let stride = page.chunk_samples() as usize;
    let used = match plane {
        Some(plane) => plane as usize..plane as usize + 1,
        None => 0..page.used_samples() as usize,
    };
    let samples = || used.clone().enumerate();
    for (index, pixel) in pixels.enumerate() {
        for (place, channel) in samples() {
            let value = sample(index * stride + place);
            match (page.colour, channel) {
                (Colour::Palette, 0) => {
                    let colour = page.palette.get(usize::from(value)).copied().unwrap_or_default();
                    pixel[..3].copy_from_slice(&colour);
                }
                // Three bytes of colour precede the alpha.
                (Colour::Palette, _) => pixel[3] = value,
                (Colour::Grey { is_white_zero: true }, 0) => pixel[0] = 255 - value,
                _ => pixel[channel] = value,
            }
        }
    }
}
