//! Scaling lists (ITU-T H.265 sections 7.3.4 and 7.4.5): factors of the quantiser for each frequency.

use crate::imaging::codec::heif::boxes::Bits;
use crate::imaging::error::ImageError;

/// Default of the lists for intra blocks from 8 x 8 on, in diagonal order (table 7-6).
const INTRA: [u8; 64] = [
    16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 17, 16, 17, 16, 17, 18, 17, 18, 18, 17, 18, 21, 19, 20, 21, 20,
    19, 21, 24, 22, 22, 24, 24, 22, 22, 24, 25, 25, 27, 30, 27, 25, 25, 29, 31, 35, 35, 31, 29, 36, 41, 44,
    41, 36, 47, 54, 54, 47, 65, 70, 65, 88, 88, 115,
];

/// Coded factors of one size and component, in diagonal order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct List {
    factors: [u8; 64],
    /// The factor of the mean in blocks from 16 x 16 on.
    first: u8,
}

impl List {
    fn default_of(size: usize) -> Self {
        Self { factors: if size == 0 { [16; 64] } else { INTRA }, first: 16 }
    }
}

/// The lists for intra blocks by size (4 x 4 to 32 x 32) and component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScalingLists([[List; 3]; 4]);

impl ScalingLists {
    pub(super) fn by_default() -> Self {
        Self([0, 1, 2, 3].map(|size| [List::default_of(size); 3]))
    }

    /// Reads `scaling_list_data`. Lists for inter blocks are skipped: those for intra blocks come first, and refer to earlier
    /// ones only.
    pub(super) fn read(bits: &mut Bits<'_>) -> Result<Self, ImageError> {
        let mut lists = Self::by_default();
        for size in 0..4 {
            // Of the largest size, only the lists of luma are coded.
            let step = if size == 3 { 3 } else { 1 };
            for matrix in (0..6).step_by(step) {
                let list = lists.read_one(bits, size, matrix, step)?;
                if let (Some(known), Some(list)) = (lists.0[size].get_mut(matrix), list) {
                    *known = list;
                }
            }
        }
        // Of 4:4:4 pictures, chroma has the lists of 16 x 16 blocks for 32 x 32 ones, too (equation 7-xx for `chroma_format_idc` 3).
        lists.0[3] = [lists.0[3][0], lists.0[2][1], lists.0[2][2]];
        Ok(lists)
    }

    fn read_one(
        &self,
        bits: &mut Bits<'_>,
        size: usize,
        matrix: usize,
        step: usize,
    ) -> Result<Option<List>, ImageError> {
        if !bits.flag()? {
            let back = bits.golomb()? as usize;
            let from = back.checked_mul(step).and_then(|back| matrix.checked_sub(back));
            let from = from.ok_or(ImageError::Corrupt)?;
            let list = if back == 0 { Some(List::default_of(size)) } else { self.0[size].get(from).copied() };
            return Ok(list);
        }
        let mut list = List::default_of(size);
        let mut factor = 8;
        if size > 1 {
            factor = signed(bits)?.checked_add(8).ok_or(ImageError::Corrupt)?;
            list.first = u8::try_from(factor).map_err(|_| ImageError::Corrupt)?;
        }
        for place in list.factors.iter_mut().take(64.min(1 << (4 + 2 * size))) {
            let change = signed(bits)?;
            if !(-128..128).contains(&change) {
                return Err(ImageError::Corrupt);
            }
            factor = (factor + change) & 255;
            *place = u8::try_from(factor).map_err(|_| ImageError::Corrupt)?;
        }
        Ok(Some(list))
    }

    /// Returns the factors for each position of a block of side `4 << size`, in rows (section 7.4.5).
    pub(super) fn factors(&self, size: usize, component: usize) -> Vec<u8> {
        let list = &self.0[size][component];
        let side = 4usize << size;
        // Larger blocks repeat the factors of 8 x 8 frequencies.
        let coded = side.min(8);
        let mut at = [[0; 8]; 8];
        let places = (0..2 * coded - 1).flat_map(|sum| (0..=sum).map(move |x| (x, sum - x)));
        let places = places.filter(|(x, y)| *x < coded && *y < coded);
        for ((x, y), factor) in places.zip(list.factors) {
            at[y][x] = factor;
        }
        let mut factors = Vec::with_capacity(side * side);
        for y in 0..side {
            factors.extend((0..side).map(|x| at[y * coded / side][x * coded / side]));
        }
        if size > 1 {
            factors[0] = list.first;
        }
        factors
    }
}

/// Reads a signed Exp-Golomb number (section 9.2.2).
pub(super) fn signed(bits: &mut Bits<'_>) -> Result<i32, ImageError> {
    let number = bits.golomb()?;
    let half = (number / 2).cast_signed();
    Ok(if number % 2 == 1 { half + 1 } else { -half })
}
