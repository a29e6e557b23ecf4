//! Scans of DC coefficients, of one component or of several ones interleaved (T.81 G.1.2.1).

use std::rc::Rc;

use super::header::ScanHeader;
use super::source::Source;
use super::{Channel, PLACE};
use crate::imaging::codec::jpeg::decode::bands::{FallbackReason, OrFallback};
use crate::imaging::codec::jpeg::decode::huffman::DcTable;

#[derive(Debug)]
pub(super) struct Average {
    /// The blocks of an MCU in their order.
    steps: Vec<Step>,
    /// MCUs across, or `None` if the scan has one component, whose blocks are its MCUs.
    mcus: Option<usize>,
    predicted: [i32; 4],
    low: u8,
}

#[derive(Debug)]
struct Step {
    component: usize,
    /// `None` in a refinement.
    table: Option<Rc<DcTable>>,
    /// Offset of its block in the MCU, and the step from MCU to MCU.
    down: usize,
    across: usize,
    advance: usize,
}

impl Average {
    /// Creates the decoder of a scan. `tables` are those of its components, in order; none in a refinement.
    pub(super) fn new(
        scan: &ScanHeader<'_>,
        tables: Vec<Rc<DcTable>>,
        mcus: usize,
        channels: &[Channel],
    ) -> Self {
        let is_interleaved = scan.parts.len() > 1;
        let mut tables = tables.into_iter();
        let mut steps = Vec::new();
        for part in &scan.parts {
            let component = part.component;
            let table = tables.next();
            let (across, down) = match channels.get(component) {
                Some(channel) if is_interleaved => (channel.across, channel.down),
                _ => (1, 1),
            };
            for at in 0..across * down {
                let table = table.clone();
                steps.push(Step {
                    component,
                    table,
                    down: at / across,
                    across: at % across,
                    advance: across,
                });
            }
        }
        Self { steps, mcus: is_interleaved.then_some(mcus), predicted: [0; 4], low: scan.low }
    }

    /// Reads a row of MCUs of the picture.
    #[inline(always)]
    pub(super) fn read_row(
        &mut self,
        source: &mut Source<'_>,
        channels: &mut [Channel],
        mcu_row: usize,
    ) -> OrFallback {
        let (columns, rows) = match (self.mcus, self.steps.first()) {
            (None, Some(step)) => {
                let channel = &channels[step.component];
                (channel.columns, channel.rows_in(mcu_row))
            }
            (mcus, _) => (mcus.unwrap_or(0), 1),
        };
        let mut bits = source.bits;
        for row in 0..rows {
            for column in 0..columns {
                if source.begin(&mut bits)?.1 {
                    self.predicted = [0; 4];
                }
                source.count(1);
                source.prepare(&mut bits);
                for step in &self.steps {
                    let Channel { stride, blocks, .. } = &mut channels[step.component];
                    let at = (row + step.down) * *stride + column * step.advance + step.across;
                    let average = &mut blocks[at][usize::from(PLACE[0]) & 63];
                    bits.refill(source.window.bytes());
                    match &step.table {
                        Some(table) => {
                            let predicted = &mut self.predicted[step.component & 3];
                            *predicted += table.next(&mut bits)?;
                            *average =
                                i16::try_from(*predicted << self.low).map_err(|_| FallbackReason::Range)?;
                        }
                        None => *average |= i16::from(bits.read(1) == 1) << self.low,
                    }
                }
                source.check(bits)?;
            }
        }
        source.bits = bits;
        Ok(())
    }
}
