//! Scales decoded levels to coefficients (ITU-T H.265 section 8.6.4.2).

/// How the levels of a block are scaled.
#[derive(Clone, Copy)]
pub(super) enum Scaling<'a> {
    /// Levels are residuals already (`cu_transquant_bypass_flag`).
    None,
    /// All by the same factor.
    Flat,
    /// By a factor for each position, in rows as long as the block's.
    List(&'a [u8]),
}

/// Scales levels to coefficients.
pub(super) struct Scaler<'a> {
    scaling: Scaling<'a>,
    factor: i32,
    shift: u32,
    /// Factor and shift of flat scaling as one factor, if no bit is lost and nothing overflows.
    log2: u32,
}

const LEVEL_SCALE: [i32; 6] = [40, 45, 51, 57, 64, 72];
/// The factor of every position without a scaling list.
const FLAT: i32 = 16;

impl<'a> Scaler<'a> {
    #[inline(always)]
    pub(super) fn new(scaling: Scaling<'a>, qp: u32, depth: u32, log2: u32) -> Self {
        let factor = LEVEL_SCALE[(qp % 6) as usize] << (qp / 6);
        Self { scaling, factor, shift: depth + log2 - 5, log2 }
    }

    #[inline(always)]
    pub(super) fn scale(&self, level: i32, x: usize, y: usize) -> i16 {
        let weight = match self.scaling {
            Scaling::None => return level as i16,
            Scaling::Flat => FLAT,
            Scaling::List(list) => i32::from(list.get((y << self.log2) + x).copied().unwrap_or(16)),
        };
        let scaled = i64::from(level) * i64::from(self.factor * weight) + (1 << (self.shift - 1));
        (scaled >> self.shift).clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
    }
}
