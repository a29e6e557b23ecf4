//! Writes the segments before the scan, in libjpeg's order, and no optional ones.

use super::huffman::Table;
use super::quant::Quant;
use crate::imaging::codec::jpeg::dct::ZIGZAG;

/// Writes a marker of `kind` with its content.
fn push(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.extend([0xFF, kind]);
    // No segment is longer than a kilobyte.
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(content);
}

/// Writes everything before the first bit of the scan. `tables` are DC and AC of luma, DC and AC of chroma.
pub(super) fn head(out: &mut Vec<u8>, [width, height]: [u16; 2], quants: &[Quant; 2], tables: [&Table; 4]) {
    out.extend([0xFF, 0xD8]);
    // JFIF 1.01, square pixels, no thumbnail.
    push(out, 0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    for (id, quant) in (0..).zip(quants) {
        let steps = ZIGZAG.map(|place| quant.steps[usize::from(place)]);
        push(out, 0xDB, &[&[id], steps.as_slice()].concat());
    }
    let ([width_high, width_low], [height_high, height_low]) = (width.to_be_bytes(), height.to_be_bytes());
    push(
        out,
        0xC0,
        &[8, height_high, height_low, width_high, width_low, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1],
    );
    for (id, table) in [0x00, 0x10, 0x01, 0x11].into_iter().zip(tables) {
        push(out, 0xC4, &[&[id], table.lengths.as_slice(), &table.symbols].concat());
    }
    push(out, 0xDA, &[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
}

/// The end of image marker.
pub(super) const END: [u8; 2] = [0xFF, 0xD9];
