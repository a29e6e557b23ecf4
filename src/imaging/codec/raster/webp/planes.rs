//! Writes the planes of a lossy WebP to the canvas: in the full range of JPEG, over white, at the position of the frame.

use std::ops::Range;

use super::lossy::Planes;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::simd::{self, Kernel};
use crate::imaging::error::ImageError;

const PLANES: usize = 3;
/// Chroma without a colour.
const NEUTRAL: u8 = 128;

/// Writes the planes of a frame to the canvas.
pub(super) struct Placed<'c, 'b> {
    canvas: &'c mut Canvas<'b>,
    /// The columns and rows of the canvas that the frame fills, by plane.
    columns: [Range<usize>; PLANES],
    rows: [Range<usize>; PLANES],
    /// The next row of the canvas, by plane.
    next: [usize; PLANES],
    /// The sample outside of the frame, by plane.
    blank: [u8; PLANES],
    opacity: Option<Opacity>,
    /// A row of opacity for chroma.
    mean: Vec<u8>,
}

/// The alpha of a frame.
pub(super) struct Opacity {
    pub(super) samples: Vec<u8>,
    pub(super) width: usize,
}

impl<'c, 'b> Placed<'c, 'b> {
    /// Creates the writer of a frame that fills `columns` and `rows` of the canvas. Both begin at an even number. `blank` is the
    /// luma outside of the frame.
    pub(super) fn new(
        canvas: &'c mut Canvas<'b>,
        columns: &Range<u32>,
        rows: &Range<u32>,
        blank: u8,
        opacity: Option<Opacity>,
    ) -> Self {
        let of_planes = |range: &Range<u32>| {
            let all = range.start as usize..range.end as usize;
            let half = all.start / 2..all.end.div_ceil(2);
            [all, half.clone(), half]
        };
        Self {
            canvas,
            columns: of_planes(columns),
            rows: of_planes(rows),
            next: [0; PLANES],
            blank: [blank, NEUTRAL, NEUTRAL],
            opacity,
            mean: Vec::new(),
        }
    }

    /// Writes rows without a sample of the frame, up to row `end` of luma.
    pub(super) fn blank_until(&mut self, end: u32) -> Result<(), ImageError> {
        const AT_ONCE: usize = 32;
        for (plane, blank) in self.blank.into_iter().enumerate() {
            let end = if plane == 0 { end as usize } else { end.div_ceil(2) as usize };
            while self.next[plane] < end {
                let rows = (end - self.next[plane]).min(AT_ONCE);
                if let Some((buffer, _)) = self.canvas.row_buffers(only(plane, rows)).nth(plane) {
                    buffer.fill(blank);
                }
                self.canvas.filled(plane, rows)?;
                self.next[plane] += rows;
            }
        }
        Ok(())
    }
}

/// Returns the numbers of rows of all components if only those of `plane` are wanted.
fn only(plane: usize, rows: usize) -> [usize; 4] {
    let mut wanted = [0; 4];
    wanted[plane] = rows;
    wanted
}

impl Planes for Placed<'_, '_> {
    fn take(&mut self, plane: usize, samples: &[u8], stride: usize, rows: usize) -> Result<(), ImageError> {
        let rows = rows.min(self.rows[plane].end - self.next[plane]);
        let (columns, blank, is_luma) = (self.columns[plane].clone(), self.blank[plane], plane == 0);
        let first = self.next[plane] - self.rows[plane].start;
        if let Some((buffer, to_stride)) = self.canvas.row_buffers(only(plane, rows)).nth(plane) {
            let buffer = buffer.chunks_exact_mut(to_stride);
            for (row, (to, from)) in buffer.zip(samples.chunks(stride)).enumerate() {
                to[..columns.start].fill(blank);
                to[columns.end..].fill(blank);
                let opacity = match &self.opacity {
                    None => None,
                    Some(opacity) if is_luma => Some(opacity.row(first + row)),
                    Some(opacity) => {
                        opacity.mean(first + row, &mut self.mean);
                        Some(self.mean.as_slice())
                    }
                };
                let (from, to) = (&from[..columns.len()], &mut to[columns.clone()]);
                simd::run(ToFullRange { from, to, is_luma, opacity });
            }
        }
        self.next[plane] += rows;
        self.canvas.filled(plane, rows)
    }
}

impl Opacity {
    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.width..][..self.width]
    }

    /// Computes the opacity of a row of chroma, each sample of which has up to four pixels.
    fn mean(&self, row: usize, mean: &mut Vec<u8>) {
        let last = self.samples.len() / self.width - 1;
        let (upper, lower) = (self.row(2 * row), self.row((2 * row + 1).min(last)));
        mean.clear();
        mean.extend(upper.chunks(2).zip(lower.chunks(2)).map(|(upper, lower)| {
            let sum = |pair: &[u8]| u16::from(pair[0]) + u16::from(*pair.last().unwrap_or(&pair[0]));
            // At most 255.
            ((sum(upper) + sum(lower) + 2) / 4) as u8
        }));
    }
}

/// Converts a row from the limited range of BT.601 to the full range of JFIF, and lays it over white.
struct ToFullRange<'a> {
    from: &'a [u8],
    to: &'a mut [u8],
    is_luma: bool,
    opacity: Option<&'a [u8]>,
}

impl Kernel for ToFullRange<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if self.is_luma {
            self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = full_luma(*from));
        } else {
            self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = full_chroma(*from));
        }
        let white = if self.is_luma { 255 } else { u16::from(NEUTRAL) };
        if let Some(opacity) = self.opacity {
            self.to.iter_mut().zip(opacity).for_each(|(to, alpha)| *to = over(*to, *alpha, white));
        }
    }
}

/// Returns 255 / 219 of what is above 16.
#[inline(always)]
fn full_luma(sample: u8) -> u8 {
    let above = u16::from(sample.saturating_sub(16));
    (above + ((above * 84 + 256) >> 9)).min(255) as u8
}

/// Returns 255 / 224 of the distance to 128.
#[inline(always)]
fn full_chroma(sample: u8) -> u8 {
    let distance = i16::from(sample) - 128;
    (128 + distance + ((distance * 71 + 256) >> 9)).clamp(0, 255) as u8
}

/// Returns a sample with this opacity over `white`, rounded.
#[inline(always)]
fn over(sample: u8, alpha: u8, white: u16) -> u8 {
    let alpha = u16::from(alpha);
    let sum = u16::from(sample) * alpha + white * (255 - alpha) + 127;
    // Division by 255, exact for all 16-bit numbers.
    ((sum + 1 + (sum >> 8)) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limited_range_fills_the_full_range() {
        for sample in 0..=255u8 {
            let luma = ((f64::from(sample) - 16.0) * 255.0 / 219.0).clamp(0.0, 255.0);
            let chroma = (128.0 + (f64::from(sample) - 128.0) * 255.0 / 224.0).clamp(0.0, 255.0);
            for (made, exact) in [(full_luma(sample), luma), (full_chroma(sample), chroma)] {
                assert!((f64::from(made) - exact).abs() < 0.6, "{sample}: {made}, not {exact}");
            }
        }
        assert_eq!([16, 235].map(full_luma), [0, 255]);
        assert_eq!([16, 128, 240].map(full_chroma), [0, 128, 255]);
    }

    #[test]
    fn opacity_is_that_of_pixels_over_white() {
        for (sample, alpha) in (0..=255u8).flat_map(|sample| (0..=255u8).map(move |alpha| (sample, alpha))) {
            for white in [128, 255u16] {
                let [sample, alpha, white] = [sample.into(), alpha.into(), u32::from(white)];
                let exact = (sample * alpha + white * (255 - alpha) + 127) / 255;
                assert_eq!(u32::from(over(sample as u8, alpha as u8, white as u16)), exact);
            }
        }
    }

    #[test]
    fn chroma_has_the_mean_opacity_of_its_pixels() {
        let opacity = Opacity { samples: vec![0, 10, 20, 2, 4, 255, 8, 8, 8], width: 3 };
        let mut mean = Vec::new();
        opacity.mean(0, &mut mean);
        assert_eq!(mean, [4, 138]);
        opacity.mean(1, &mut mean);
        assert_eq!(mean, [8, 8]);
    }
}
