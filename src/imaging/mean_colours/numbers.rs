//! The numbers that AVX2 and portable code share.

use crate::imaging::blocks::BLOCK;

/// Samples of chroma of a block.
pub(super) const HALF: usize = BLOCK / 2;
/// Fractional bits of luma, of red, green and blue, and of changes.
pub(super) const BITS: u32 = 6;
/// Fractional bits of chroma when it is multiplied.
pub(super) const CHROMA_BITS: u32 = 8;
/// Fractional bits of slopes: a product of chroma and a slope loses 15 bits.
pub(super) const SLOPE_BITS: u32 = 15 + BITS - CHROMA_BITS;
/// Largest range of luma of four pixels for which clipping does not matter.
pub(super) const SMALL_RANGE: u16 = 8;
/// The change is linear in chroma; the rest is proportional to chroma squared and to the inverse of luma plus this offset, which
/// the linear part of the sRGB curve causes.
pub(super) const LUMA_OFFSET: u16 = 14;
/// Most by which a change counts as different from a linear one, with [`BITS`] fractional bits.
pub(super) const MOST_BEND: u16 = (32 << BITS) - 1;

/// What is added to the change of luma before its fraction is dropped, for the pixels of two rows and columns (ordered dithering).
///
/// With the same rounding for all four pixels a smooth area gets steps of a whole level. That cost 0.1 to 0.9 SSIMULACRA2.
pub(super) const DITHER: [[i16; 2]; 2] =
    [[1 << (BITS - 3), 5 << (BITS - 3)], [7 << (BITS - 3), 3 << (BITS - 3)]];

/// The factors of JFIF, so that a product that loses 15 bits has [`BITS`] fractional bits.
pub(super) mod fix {
    /// 0.299, 0.587 and 0.114 of red, green and blue for luma. The sum is exactly 1.
    pub(in super::super) const LUMA: [i16; 3] = [9_798, 19_235, 3_735];
    /// 0.564 of the difference of blue and luma for blue chroma, 0.713 of that of red and luma for red chroma.
    pub(in super::super) const BLUE: i16 = 18_492;
    pub(in super::super) const RED: i16 = 23_372;
    /// 1.402, -0.344, -0.714 and 1.772 of chroma, which has more fractional bits.
    pub(in super::super) const RED_OF_RED: i16 = 11_485;
    pub(in super::super) const GREEN_OF_BLUE: i16 = -2_819;
    pub(in super::super) const GREEN_OF_RED: i16 = -5_850;
    pub(in super::super) const BLUE_OF_BLUE: i16 = 14_516;
}
