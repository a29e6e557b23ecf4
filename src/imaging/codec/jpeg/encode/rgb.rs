//! Converts RGB pixels to luma and chroma, exactly as libjpeg does.

use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;
use crate::imaging::ycbcr::{BLUE, LUMA, RED, weigh};

/// Converts `pixels` to planes. Chroma extends to the end of the last block: the right column of pixels is repeated before four
/// pixels are averaged, which gives other samples than repeating the average.
#[inline(always)]
pub(super) fn planes(pixels: &[u8], width: usize, height: usize, workspace: &mut Workspace) -> [Plane; 3] {
    let mut luma = workspace.take(width * height);
    let across = width.div_ceil(16) * 8;
    let down = height.div_ceil(2);
    let mut chromas = [workspace.take(across * down), workspace.take(across * down)];
    let mut full = workspace.take(across * 8);
    let strips = pixels.chunks(width * 6).zip(luma.chunks_mut(width * 2));
    let [blue, red] = &mut chromas;
    let chroma_rows = blue.chunks_exact_mut(across).zip(red.chunks_exact_mut(across));
    for ((pixels, luma), (blue, red)) in strips.zip(chroma_rows) {
        let (blues, reds) = full.split_at_mut(across * 4);
        let (upper_blue, lower_blue) = blues.split_at_mut(across * 2);
        let (upper_red, lower_red) = reds.split_at_mut(across * 2);
        let (upper, lower) = pixels.split_at(width * 3);
        let (upper_luma, lower_luma) = luma.split_at_mut(width);
        convert(upper, width, upper_luma, upper_blue, upper_red);
        if lower.is_empty() {
            average(upper_blue, upper_blue, blue);
            average(upper_red, upper_red, red);
        } else {
            convert(lower, width, lower_luma, lower_blue, lower_red);
            average(upper_blue, lower_blue, blue);
            average(upper_red, lower_red, red);
        }
    }
    workspace.give(full);
    let [blue, red] = chromas.map(|samples| Plane { width: across, height: down, samples });
    [Plane { width, height, samples: luma }, blue, red]
}

/// Converts a row of pixels and repeats the last chroma.
#[inline(always)]
fn convert(pixels: &[u8], width: usize, luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
    let (pixels, _) = pixels.as_chunks::<3>();
    let outs = luma.iter_mut().zip(blue.iter_mut()).zip(red.iter_mut());
    for (pixel, ((luma, blue), red)) in pixels.iter().zip(outs) {
        let weigh = |factors| weigh(pixel.map(i32::from), factors).to_le_bytes()[0];
        (*luma, *blue, *red) = (weigh(LUMA), weigh(BLUE), weigh(RED));
    }
    for chroma in [blue, red] {
        let (row, beyond) = chroma.split_at_mut(width);
        beyond.fill(row.last().copied().unwrap_or_default());
    }
}

/// Computes the mean of each 2 x 2 samples. Halves are rounded down and up alternately.
#[inline(always)]
fn average(upper: &[u8], lower: &[u8], out: &mut [u8]) {
    let squares = upper.as_chunks::<4>().0.iter().zip(lower.as_chunks::<4>().0);
    for ((upper, lower), out) in squares.zip(out.as_chunks_mut::<2>().0) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| u16::from(upper[at]) + u16::from(lower[at]));
        *out = [(a + b + 1) >> 2, (c + d + 2) >> 2].map(|mean| mean.to_le_bytes()[0]);
    }
}
