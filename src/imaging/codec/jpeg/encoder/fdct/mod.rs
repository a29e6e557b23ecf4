//! From samples to quantised coefficients, bit for bit as libjpeg-turbo's "slow" integer transform gives them.
//!
//! Two blocks are done at once: they fill a register side by side.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod portable;

/// Samples of two blocks, row by row: eight of the first, eight of the second.
pub(super) type Samples = [[u8; 16]; 8];

/// Two blocks, transformed and quantised.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Rows as in [`Samples`]; the second half is never used, it makes every `u8` an index.
    pub(super) coefficients: [i16; 256],
    /// Of each block: which coefficients are not zero, by zigzag order from the lowest bit.
    pub(super) present: [u64; 2],
}

impl Default for Blocks {
    fn default() -> Self {
        Self { coefficients: [0; 256], present: [0; 2] }
    }
}

/// Places in [`Blocks::coefficients`] by zigzag order (T.81 figure A.6); those of the second block are eight higher.
pub(super) const PLACES: [u8; 64] = {
    let mut places = [0; 64];
    let mut index = 0;
    while index < 64 {
        let natural = super::ZIGZAG[index];
        places[index] = natural / 8 * 16 + natural % 8;
        index += 1;
    }
    places
};

/// 2^13 times the constants of Loeffler, Ligtenberg and Moschytz, rounded as libjpeg rounds them (`jfdctint.c`).
mod fix {
    pub(super) const F_0_298: i16 = 2446;
    pub(super) const F_0_390: i16 = 3196;
    pub(super) const F_0_541: i16 = 4433;
    pub(super) const F_0_765: i16 = 6270;
    pub(super) const F_0_899: i16 = 7373;
    pub(super) const F_1_175: i16 = 9633;
    pub(super) const F_1_501: i16 = 12299;
    pub(super) const F_1_847: i16 = 15137;
    pub(super) const F_1_961: i16 = 16069;
    pub(super) const F_2_053: i16 = 16819;
    pub(super) const F_2_562: i16 = 20995;
    pub(super) const F_3_072: i16 = 25172;
}

/// Fractional bits of the constants.
const CONST_BITS: i32 = 13;
/// Fractional bits that are kept between the passes.
const PASS1_BITS: i32 = 2;
/// What 128 in every sample comes to after the first pass: all of it in column 0.
const LEVEL: i16 = (128 * 8) << PASS1_BITS;
