//! Decodes the scan, MCU by MCU, from bits to samples.
//!
//! It rejects data that is too short, too long or irregular within the MCU in which the irregularity appears.

use std::rc::Rc;

use super::bands::{BandSink, FallbackReason, OrFallback, RegularError, RowBuffer};
use super::bits::{Bits, Window};
use super::header::Header;
use super::huffman::{AcTable, DcTable, Definition};
use super::idct::{Block, PLACE, Quant, Quantised, portable};
use super::trailer;

const RST0: u8 = 0xD0;

#[derive(Debug)]
struct Channel {
    /// Sampling factors: blocks of an MCU across and down.
    across: usize,
    down: usize,
    dc: Rc<DcTable>,
    ac: Rc<AcTable>,
    quant: Quant,
}

#[derive(Debug)]
pub(super) struct Scan<'a> {
    channels: Vec<Channel>,
    mcus: usize,
    mcu_rows: usize,
    /// Rows of samples that remain of each component.
    left: [usize; 4],
    restart: usize,
    window: Window<'a>,
}

/// One block of every MCU.
#[derive(Debug)]
struct Step<'a> {
    component: usize,
    channel: &'a Channel,
    /// Start of its samples in the buffer of the component, in rows and columns, and the step in columns from MCU to MCU.
    down: usize,
    across: usize,
    advance: usize,
}

/// A block that is read but not yet transformed.
#[derive(Debug)]
struct Pending<'a> {
    step: &'a Step<'a>,
    /// In MCUs from the left.
    mcu: usize,
    /// Index of its last coefficient in zigzag order.
    reach: usize,
    /// The DC coefficient, dequantised.
    average: i32,
}

impl<'a> Scan<'a> {
    /// Builds the tables. `rows` are the rows of samples of each component's plane.
    pub(super) fn new(header: &Header<'a>, rows: [usize; 4]) -> Option<Self> {
        let across = header.parts().iter().map(|part| usize::from(part.across)).max()?;
        let down = header.parts().iter().map(|part| usize::from(part.down)).max()?;
        // Chromas mostly share tables; one copy of them leaves room in the cache.
        let (mut known_dc, mut known_ac) = (Vec::new(), Vec::new());
        let mut channels = Vec::new();
        for part in header.parts() {
            let (factors, dc, ac) = header.tables(part)?;
            channels.push(Channel {
                across: part.across.into(),
                down: part.down.into(),
                dc: shared(&mut known_dc, dc, DcTable::new)?,
                ac: shared(&mut known_ac, ac, AcTable::new)?,
                quant: Quant::new(&factors),
            });
        }
        Some(Self {
            channels,
            mcus: usize::from(header.width).div_ceil(8 * across),
            mcu_rows: usize::from(header.height).div_ceil(8 * down),
            left: rows,
            restart: usize::from(header.restart),
            window: Window::new(header.data),
        })
    }

    /// Decodes the whole scan. `transform` turns a block into `SIZE` x `SIZE` samples (unless 1), and returns false on failure.
    #[inline(always)]
    pub(super) fn run<const SIZE: usize>(
        mut self,
        bands: &mut impl BandSink,
        transform: impl Fn(Quantised<'_>, &mut [u8], usize) -> bool,
    ) -> Result<(), RegularError> {
        let steps = steps(&self.channels, SIZE);
        let mut bits = Bits::default();
        let (mut to_restart, mut next_restart) = (self.restart, 0);
        let mut predicted = [0; 4];
        // Two blocks alternate: when one is transformed, its stores have completed, and the bits of the other are being read.
        let mut blocks: [Block; 2] = [[0; 256]; 2];
        let mut turn = 0;
        for _ in 0..self.mcu_rows {
            let mut buffers = bands.row_buffers();
            let mut pending: Option<Pending<'_>> = None;
            for mcu in 0..self.mcus {
                if self.restart > 0 {
                    if to_restart == 0 {
                        if self.window.end(bits) != Some(RST0 + next_restart) {
                            return Err(FallbackReason::Restart.into());
                        }
                        self.window.restart();
                        (bits, predicted) = (Bits::default(), [0; 4]);
                        (to_restart, next_restart) = (self.restart, (next_restart + 1) % 8);
                    }
                    to_restart -= 1;
                }
                self.window.prepare(&mut bits);
                for step in &steps {
                    let block = &mut blocks[turn];
                    let predicted = &mut predicted[step.component & 3];
                    let (reach, average) =
                        read::<SIZE>(step.channel, &mut bits, &self.window, predicted, block)?;
                    turn ^= 1;
                    if let Some(ready) = pending.replace(Pending { step, mcu, reach, average }) {
                        write::<SIZE>(&ready, &blocks[turn], &mut buffers, &transform)?;
                    }
                }
                if self.window.is_overrun(bits) {
                    return Err(FallbackReason::Truncated.into());
                }
            }
            if let Some(ready) = pending {
                write::<SIZE>(&ready, &blocks[turn ^ 1], &mut buffers, &transform)?;
            }
            for (component, channel) in self.channels.iter().enumerate() {
                let rows = self.left[component].min(SIZE * channel.down);
                self.left[component] -= rows;
                bands.filled(component, rows).map_err(RegularError::Stopped)?;
            }
        }
        let (is_clean, rest) = self.window.unread(bits);
        trailer::end(rest, is_clean).map(|_| ()).ok_or(FallbackReason::Trailer.into())
    }
}

/// Returns the table of `definition`, and builds it if it is not `known` yet.
pub(super) fn shared<'a, T>(
    known: &mut Vec<(Definition<'a>, Rc<T>)>,
    definition: Definition<'a>,
    build: fn(Definition<'a>) -> Option<T>,
) -> Option<Rc<T>> {
    if let Some((_, table)) = known.iter().find(|(other, _)| *other == definition) {
        return Some(Rc::clone(table));
    }
    let table = Rc::new(build(definition)?);
    known.push((definition, Rc::clone(&table)));
    Some(table)
}

/// Returns the blocks of an MCU in their order.
fn steps(channels: &[Channel], size: usize) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for (component, channel) in channels.iter().enumerate() {
        let advance = size * channel.across;
        for (down, across) in
            (0..channel.down).flat_map(|down| (0..channel.across).map(move |across| (down, across)))
        {
            steps.push(Step { component, channel, down: size * down, across: size * across, advance });
        }
    }
    steps
}

/// Reads a block. Returns the index of its last coefficient, and its DC coefficient dequantised.
#[inline(always)]
fn read<const SIZE: usize>(
    channel: &Channel,
    bits: &mut Bits,
    window: &Window<'_>,
    predicted: &mut i32,
    block: &mut Block,
) -> OrFallback<(usize, i32)> {
    let (bytes, limits) = (window.bytes(), &channel.quant.limits);
    if SIZE > 1 {
        block[..64].fill(0);
    }
    bits.refill(bytes);
    *predicted += channel.dc.next(bits)?;
    if predicted.unsigned_abs() > u32::from(limits[0]) {
        return Err(FallbackReason::Range);
    }
    let average = *predicted * i32::from(channel.quant.factors[0]);
    if SIZE == 1 {
        channel.ac.read::<false>(bits, bytes, block, limits)?;
        return Ok((0, average));
    }
    block[usize::from(PLACE[0])] = i16::try_from(*predicted).map_err(|_| FallbackReason::Range)?;
    Ok((channel.ac.read::<true>(bits, bytes, block, limits)?, average))
}

/// Transforms a block into the buffer of its component.
#[inline(always)]
fn write<const SIZE: usize>(
    ready: &Pending<'_>,
    block: &Block,
    buffers: &mut [RowBuffer<'_>; 4],
    transform: &impl Fn(Quantised<'_>, &mut [u8], usize) -> bool,
) -> OrFallback {
    let step = ready.step;
    let RowBuffer { samples, stride } = &mut buffers[step.component & 3];
    let start = step.down * *stride + step.across + ready.mcu * step.advance;
    let samples = samples.get_mut(start..).ok_or(FallbackReason::Range)?;
    if ready.reach > 1 {
        let block = block.first_chunk().ok_or(FallbackReason::Range)?;
        let block = Quantised { coefficients: block, factors: &step.channel.quant.factors };
        return if transform(block, samples, *stride) { Ok(()) } else { Err(FallbackReason::Range) };
    }
    // If a block has only a DC coefficient, all transforms give this value.
    let line = [portable::sample((ready.average + 4) >> 3); SIZE];
    for start in (0..SIZE).map(|row| row * *stride) {
        samples.get_mut(start..start + SIZE).ok_or(FallbackReason::Range)?.copy_from_slice(&line);
    }
    Ok(())
}
