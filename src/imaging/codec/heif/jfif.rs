//! Passes the planes of an image to the canvas as luma and chroma of JFIF, without red, green and blue between.
//!
//! The coded samples may differ from those of JFIF in range, depth and the size of chroma, as in the photos of phones. So a
//! photo is resized as a JPEG is: fewer samples, and no conversion of pixels that the resize drops.

use super::grid::Grid;
use super::picture::{Chroma, Cicp, Header, Picture, Samples};
use super::transform::Rect;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::simd::{self, Kernel};
use crate::imaging::error::ImageError;
use crate::imaging::layout::{Component, Layout, Model};

/// Fractional bits of the numbers in a [`Level`].
const POINT: u32 = 16;
/// Rows of luma that the canvas gets at a time; an even number, because rows of chroma may cover two.
const BAND_ROWS: u32 = 32;

/// How coded samples become those of JFIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jfif {
    luma: Level,
    chroma: Level,
    format: Chroma,
    crop: Rect,
}

/// Maps samples: `(sample * factor + offset) >> POINT`, clipped to eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    factor: i32,
    offset: i32,
}

impl Level {
    /// Returns the map of a sample `zero` to `to`, where `span` steps of samples become 255.
    fn new(zero: f64, span: f64, to: f64) -> Self {
        let scale = 255.0 / span;
        #[expect(clippy::cast_possible_truncation, reason = "below 200 before the shift: fits")]
        let fixed = |value: f64| (value * f64::from(1u32 << POINT)).round() as i32;
        Self { factor: fixed(scale), offset: fixed(to - scale * zero + 0.5) }
    }

    fn is_identity(self) -> bool {
        self == Self::new(0.0, 255.0, 0.0)
    }

    /// Writes samples until `to` is full.
    fn apply(self, from: Samples<'_>, to: &mut [u8]) -> Result<(), ImageError> {
        match from.part(0, to.len())? {
            Samples::Bytes(bytes) if self.is_identity() => to.copy_from_slice(bytes),
            Samples::Bytes(bytes) => simd::run(Map { level: self, from: bytes, to }),
            Samples::Words(words) => simd::run(Map { level: self, from: words, to }),
        }
        Ok(())
    }
}

/// Returns how luma and chroma of a depth and range (ITU-T H.273 section 8.3) become those of JFIF.
fn levels(depth: u8, is_full_range: bool) -> [Level; 2] {
    let step = f64::from(1u32 << (depth - 8));
    let grey = 128.0 * step;
    if is_full_range {
        let most = f64::from((1u32 << depth) - 1);
        [Level::new(0.0, most, 0.0), Level::new(grey, most, 128.0)]
    } else {
        [Level::new(16.0 * step, 219.0 * step, 0.0), Level::new(grey, 224.0 * step, 128.0)]
    }
}

/// A sample in memory.
trait Stored: Copy {
    fn value(self) -> i32;
}

impl Stored for u8 {
    #[inline(always)]
    fn value(self) -> i32 {
        self.into()
    }
}

impl Stored for [u8; 2] {
    #[inline(always)]
    fn value(self) -> i32 {
        u16::from_ne_bytes(self).into()
    }
}

/// Maps the samples of a row.
struct Map<'r, T> {
    level: Level,
    from: &'r [T],
    to: &'r mut [u8],
}

impl<T: Stored> Kernel for Map<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Level { factor, offset } = self.level;
        for (to, from) in self.to.iter_mut().zip(self.from) {
            let level = (from.value() * factor + offset) >> POINT;
            *to = level.clamp(0, 255).to_le_bytes()[0];
        }
    }
}

impl Jfif {
    /// Returns how the part `crop` of an image becomes JFIF. Returns `None` for grey, for other matrices than that of BT.601,
    /// and where samples of chroma would be cut apart.
    pub(super) fn of(grid: &Grid<'_>, cicp: Option<Cicp>, crop: Rect) -> Option<Self> {
        let Header { chroma: format, depth, cicp: own, .. } = grid.header;
        let cicp = cicp.unwrap_or(own);
        // An unspecified matrix is taken for that of BT.601, too.
        if format == Chroma::None || !matches!(cicp.matrix, 2 | 5 | 6) {
            return None;
        }
        let (half_width, half_height) = format.halves();
        let is_cut = |halves: bool, start: u32, tile: u32, count: u32| {
            halves && (start % 2 == 1 || count > 1 && tile % 2 == 1)
        };
        let rows = grid.height.div_ceil(grid.tile_height);
        if is_cut(half_width, crop.x, grid.tile_width, grid.columns)
            || is_cut(half_height, crop.y, grid.tile_height, rows)
        {
            return None;
        }
        let [luma, chroma] = levels(depth, cicp.full_range);
        Some(Self { luma, chroma, format, crop })
    }

    /// Returns the layout of the planes.
    pub(super) fn layout(&self) -> Layout {
        let Rect { width, height, .. } = self.crop;
        let (half_width, half_height) = self.format.halves();
        let chroma = Component::of(width, height, 1 + u32::from(half_width), 1 + u32::from(half_height));
        let components = vec![Component::of(width, height, 1, 1), chroma, chroma];
        Layout { width, height, divisor: 1, model: Model::YCbCr, components }
    }

    /// Decodes the image, and passes its planes to the canvas.
    pub(super) fn push(&self, grid: &Grid<'_>, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let bottom = self.crop.y + self.crop.height;
        for strip in 0..bottom.div_ceil(grid.tile_height) {
            let pictures = grid.strip(strip as usize)?;
            // The levels were made for this header, and would overflow with deeper samples.
            if pictures.iter().any(|picture| picture.header != grid.header) {
                return Err(ImageError::Corrupt);
            }
            let top = strip * grid.tile_height;
            let end = bottom.min(top + grid.tile_height);
            for y in (top.max(self.crop.y)..end).step_by(BAND_ROWS as usize) {
                let rows = BAND_ROWS.min(end - y);
                self.push_band(&pictures, grid.tile_width, (y - top, rows), canvas)?;
            }
        }
        Ok(())
    }

    /// Passes `rows` rows, the first of which is row `y` of a row of tiles.
    fn push_band(
        &self,
        pictures: &[Picture],
        tile_width: u32,
        (y, rows): (u32, u32),
        canvas: &mut Canvas<'_>,
    ) -> Result<(), ImageError> {
        let (half_width, half_height) = self.format.halves();
        let down = u32::from(half_height);
        let of_chroma = rows.div_ceil(1 << down) as usize;
        let counts = [rows as usize, of_chroma, of_chroma, 0];
        for (component, (buffer, stride)) in canvas.row_buffers(counts).enumerate() {
            let is_chroma = component > 0;
            let (across, down) = if is_chroma { (1 + u32::from(half_width), down) } else { (1, 0) };
            let level = if is_chroma { self.chroma } else { self.luma };
            let samples = |pixels: u32| pixels.div_ceil(across) as usize;
            let (start, width, tile) = (samples(self.crop.x), samples(self.crop.width), samples(tile_width));
            for (n, to) in buffer.chunks_exact_mut(stride).enumerate() {
                let row = (y >> down) as usize + n;
                for (picture, first) in pictures.iter().zip((0..).step_by(tile)) {
                    let (from, until) = (first.max(start), (first + tile).min(start + width));
                    if from < until {
                        let part = picture.planes.row(component, row)?.part(from - first, until - from)?;
                        level.apply(part, to.get_mut(from - start..until - start).unwrap_or_default())?;
                    }
                }
            }
        }
        (0..3).try_for_each(|component| canvas.filled(component, counts[component]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(level: Level, samples: &[u16]) -> Vec<u8> {
        let words: Vec<[u8; 2]> = samples.iter().map(|sample| sample.to_ne_bytes()).collect();
        let mut to = vec![0; samples.len()];
        level.apply(Samples::Words(&words), &mut to).unwrap();
        let mut portable = vec![0; samples.len()];
        Map { level, from: &words, to: &mut portable }.run();
        assert_eq!(to, portable, "with vectors and without");
        if let Ok(bytes) = samples.iter().map(|sample| u8::try_from(*sample)).collect::<Result<Vec<u8>, _>>()
        {
            level.apply(Samples::Bytes(&bytes), &mut portable).unwrap();
            assert_eq!(to, portable, "as bytes and as words");
        }
        to
    }

    #[test]
    fn samples_of_full_range_and_eight_bits_do_not_change() {
        let every: Vec<u16> = (0..256).collect();
        let expected: Vec<u8> = (0..=255).collect();
        assert_eq!(mapped(Level::new(0.0, 255.0, 0.0), &every), expected);
        assert_eq!(mapped(Level::new(128.0, 255.0, 128.0), &every), expected);
    }

    #[test]
    fn samples_of_other_ranges_and_depths_are_those_of_jfif() {
        let limited = Level::new(16.0, 219.0, 0.0);
        assert_eq!(mapped(limited, &[0, 16, 17, 126, 235, 255]), [0, 0, 1, 128, 255, 255]);
        let chroma = Level::new(128.0, 224.0, 128.0);
        assert_eq!(mapped(chroma, &[0, 16, 128, 129, 240, 255]), [0, 1, 128, 129, 255, 255]);
        let ten_bits = Level::new(512.0, 1023.0, 128.0);
        assert_eq!(mapped(ten_bits, &[0, 2, 512, 516, 1021, 1023]), [0, 1, 128, 129, 255, 255]);
    }

    #[test]
    fn black_white_and_grey_are_those_of_jfif_in_every_depth_and_range() {
        for depth in 8..=12_u8 {
            let scaled = |sample: u16| sample << (depth - 8);
            let most = (1_u16 << depth) - 1;
            for (is_full_range, black, white) in [(true, 0, most), (false, scaled(16), scaled(235))] {
                let [luma, chroma] = levels(depth, is_full_range);
                assert_eq!(mapped(luma, &[black, white]), [0, 255], "{depth} bits, {is_full_range}");
                assert_eq!(mapped(chroma, &[scaled(128)]), [128], "{depth} bits, {is_full_range}");
            }
        }
    }

    #[test]
    fn missing_samples_are_refused() {
        let level = Level::new(0.0, 255.0, 0.0);
        assert_eq!(level.apply(Samples::Bytes(&[1, 2]), &mut [0; 3]), Err(ImageError::Corrupt));
    }
}
