//! Converts samples to 8-bit RGB by matrix, range and depth (ITU-T H.273), and enlarges chroma to the size of luma.

use super::picture::{Chroma, Cicp, Header, Picture};
use crate::imaging::codec::simd::{self, Kernel};
use crate::imaging::error::ImageError;

/// Fractional bits of the numbers in the matrix.
const POINT: u32 = 16;
/// Pixels that are converted together.
const BLOCK: usize = 32;

/// Converts luma and chroma of one pixel to RGB: `rgb = matrix * (y, cb, cr) + offset`.
#[derive(Debug)]
struct Matrix {
    rows: [[i32; 3]; 3],
    offset: [i32; 3],
}

impl Matrix {
    fn new(cicp: Cicp, chroma: Chroma, depth: u8) -> Result<Self, ImageError> {
        let max = f64::from((1u32 << depth) - 1);
        let step = f64::from(1u32 << (depth - 8));
        let (black, luma_span, chroma_span) =
            if cicp.full_range { (0.0, max, max) } else { (16.0 * step, 219.0 * step, 224.0 * step) };
        let grey = f64::from(1u32 << (depth - 1));
        // Computes R, G and B from luma and colour differences, all of unit span.
        let from_weights = |red: f64, blue: f64| {
            let green = 1.0 - red - blue;
            let (to_blue, to_red) = (2.0 * (1.0 - blue), 2.0 * (1.0 - red));
            [[0.0, to_red], [-to_blue * blue / green, -to_red * red / green], [to_blue, 0.0]]
        };
        let weights = match cicp.matrix {
            _ if chroma == Chroma::None => [[0.0; 2]; 3],
            0 if chroma == Chroma::Full => return Ok(Self::identity(black, luma_span)),
            1 => from_weights(0.2126, 0.0722),
            // The usual assumption for an unspecified matrix.
            2 | 5 | 6 => from_weights(0.299, 0.114),
            4 => from_weights(0.30, 0.11),
            7 => from_weights(0.212, 0.087),
            8 => [[-1.0, 1.0], [1.0, 0.0], [-1.0, -1.0]],
            9 => from_weights(0.2627, 0.0593),
            // Derived from the primaries of Display P3.
            12 if cicp.primaries == 12 => from_weights(0.228_97, 0.079_29),
            12 if cicp.primaries == 9 => from_weights(0.2627, 0.0593),
            12 => from_weights(0.2126, 0.0722),
            _ => return Err(ImageError::Unsupported),
        };
        let luma = 255.0 / luma_span;
        let mut matrix = Self { rows: [[0; 3]; 3], offset: [0; 3] };
        for (channel, [cb, cr]) in weights.into_iter().enumerate() {
            let (cb, cr) = (255.0 * cb / chroma_span, 255.0 * cr / chroma_span);
            matrix.rows[channel] = [fixed(luma), fixed(cb), fixed(cr)];
            matrix.offset[channel] = fixed(0.5 - luma * black - (cb + cr) * grey);
        }
        Ok(matrix)
    }

    /// Creates the matrix for pictures with green, blue and red in place of luma and chroma.
    fn identity(black: f64, span: f64) -> Self {
        let one = fixed(255.0 / span);
        Self { rows: [[0, 0, one], [one, 0, 0], [0, one, 0]], offset: [fixed(0.5 - 255.0 / span * black); 3] }
    }

    #[inline(always)]
    fn apply(&self, luma: &[u16], cb: &[u16], cr: &[u16], rgb: &mut [u8]) {
        let channel = |n: usize, y: u16, cb: u16, cr: u16| {
            let [from_y, from_cb, from_cr] = self.rows[n];
            eight_bit(
                from_y * i32::from(y) + from_cb * i32::from(cb) + from_cr * i32::from(cr) + self.offset[n],
            )
        };
        // Blocks of fixed length become vector code.
        let (blocks, rest) = rgb.as_chunks_mut::<{ 3 * BLOCK }>();
        let luma = luma.as_chunks::<BLOCK>();
        let (cb, cr) = (cb.as_chunks::<BLOCK>(), cr.as_chunks::<BLOCK>());
        for (((block, y), cb), cr) in blocks.iter_mut().zip(luma.0).zip(cb.0).zip(cr.0) {
            let mut channels = [[0; BLOCK]; 3];
            for (n, samples) in channels.iter_mut().enumerate() {
                for x in 0..BLOCK {
                    samples[x] = channel(n, y[x], cb[x], cr[x]);
                }
            }
            let (pixels, _) = block.as_chunks_mut::<3>();
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = [channels[0][x], channels[1][x], channels[2][x]];
            }
        }
        let (pixels, _) = rest.as_chunks_mut::<3>();
        for (((pixel, y), cb), cr) in pixels.iter_mut().zip(luma.1).zip(cb.1).zip(cr.1) {
            *pixel = [0, 1, 2].map(|n| channel(n, *y, *cb, *cr));
        }
    }

    fn apply_to_luma(&self, luma: &[u16], grey: &mut [u8]) {
        for (grey, y) in grey.iter_mut().zip(luma) {
            *grey = eight_bit(self.rows[0][0] * i32::from(*y) + self.offset[0]);
        }
    }
}

/// Converts a row to RGB.
struct ToRgb<'r> {
    matrix: &'r Matrix,
    luma: &'r [u16],
    cb: &'r [u16],
    cr: &'r [u16],
    rgb: &'r mut [u8],
}

impl Kernel for ToRgb<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.matrix.apply(self.luma, self.cb, self.cr, self.rgb);
    }
}

#[inline(always)]
fn eight_bit(value: i32) -> u8 {
    u8::try_from((value >> POINT).clamp(0, 255)).unwrap_or(u8::MAX)
}

fn fixed(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 255 * 2.2 + 0.5 before the shift: fits")]
    let fixed = (value * f64::from(1u32 << POINT)).round() as i32;
    fixed
}

/// Converts rows of pictures with the same header and colours to RGB or grey. Keeps its buffers.
pub(super) struct Converter {
    header: Header,
    matrix: Matrix,
    luma: Vec<u16>,
    /// Cb and Cr of two rows, and of one row in full width.
    near: Vec<u16>,
    far: Vec<u16>,
    cb: Vec<u16>,
    cr: Vec<u16>,
}

impl Converter {
    /// Returns a converter for pictures with this header. `cicp` from the container overrides the bitstream's.
    pub(super) fn new(header: Header, cicp: Option<Cicp>) -> Result<Self, ImageError> {
        let cicp = cicp.unwrap_or(header.cicp);
        let matrix = Matrix::new(cicp, header.chroma, header.depth)?;
        let (luma, near, far, cb, cr) = Default::default();
        Ok(Self { header, matrix, luma, near, far, cb, cr })
    }

    /// Writes pixels of a row until `rgb` is full.
    pub(super) fn rgb(&mut self, picture: &Picture, row: usize, rgb: &mut [u8]) -> Result<(), ImageError> {
        let width = rgb.len() / 3;
        self.read_luma(picture, row, width)?;
        if self.header.chroma == Chroma::None {
            // The matrix has no weight for chroma.
            simd::run(ToRgb { matrix: &self.matrix, luma: &self.luma, cb: &self.luma, cr: &self.luma, rgb });
            return Ok(());
        }
        let (mut cb, mut cr) = (std::mem::take(&mut self.cb), std::mem::take(&mut self.cr));
        self.read_chroma(picture, 1, row, width, &mut cb)?;
        self.read_chroma(picture, 2, row, width, &mut cr)?;
        simd::run(ToRgb { matrix: &self.matrix, luma: &self.luma, cb: &cb, cr: &cr, rgb });
        (self.cb, self.cr) = (cb, cr);
        Ok(())
    }

    /// Writes luma samples of a row in full range until `grey` is full.
    pub(super) fn grey(&mut self, picture: &Picture, row: usize, grey: &mut [u8]) -> Result<(), ImageError> {
        self.read_luma(picture, row, grey.len())?;
        self.matrix.apply_to_luma(&self.luma, grey);
        Ok(())
    }

    fn read_luma(&mut self, picture: &Picture, row: usize, width: usize) -> Result<(), ImageError> {
        // The matrix was made for this header, and would overflow with deeper samples.
        if picture.header != self.header {
            return Err(ImageError::Corrupt);
        }
        self.luma.resize(width, 0);
        picture.planes.row(0, row)?.copy_to(&mut self.luma)
    }

    /// Reads a row of a chroma plane in the size of luma. Chroma samples lie in the middle between luma samples, as in JPEG. If
    /// a file declares them at the left, the quarter pixel is not visible.
    fn read_chroma(
        &mut self,
        picture: &Picture,
        plane: usize,
        row: usize,
        width: usize,
        to: &mut Vec<u16>,
    ) -> Result<(), ImageError> {
        to.resize(width, 0);
        let (half_width, half_height) = self.header.chroma.halves();
        if !half_width {
            return picture.planes.row(plane, row)?.copy_to(to);
        }
        let stored = width.div_ceil(2);
        self.near.resize(stored, 0);
        self.far.resize(stored, 0);
        let near = if half_height { row / 2 } else { row };
        picture.planes.row(plane, near)?.copy_to(&mut self.near)?;
        if half_height {
            let rows = (self.header.shown.1 as usize).div_ceil(2);
            let far = if row.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
            picture.planes.row(plane, far)?.copy_to(&mut self.far)?;
            simd::run(Enlarge { near: &mut self.near, far: Some(&self.far), to });
        } else {
            simd::run(Enlarge { near: &mut self.near, far: None, to });
        }
        Ok(())
    }
}

/// Enlarges a row of chroma to the width of luma.
struct Enlarge<'r> {
    near: &'r mut [u16],
    /// The other row between which a row of luma lies, if chroma is halved in height.
    far: Option<&'r [u16]>,
    to: &'r mut [u16],
}

impl Kernel for Enlarge<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.far {
            Some(far) => {
                for (near, far) in self.near.iter_mut().zip(far) {
                    *near = 3 * *near + *far;
                }
            }
            None => {
                for near in self.near.iter_mut() {
                    *near *= 4;
                }
            }
        }
        widen(self.near, self.to);
    }
}

/// Doubles the width of a row of samples scaled by 4: a pixel is three parts of the nearer sample and one of the farther.
/// Samples have at most 12 bits, so 16 times one fits.
#[inline(always)]
fn widen(from: &[u16], to: &mut [u16]) {
    let (Some(first), Some(last)) = (from.first(), from.last()) else { return };
    let mix = |near: u16, far: u16| (3 * near + far + 8) >> 4;
    let len = to.len();
    if let Some(pixel) = to.first_mut() {
        *pixel = mix(*first, *first);
    }
    // Between two samples lie two pixels.
    let (pairs, _) = to.get_mut(1..).unwrap_or_default().as_chunks_mut::<2>();
    for ((pair, left), right) in pairs.iter_mut().zip(from).zip(from.iter().skip(1)) {
        *pair = [mix(*left, *right), mix(*right, *left)];
    }
    if len.is_multiple_of(2)
        && let Some(pixel) = to.last_mut()
    {
        *pixel = mix(*last, *last);
    }
}
