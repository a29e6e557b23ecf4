//! Builds optimal Huffman tables (T.81 K.2). Ties are broken as in libjpeg, so that the files are equal to its files.

/// Longest code that JPEG allows.
const MAX_LENGTH: usize = 16;
/// A pseudo-symbol that takes the code of all ones, because JPEG forbids this code.
const RESERVED: usize = 256;

/// A table as the file stores it.
#[derive(Debug)]
pub(super) struct Table {
    /// The number of codes of each length 1..=16.
    pub(super) lengths: [u8; MAX_LENGTH],
    /// The symbols, ordered by the lengths of their codes.
    pub(super) symbols: Vec<u8>,
}

/// A subtree of the code that is being built.
#[derive(Debug, Clone, Copy)]
struct Tree {
    count: u64,
    /// The first symbol of its linked list.
    first: usize,
}

impl Table {
    /// Builds the table from the number of occurrences of each symbol, of at most 256 symbols.
    pub(super) fn best(counts: &[u32]) -> Self {
        let mut symbols: Vec<usize> = (0..counts.len().min(RESERVED)).filter(|at| counts[*at] > 0).collect();
        let mut trees: Vec<Tree> = (0..)
            .zip(symbols.iter().map(|symbol| counts[*symbol]).chain([1]))
            .map(|(first, count)| Tree { count: count.into(), first })
            .collect();
        symbols.push(RESERVED);
        let depths = Self::depths(&mut trees, symbols.len());
        let mut by_length = [0_usize; RESERVED + 2];
        for depth in &depths {
            by_length[*depth] += 1;
        }
        Self::limit_lengths(&mut by_length);
        // The reserved symbol has one of the longest codes.
        if let Some(longest) = by_length.iter().rposition(|count| *count > 0) {
            by_length[longest] -= 1;
        }
        symbols.pop();
        let mut order: Vec<usize> = (0..symbols.len()).collect();
        order.sort_by_key(|at| depths[*at]);
        let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            lengths: std::array::from_fn(|at| byte(by_length[at + 1])),
            symbols: order.into_iter().map(|at| byte(symbols[at])).collect(),
        }
    }

    /// Returns the depth of each symbol in the tree.
    fn depths(trees: &mut [Tree], count: usize) -> Vec<usize> {
        let mut depths = vec![0; count];
        let mut next: Vec<Option<usize>> = vec![None; count];
        // A merged tree has a count of 0. Among equal counts, the last tree is taken.
        let smallest = |trees: &[Tree], but: usize| {
            let left = (0..trees.len()).filter(|at| *at != but && trees[*at].count > 0);
            left.min_by_key(|at| (trees[*at].count, std::cmp::Reverse(*at)))
        };
        while let Some(one) = smallest(trees, usize::MAX) {
            let Some(other) = smallest(trees, one) else { break };
            trees[one].count += trees[other].count;
            trees[other].count = 0;
            let mut at = trees[one].first;
            depths[at] += 1;
            while let Some(following) = next[at] {
                at = following;
                depths[at] += 1;
            }
            next[at] = Some(trees[other].first);
            while let Some(following) = next[at] {
                at = following;
                depths[at] += 1;
            }
        }
        depths
    }

    /// Limits code lengths (T.81 K.2, Adjust_BITS): of two long codes, one takes their prefix, the other half of a split code.
    fn limit_lengths(by_length: &mut [usize]) {
        for length in (MAX_LENGTH + 1..by_length.len()).rev() {
            while by_length[length] > 1 {
                let Some(shorter) = by_length[..length - 1].iter().rposition(|count| *count > 0) else {
                    break;
                };
                by_length[length] -= 2;
                by_length[length - 1] += 1;
                by_length[shorter + 1] += 2;
                by_length[shorter] -= 1;
            }
        }
    }

    /// Returns each symbol with its code and the length of the code (T.81 C.2).
    pub(super) fn codes(&self) -> impl Iterator<Item = (u8, u32, u32)> {
        let lengths = (1..).zip(self.lengths).flat_map(|(length, count)| (0..count).map(move |_| length));
        let mut code = 0_u32;
        let mut before = 1;
        self.symbols.iter().zip(lengths).map(move |(symbol, length)| {
            code <<= length - before;
            before = length;
            code += 1;
            (*symbol, code - 1, length)
        })
    }
}
