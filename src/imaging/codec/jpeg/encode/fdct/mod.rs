//! Transforms samples to quantised coefficients, bit for bit as libjpeg-turbo's "slow" integer transform. Two blocks are
//! transformed at once, because they fill a register side by side.

pub(super) mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
pub(super) mod vector;

use crate::imaging::codec::jpeg::dct::{CONST_BITS, PASS1_BITS, ZIGZAG, fix};

/// Samples of two blocks: each row has eight of the first and eight of the second.
pub(super) type Samples = [[u8; 16]; 8];

/// Two blocks after transform and quantisation.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Rows as in [`Samples`]. The second half is unused and makes every `u8` a valid index.
    pub(super) coefficients: [i16; 256],
    /// For each block, a bit for each coefficient that is not zero, in zigzag order from the lowest bit.
    pub(super) present: [u64; 2],
}

impl Default for Blocks {
    fn default() -> Self {
        Self { coefficients: [0; 256], present: [0; 2] }
    }
}

/// Maps zigzag order to indices of [`Blocks::coefficients`] (T.81 figure A.6). Those of the second block are eight higher.
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

/// The level shift of 128 a sample after the first pass. All of it is in column 0.
const LEVEL: i16 = (128 * 8) << PASS1_BITS;
