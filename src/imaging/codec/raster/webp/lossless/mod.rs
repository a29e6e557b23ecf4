//! The lossless coding of WebP, VP8L (RFC 9649 section 3).
//!
//! This decoder is our own, because a file can declare 65,536 groups of five prefix codes, whose tables a decoder must hold. It
//! makes tables only for groups in use, up to [`MAX_TABLE_BYTES`], and checks the budget for every row and group.

mod bits;
mod prefix;
mod transform;

use self::bits::Bits;
use self::prefix::{Code, MAX_SYMBOLS, check, read_lengths};
use self::transform::{Blocks, Transform};
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;

/// Most bytes of tables. libwebp's encoder makes at most 2,600 groups of 6 kB, or 10 kB with the largest colour cache.
const MAX_TABLE_BYTES: u64 = 32 << 20;
/// Upper estimate of the tables of one group.
const MAX_GROUP_BYTES: u64 = 12 << 10;
/// Upper estimate of the bytes of tables that one byte of the stream can require.
const MAX_AMPLIFICATION: u64 = 2 << 10;
const MAX_GROUPS: u64 = 1 << 16;
/// Codes of a group: green with lengths and the colour cache, red, blue, alpha, distances.
const CODES: usize = 5;
/// Literals of one channel.
const LITERALS: usize = 256;
/// Prefixes of lengths, which follow the literals of green.
const LENGTHS: usize = 24;
/// Prefixes of distances.
const DISTANCES: usize = 40;
/// Logarithm to base 2 of the largest colour cache.
const MAX_CACHE_BITS: usize = 11;
/// Columns to the left and rows up of the pixels that the smallest distances mean.
const NEAR: [(i8, i8); 120] = [
    (0, 1),
    (1, 0),
    (1, 1),
    (-1, 1),
    (0, 2),
    (2, 0),
    (1, 2),
    (-1, 2),
    (2, 1),
    (-2, 1),
    (2, 2),
    (-2, 2),
    (0, 3),
    (3, 0),
    (1, 3),
    (-1, 3),
    (3, 1),
    (-3, 1),
    (2, 3),
    (-2, 3),
    (3, 2),
    (-3, 2),
    (0, 4),
    (4, 0),
    (1, 4),
    (-1, 4),
    (4, 1),
    (-4, 1),
    (3, 3),
    (-3, 3),
    (2, 4),
    (-2, 4),
    (4, 2),
    (-4, 2),
    (0, 5),
    (3, 4),
    (-3, 4),
    (4, 3),
    (-4, 3),
    (5, 0),
    (1, 5),
    (-1, 5),
    (5, 1),
    (-5, 1),
    (2, 5),
    (-2, 5),
    (5, 2),
    (-5, 2),
    (4, 4),
    (-4, 4),
    (3, 5),
    (-3, 5),
    (5, 3),
    (-5, 3),
    (0, 6),
    (6, 0),
    (1, 6),
    (-1, 6),
    (6, 1),
    (-6, 1),
    (2, 6),
    (-2, 6),
    (6, 2),
    (-6, 2),
    (4, 5),
    (-4, 5),
    (5, 4),
    (-5, 4),
    (3, 6),
    (-3, 6),
    (6, 3),
    (-6, 3),
    (0, 7),
    (7, 0),
    (1, 7),
    (-1, 7),
    (5, 5),
    (-5, 5),
    (7, 1),
    (-7, 1),
    (4, 6),
    (-4, 6),
    (6, 4),
    (-6, 4),
    (2, 7),
    (-2, 7),
    (7, 2),
    (-7, 2),
    (3, 7),
    (-3, 7),
    (7, 3),
    (-7, 3),
    (5, 6),
    (-5, 6),
    (6, 5),
    (-6, 5),
    (8, 0),
    (4, 7),
    (-4, 7),
    (7, 4),
    (-7, 4),
    (8, 1),
    (8, 2),
    (6, 6),
    (-6, 6),
    (8, 3),
    (5, 7),
    (-5, 7),
    (7, 5),
    (-7, 5),
    (8, 4),
    (6, 7),
    (-6, 7),
    (7, 6),
    (-7, 6),
    (8, 5),
    (7, 7),
    (-7, 7),
    (8, 6),
    (8, 7),
];

/// A picture whose transforms are not undone yet.
#[derive(Debug)]
pub(super) struct Coded {
    width: usize,
    pixels: Vec<u32>,
    /// The transforms in the order of the stream.
    transforms: Vec<Transform>,
}

/// Returns an upper estimate of the bytes that decoding a stream of `len` bytes holds, without the rows that it returns.
pub(super) fn memory(width: u32, height: u32, len: usize) -> u64 {
    let pixels = u64::from(width) * u64::from(height);
    // The smallest blocks are of 4 x 4 pixels.
    let blocks = u64::from(width.div_ceil(4)) * u64::from(height.div_ceil(4));
    let tables =
        (blocks.min(MAX_GROUPS) * MAX_GROUP_BYTES).min(len as u64 * MAX_AMPLIFICATION).min(MAX_TABLE_BYTES);
    let groups = MAX_GROUPS * (size_of::<Option<Group>>() + size_of::<bool>()) as u64;
    // Two transforms have blocks; groups are named twice while they are read.
    let images = (4 + 4 + 4 + 2) * blocks;
    let rows = 4 * 4 * u64::from(width);
    4 * pixels + images + tables + groups + rows + (1 << 16)
}

/// Decodes the stream after the size. Fails if it is corrupt or incomplete, or needs too many tables, or without budget.
pub(super) fn decode(
    stream: &[u8],
    width: u32,
    height: u32,
    budget: &WorkBudget<'_>,
) -> Result<Coded, ImageError> {
    budget.decode(u64::from(width) * u64::from(height))?;
    let mut stream = Stream {
        bits: Bits::new(stream),
        budget,
        lengths: Box::new([0; MAX_SYMBOLS]),
        table_bytes: MAX_TABLE_BYTES,
    };
    let height = height as usize;
    let (transforms, width) = stream.transforms(width as usize, height)?;
    let pixels = stream.image(width, height, true)?;
    Ok(Coded { width, pixels, transforms })
}

impl Coded {
    /// Undoes the transforms, and passes each row to `give`. Fails if `give` fails or the budget is used up.
    pub(super) fn rows(
        mut self,
        budget: &WorkBudget<'_>,
        mut give: impl FnMut(&[u32]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut row = Vec::new();
        for (y, coded) in self.pixels.chunks_exact(self.width).enumerate() {
            budget.check()?;
            row.clear();
            row.extend_from_slice(coded);
            self.transforms.iter_mut().rev().for_each(|transform| transform.undo(&mut row, y));
            give(&row)?;
        }
        Ok(())
    }
}

/// The prefix codes of some blocks of a picture.
#[derive(Debug)]
struct Group {
    tables: Box<[u16]>,
    codes: [Code; CODES],
}

#[derive(Debug)]
struct Cache {
    colours: Vec<u32>,
    shift: u32,
}

impl Cache {
    #[inline]
    fn insert(&mut self, colour: u32) {
        if !self.colours.is_empty() {
            self.colours[(colour.wrapping_mul(0x1E35_A7BD) >> self.shift) as usize] = colour;
        }
    }
}

struct Stream<'a> {
    bits: Bits<'a>,
    budget: &'a WorkBudget<'a>,
    lengths: Box<[u8; MAX_SYMBOLS]>,
    /// Bytes of tables that may still be made.
    table_bytes: u64,
}

impl Stream<'_> {
    /// Reads the transforms before the picture. Returns them with the coded width of its rows.
    fn transforms(
        &mut self,
        full_width: usize,
        height: usize,
    ) -> Result<(Vec<Transform>, usize), ImageError> {
        let (mut transforms, mut width, mut seen) = (Vec::new(), full_width, [false; 4]);
        while self.bits.flag()? {
            let kind = self.bits.take(2)?;
            if std::mem::replace(&mut seen[kind], true) {
                return Err(ImageError::Corrupt);
            }
            transforms.push(match kind {
                0 => Transform::predictor(self.blocks(width, height)?),
                1 => Transform::Colour(self.blocks(width, height)?),
                2 => Transform::SubtractGreen,
                _ => {
                    let count = 1 + self.bits.take(8)?;
                    let differences = self.image(count, 1, false)?;
                    let bits = match count {
                        ..=2 => 3,
                        3..=4 => 2,
                        5..=16 => 1,
                        _ => 0,
                    };
                    width = width.div_ceil(1 << bits);
                    Transform::palette(&differences, bits, full_width)
                }
            });
        }
        Ok((transforms, width))
    }

    /// Reads a picture that has a pixel for each block of one of `width` x `height`.
    fn blocks(&mut self, width: usize, height: usize) -> Result<Blocks, ImageError> {
        let bits = 2 + self.bits.take(3)? as u32;
        let across = width.div_ceil(1 << bits);
        let pixels = self.image(across, height.div_ceil(1 << bits), false)?;
        Ok(Blocks { bits, across, pixels })
    }

    /// Reads a picture: the main one, whose blocks may have their own codes, or an auxiliary one.
    fn image(&mut self, width: usize, height: usize, is_main: bool) -> Result<Vec<u32>, ImageError> {
        let mut cache = self.cache()?;
        let blocks = if is_main && self.bits.flag()? { Some(self.blocks(width, height)?) } else { None };
        let bits = blocks.as_ref().map(|blocks| blocks.bits);
        let across = blocks.as_ref().map_or(1, |blocks| blocks.across);
        let names: Vec<u16> =
            blocks.map_or(vec![0], |blocks| blocks.pixels.iter().map(|pixel| (pixel >> 8) as u16).collect());
        let groups = self.groups(&names, cache.colours.len())?;
        let group_of = |x: usize, y: usize| -> Result<&Group, ImageError> {
            let block = bits.map_or(0, |bits| (y >> bits) * across + (x >> bits));
            let name = names.get(block).ok_or(ImageError::Corrupt)?;
            groups[usize::from(*name)].as_ref().ok_or(ImageError::Corrupt)
        };
        let block_columns = bits.map_or(width, |bits| 1 << bits);

        let mut pixels = vec![0; width * height];
        let (mut at, mut row_end, mut block_end) = (0, 0, 0);
        let mut group = group_of(0, 0)?;
        while at < pixels.len() {
            if at >= block_end {
                let (x, y) = (at % width, at / width);
                if at >= row_end {
                    row_end = (y + 1) * width;
                    self.budget.check()?;
                }
                block_end = (at - x + x / block_columns * block_columns + block_columns).min(row_end);
                group = group_of(x, y)?;
            }
            let Group { tables, codes: [green_code, red_code, blue_code, alpha_code, distance_code] } = group;
            let bits = &mut self.bits;
            bits.refill();
            let green = green_code.symbol(tables, bits)?;
            if green < LITERALS {
                let red = red_code.symbol(tables, bits)?;
                let blue = blue_code.symbol(tables, bits)?;
                if bits.count() < 16 {
                    bits.refill();
                }
                let alpha = alpha_code.symbol(tables, bits)?;
                // The symbols come from alphabets of 256.
                let pixel = (alpha << 24 | red << 16 | green << 8 | blue) as u32;
                pixels[at] = pixel;
                cache.insert(pixel);
                at += 1;
            } else if green < LITERALS + LENGTHS {
                let length = number(bits, green - LITERALS)?;
                bits.refill();
                let prefix = distance_code.symbol(tables, bits)?;
                let distance = distance(number(bits, prefix)?, width);
                if distance > at || length > pixels.len() - at {
                    return Err(ImageError::Corrupt);
                }
                copy(&mut pixels, at, distance, length);
                if !cache.colours.is_empty() {
                    pixels[at..at + length].iter().for_each(|pixel| cache.insert(*pixel));
                }
                at += length;
            } else {
                let index = green - LITERALS - LENGTHS;
                pixels[at] = *cache.colours.get(index).ok_or(ImageError::Corrupt)?;
                at += 1;
            }
        }
        Ok(pixels)
    }

    /// Reads the colour cache of a picture. It is empty if the picture has no cache.
    fn cache(&mut self) -> Result<Cache, ImageError> {
        if !self.bits.flag()? {
            return Ok(Cache { colours: Vec::new(), shift: 0 });
        }
        match self.bits.take(4)? {
            bits @ 1..=MAX_CACHE_BITS => Ok(Cache { colours: vec![0; 1 << bits], shift: 32 - bits as u32 }),
            _ => Err(ImageError::Corrupt),
        }
    }

    /// Reads the codes of all groups, and makes tables for those in `names`.
    fn groups(&mut self, names: &[u16], cache_len: usize) -> Result<Vec<Option<Group>>, ImageError> {
        let count = names.iter().max().map_or(1, |name| usize::from(*name) + 1);
        let mut is_named = vec![false; count];
        names.iter().for_each(|name| is_named[usize::from(*name)] = true);
        let symbols = [LITERALS + LENGTHS + cache_len, LITERALS, LITERALS, LITERALS, DISTANCES];
        let mut groups = Vec::with_capacity(count);
        let mut tables = Vec::new();
        for is_named in is_named {
            self.budget.check()?;
            tables.clear();
            let mut codes = [Code::default(); CODES];
            for (code, symbols) in codes.iter_mut().zip(symbols) {
                let lengths = &mut self.lengths[..symbols];
                read_lengths(&mut self.bits, lengths)?;
                if is_named {
                    *code = Code::build(lengths, &mut tables)?;
                } else {
                    check(lengths)?;
                }
            }
            groups.push(is_named.then(|| Group { tables: tables.as_slice().into(), codes }));
            let bytes = size_of_val(tables.as_slice()) as u64;
            self.table_bytes = self.table_bytes.checked_sub(bytes).ok_or(ImageError::TooMuchMemory)?;
        }
        Ok(groups)
    }
}

/// Reads the rest of a length or distance after its prefix code.
#[inline]
fn number(bits: &mut Bits<'_>, prefix: usize) -> Result<usize, ImageError> {
    if prefix < 4 {
        return Ok(prefix + 1);
    }
    let extra = (prefix - 2) >> 1;
    Ok(((2 + (prefix & 1)) << extra) + bits.take(extra as u32)? + 1)
}

/// Converts a distance code to a number of pixels, in a picture of `width` columns.
#[inline]
fn distance(code: usize, width: usize) -> usize {
    match NEAR.get(code - 1) {
        None => code - NEAR.len(),
        // The offset points to a pixel to the left in this row, or to a pixel in a row above.
        Some((left, up)) => (width * *up as usize).saturating_add_signed(isize::from(*left)).max(1),
    }
}

/// Copies `length` pixels from `distance` before `at`, which may overlap.
#[inline]
fn copy(pixels: &mut [u32], at: usize, distance: usize, length: usize) {
    if distance >= length {
        pixels.copy_within(at - distance..at - distance + length, at);
    } else {
        for to in at..at + length {
            pixels[to] = pixels[to - distance];
        }
    }
}
