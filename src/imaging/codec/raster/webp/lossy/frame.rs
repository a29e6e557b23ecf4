//! Decodes a key frame row of macroblocks by row of macroblocks.

use super::bits::Bits;
use super::filter::{self, Chroma, Edges, Rows, Strength};
use super::header::{Header, Segment, Tokens};
use super::modes::{Luma, Macroblock, Mode};
use super::predict::{self, LEFT, Work};
use super::residual::{self, Block};
use crate::imaging::codec::simd::{self, Kernel};
use crate::imaging::error::ImageError;

/// Samples of a macroblock a side, by plane.
const SIDES: [usize; 3] = [16, 8, 8];
/// Rows above a row of macroblocks that its filter may change or read.
const CARRIED: usize = 4;
/// Columns before the first sample of a band, which the filter reads and does not use.
const MARGIN: usize = 16;
/// Samples above a picture, and on its left.
const ABOVE: u8 = 127;
const LEFT_OF: u8 = 129;

/// Takes the planes of a picture: luma, blue and red chroma.
pub(in crate::imaging::codec::raster::webp) trait Planes {
    /// Takes the next `rows` rows of a plane, `stride` samples apart. The last ones may be below the picture.
    ///
    /// # Errors
    /// The decoder shall stop.
    fn take(&mut self, plane: usize, samples: &[u8], stride: usize, rows: usize) -> Result<(), ImageError>;
}

/// What the macroblocks below read of one.
#[derive(Debug, Clone, Copy)]
struct Above {
    luma: [u8; 16],
    chroma: [[u8; 8]; 2],
    modes: [Mode; 4],
    contexts: Contexts,
}

/// Whether the blocks at an edge of a macroblock have coefficients, as 0 or 1.
#[derive(Debug, Clone, Copy, Default)]
struct Contexts {
    second: u8,
    luma: [u8; 4],
    chroma: [[u8; 2]; 2],
}

/// A row of macroblocks of one plane, and rows above it.
#[derive(Debug)]
struct Band {
    samples: Vec<u8>,
    stride: usize,
    side: usize,
}

impl Band {
    #[inline(always)]
    fn rows(&mut self) -> Rows<'_> {
        Rows { samples: &mut self.samples, stride: self.stride }
    }
}

pub(in crate::imaging::codec::raster::webp) struct Frame<'a> {
    header: Header<'a>,
    across: usize,
    down: usize,
    above: Vec<Above>,
    filters: Vec<(Strength, bool)>,
    bands: [Band; 3],
}

/// Returns an upper bound of the bytes that decoding holds.
pub(in crate::imaging::codec::raster::webp) fn memory(width: u32) -> u64 {
    let across = u64::from(width.div_ceil(16));
    let bands = (CARRIED as u64 + 16) * (16 * across + 64) + 2 * (CARRIED as u64 + 8) * (8 * across + 64);
    across * (size_of::<Above>() + size_of::<(Strength, bool)>()) as u64 + bands + (1 << 16)
}

impl<'a> Frame<'a> {
    /// Reads the header of a stream of this size.
    pub(in crate::imaging::codec::raster::webp) fn open(
        stream: &'a [u8],
        width: u32,
        height: u32,
    ) -> Result<Self, ImageError> {
        let header = Header::read(stream)?;
        let [across, down] = [width, height].map(|side| side.div_ceil(16) as usize);
        let above = Above {
            luma: [ABOVE; 16],
            chroma: [[ABOVE; 8]; 2],
            modes: [Mode::Mean; 4],
            contexts: Contexts::default(),
        };
        let band = |side: usize| {
            let stride = (across * side + 2 * MARGIN).next_multiple_of(32);
            Band { samples: vec![0; stride * (CARRIED + side)], stride, side }
        };
        Ok(Self {
            header,
            across,
            down,
            above: vec![above; across],
            filters: vec![(Strength::default(), false); across],
            bands: SIDES.map(band),
        })
    }

    /// Decodes all rows. `check` is called before each row of macroblocks.
    ///
    /// # Errors
    /// The stream is truncated, or `planes` or `check` fail.
    pub(in crate::imaging::codec::raster::webp) fn decode(
        self,
        planes: &mut impl Planes,
        check: impl Fn() -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        self.decode_with(planes, check, |row| simd::run(row))
    }

    /// Decodes all rows without vector code.
    #[cfg(any(test, fuzzing))]
    pub(super) fn decode_portably(self, planes: &mut impl Planes) -> Result<(), ImageError> {
        self.decode_with(planes, || Ok(()), |row| row.run())
    }

    fn decode_with(
        mut self,
        planes: &mut impl Planes,
        check: impl Fn() -> Result<(), ImageError>,
        run: impl for<'r> Fn(Row<'r, 'a>) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        for y in 0..self.down {
            check()?;
            run(Row { frame: &mut self, y })?;
            for (n, band) in self.bands.iter_mut().enumerate() {
                // The last rows may still be changed by the filter of the macroblocks below.
                let first = if y == 0 { CARRIED } else { 0 };
                let end = if y + 1 == self.down { CARRIED + band.side } else { band.side };
                let samples = &band.samples[first * band.stride + MARGIN..];
                planes.take(n, samples, band.stride, end - first)?;
                band.samples.copy_within(band.side * band.stride.., 0);
            }
        }
        Ok(())
    }
}

/// Decodes row `y` of macroblocks to the bands.
struct Row<'r, 'a> {
    frame: &'r mut Frame<'a>,
    y: usize,
}

impl Kernel for Row<'_, '_> {
    type Output = Result<(), ImageError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { frame, y } = self;
        let Frame { header, across, above, filters, bands, .. } = frame;
        let partition = y % header.partitions.len();
        // Copies, which the compiler keeps in registers.
        let (mut modes, mut tokens) = (header.modes, header.partitions[partition]);
        let mut left = Left::new(y);
        for x in 0..*across {
            let block = Macroblock::read(
                &mut modes,
                header.segment_tree,
                header.has_coefficients,
                &mut above[x].modes,
                &mut left.modes,
            );
            // The last macroblock repeats the last sample above it.
            let right = above.get(x + 1).map_or([above[x].luma[15]; 4], |above| {
                let [a, b, c, d, ..] = above.luma;
                [a, b, c, d]
            });
            let segment = &header.segments[block.segment & 3];
            let has_coefficients = left.reconstruct(
                &block,
                segment,
                &header.tokens,
                &mut tokens,
                &mut above[x],
                right,
                [y > 0, x > 0],
            );
            let has_blocks = matches!(block.luma, Luma::Blocks(_));
            filters[x] = (segment.strengths[usize::from(has_blocks)], has_blocks || has_coefficients);
            left.copy_to(bands, x);
            left.advance(&mut above[x]);
        }
        let is_past_end = modes.is_past_end() || tokens.is_past_end();
        (header.modes, header.partitions[partition]) = (modes, tokens);
        if is_past_end {
            return Err(ImageError::Truncated);
        }
        for (x, (strength, has_inner)) in filters.iter().enumerate() {
            let edges =
                Edges { strength: *strength, has_left: x > 0, has_above: y > 0, has_inner: *has_inner };
            filter(bands, x, edges, header.has_simple_filter);
        }
        Ok(())
    }
}

#[inline(always)]
fn filter(bands: &mut [Band; 3], x: usize, edges: Edges, is_simple: bool) {
    if edges.strength.is_none() {
        return;
    }
    let [luma, blue, red] = bands;
    let mut luma = luma.rows();
    if is_simple {
        filter::simple_luma(&mut luma, CARRIED, MARGIN + 16 * x, edges);
    } else {
        filter::luma(&mut luma, CARRIED, MARGIN + 16 * x, edges);
        filter::chroma(&mut Chroma([blue.rows(), red.rows()]), CARRIED, MARGIN + 8 * x, edges);
    }
}

/// The samples of a macroblock, with those on its left, and what else it reads of the one on its left.
struct Left {
    luma: Work,
    chroma: [Work; 2],
    modes: [Mode; 4],
    contexts: Contexts,
}

impl Left {
    /// Returns what is on the left of the picture in row `y` of macroblocks.
    fn new(y: usize) -> Self {
        let mut work: Work = [[LEFT_OF; 40]; 17];
        if y == 0 {
            work[0] = [ABOVE; 40];
        }
        Self { luma: work, chroma: [work; 2], modes: [Mode::Mean; 4], contexts: Contexts::default() }
    }

    /// Predicts the samples of a macroblock and adds its differences. Returns whether it has any.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all of them are state of the loop over macroblocks")]
    fn reconstruct(
        &mut self,
        macroblock: &Macroblock,
        segment: &Segment,
        tokens: &[Tokens; 4],
        bits: &mut Bits<'_>,
        above: &mut Above,
        right: [u8; 4],
        edges: [bool; 2],
    ) -> bool {
        self.luma[0][LEFT..LEFT + 16].copy_from_slice(&above.luma);
        for (work, above) in self.chroma.iter_mut().zip(above.chroma) {
            work[0][LEFT..LEFT + 8].copy_from_slice(&above);
            predict::whole::<8>(work, macroblock.chroma, edges);
        }
        let contexts = &mut above.contexts;
        let is_coded = macroblock.has_coefficients;
        let steps = &segment.steps;
        let mut means = [0; 16];
        let (kind, first, modes) = match &macroblock.luma {
            Luma::Whole(mode) => {
                predict::whole::<16>(&mut self.luma, *mode, edges);
                if is_coded {
                    let context = contexts.second + self.contexts.second;
                    let read = residual::read(bits, &tokens[1], context.into(), 0, steps.second, &mut means);
                    let is_there = u8::from(read.end > 0);
                    (contexts.second, self.contexts.second) = (is_there, is_there);
                    residual::second(&mut means);
                } else {
                    (contexts.second, self.contexts.second) = (0, 0);
                }
                (0, 1, None)
            }
            Luma::Blocks(modes) => {
                for row in [0, 4, 8, 12] {
                    self.luma[row][LEFT + 16..LEFT + 20].copy_from_slice(&right);
                }
                (3, 0, Some(modes))
            }
        };
        if !is_coded {
            contexts.luma = [0; 4];
            contexts.chroma = [[0; 2]; 2];
            self.contexts.luma = [0; 4];
            self.contexts.chroma = [[0; 2]; 2];
            if let Some(modes) = modes {
                for (y, modes) in modes.iter().enumerate() {
                    modes
                        .iter()
                        .enumerate()
                        .for_each(|(x, mode)| predict::block(&mut self.luma, [x, y], *mode));
                }
            }
            return false;
        }
        let mut has_any = false;
        for y in 0..4 {
            let mut left = self.contexts.luma[y];
            for x in 0..4 {
                if let Some(modes) = modes {
                    predict::block(&mut self.luma, [x, y], modes[y][x]);
                }
                let mut block: Block = [0; 16];
                let context = contexts.luma[x] + left;
                let mut read =
                    residual::read(bits, &tokens[kind], context.into(), first, steps.luma, &mut block);
                left = u8::from(read.end > first);
                contexts.luma[x] = left;
                if first == 1 {
                    block[0] = means[4 * y + x];
                    read.sum += block[0].unsigned_abs();
                }
                has_any |= add(&mut self.luma, [x, y], &mut block, read);
            }
            self.contexts.luma[y] = left;
        }
        for (plane, work) in self.chroma.iter_mut().enumerate() {
            let (above, left) = (&mut contexts.chroma[plane], &mut self.contexts.chroma[plane]);
            for (y, left) in left.iter_mut().enumerate() {
                for (x, above) in above.iter_mut().enumerate() {
                    let mut block: Block = [0; 16];
                    let context = *above + *left;
                    let read = residual::read(bits, &tokens[2], context.into(), 0, steps.chroma, &mut block);
                    *left = u8::from(read.end > 0);
                    *above = *left;
                    has_any |= add(work, [x, y], &mut block, read);
                }
            }
        }
        has_any
    }

    /// Copies the samples of macroblock `x` to the bands.
    #[inline(always)]
    fn copy_to(&self, bands: &mut [Band; 3], x: usize) {
        let [luma, chroma @ ..] = bands;
        copy::<16>(&self.luma, luma, x);
        chroma.iter_mut().zip(&self.chroma).for_each(|(band, work)| copy::<8>(work, band, x));
    }

    /// Makes the last samples those above and on the left of the next macroblocks.
    #[inline(always)]
    fn advance(&mut self, above: &mut Above) {
        above.luma.copy_from_slice(&self.luma[16][LEFT..LEFT + 16]);
        self.luma.iter_mut().for_each(|row| row[LEFT - 1] = row[LEFT + 15]);
        for (work, above) in self.chroma.iter_mut().zip(&mut above.chroma) {
            above.copy_from_slice(&work[8][LEFT..LEFT + 8]);
            work[..9].iter_mut().for_each(|row| row[LEFT - 1] = row[LEFT + 7]);
        }
    }
}

/// Adds the differences of a block, if there are any. Returns whether there are.
#[inline(always)]
fn add(work: &mut Work, at: [usize; 2], block: &mut Block, read: residual::Read) -> bool {
    if read.end <= 1 {
        if block[0] == 0 {
            return false;
        }
        predict::add_flat(work, at, (block[0] + 4) >> 3);
    } else {
        residual::transform(block, read.sum);
        predict::add(work, at, block);
    }
    true
}

#[inline(always)]
fn copy<const N: usize>(work: &Work, band: &mut Band, x: usize) {
    let from = CARRIED * band.stride + MARGIN + N * x;
    for (to, row) in band.samples[from..].chunks_mut(band.stride).zip(&work[1..=N]) {
        to[..N].copy_from_slice(&row[LEFT..LEFT + N]);
    }
}
