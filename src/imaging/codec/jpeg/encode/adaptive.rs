//! The tables and the dead zone of [`Effort::Adaptive`](crate::imaging::recipe::Effort::Adaptive).
//!
//! Plain rounding keeps a coefficient from half a step on. The dead zone drops it up to a larger part of a step, and up to more
//! of it in a block with much detail, which hides the loss. Only coefficients below one step are affected: a level of one
//! becomes zero, all others stay. The tables spend a part of the saved bytes on finer steps where SSIMULACRA2 gains most.

/// Luma at a quality of 50, by rows.
pub(super) const LUMA: [u8; 64] = [
    10, 13, 19, 28, 34, 35, 43, 46, //
    13, 20, 31, 36, 46, 38, 40, 41, //
    19, 31, 38, 42, 41, 47, 69, 73, //
    28, 36, 42, 38, 51, 56, 81, 85, //
    34, 46, 41, 51, 53, 72, 71, 103, //
    35, 38, 47, 56, 72, 67, 92, 129, //
    43, 40, 69, 81, 71, 92, 123, 138, //
    46, 41, 73, 85, 103, 129, 138, 138,
];
/// Both chromas at a quality of 50, by rows.
pub(super) const CHROMA: [u8; 64] = [
    11, 10, 11, 22, 24, 36, 39, 59, //
    10, 12, 24, 26, 33, 39, 37, 52, //
    11, 24, 29, 30, 42, 43, 63, 93, //
    22, 26, 30, 39, 51, 51, 73, 108, //
    24, 33, 42, 51, 48, 65, 91, 131, //
    36, 39, 43, 51, 65, 86, 117, 165, //
    39, 37, 63, 73, 91, 117, 156, 176, //
    59, 52, 93, 108, 131, 165, 176, 176,
];

/// The part of a step below which a coefficient becomes zero, in 65,536ths: `least + detail * slope / 65,536`.
///
/// Detail is the sum of the absolute values of a block's AC coefficients, times eight as the transform gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadZone {
    /// The part in a block without detail.
    pub(super) least: u16,
    pub(super) slope: u16,
    /// Detail above this counts as this.
    pub(super) most_detail: u16,
}

impl DeadZone {
    /// No dead zone. [`Effort::Standard`](crate::imaging::recipe::Effort::Standard) does not look at it.
    pub(super) const NONE: Self = Self { least: 0, slope: 0, most_detail: 0 };
    pub(super) const LUMA: Self = Self { least: 37_356, slope: 63_910, most_detail: 13_440 };
    pub(super) const CHROMA: Self = Self { least: 36_412, slope: 0, most_detail: 0 };

    /// Returns the part of a step for a block whose coefficients sum up to `detail`. It is below one: see the test.
    pub(super) fn part(self, detail: u16) -> u16 {
        let more = (u32::from(detail.min(self.most_detail)) * u32::from(self.slope)) >> 16;
        self.least.saturating_add(u16::try_from(more).unwrap_or(u16::MAX))
    }
}
