//! The header of a key frame (RFC 6386 section 9).

use super::bits::Bits;
use super::filter::Strength;
use super::tables::{AC_STEPS, BANDS, Bands, DC_STEPS, TOKEN_PROBABILITIES, UPDATE_PROBABILITIES};
use crate::imaging::error::ImageError;

/// Bytes before the first partition: tag, start code, size.
const START: usize = 10;
const MAX_PARTITIONS: usize = 8;
const SEGMENTS: usize = 4;
/// Positions in a block, and one after its end.
const POSITIONS: usize = 17;

/// Probabilities of the token tree for blocks of one kind, by position and context.
pub(super) type Tokens = [[[u8; 11]; 3]; POSITIONS];

/// The steps of DC and AC for the kinds of blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    pub(super) luma: [i32; 2],
    pub(super) second: [i32; 2],
    pub(super) chroma: [i32; 2],
}

/// What differs between the segments of a picture.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Segment {
    pub(super) steps: Steps,
    /// The filter of macroblocks with one mode, and of those with a mode for each block.
    pub(super) strengths: [Strength; 2],
}

#[derive(Debug)]
pub(super) struct Header<'a> {
    /// The rest of the first partition: the modes of all macroblocks.
    pub(super) modes: Bits<'a>,
    /// Coefficients: the rows of macroblocks use them in turn.
    pub(super) partitions: Vec<Bits<'a>>,
    pub(super) segments: [Segment; SEGMENTS],
    /// Probabilities of the tree of segments, if macroblocks have one.
    pub(super) segment_tree: Option<[u8; 3]>,
    /// Probability that a macroblock has coefficients, if that is coded.
    pub(super) has_coefficients: Option<u8>,
    pub(super) has_simple_filter: bool,
    pub(super) tokens: Box<[Tokens; 4]>,
}

impl<'a> Header<'a> {
    /// Reads the header of a stream whose tag, start code and size are known to be those of a key frame.
    pub(super) fn read(stream: &'a [u8]) -> Result<Self, ImageError> {
        let tag = stream.first_chunk::<3>().ok_or(ImageError::Truncated)?;
        let length = u24(tag) >> 5;
        let rest = stream.get(START..).ok_or(ImageError::Truncated)?;
        let (first, rest) = rest.split_at_checked(length).ok_or(ImageError::Truncated)?;
        let mut bits = Bits::new(first)?;
        if bits.flag() {
            // A colour space that is reserved.
            return Err(ImageError::Corrupt);
        }
        let _clamping_is_not_needed = bits.flag();
        let segmentation = Segmentation::read(&mut bits);
        let has_simple_filter = bits.flag();
        let filter = Filter::read(&mut bits);
        let count = 1 << bits.number(2);
        if bits.is_past_end() {
            return Err(ImageError::Truncated);
        }
        let partitions = partitions(rest, count)?;
        let steps = segmentation.steps(&mut bits);
        let _replaces_probabilities = bits.flag();
        let tokens = tokens(&mut bits);
        let has_coefficients = bits.flag().then(|| bits.number(8));
        if bits.is_past_end() {
            return Err(ImageError::Truncated);
        }
        let mut segments = [Segment::default(); SEGMENTS];
        for ((segment, steps), level) in segments.iter_mut().zip(steps).zip(segmentation.levels(filter.level))
        {
            *segment = Segment { steps, strengths: filter.strengths(level) };
        }
        Ok(Self {
            modes: bits,
            partitions,
            segments,
            segment_tree: segmentation.tree,
            has_coefficients,
            has_simple_filter,
            tokens,
        })
    }
}

/// Returns the partitions of coefficients. Their lengths come first, except that of the last one, which is the rest.
fn partitions(rest: &[u8], count: usize) -> Result<Vec<Bits<'_>>, ImageError> {
    debug_assert!(count <= MAX_PARTITIONS);
    let (lengths, mut rest) = rest.split_at_checked(3 * (count - 1)).ok_or(ImageError::Truncated)?;
    let mut partitions = Vec::with_capacity(count);
    for length in lengths.as_chunks::<3>().0 {
        let (partition, after) = rest.split_at_checked(u24(length)).ok_or(ImageError::Truncated)?;
        partitions.push(Bits::new(partition)?);
        rest = after;
    }
    partitions.push(Bits::new(rest)?);
    Ok(partitions)
}

fn u24(&[a, b, c]: &[u8; 3]) -> usize {
    u32::from_le_bytes([a, b, c, 0]) as usize
}

/// Section 9.3.
#[derive(Debug, Default)]
struct Segmentation {
    is_used: bool,
    tree: Option<[u8; 3]>,
    /// Quantisers and levels are differences to those of the frame.
    is_relative: bool,
    quantisers: [i32; SEGMENTS],
    levels: [i32; SEGMENTS],
}

impl Segmentation {
    fn read(bits: &mut Bits<'_>) -> Self {
        let mut segmentation = Self { is_used: bits.flag(), ..Self::default() };
        if !segmentation.is_used {
            return segmentation;
        }
        let has_tree = bits.flag();
        if bits.flag() {
            segmentation.is_relative = !bits.flag();
            segmentation.quantisers = [(); SEGMENTS].map(|()| bits.optional(7));
            segmentation.levels = [(); SEGMENTS].map(|()| bits.optional(6));
        }
        segmentation.tree =
            has_tree.then(|| [(); 3].map(|()| if bits.flag() { bits.number(8) } else { u8::MAX }));
        segmentation
    }

    /// Returns the quantiser index or filter level of each segment.
    fn of_segments(&self, frame: i32, own: [i32; SEGMENTS]) -> [i32; SEGMENTS] {
        own.map(|own| match (self.is_used, self.is_relative) {
            (false, _) => frame,
            (true, false) => own,
            (true, true) => frame + own,
        })
    }

    fn levels(&self, frame: i32) -> [i32; SEGMENTS] {
        self.of_segments(frame, self.levels).map(|level| level.clamp(0, 63))
    }

    /// Reads the quantiser (section 9.6).
    fn steps(&self, bits: &mut Bits<'_>) -> [Steps; SEGMENTS] {
        let frame = i32::from(bits.number(7));
        let [luma_dc, second_dc, second_ac, chroma_dc, chroma_ac] = [(); 5].map(|()| bits.optional(4));
        let index = |index: i32| index.clamp(0, 127) as usize;
        let dc = |at: i32| i32::from(DC_STEPS[index(at)]);
        let ac = |at: i32| i32::from(AC_STEPS[index(at)]);
        self.of_segments(frame, self.quantisers).map(|base| Steps {
            luma: [dc(base + luma_dc), ac(base)],
            second: [2 * dc(base + second_dc), (ac(base + second_ac) * 155 / 100).max(8)],
            chroma: [dc(base + chroma_dc).min(132), ac(base + chroma_ac)],
        })
    }
}

/// Section 9.6 of the loop filter.
#[derive(Debug)]
struct Filter {
    level: i32,
    sharpness: i32,
    /// What is added to the level of all macroblocks, and to that of those with a mode for each block.
    deltas: [i32; 2],
}

impl Filter {
    fn read(bits: &mut Bits<'_>) -> Self {
        let level = bits.number(6).into();
        let sharpness = bits.number(3).into();
        let mut deltas = [0; 2];
        if bits.flag() && bits.flag() {
            // Those of other frames and modes do not occur in a key frame.
            deltas = [(); 2].map(|()| [(); 4].map(|()| bits.optional(6))[0]);
        }
        Self { level, sharpness, deltas }
    }

    /// Returns the strengths for macroblocks with one mode, and for those with a mode for each block.
    fn strengths(&self, level: i32) -> [Strength; 2] {
        // A picture without a filter has none in any segment.
        if self.level == 0 {
            return [Strength::default(); 2];
        }
        [self.deltas[0], self.deltas[0] + self.deltas[1]]
            .map(|delta| Strength::new((level + delta).clamp(0, 63) as u8, self.sharpness as u8))
    }
}

/// Reads the changes of the token probabilities (section 13.4). Expands bands to positions.
fn tokens(bits: &mut Bits<'_>) -> Box<[Tokens; 4]> {
    let mut by_band: Bands = TOKEN_PROBABILITIES;
    let all = by_band.as_flattened_mut().as_flattened_mut().as_flattened_mut();
    let updates = UPDATE_PROBABILITIES.as_flattened().as_flattened().as_flattened();
    for (probability, update) in all.iter_mut().zip(updates) {
        bits.refill();
        if bits.bit(*update) {
            *probability = bits.number(8);
        }
    }
    let mut tokens = Box::new([[[[0; 11]; 3]; POSITIONS]; 4]);
    for (tokens, by_band) in tokens.iter_mut().zip(&by_band) {
        for (tokens, band) in tokens.iter_mut().zip(BANDS) {
            *tokens = by_band[usize::from(band)];
        }
    }
    tokens
}
