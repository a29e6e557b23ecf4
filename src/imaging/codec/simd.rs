//! Compiles loops for the vectors of the processor.
//!
//! A [`Kernel`] is written once, in loops that the compiler turns into vector code, and compiled a second time for processors of 2013 and later: AVX2, BMI1, BMI2 and
//! LZCNT.

/// Work that is compiled for each instruction set.
pub(super) trait Kernel {
    type Output;

    /// Does the work. Implementations are `#[inline(always)]`, so that they are compiled with the features of their caller.
    fn run(self) -> Self::Output;
}

/// Runs a kernel with the best instructions that the processor has.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if has_vectors() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the function is compiled for; `has_vectors` asked for them just now.
        return unsafe { run_avx2(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Returns whether the processor has what code for its vectors is compiled for: NEON, which every 64-bit ARM processor has.
#[cfg(target_arch = "aarch64")]
pub(super) fn has_vectors() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Returns whether the processor has what kernels and other code for its vectors are compiled for.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_vectors() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}
