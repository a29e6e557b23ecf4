//! Decodes the coefficients of a transform block (ITU-T H.265 sections 7.3.8.11 and 9.3.4.2.4 to 9.3.4.2.7).

use super::cabac::Cabac;
use super::contexts::{
    CODED_SUB_BLOCK, Contexts, GREATER1, GREATER2, LAST_X, LAST_Y, SIGNIFICANT, TRANSFORM_SKIP,
};
use super::isa::Kernel;
use super::scaler::{Scaler, Scaling};
use super::tables::{
    HORIZONTAL, IN_SUB_BLOCK, ORDER_IN_SUB_BLOCK, PATTERN_CONTEXTS, SMALLEST_CONTEXTS, VERTICAL,
    sub_block_order, sub_blocks,
};
use super::transform::Extent;

/// What does not change within a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools {
    pub(super) sign_hiding: bool,
    pub(super) transform_skip: bool,
    /// Largest block without a transform.
    pub(super) skip_log2: u32,
    pub(super) skip_context: bool,
    pub(super) skip_rdpcm: bool,
    pub(super) rice_adaptation: bool,
    pub(super) depth: u32,
}

pub(super) struct Residual<'r, 'd> {
    pub(super) cabac: &'r mut Cabac<'d>,
    pub(super) contexts: &'r mut Contexts,
    /// `StatCoeff`.
    pub(super) statistics: &'r mut [u8; 4],
    /// All zero, rows as long as the block's.
    pub(super) coefficients: &'r mut [i16; 1024],
    pub(super) tools: &'r Tools,
    pub(super) scaling: Scaling<'r>,
    /// Quantiser of the component.
    pub(super) qp: u32,
    pub(super) log2: u32,
    pub(super) is_chroma: bool,
    pub(super) scan: usize,
    /// Whether the prediction is exactly horizontal or vertical.
    pub(super) is_straight: bool,
}

/// What a block has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded {
    pub(super) extent: Extent,
    pub(super) skips_transform: bool,
}

impl Kernel for Residual<'_, '_> {
    type Output = Coded;

    #[inline(always)]
    fn run(mut self) -> Coded {
        // Constants for the sizes let the compiler drop what a size does not have.
        match self.log2 {
            2 => self.decode::<2>(),
            3 => self.decode::<3>(),
            4 => self.decode::<4>(),
            _ => self.decode::<5>(),
        }
    }
}

impl Residual<'_, '_> {
    #[inline(always)]
    fn last_prefix(
        cabac: &mut Cabac<'_>,
        contexts: &mut Contexts,
        first: u8,
        log2: u32,
        is_chroma: bool,
    ) -> u32 {
        let (offset, shift) =
            if is_chroma { (15, log2 - 2) } else { (3 * (log2 - 2) + ((log2 - 1) >> 2), (log2 + 1) >> 2) };
        let most = 2 * log2 - 1;
        let mut prefix = 0;
        while prefix < most && cabac.flag(contexts, first + (offset + (prefix >> shift)) as u8) {
            prefix += 1;
        }
        prefix
    }

    #[inline(always)]
    fn last_position(cabac: &mut Cabac<'_>, prefix: u32) -> u32 {
        if prefix < 4 {
            return prefix;
        }
        let bits = (prefix >> 1) - 1;
        ((2 + (prefix & 1)) << bits) + cabac.bypass(bits)
    }

    /// Decodes `coeff_abs_level_remaining` (section 9.3.3.11).
    #[inline(always)]
    fn remaining(cabac: &mut Cabac<'_>, rice: u32) -> u32 {
        let bins = cabac.peek();
        let prefix = (!(bins << 16)).leading_zeros();
        let suffix = if prefix <= 3 { rice } else { prefix - 3 + rice };
        let count = prefix + 1 + suffix;
        if count > 16 {
            let rest;
            (*cabac, rest) = Self::long_remaining(*cabac, rice);
            return rest;
        }
        let low = (bins >> (16 - count)) & ((1 << suffix) - 1);
        cabac.consume(bins, count);
        let base = if prefix <= 3 { prefix } else { (1 << (prefix - 3)) + 2 };
        (base << rice) + low
    }

    /// Does the same for codes of more than 16 bins. A prefix of more than 32 does not occur in valid data. The decoder is
    /// passed by value, or it would not stay in registers elsewhere.
    #[cold]
    #[inline(never)]
    fn long_remaining<'d>(mut cabac: Cabac<'d>, rice: u32) -> (Cabac<'d>, u32) {
        let mut prefix = 0;
        while prefix < 32 && cabac.bypass(1) == 1 {
            prefix += 1;
        }
        let (base, bits) = if prefix <= 3 {
            (u64::from(prefix), rice)
        } else {
            ((1 << (prefix - 3)) + 2, prefix - 3 + rice)
        };
        let low = cabac.bypass_long(bits.min(32));
        let rest = (base << rice) + u64::from(low);
        // Levels have 16 bits.
        (cabac, rest.min(1 << 17) as u32)
    }

    #[inline(always)]
    fn decode<const LOG2: u32>(&mut self) -> Coded {
        // A copy stays in registers.
        let mut engine = *self.cabac;
        let cabac = &mut engine;
        let contexts = &mut *self.contexts;
        let (is_chroma, scan) = (self.is_chroma, self.scan);
        let chroma = u8::from(is_chroma);
        let bypasses = matches!(self.scaling, Scaling::None);

        let mut skips_transform = false;
        if self.tools.transform_skip && !bypasses && LOG2 <= self.tools.skip_log2 {
            skips_transform = cabac.flag(contexts, TRANSFORM_SKIP + chroma);
        }
        let x_prefix = Self::last_prefix(cabac, contexts, LAST_X, LOG2, is_chroma);
        let y_prefix = Self::last_prefix(cabac, contexts, LAST_Y, LOG2, is_chroma);
        let mut last_x = Self::last_position(cabac, x_prefix) as usize;
        let mut last_y = Self::last_position(cabac, y_prefix) as usize;
        if scan == VERTICAL {
            (last_x, last_y) = (last_y, last_x);
        }
        let last_sub_block =
            if LOG2 == 2 { 0 } else { sub_block_order(LOG2 as usize, scan, last_x >> 2, last_y >> 2) };
        let last_order = ORDER_IN_SUB_BLOCK[scan][(last_y & 3) << 2 | last_x & 3];

        let scaling = match self.scaling {
            Scaling::List(_) if skips_transform && LOG2 > 2 => Scaling::Flat,
            scaling => scaling,
        };
        let scaler = Scaler::new(scaling, self.qp, self.tools.depth, LOG2);
        let is_raw = skips_transform || bypasses;
        let one_context = self.tools.skip_context && is_raw;
        let hides_signs = self.tools.sign_hiding
            && !bypasses
            && !(self.tools.skip_rdpcm && skips_transform && self.is_straight);
        let statistic = 2 * usize::from(!is_chroma) + usize::from(is_raw);
        let adapts = self.tools.rice_adaptation;

        let places = &IN_SUB_BLOCK[scan];
        let sub_blocks = sub_blocks(LOG2 as usize, scan);
        // Which sub-blocks have coefficients: a bit for each column, a word for each row.
        let mut coded = [0u16; 9];
        let mut extent = Extent { columns: 0, rows: 0 };
        let mut greater1_context = 1;
        for n in (0..=last_sub_block).rev() {
            let sub_block = sub_blocks[n & 63];
            let (left, top) = if LOG2 == 2 {
                (0, 0)
            } else {
                (usize::from(sub_block & 7), usize::from(sub_block >> 4 & 7))
            };
            let pattern =
                if LOG2 == 2 { 0 } else { coded[top] >> (left + 1) & 1 | (coded[top + 1] >> left & 1) << 1 };
            let is_between = n > 0 && n < last_sub_block;
            if is_between {
                let context = CODED_SUB_BLOCK + 2 * chroma + u8::from(pattern != 0);
                if !cabac.flag(contexts, context) {
                    continue;
                }
            }
            coded[top] |= 1 << left;

            // The orders of the significant coefficients, from the last to the first.
            let mut orders = [0u8; 16];
            let mut count = 0usize;
            let mut start = 15;
            if n == last_sub_block {
                orders[0] = last_order;
                count = 1;
                start = i32::from(last_order) - 1;
            }
            let first_context = SIGNIFICANT + 27 * chroma;
            let (table, base): (&[u8; 16], u8) = if one_context {
                (&[0; 16], SIGNIFICANT + 42 + chroma)
            } else if LOG2 == 2 {
                (&SMALLEST_CONTEXTS[scan], first_context)
            } else {
                let size = match (is_chroma, LOG2) {
                    (false, 3) if scan == 0 => 9,
                    (false, 3) => 15,
                    (false, _) => 21,
                    (true, 3) => 9,
                    (true, _) => 12,
                };
                let inner = if n > 0 && !is_chroma { 3 } else { 0 };
                (&PATTERN_CONTEXTS[scan][usize::from(pattern & 3)], first_context + size + inner)
            };
            let chosen = table.map(|context| context + base);
            let mut order = start;
            while order > 0 {
                let at = (order & 15) as usize;
                let is_significant = cabac.bin(&mut contexts[usize::from(chosen[at])]);
                orders[count & 15] = at as u8;
                count += is_significant as usize;
                order -= 1;
            }
            if start >= 0 {
                if is_between && count == 0 {
                    // Otherwise the sub-block would not be coded.
                    count = 1;
                    orders[0] = 0;
                } else {
                    let context = if n == 0 && !one_context { first_context } else { base + table[0] };
                    let is_significant = cabac.bin(&mut contexts[usize::from(context)]);
                    orders[count & 15] = 0;
                    count += is_significant as usize;
                }
            }
            if count == 0 {
                continue;
            }

            let mut set = if n == 0 || is_chroma { 0 } else { 2 };
            if n != last_sub_block && greater1_context == 0 {
                set += 1;
            }
            let greater1_first = GREATER1 + 16 * chroma + 4 * set;
            greater1_context = 1;
            let mut greater = 0u32;
            for k in 0..count.min(8) {
                let bin = cabac.bin(&mut contexts[usize::from(greater1_first + greater1_context)]);
                greater |= bin << k;
                const AFTER_ONE: [u8; 4] = [0, 2, 3, 3];
                greater1_context = if bin == 1 { 0 } else { AFTER_ONE[usize::from(greater1_context & 3)] };
            }
            let mut levels = [1u32; 16];
            // The coefficients whose level has a remainder.
            let mut more = greater | (0xFFFF << 8);
            if greater != 0 {
                let first = greater.trailing_zeros();
                let bin = cabac.bin(&mut contexts[usize::from(GREATER2 + 4 * chroma + set)]);
                for (k, level) in levels.iter_mut().take(8).enumerate() {
                    *level += greater >> k & 1;
                }
                levels[(first & 15) as usize] += bin;
                if bin == 0 {
                    more &= !(1 << first);
                }
            }
            let hides = hides_signs && orders[0] - orders[(count - 1) & 15] > 3;
            let sign_count = count as u32 - u32::from(hides);
            let mut signs = cabac.bypass(sign_count) << (16 - sign_count);

            more &= (1 << count) - 1;
            if more != 0 {
                let mut rice = if adapts { u32::from(self.statistics[statistic]) / 4 } else { 0 };
                let mut is_first = adapts;
                while more != 0 {
                    let k = (more.trailing_zeros() & 15) as usize;
                    more &= more - 1;
                    let rest = Self::remaining(cabac, rice);
                    let level = levels[k].saturating_add(rest);
                    levels[k] = level;
                    if level > 3 << rice {
                        rice = if adapts { rice + 1 } else { (rice + 1).min(4) };
                    }
                    if is_first {
                        is_first = false;
                        let known = &mut self.statistics[statistic];
                        if rest >= 3 << (*known / 4) {
                            *known += 1;
                        } else if 2 * rest < 1 << (*known / 4) && *known > 0 {
                            *known -= 1;
                        }
                    }
                }
            }
            if hides {
                let sum = levels.iter().take(count).fold(0u32, |sum, level| sum.wrapping_add(*level));
                // The sign of the first coefficient in scan order is hidden in the parity of the sum.
                signs |= (sum & 1) << (16 - count as u32);
            }
            for (k, level) in levels.iter().enumerate().take(count) {
                let place = places[usize::from(orders[k] & 15)];
                let (x, y) = (left * 4 + usize::from(place & 3), top * 4 + usize::from(place >> 4 & 3));
                let level = (*level).min(1 << 15) as i32;
                let level = if signs >> (15 - k) & 1 == 1 { -level } else { level.min(i32::from(i16::MAX)) };
                self.coefficients[(y << LOG2 | x) & 1023] = scaler.scale(level, x, y);
            }
            extent.columns = extent.columns.max(4 * left + 4);
            extent.rows = extent.rows.max(4 * top + 4);
        }
        if last_x | last_y == 0 {
            extent = Extent { columns: 1, rows: 1 };
        }
        debug_assert!(scan != HORIZONTAL || LOG2 <= 3);
        *self.cabac = engine;
        Coded { extent, skips_transform }
    }
}
