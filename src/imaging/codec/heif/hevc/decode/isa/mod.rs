//! Chooses between SIMD and portable code by the processor.
//!
//! Most work on a block is a [`Kernel`], which is written once. What the compiler does not turn into good vector code by itself
//! has code of its own for each instruction set.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
mod vector;

use super::deblock::{
    self,
    luma::{self, Limits},
};
use super::sample::Sample;
use super::transform::{self, Block, Cosines, FillSingle};
use crate::imaging::codec::simd;
pub(super) use crate::imaging::codec::simd::Kernel;

pub(super) trait Isa: Copy {
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// Swaps rows and columns.
    fn transpose8<S: Sample>(self, rows: [[S; 8]; 8]) -> [[S; 8]; 8];

    /// Returns weighted means: `fraction` of 32 parts are those of `far`.
    fn mix8<S: Sample>(self, near: [S; 8], far: [S; 8], fraction: u8) -> [S; 8];

    /// Adds residuals to samples.
    fn add8<S: Sample>(self, samples: [S; 8], residuals: [i16; 8], most: i16) -> [S; 8];

    /// Filters eight lines across an edge: see [`luma::filter_edge`].
    fn filter_edge<S: Sample>(self, rows: &mut [[S; 8]; 8], limits: &Limits);

    /// Transforms the cosine coefficients of a block, which are cleared.
    #[inline(always)]
    fn cosine(self, block: Cosines<'_>) {
        if block.extent.is_single() {
            self.run(FillSingle(block));
        } else {
            self.cosines(block);
        }
    }

    /// Does the same for more than one coefficient.
    fn cosines(self, block: Cosines<'_>);

    /// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
    fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32);
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Isa for Portable {
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run()
    }

    fn transpose8<S: Sample>(self, rows: [[S; 8]; 8]) -> [[S; 8]; 8] {
        std::array::from_fn(|y| std::array::from_fn(|x| rows[x][y]))
    }

    fn mix8<S: Sample>(self, near: [S; 8], far: [S; 8], fraction: u8) -> [S; 8] {
        let (near_weight, far_weight) = (S::Wide::from(32 - fraction), S::Wide::from(fraction));
        std::array::from_fn(|n| {
            let sum = near_weight * near[n].wide() + far_weight * far[n].wide() + S::Wide::from(16);
            S::narrow(sum >> 5)
        })
    }

    fn add8<S: Sample>(self, samples: [S; 8], residuals: [i16; 8], most: i16) -> [S; 8] {
        std::array::from_fn(|n| samples[n].plus(residuals[n], most))
    }

    fn filter_edge<S: Sample>(self, rows: &mut [[S; 8]; 8], limits: &Limits) {
        luma::filter_edge(rows, limits);
    }

    fn cosines(self, block: Cosines<'_>) {
        transform::portable::cosines(block);
    }

    fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32) {
        transform::portable::sine(coefficients, residuals, depth);
    }
}

/// Proof that the processor has what the code for its vectors needs: AVX2, BMI1, BMI2 and LZCNT, or NEON.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector(());

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Vector {
    pub(super) fn detect() -> Option<Self> {
        simd::has_vectors().then_some(Self(()))
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
impl Isa for Vector {
    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the processor has all features that the function is compiled for, or there were no `Self`.
        unsafe { vector::run(kernel) }
    }

    #[inline(always)]
    fn transpose8<S: Sample>(self, rows: [[S; 8]; 8]) -> [[S; 8]; 8] {
        // SAFETY: as above.
        unsafe { vector::transpose8(rows) }
    }

    #[inline(always)]
    fn mix8<S: Sample>(self, near: [S; 8], far: [S; 8], fraction: u8) -> [S; 8] {
        // SAFETY: as above.
        unsafe { vector::mix8(near, far, fraction) }
    }

    #[inline(always)]
    fn add8<S: Sample>(self, samples: [S; 8], residuals: [i16; 8], most: i16) -> [S; 8] {
        // SAFETY: as above.
        unsafe { vector::add8(samples, residuals, most) }
    }

    #[inline(always)]
    fn filter_edge<S: Sample>(self, rows: &mut [[S; 8]; 8], limits: &Limits) {
        // SAFETY: as above.
        unsafe { deblock::vector::filter_edge(rows, limits) }
    }

    #[inline(always)]
    fn cosines(self, block: Cosines<'_>) {
        // SAFETY: as above.
        unsafe { transform::vector::cosines(block) }
    }

    #[inline(always)]
    fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32) {
        // SAFETY: as above.
        unsafe { transform::vector::sine(coefficients, residuals, depth) }
    }
}
