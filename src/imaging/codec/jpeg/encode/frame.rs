//! Encodes a picture in MCUs (minimum coded units, ITU-T T.81 section A.2): 16 x 16 pixels, because chroma is subsampled 4:2:0.

use super::bits::{Codes, Writer};
use super::direct::Direct;
use super::fdct::{Blocks, Samples};
use super::huffman::Table;
use super::markers;
use super::quant::Quant;
use super::standard;
use super::symbols::{Block, CLASSES, Class, SEGMENT, Sink, Symbols};
use crate::imaging::plane::Plane;
use crate::imaging::recipe::Effort;
use crate::imaging::workspace::Workspace;

/// Width and height of an MCU in pixels.
const MCU: usize = 16;
const LUMA: [Class; 2] = [Class::LumaDc, Class::LumaAc];
const CHROMA: [Class; 2] = [Class::ChromaDc, Class::ChromaAc];

/// A picture whose planes and size [`super::encode`] has checked.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) planes: [&'a Plane; 3],
    pub(super) size: [u16; 2],
    pub(super) quants: [Quant; 2],
    pub(super) effort: Effort,
}

impl Frame<'_> {
    /// Encodes the picture to a file, with Huffman tables that are optimal for it. Symbols are collected first, because the
    /// tables depend on their counts. `transform` is the DCT and quantisation of two blocks.
    #[inline(always)]
    pub(super) fn encode(
        &self,
        workspace: &mut Workspace,
        transform: impl Fn(&Samples, &Quant, &mut Blocks),
    ) -> Vec<u8> {
        let mut symbols = Symbols::new(workspace);
        self.gather::<false>(&mut symbols, transform);
        let counts = symbols.counts();
        let tables = CLASSES.map(|class| Table::best(&counts[class.start()..][..256]));
        let codes = Codes::of(&tables);
        let bytes = codes.bytes(&counts);
        // 1024 bytes are enough for the header. A byte FF is followed by a stuffed byte (section F.1.2.3): one byte in 64 is about
        // four times as many as photos have.
        let mut out = Vec::with_capacity(1024 + bytes + bytes / 64);
        markers::head(&mut out, self.size, &self.quants, tables.each_ref());
        let mut writer = Writer::new(symbols.scratch(Writer::room(SEGMENT / 4)));
        let workspace = symbols.read(|symbols| writer.write(symbols, &codes, &mut out));
        workspace.give(writer.finish(&mut out));
        out.extend(markers::END);
        out
    }

    /// Encodes the picture to a file in one pass, with the standard tables, which have a code for every symbol. With `TURNED`,
    /// the planes are transposed: their rows are the columns of the picture.
    #[inline(always)]
    pub(super) fn encode_once<const TURNED: bool>(
        &self,
        workspace: &mut Workspace,
        transform: impl Fn(&Samples, &Quant, &mut Blocks),
    ) -> Vec<u8> {
        let tables = standard::tables();
        let codes = Codes::of(&tables);
        // Most photos need less than two bits per pixel. Others grow the buffer.
        let pixels = usize::from(self.size[0]) * usize::from(self.size[1]);
        let mut out = Vec::with_capacity(1024 + pixels / 4);
        markers::head(&mut out, self.size, &self.quants, tables.each_ref());
        let mut direct = Direct::new(&codes, workspace.take(Direct::room()), out);
        self.gather::<TURNED>(&mut direct, transform);
        let (mut out, raw) = direct.finish();
        workspace.give(raw);
        out.extend(markers::END);
        out
    }

    /// Collects the symbols of all blocks in the order of the file.
    #[inline(always)]
    fn gather<const TURNED: bool>(
        &self,
        symbols: &mut impl Sink,
        transform: impl Fn(&Samples, &Quant, &mut Blocks),
    ) {
        let [width, height] = self.size.map(usize::from);
        let mut blocks = Blocks::default();
        let mut levels = [0; 3];
        for y in (0..height).step_by(MCU) {
            for x in (0..width).step_by(MCU) {
                // `transform` and `add` are called at one place each, so that the compiler inlines them.
                for part in 0..3 {
                    let (is_luma, upper) = (part < 2, y + 8 * part);
                    // Blocks outside the picture have no pixel. They are coded as the shortest block that there is.
                    if is_luma && upper >= height {
                        symbols.add_dummy(LUMA);
                        symbols.add_dummy(LUMA);
                        continue;
                    }
                    let (samples, classes) = if is_luma {
                        (self.luma::<TURNED>(x, upper), LUMA)
                    } else {
                        (self.chroma::<TURNED>(x / 2, y / 2), CHROMA)
                    };
                    transform(&samples, &self.quants[usize::from(!is_luma)], &mut blocks);
                    for second in [false, true] {
                        if is_luma && second && x + 8 >= width {
                            symbols.add_dummy(LUMA);
                            continue;
                        }
                        let level = &mut levels[if is_luma { 0 } else { 1 + usize::from(second) }];
                        let block = Block {
                            coefficients: &blocks.coefficients,
                            shift: 8 * u8::from(second),
                            present: blocks.present[usize::from(second)],
                        };
                        symbols.add(classes, block, level);
                    }
                }
            }
        }
    }

    /// Returns two adjacent blocks of luma.
    #[inline(always)]
    fn luma<const TURNED: bool>(&self, x: usize, y: usize) -> Samples {
        let plane = self.planes[0];
        if TURNED {
            let left = cut::<8>(plane, y, x).unwrap_or_else(|| cut_at_edge(plane, y, x));
            let right = cut::<8>(plane, y, x + 8).unwrap_or_else(|| cut_at_edge(plane, y, x + 8));
            return std::array::from_fn(|column| bytemuck::must_cast([left[column], right[column]]));
        }
        cut(plane, x, y).unwrap_or_else(|| cut_at_edge(plane, x, y))
    }

    /// Returns a block of each chroma.
    #[inline(always)]
    fn chroma<const TURNED: bool>(&self, x: usize, y: usize) -> Samples {
        let (x, y) = if TURNED { (y, x) } else { (x, y) };
        let [_, blue, red] = self.planes;
        let blue = cut::<8>(blue, x, y).unwrap_or_else(|| cut_at_edge(blue, x, y));
        let red = cut::<8>(red, x, y).unwrap_or_else(|| cut_at_edge(red, x, y));
        std::array::from_fn(|row| bytemuck::must_cast([blue[row], red[row]]))
    }
}

/// Returns eight rows of `WIDTH` samples at `x`, `y`, or `None` if they are not all in the plane.
#[inline(always)]
fn cut<const WIDTH: usize>(plane: &Plane, x: usize, y: usize) -> Option<[[u8; WIDTH]; 8]> {
    if x + WIDTH > plane.width {
        return None;
    }
    let area = plane.samples.get(y * plane.width + x..)?.get(..7 * plane.width + WIDTH)?;
    let mut rows = [[0; WIDTH]; 8];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = *area.get(index * plane.width..)?.first_chunk()?;
    }
    Some(rows)
}

/// Returns eight rows of `WIDTH` samples at the edge. The last column and row are repeated.
#[cold]
fn cut_at_edge<const WIDTH: usize>(plane: &Plane, x: usize, y: usize) -> [[u8; WIDTH]; 8] {
    let sample = |x: usize, y: usize| {
        let (x, y) = (x.min(plane.width - 1), y.min(plane.height - 1));
        plane.samples.get(y * plane.width + x).copied().unwrap_or_default()
    };
    std::array::from_fn(|row| std::array::from_fn(|column| sample(x + column, y + row)))
}
