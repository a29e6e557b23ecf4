//! From samples to quantised coefficients, bit for bit as libjpeg-turbo's "slow" integer transform gives them.
//!
//! Two blocks are done at once: they fill a register side by side.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod portable;

use crate::imaging::codec::jpeg::dct::{CONST_BITS, PASS1_BITS, ZIGZAG, fix};

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
        let natural = ZIGZAG[index];
        places[index] = natural / 8 * 16 + natural % 8;
        index += 1;
    }
    places
};

/// What 128 in every sample comes to after the first pass: all of it in column 0.
const LEVEL: i16 = (128 * 8) << PASS1_BITS;
