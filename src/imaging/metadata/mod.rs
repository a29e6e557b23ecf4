//! What is kept of a photo's EXIF where an operator asks for it (`STRIP_GPS=false`): camera and lens, exposure, dates, place.
//!
//! Nothing of the source's block is copied. A reader of our own picks the tags of one list, holds each value against what
//! that tag may be, and little_exif writes a new block from the values that passed. So the rest cannot come along: maker notes,
//! serial numbers, names of owners, comments, previews (IFD1), XMP and IPTC. Orientation is 1 and the size that of the
//! output, since the pixels are upright and resized; the colour space is sRGB, to which they were converted.
//!
//! **Place.** EXIF has no tag that says "private". What is honoured are the ways in which devices and tools void a place
//! without taking the tags out: GPSStatus other than `A` (`V` is void, Exif 3.0 section 4.6.7), coordinates that are not
//! whole (a reference or a value missing or empty, a zero denominator) or not on Earth, and latitude and longitude both
//! zero, as Android writes over them for apps without the permission for places. Any of these, and no GPS tag is kept.
//!
//! The reader follows three offsets at most and never the chain of IFDs, looks at a bounded number of entries in each, and
//! allocates for what it keeps alone.

mod allow_list;
mod gps;
mod value;
mod write;

use self::allow_list::Kept;
use super::tiff_directory::Block;

/// The start of a JPEG, and the marker of the segment that may only follow at once.
const SOI: [u8; 2] = [0xFF, 0xD8];
const APP0: [u8; 2] = [0xFF, 0xE0];

/// The segment of a JPEG of `width` x `height` pixels that holds what is kept of the EXIF block `tiff` of its source; `None` if
/// there is nothing to keep.
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

/// `jpeg`, which has no EXIF, with the segment right behind its JFIF header.
pub(super) fn insert(mut jpeg: Vec<u8>, segment: Vec<u8>) -> Vec<u8> {
    if let Some(at) = place(&jpeg) {
        jpeg.splice(at..at, segment);
    }
    jpeg
}

/// Where EXIF belongs in a JPEG: first, but behind the JFIF header if there is one.
fn place(jpeg: &[u8]) -> Option<usize> {
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
