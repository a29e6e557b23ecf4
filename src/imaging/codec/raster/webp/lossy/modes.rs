//! How macroblocks are predicted (RFC 6386 sections 9.3, 11).

use super::bits::Bits;
use super::tables::MODE_PROBABILITIES;

/// How a macroblock of luma or chroma is predicted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// The mean of the samples around it.
    Mean,
    /// The row above.
    Above,
    /// The column on the left.
    Left,
    /// The sum of both, less the corner.
    Sum,
}

/// How a block of 4 x 4 samples is predicted. The numbers are those of the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    #[default]
    Mean,
    Sum,
    Above,
    Left,
    DownLeft,
    DownRight,
    VerticalRight,
    VerticalLeft,
    HorizontalDown,
    HorizontalUp,
}

impl Whole {
    fn of_blocks(self) -> Mode {
        match self {
            Self::Mean => Mode::Mean,
            Self::Above => Mode::Above,
            Self::Left => Mode::Left,
            Self::Sum => Mode::Sum,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Luma {
    Whole(Whole),
    Blocks([[Mode; 4]; 4]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Macroblock {
    pub(super) segment: usize,
    pub(super) has_coefficients: bool,
    pub(super) luma: Luma,
    pub(super) chroma: Whole,
}

impl Macroblock {
    /// Reads the modes of a macroblock. `above` and `left` are the modes of the blocks around it, and become its own.
    #[inline(always)]
    pub(super) fn read(
        bits: &mut Bits<'_>,
        segment_tree: Option<[u8; 3]>,
        has_coefficients: Option<u8>,
        above: &mut [Mode; 4],
        left: &mut [Mode; 4],
    ) -> Self {
        bits.refill();
        let segment = match segment_tree {
            None => 0,
            Some([root, low, high]) => match bits.bit(root) {
                false => usize::from(bits.bit(low)),
                true => 2 + usize::from(bits.bit(high)),
            },
        };
        let has_coefficients = match has_coefficients {
            None => true,
            Some(is_skipped) => !bits.bit(is_skipped),
        };
        bits.refill();
        let luma = if bits.bit(145) {
            let whole = match bits.bit(156) {
                false if bits.bit(163) => Whole::Above,
                false => Whole::Mean,
                true if bits.bit(128) => Whole::Sum,
                true => Whole::Left,
            };
            *above = [whole.of_blocks(); 4];
            *left = *above;
            Luma::Whole(whole)
        } else {
            let mut blocks = [[Mode::Mean; 4]; 4];
            for y in 0..4 {
                for x in 0..4 {
                    let mode = block_mode(bits, &MODE_PROBABILITIES[above[x] as usize][left[y] as usize]);
                    (above[x], left[y], blocks[y][x]) = (mode, mode, mode);
                }
            }
            Luma::Blocks(blocks)
        };
        bits.refill();
        let chroma = match bits.bit(142) {
            false => Whole::Mean,
            true if !bits.bit(114) => Whole::Above,
            true if bits.bit(183) => Whole::Sum,
            true => Whole::Left,
        };
        Self { segment, has_coefficients, luma, chroma }
    }
}

/// Reads the mode of a block (section 11.2).
#[inline(always)]
fn block_mode(bits: &mut Bits<'_>, nodes: &[u8; 9]) -> Mode {
    bits.refill();
    // At most seven bits.
    if !bits.bit(nodes[0]) {
        Mode::Mean
    } else if !bits.bit(nodes[1]) {
        Mode::Sum
    } else if !bits.bit(nodes[2]) {
        Mode::Above
    } else if !bits.bit(nodes[3]) {
        match bits.bit(nodes[4]) {
            false => Mode::Left,
            true if bits.bit(nodes[5]) => Mode::VerticalRight,
            true => Mode::DownRight,
        }
    } else if !bits.bit(nodes[6]) {
        Mode::DownLeft
    } else if !bits.bit(nodes[7]) {
        Mode::VerticalLeft
    } else if bits.bit(nodes[8]) {
        Mode::HorizontalUp
    } else {
        Mode::HorizontalDown
    }
}
