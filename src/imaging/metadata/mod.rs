//! Keeps part of a photo's EXIF if the operator asks for it (`STRIP_GPS=false`): camera and lens, exposure, dates, position.
//!
//! Our reader selects the tags of an allow-list and checks each value against its tag's rule. little_exif writes a new block
//! from the values that pass. So nothing else can be kept: maker notes, serial numbers, names of owners, comments, previews
//! (IFD1), XMP and IPTC. Orientation is 1, the size is that of the output, and the colour space is sRGB, because the pixels are
//! upright, resized and converted.
//!
//! **Position.** EXIF has no tag that means "private". Devices and tools invalidate a position without removing its tags. No
//! GPS tag is kept if GPSStatus is not `A` (`V` is void, Exif 3.0 section 4.6.7), if the coordinates are incomplete (a missing
//! or empty reference or value, a zero denominator) or not on Earth, or if latitude and longitude are both zero, which Android
//! writes for apps without the location permission.
//!
//! The reader follows at most three offsets and never the chain of IFDs. It reads a bounded number of entries of each
//! directory, and allocates only for the values that it keeps.

mod allow_list;
mod gps;
mod value;
mod write;

use self::allow_list::Kept;
use super::tiff_directory::Block;

const SOI: [u8; 2] = [0xFF, 0xD8];
const APP0: [u8; 2] = [0xFF, 0xE0];

/// Returns the EXIF segment for a JPEG of `width` x `height` pixels with what is kept of the source's block, if anything.
pub(super) fn segment(tiff: &[u8], width: u32, height: u32) -> Option<Vec<u8>> {
    write::app1(Kept::of(Block::new(tiff)?.first()?), width, height)
}

/// Returns the width and height that the first directory of the TIFF file `tiff` declares.
pub(super) fn tiff_sides(tiff: &[u8]) -> Option<(u32, u32)> {
    const IMAGE_WIDTH: u16 = 256;
    const IMAGE_LENGTH: u16 = 257;
    let directory = Block::new(tiff)?.first()?;
    Some((directory.number(IMAGE_WIDTH)?, directory.number(IMAGE_LENGTH)?))
}

/// Inserts the EXIF segment after the JFIF header of `jpeg`, which must have no EXIF.
pub(super) fn insert(mut jpeg: Vec<u8>, segment: Vec<u8>) -> Vec<u8> {
    if let Some(at) = exif_offset(&jpeg) {
        jpeg.splice(at..at, segment);
    }
    jpeg
}

/// Returns the offset of EXIF in a JPEG: after the JFIF header if there is one, otherwise first.
fn exif_offset(jpeg: &[u8]) -> Option<usize> {
    let rest = jpeg.strip_prefix(&SOI)?;
    let Some(header) = rest.strip_prefix(&APP0) else {
        return Some(SOI.len());
    };
    let length = usize::from(u16::from_be_bytes(*header.first_chunk()?));
    let at = SOI.len() + APP0.len() + length;
    (at <= jpeg.len()).then_some(at)
}

#[cfg(test)]
mod tests;
