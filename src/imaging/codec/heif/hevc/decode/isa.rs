//! Chooses between SIMD and portable code by the processor.
//!
//! A [`Kernel`] is written once, in loops of fixed length, and compiled for each instruction set: the compiler turns the loops
//! into vector code. Only the transforms have code of their own for each.

use super::transform::{self, Block, Extent};

/// Work on one block that is compiled for each instruction set.
pub(super) trait Kernel {
    type Output;

    /// Does the work. Implementations are `#[inline(always)]`, so that they are compiled with the features of their caller.
    fn run(self) -> Self::Output;
}

pub(super) trait Isa: Copy {
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// Transforms the cosine coefficients of a block, which are cleared.
    fn cosine(self, coefficients: &mut Block, residuals: &mut Block, log2: u32, extent: Extent, depth: u32);

    /// Transforms the sine coefficients of a 4 x 4 block, which are cleared.
    fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32);
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Isa for Portable {
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run()
    }

    fn cosine(self, coefficients: &mut Block, residuals: &mut Block, log2: u32, extent: Extent, depth: u32) {
        transform::portable::cosine(coefficients, residuals, log2, extent, depth);
    }

    fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32) {
        transform::portable::sine(coefficients, residuals, depth);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use self::x86::Avx2;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
mod x86 {
    use super::{Block, Extent, Isa, Kernel, transform};

    /// Proof that the processor has AVX2, BMI1, BMI2 and LZCNT.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Avx2(());

    impl Avx2 {
        pub(in super::super) fn detect() -> Option<Self> {
            let has_all = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt");
            has_all.then_some(Self(()))
        }
    }

    impl Isa for Avx2 {
        #[inline(always)]
        fn run<K: Kernel>(self, kernel: K) -> K::Output {
            // SAFETY: the processor has all features that the function is compiled for, or there were no `Self`.
            unsafe { run(kernel) }
        }

        #[inline(always)]
        fn cosine(
            self,
            coefficients: &mut Block,
            residuals: &mut Block,
            log2: u32,
            extent: Extent,
            depth: u32,
        ) {
            // SAFETY: as above.
            unsafe { transform::avx2::cosine(coefficients, residuals, log2, extent, depth) }
        }

        #[inline(always)]
        fn sine(self, coefficients: &mut Block, residuals: &mut Block, depth: u32) {
            // SAFETY: as above.
            unsafe { transform::avx2::sine(coefficients, residuals, depth) }
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
}
