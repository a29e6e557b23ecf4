//! Makes quantisation tables, and divides by their entries as libjpeg-turbo does: by two multiplications.

use super::adaptive::{self, DeadZone};
use crate::imaging::recipe::{Coding, Effort};

/// T.81 tables K.1 and K.2, by rows.
const LUMA: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, //
    12, 12, 14, 19, 26, 58, 60, 55, //
    14, 13, 16, 24, 40, 57, 69, 56, //
    14, 17, 22, 29, 51, 87, 80, 62, //
    18, 22, 37, 56, 68, 109, 103, 77, //
    24, 35, 55, 64, 81, 104, 113, 92, //
    49, 64, 78, 87, 103, 121, 120, 101, //
    72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, //
    18, 21, 26, 66, 99, 99, 99, 99, //
    24, 26, 56, 99, 99, 99, 99, 99, //
    47, 66, 99, 99, 99, 99, 99, 99, //
    99, 99, 99, 99, 99, 99, 99, 99, //
    99, 99, 99, 99, 99, 99, 99, 99, //
    99, 99, 99, 99, 99, 99, 99, 99, //
    99, 99, 99, 99, 99, 99, 99, 99,
];

/// The factor that the transform leaves in its coefficients.
const SCALE: u32 = 8;

/// A quantisation table by rows, and the factors that divide by it.
#[derive(Debug)]
pub(super) struct Quant {
    /// The table, 1..=255.
    pub(super) steps: [u8; 64],
    /// A coefficient of absolute value `a` becomes `(((a + bias) * reciprocal) >> 16) * scale >> 16`, and keeps its sign.
    pub(super) bias: [[u16; 8]; 8],
    pub(super) reciprocal: [[u16; 8]; 8],
    pub(super) scale: [[u16; 8]; 8],
    /// The dead zone of AC coefficients, and their steps in its unit: times eight, and zero for DC, which has none.
    pub(super) dead_zone: DeadZone,
    pub(super) zone_steps: [[u16; 8]; 8],
}

impl Quant {
    /// Creates the tables of luma and of both chromas.
    pub(super) fn of(coding: Coding) -> [Self; 2] {
        let quality = u32::from(coding.quality.clamp(1, 100));
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        let tables = match coding.effort {
            Effort::Standard => [(LUMA, DeadZone::NONE), (CHROMA, DeadZone::NONE)],
            Effort::Adaptive => [(adaptive::LUMA, DeadZone::LUMA), (adaptive::CHROMA, DeadZone::CHROMA)],
        };
        tables.map(|(table, dead_zone)| {
            let steps = table.map(|step| {
                let step = (u32::from(step) * percent + 50) / 100;
                u8::try_from(step.max(1)).unwrap_or(u8::MAX)
            });
            Self::new(steps, dead_zone)
        })
    }

    fn new(steps: [u8; 64], dead_zone: DeadZone) -> Self {
        let zeros = [[0; 8]; 8];
        let (bias, reciprocal, scale, zone_steps) = (zeros, zeros, zeros, zeros);
        let mut quant = Self { steps, bias, reciprocal, scale, dead_zone, zone_steps };
        for (index, step) in steps.into_iter().enumerate() {
            let divisor = u32::from(step.max(1)) * SCALE;
            // 2^shift / divisor is rounded to 16 bits. Where it is rounded down, the bias compensates.
            let mut shift = 16 + divisor.ilog2();
            let (mut reciprocal, rest) = ((1 << shift) / divisor, (1 << shift) % divisor);
            let mut bias = divisor / 2;
            if rest == 0 {
                reciprocal /= 2;
                shift -= 1;
            } else if rest <= divisor / 2 {
                bias += 1;
            } else {
                reciprocal += 1;
            }
            let (row, column) = (index / 8, index % 8);
            // All fit: 2^15 <= reciprocal < 2^16, bias <= 1021, 18 <= shift <= 26.
            let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            quant.bias[row][column] = fit(bias);
            quant.reciprocal[row][column] = fit(reciprocal);
            quant.scale[row][column] = fit(1 << (32 - shift));
            quant.zone_steps[row][column] = if index == 0 { 0 } else { fit(divisor) };
        }
        quant
    }
}
