//! What the loop filters need of a picture.

use crate::imaging::codec::heif::hevc::slice::Slice;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    None,
    /// Four bands of values have offsets.
    Band,
    /// Four shapes of edges have offsets.
    Edge,
}

/// The offsets of a component in a coding tree block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sao {
    pub(super) kind: Kind,
    /// The first band, or the direction of edges.
    pub(super) class: u8,
    pub(super) offsets: [i16; 4],
}

/// What the filters need of a coding tree block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TreeBlock {
    /// Number of the slice from 1 on. 0 if the block is not decoded.
    pub(super) slice: u32,
    pub(super) sao: [Sao; 3],
}

/// Edges of an 8 x 8 block: those of transform blocks at its left and at its top, a bit for each half.
pub(super) mod edge {
    pub(in super::super) const LEFT: u8 = 1;
    pub(in super::super) const TOP: u8 = 4;
}

/// What the filters need of a picture.
pub(super) struct Maps {
    pub(super) blocks: Vec<TreeBlock>,
    /// 8 x 8 blocks across.
    pub(super) across: usize,
    /// Quantisers of the 8 x 8 blocks.
    pub(super) qp: Vec<i8>,
    pub(super) edges: Vec<u8>,
    /// Whether an 8 x 8 block is exempt from the filters. Empty if none is.
    pub(super) exempt: Vec<bool>,
    /// The slices, from number 1 on.
    pub(super) slices: Vec<Slice>,
    /// Column and row of tiles of each column and row of blocks.
    pub(super) tile_columns: Vec<u8>,
    pub(super) tile_rows: Vec<u8>,
}
