//! The best Huffman tables for given symbols (T.81 K.2), with libjpeg's choice among equals: files come out the same.

/// Longest code that JPEG allows.
const MAX_LENGTH: usize = 16;
/// The pseudo-symbol that gets the code of all ones, which no symbol may have.
const RESERVED: usize = 256;

/// A table as the file stores it.
#[derive(Debug)]
pub(super) struct Table {
    /// Codes of 1 to 16 bits.
    pub(super) lengths: [u8; MAX_LENGTH],
    /// Symbols by length of their code.
    pub(super) symbols: Vec<u8>,
}

/// A subtree while the code is made.
#[derive(Debug, Clone, Copy)]
struct Tree {
    count: u64,
    /// Its symbols are a chain that begins here.
    first: usize,
}

impl Table {
    /// From how often each symbol occurs, which are 256 or fewer.
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
        Self::shorten(&mut by_length);
        // The reserved one is among the longest.
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

    /// How deep in the tree each symbol is.
    fn depths(trees: &mut [Tree], count: usize) -> Vec<usize> {
        let mut depths = vec![0; count];
        let mut next: Vec<Option<usize>> = vec![None; count];
        // Where a tree is gone into another its count is none; among equals the later is the smaller.
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

    /// Makes no code longer than JPEG allows: of two that are too long, one gets their common prefix, the other one a shorter code
    /// is split for.
    fn shorten(by_length: &mut [usize]) {
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

    /// The symbols with their codes and the lengths of these (T.81 C.2).
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
