//! Adds residuals to predicted samples (ITU-T H.265 section 8.6.7), and predicts chroma residuals from those of luma (8.6.6).

use super::isa::{Isa, Kernel};
use super::sample::{Block, Sample};
use super::transform;

/// Adds the residuals of a block.
pub(super) struct AddResiduals<'b, S, I> {
    pub(super) isa: I,
    pub(super) block: Block<'b, S>,
    pub(super) residuals: &'b transform::Block,
    pub(super) log2: u32,
    pub(super) depth: u32,
}

impl<S: Sample, I: Isa> Kernel for AddResiduals<'_, S, I> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        match self.log2 {
            2 => self.add::<4>(),
            3 => self.add::<8>(),
            4 => self.add::<16>(),
            _ => self.add::<32>(),
        }
    }
}

impl<S: Sample, I: Isa> AddResiduals<'_, S, I> {
    #[inline(always)]
    fn add<const SIDE: usize>(&mut self) {
        let most = ((1 << self.depth) - 1) as i16;
        let (rows, _) = self.residuals.as_chunks::<SIDE>();
        self.block.rows::<SIDE>(|y, samples| {
            let Some(residuals) = rows.get(y) else { return };
            if SIDE == 4 {
                for (sample, residual) in samples.iter_mut().zip(residuals) {
                    *sample = sample.plus(*residual, most);
                }
                return;
            }
            let (samples, _) = samples.as_chunks_mut::<8>();
            let (residuals, _) = residuals.as_chunks::<8>();
            for (samples, residuals) in samples.iter_mut().zip(residuals) {
                *samples = self.isa.add8(*samples, *residuals, most);
            }
        });
    }
}

/// Adds the part of luma's residuals that predicts those of chroma. `scale` is in eighths.
pub(super) fn predict_across(
    residuals: &mut transform::Block,
    luma: &transform::Block,
    log2: u32,
    scale: i32,
) {
    for (residual, luma) in residuals.iter_mut().zip(luma).take(1 << (2 * log2)) {
        let sum = i32::from(*residual) + ((scale * i32::from(*luma)) >> 3);
        *residual = sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    }
}
