//! Luma and chroma of red, green and blue (JFIF 1.02: full-range BT.601), in whole numbers, exactly as libjpeg computes them.

/// Fractional bits of the factors.
const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

/// Factors of red, green and blue, and an offset: see [`weigh`].
pub(super) type Factors = [i32; 4];

/// The factors of luma and of blue and red chroma, rounded as in libjpeg (`jccolor.c`).
pub(super) const LUMA: Factors = [19_595, 38_470, 7_471, HALF];
pub(super) const BLUE: Factors = [-11_059, -21_709, 32_768, (128 << BITS) + HALF - 1];
pub(super) const RED: Factors = [32_768, -27_439, -5_329, (128 << BITS) + HALF - 1];

/// Returns the luma or chroma of a pixel, 0 to 255.
#[inline(always)]
pub(super) fn weigh([red, green, blue]: [i32; 3], [x, y, z, offset]: Factors) -> i32 {
    (red * x + green * y + blue * z + offset) >> BITS
}

/// Returns the parts of red, green and blue that chroma determines: see [`with_luma`].
#[inline(always)]
pub(super) fn parts_of_chroma(blue: u8, red: u8) -> [i32; 3] {
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    [91_881 * red, -22_554 * blue - 46_802 * red, 116_130 * blue]
}

/// Returns the red, green or blue of a pixel, 0 to 255, from its luma and its part of [`parts_of_chroma`].
#[inline(always)]
pub(super) fn with_luma(luma: u8, part: i32) -> i32 {
    (((i32::from(luma) << BITS) + HALF + part) >> BITS).clamp(0, 255)
}

/// Returns the difference of luma or chroma times 2^16 that this difference of red, green and blue makes.
#[inline(always)]
pub(super) fn weigh_difference([red, green, blue]: [i32; 3], [x, y, z, _]: Factors) -> i32 {
    red * x + green * y + blue * z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_are_converted_as_jfif_defines() {
        for (ycc, rgb) in
            [([76, 85, 255], [254, 0, 0]), ([150, 44, 21], [0, 255, 1]), ([29, 255, 107], [0, 0, 254])]
        {
            let [luma, blue, red] = ycc;
            let made = parts_of_chroma(blue, red).map(|part| with_luma(luma, part));
            assert!(made.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 1), "{ycc:?} {made:?}");
        }
    }
}
