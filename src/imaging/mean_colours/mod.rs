//! Changes the colours of 4:2:0 planes by converting one pixel for each sample of chroma: the mean of the four pixels that share it.
//!
//! Where a profile leaves greys alone, as Display P3 does, the change of luma and chroma depends on chroma, and little on luma. So
//! the change of the mean serves all four pixels. It has smaller errors than four conversions, each of which rounds to 8 bits
//! twice, unless the pixels differ much in luma and are so saturated that the change is not linear, or that colours are clipped.
//! Such pixels, some per cent of a photo, are found by their mean and converted one by one.
//!
//! All numbers have 16 bits. AVX2 and portable code give equal results.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod numbers;
mod portable;

use std::iter;

use self::numbers::{HALF, SLOPE_BITS};
use super::blocks::{BLOCK, PIXEL, Pixel, block, put};
use super::plane::Plane;
use super::workspace::Workspace;
use super::ycbcr::{BLUE, Factors, LUMA, RED, parts_of_chroma, weigh, weigh_difference, with_luma};

/// The change of luma, blue and red chroma for each unit of blue and of red chroma near grey, with [`SLOPE_BITS`] fractional bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slopes([[i16; 2]; 3]);

impl Slopes {
    /// Measures the slopes of `convert`, which writes new pixels of four bytes. Returns `None` if it changes greys, or
    /// other colours by four times their chroma.
    pub(super) fn measure(convert: impl Fn(&[u8], &mut [u8])) -> Option<Self> {
        let greys: Vec<Pixel> = (0..=255).map(|grey| [grey, grey, grey, 255]).collect();
        let mut made = greys.clone();
        convert(greys.as_flattened(), made.as_flattened_mut());
        let is_grey = |(from, to): (&Pixel, &Pixel)| from.iter().zip(to).all(|(a, b)| a.abs_diff(*b) <= 1);
        if !greys.iter().zip(&made).all(is_grey) {
            return None;
        }
        let mut slopes = [[0; 2]; 3];
        // The square of chroma has the same effect on both sides of grey, and cancels out.
        let steps = [-24_i16, -12, 12, 24];
        for axis in 0..2 {
            let (mut sums, mut squares) = ([0_i64; 3], 0);
            for (luma, step) in [96, 128, 160].into_iter().flat_map(|luma| steps.map(|step| (luma, step))) {
                let mut chroma = [128_u8; 2];
                chroma[axis] = chroma[axis].saturating_add_signed(step.to_le_bytes()[0].cast_signed());
                let from = pixel(luma, parts_of_chroma(chroma[0], chroma[1]));
                let mut to = from;
                convert(&from, &mut to);
                let change = [0, 1, 2].map(|at| i32::from(to[at]) - i32::from(from[at]));
                for (sum, factors) in sums.iter_mut().zip([LUMA, BLUE, RED]) {
                    *sum += i64::from(weigh_difference(change, factors)) * i64::from(step);
                }
                squares += i64::from(step).pow(2);
            }
            for (slope, sum) in slopes.iter_mut().zip(sums) {
                slope[axis] = i16::try_from((sum / squares) >> (16 - SLOPE_BITS)).ok()?;
            }
        }
        Some(Self(slopes))
    }
}

/// The samples of 32 x 2 pixels.
#[derive(Debug)]
struct Block<'a> {
    upper: &'a mut [u8; BLOCK],
    lower: &'a mut [u8; BLOCK],
    blue: &'a mut [u8; HALF],
    red: &'a mut [u8; HALF],
}

/// The mean luma of each four pixels, and the range of their luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Means {
    lumas: [u8; HALF],
    ranges: [u8; HALF],
}

/// The samples of a block after the conversion.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    upper: [u8; BLOCK],
    lower: [u8; BLOCK],
    blue: [u8; HALF],
    red: [u8; HALF],
    /// Has bit 2n if the four pixels of sample n of chroma have to be converted one by one.
    wrong: u32,
}

/// Two rows of luma, and the row of chroma that they share.
struct Strip<'a> {
    upper: &'a mut [u8],
    lower: &'a mut [u8],
    blue: &'a mut [u8],
    red: &'a mut [u8],
}

/// Buffers for two rows.
struct Rows {
    means: Vec<Means>,
    /// The pixels with mean luma, before and after the conversion.
    from: Vec<u8>,
    to: Vec<u8>,
    /// Pixels that are converted one by one, four for each sample of chroma in `places`, before and after the conversion.
    single: Vec<u8>,
    converted: Vec<u8>,
    places: Vec<usize>,
}

/// Passes pixels of `planes` (luma, blue and red chroma) to `convert`, which writes new ones. Chroma has half the width and height
/// of luma, rounded up. `slopes` are those of `convert`.
#[inline(always)]
pub(super) fn convert(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: &Slopes,
    workspace: &mut Workspace,
) {
    let change =
        |block: &Block<'_>, means: &Means, pixels: &_| portable::change(block, means, pixels, slopes);
    convert_by(planes, convert, portable::means, change, workspace);
}

/// Does the same as [`convert`] with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) fn convert_avx2(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    slopes: &Slopes,
    workspace: &mut Workspace,
) {
    let means = |block: &Block<'_>| avx2::means(block);
    let change = |block: &Block<'_>, means: &Means, pixels: &_| avx2::change(block, means, pixels, slopes);
    convert_by(planes, convert, means, change, workspace);
}

#[inline(always)]
fn convert_by(
    planes: &mut [Plane; 3],
    convert: impl Fn(&[u8], &mut [u8]),
    means: impl Fn(&Block<'_>) -> (Means, [Pixel; HALF]),
    change: impl Fn(&Block<'_>, &Means, &[Pixel; HALF]) -> Changed,
    workspace: &mut Workspace,
) {
    let [luma, blue, red] = planes;
    let (width, half) = (luma.width, luma.width.div_ceil(2));
    if width == 0 || [blue.width, red.width] != [half; 2] {
        return;
    }
    let padded = half.next_multiple_of(HALF);
    let mut rows = Rows {
        means: vec![Means::default(); padded / HALF],
        from: workspace.take(padded * PIXEL),
        to: workspace.take(padded * PIXEL),
        single: workspace.take(4 * padded * PIXEL),
        converted: workspace.take(4 * padded * PIXEL),
        places: Vec::new(),
    };
    let mut below = Vec::new();
    let chroma = blue.samples.chunks_exact_mut(half).zip(red.samples.chunks_exact_mut(half));
    for (luma, (blue, red)) in luma.samples.chunks_mut(2 * width).zip(chroma) {
        let (upper, mut lower) = luma.split_at_mut(width);
        if lower.is_empty() {
            // The row below the last one of an odd number repeats it.
            below.extend_from_slice(upper);
            lower = &mut below;
        }
        let mut strip = Strip { upper, lower, blue, red };
        let mut rest = strip.rest();
        rows.take_means(strip.blocks(&mut rest), &means);
        convert(&rows.from, &mut rows.to);
        rows.places.clear();
        rows.change(strip.blocks(&mut rest), &change);
        strip.put_rest(&rest);
        let used = 4 * PIXEL * rows.places.len();
        let converted = rows.converted.get_mut(..used).unwrap_or_default();
        convert(rows.single.get(..used).unwrap_or_default(), converted);
        rows.put_singles(&mut strip);
    }
    let Rows { from, to, single, converted, .. } = rows;
    [from, to, single, converted].into_iter().for_each(|buffer| workspace.give(buffer));
}

impl Strip<'_> {
    /// Returns the pixels that are left after the last whole block. The last samples are repeated.
    fn rest(&self) -> Changed {
        let at = self.upper.len() / BLOCK;
        Changed {
            upper: block(self.upper, at * BLOCK),
            lower: block(self.lower, at * BLOCK),
            blue: block(self.blue, at * HALF),
            red: block(self.red, at * HALF),
            wrong: 0,
        }
    }

    fn put_rest(&mut self, rest: &Changed) {
        let at = self.upper.len() / BLOCK;
        put(self.upper, at * BLOCK, rest.upper);
        put(self.lower, at * BLOCK, rest.lower);
        put(self.blue, at * HALF, rest.blue);
        put(self.red, at * HALF, rest.red);
    }

    /// Returns the whole blocks, and `rest`.
    #[inline(always)]
    fn blocks<'b>(&'b mut self, rest: &'b mut Changed) -> impl Iterator<Item = Block<'b>> {
        let luma = self.upper.as_chunks_mut().0.iter_mut().zip(self.lower.as_chunks_mut().0);
        let chroma = self.blue.as_chunks_mut().0.iter_mut().zip(self.red.as_chunks_mut().0);
        let whole = luma.zip(chroma).map(|((upper, lower), (blue, red))| Block { upper, lower, blue, red });
        let Changed { upper, lower, blue, red, .. } = rest;
        whole.chain(iter::once(Block { upper, lower, blue, red }))
    }
}

impl Block<'_> {
    /// Returns the four pixels of sample `at` of chroma.
    #[inline(always)]
    fn pixels(&self, at: usize) -> [Pixel; 4] {
        let parts = parts_of_chroma(self.blue[at], self.red[at]);
        let [[a, b], [c, d]] = [&self.upper, &self.lower].map(|row| [row[2 * at], row[2 * at + 1]]);
        [a, b, c, d].map(|luma| pixel(luma, parts))
    }
}

impl Rows {
    /// Makes the pixels with mean luma.
    #[inline(always)]
    fn take_means<'b>(
        &mut self,
        blocks: impl Iterator<Item = Block<'b>>,
        means: impl Fn(&Block<'_>) -> (Means, [Pixel; HALF]),
    ) {
        let pixels = self.from.as_chunks_mut::<PIXEL>().0.as_chunks_mut::<HALF>().0;
        for ((room, pixels), block) in self.means.iter_mut().zip(pixels).zip(blocks) {
            (*room, *pixels) = means(&block);
        }
    }

    /// Adds the change of the mean to the samples. Copies the pixels for which it would be wrong to `single`.
    #[inline(always)]
    fn change<'b>(
        &mut self,
        blocks: impl Iterator<Item = Block<'b>>,
        change: impl Fn(&Block<'_>, &Means, &[Pixel; HALF]) -> Changed,
    ) {
        let pixels = self.to.as_chunks::<PIXEL>().0.as_chunks::<HALF>().0;
        for (n, ((means, pixels), block)) in self.means.iter().zip(pixels).zip(blocks).enumerate() {
            let Changed { upper, lower, blue, red, mut wrong } = change(&block, means, pixels);
            while wrong != 0 {
                let at = (wrong.trailing_zeros() / 2) as usize;
                wrong &= wrong - 1;
                let start = 4 * PIXEL * self.places.len();
                if let Some(room) = self.single.get_mut(start..start + 4 * PIXEL) {
                    room.copy_from_slice(block.pixels(at).as_flattened());
                    self.places.push(n * HALF + at);
                }
            }
            (*block.upper, *block.lower, *block.blue, *block.red) = (upper, lower, blue, red);
        }
    }

    /// Computes the samples of the pixels that were converted one by one.
    #[inline(always)]
    fn put_singles(&self, strip: &mut Strip<'_>) {
        let pixels = self.converted.as_chunks::<PIXEL>().0.as_chunks::<4>().0;
        for (at, pixels) in self.places.iter().zip(pixels) {
            let rgb = pixels.map(|[r, g, b, _]| [r, g, b].map(i32::from));
            let luma = rgb.map(|rgb| weigh(rgb, LUMA).to_le_bytes()[0]);
            for (row, luma) in
                [(&mut *strip.upper, [luma[0], luma[1]]), (&mut *strip.lower, [luma[2], luma[3]])]
            {
                let row = row.get_mut(2 * at..).unwrap_or_default();
                row.iter_mut().zip(luma).for_each(|(to, luma)| *to = luma);
            }
            // Halves are rounded down and up alternately, as for pixels that all are converted.
            let round = 1 + i32::from(at % 2 == 1);
            let mean = |factors: Factors| {
                let sum: i32 = rgb.iter().map(|rgb| weigh(*rgb, factors)).sum();
                ((sum + round) >> 2).to_le_bytes()[0]
            };
            if let (Some(blue), Some(red)) = (strip.blue.get_mut(*at), strip.red.get_mut(*at)) {
                (*blue, *red) = (mean(BLUE), mean(RED));
            }
        }
    }
}

/// Returns the pixel with this luma.
#[inline(always)]
fn pixel(luma: u8, [r, g, b]: [i32; 3]) -> Pixel {
    let (r, g, b) = (with_luma(luma, r), with_luma(luma, g), with_luma(luma, b));
    (r | g << 8 | b << 16 | 255 << 24).to_le_bytes()
}

#[cfg(test)]
mod tests;
