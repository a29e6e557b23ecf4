//! The bits of coefficients in a mask of a block, in rows of `LANES` coefficients as vectors hold them.

use super::PLACE;

/// Returns, for each coefficient as it is placed in a block, the byte of a mask that contains its bit; then a byte of zeros.
pub(super) const fn bytes<const LANES: usize, const ROWS: usize>() -> [[[u8; 2]; LANES]; ROWS] {
    let mut bytes = [[[0, 0x80]; LANES]; ROWS];
    let mut at = 0;
    while at < 64 {
        let place = PLACE[at] as usize;
        bytes[place / LANES][place % LANES][0] = (63 - at).to_le_bytes()[0] / 8;
        at += 1;
    }
    bytes
}

/// Returns, for each coefficient, its bit in that byte.
pub(super) const fn bits<const LANES: usize, const ROWS: usize>() -> [[u16; LANES]; ROWS] {
    let mut bits = [[0; LANES]; ROWS];
    let mut at = 0;
    while at < 64 {
        let place = PLACE[at] as usize;
        bits[place / LANES][place % LANES] = 1 << ((63 - at) % 8);
        at += 1;
    }
    bits
}
