//! Parts of the DCT that decoder and encoder share: the order of coefficients, the constants, and the detection of SIMD.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256i, _mm256_set1_epi32};

/// Index in a row-major block of each coefficient in zigzag order (T.81 figure A.6).
pub(super) const ZIGZAG: [u8; 64] = {
    let mut places = [0; 64];
    let (mut index, mut diagonal) = (0, 0);
    while diagonal < 15 {
        let mut step = 0;
        while step <= diagonal {
            let (row, column) =
                if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
            if row < 8 && column < 8 {
                places[index] = row * 8 + column;
                index += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    places
};

/// Constants of Loeffler, Ligtenberg and Moschytz times 2^13, rounded as in libjpeg (`jidctint.c`, `jidctred.c`, `jfdctint.c`).
pub(super) mod fix {
    pub(in crate::imaging::codec) const F_0_211: i16 = 1730;
    pub(in crate::imaging::codec) const F_0_298: i16 = 2446;
    pub(in crate::imaging::codec) const F_0_390: i16 = 3196;
    pub(in crate::imaging::codec) const F_0_509: i16 = 4176;
    pub(in crate::imaging::codec) const F_0_541: i16 = 4433;
    pub(in crate::imaging::codec) const F_0_601: i16 = 4926;
    pub(in crate::imaging::codec) const F_0_720: i16 = 5906;
    pub(in crate::imaging::codec) const F_0_765: i16 = 6270;
    pub(in crate::imaging::codec) const F_0_850: i16 = 6967;
    pub(in crate::imaging::codec) const F_0_899: i16 = 7373;
    pub(in crate::imaging::codec) const F_1_061: i16 = 8697;
    pub(in crate::imaging::codec) const F_1_175: i16 = 9633;
    pub(in crate::imaging::codec) const F_1_272: i16 = 10426;
    pub(in crate::imaging::codec) const F_1_451: i16 = 11893;
    pub(in crate::imaging::codec) const F_1_501: i16 = 12299;
    pub(in crate::imaging::codec) const F_1_847: i16 = 15137;
    pub(in crate::imaging::codec) const F_1_961: i16 = 16069;
    pub(in crate::imaging::codec) const F_2_053: i16 = 16819;
    pub(in crate::imaging::codec) const F_2_172: i16 = 17799;
    pub(in crate::imaging::codec) const F_2_562: i16 = 20995;
    pub(in crate::imaging::codec) const F_3_072: i16 = 25172;
    pub(in crate::imaging::codec) const F_3_624: i16 = 29692;
}

/// Fractional bits of the constants.
pub(super) const CONST_BITS: i32 = 13;
/// Fractional bits that are kept between the passes.
pub(super) const PASS1_BITS: i32 = 2;

/// Returns whether this processor has all instructions that the SIMD code of decoder and encoder is compiled for: AVX2 and those on
/// bits, or NEON, which all processors of its architecture have.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn has_simd() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_all = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    #[cfg(target_arch = "aarch64")]
    let has_all = std::arch::is_aarch64_feature_detected!("neon");
    has_all
}

/// Returns a vector of 16-bit factors that alternates `first` and `second`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pair(first: i16, second: i16) -> __m256i {
    let bits = i32::from(second) << 16 | i32::from(first.cast_unsigned());
    _mm256_set1_epi32(bits)
}
