//! Orders of coefficients and the choice of contexts for their significance (ITU-T H.265 sections 6.5.3 to 6.5.5 and 9.3.4.2.5), and quantisers of
//! chroma.

use crate::imaging::codec::heif::picture::Chroma;

/// Orders in which the coefficients of a block are coded.
pub(super) const DIAGONAL: usize = 0;
pub(super) const HORIZONTAL: usize = 1;
pub(super) const VERTICAL: usize = 2;

/// A position in a 4 x 4 sub-block or among the sub-blocks: column in the low four bits, row in the high ones.
const fn place(x: usize, y: usize) -> u8 {
    (y << 4 | x) as u8
}

/// Returns the first `SIDE * SIDE` positions of the up-right diagonal scan (section 6.5.3).
const fn diagonal<const COUNT: usize>(side: usize) -> [u8; COUNT] {
    let mut places = [0; COUNT];
    let (mut n, mut sum) = (0, 0);
    while n < side * side {
        let mut x = 0;
        while x <= sum {
            let y = sum - x;
            if x < side && y < side {
                places[n] = place(x, y);
                n += 1;
            }
            x += 1;
        }
        sum += 1;
    }
    places
}

const fn rows<const COUNT: usize>(side: usize, swapped: bool) -> [u8; COUNT] {
    let mut places = [0; COUNT];
    let mut n = 0;
    while n < side * side {
        let (across, down) = (n % side, n / side);
        places[n] = if swapped { place(down, across) } else { place(across, down) };
        n += 1;
    }
    places
}

/// Positions in a sub-block in the order of each scan.
pub(super) const IN_SUB_BLOCK: [[u8; 16]; 3] = [diagonal(4), rows(4, false), rows(4, true)];

/// Positions of the sub-blocks of a block with 1, 2, 4 and 8 of them a side, in diagonal order.
const SUB_BLOCKS: [[u8; 64]; 4] = [diagonal(1), diagonal(2), diagonal(4), diagonal(8)];
/// The same for the other scans, which only blocks with up to 2 sub-blocks a side have.
const FEW_SUB_BLOCKS: [[u8; 64]; 3] = [diagonal(2), rows(2, false), rows(2, true)];

/// Returns the positions of the sub-blocks of a block of side `1 << log2`.
pub(super) fn sub_blocks(log2: usize, scan: usize) -> &'static [u8; 64] {
    match scan {
        HORIZONTAL | VERTICAL if log2 == 3 => &FEW_SUB_BLOCKS[scan],
        _ => &SUB_BLOCKS[(log2 - 2) & 3],
    }
}

const fn inverse<const COUNT: usize>(places: &[u8], side: usize) -> [u8; COUNT] {
    let mut orders = [0; COUNT];
    let mut n = 0;
    while n < side * side {
        let place = places[n] as usize;
        orders[(place >> 4) * side + (place & 15)] = n as u8;
        n += 1;
    }
    orders
}

/// The order of each position `4 * y + x` in a sub-block.
pub(super) const ORDER_IN_SUB_BLOCK: [[u8; 16]; 3] =
    [inverse(&IN_SUB_BLOCK[0], 4), inverse(&IN_SUB_BLOCK[1], 4), inverse(&IN_SUB_BLOCK[2], 4)];

const SUB_BLOCK_ORDERS: [[u8; 64]; 4] = [
    inverse(&SUB_BLOCKS[0], 1),
    inverse(&SUB_BLOCKS[1], 2),
    inverse(&SUB_BLOCKS[2], 4),
    inverse(&SUB_BLOCKS[3], 8),
];
const FEW_SUB_BLOCK_ORDERS: [[u8; 64]; 3] =
    [inverse(&FEW_SUB_BLOCKS[0], 2), inverse(&FEW_SUB_BLOCKS[1], 2), inverse(&FEW_SUB_BLOCKS[2], 2)];

/// Returns the order of the sub-block at a position.
pub(super) fn sub_block_order(log2: usize, scan: usize, x: usize, y: usize) -> usize {
    let orders = match scan {
        HORIZONTAL | VERTICAL if log2 == 3 => &FEW_SUB_BLOCK_ORDERS[scan],
        _ => &SUB_BLOCK_ORDERS[(log2 - 2) & 3],
    };
    usize::from(orders[((y << (log2 - 2)) + x) & 63])
}

/// Contexts by the position in a 4 x 4 block, `ctxIdxMap` of table 9-50.
const IN_SMALLEST: [u8; 16] = [0, 1, 4, 5, 2, 3, 4, 5, 6, 6, 8, 8, 7, 7, 8, 8];

/// The same in the order of each scan.
pub(super) const SMALLEST_CONTEXTS: [[u8; 16]; 3] = {
    let mut contexts = [[0; 16]; 3];
    let mut scan = 0;
    while scan < 3 {
        let mut n = 0;
        while n < 16 {
            let place = IN_SUB_BLOCK[scan][n] as usize;
            contexts[scan][n] = IN_SMALLEST[(place >> 4) * 4 + (place & 15)];
            n += 1;
        }
        scan += 1;
    }
    contexts
};

/// Contexts by scan, by which neighbours have coefficients (1 the right, 2 the lower sub-block), and by order.
pub(super) const PATTERN_CONTEXTS: [[[u8; 16]; 4]; 3] = {
    let mut contexts = [[[0; 16]; 4]; 3];
    let mut scan = 0;
    while scan < 3 {
        let mut n = 0;
        while n < 16 {
            let place = IN_SUB_BLOCK[scan][n];
            let (x, y) = (place & 15, place >> 4);
            contexts[scan][0][n] = if x + y == 0 { 2 } else { (x + y < 3) as u8 };
            contexts[scan][1][n] = if y == 0 { 2 } else { (y == 1) as u8 };
            contexts[scan][2][n] = if x == 0 { 2 } else { (x == 1) as u8 };
            contexts[scan][3][n] = 2;
            n += 1;
        }
        scan += 1;
    }
    contexts
};

/// Quantiser of chroma in 4:2:0 pictures from that of luma, from 30 to 43 (table 8-10).
const CHROMA_QP: [i8; 14] = [29, 30, 31, 32, 33, 33, 34, 34, 35, 35, 36, 36, 37, 37];

/// Returns the quantiser of chroma for an index (section 8.6.1).
pub(super) fn chroma_qp(chroma: Chroma, index: i32) -> i32 {
    match chroma {
        Chroma::Quarter if index >= 43 => index - 6,
        Chroma::Quarter if index >= 30 => CHROMA_QP[(index - 30) as usize % 14].into(),
        Chroma::Quarter => index,
        _ => index.min(51),
    }
}
