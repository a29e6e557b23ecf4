//! The scan itself: MCU by MCU from bits to samples.
//!
//! Refuses, as soon as a row of MCUs is done at the latest, data that is too short, too long or irregular in any way.

use super::bits::{Bits, Window};
use super::header::Header;
use super::huffman::{AcTable, DcTable, Odd};
use super::idct::{Block, PLACE, Quant, portable};
use super::{Bands, Failure, Room};

const EOI: u8 = 0xD9;
const RST0: u8 = 0xD0;

/// A component as the scan goes through it.
#[derive(Debug)]
struct Channel {
    across: usize,
    down: usize,
    /// Index of its DC and AC tables in [`Scan`].
    dc: usize,
    ac: usize,
    quant: Quant,
    /// The last DC coefficient.
    predicted: i32,
}

/// A scan that is about to be decoded.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    channels: Vec<Channel>,
    dc: Vec<DcTable>,
    ac: Vec<AcTable>,
    mcus: usize,
    mcu_rows: usize,
    /// Rows of samples that are left of each component.
    left: [usize; 4],
    restart: usize,
    window: Window<'a>,
}

impl<'a> Scan<'a> {
    /// Builds the tables. `rows` are the rows of samples of each component's plane.
    pub(super) fn new(header: &Header<'a>, rows: [usize; 4]) -> Option<Self> {
        let most = |factor: fn(&super::header::Part) -> u8| header.parts().iter().map(factor).max().map(usize::from);
        let (across, down) = (most(|part| part.across)?, most(|part| part.down)?);
        let mut scan = Self {
            channels: Vec::new(),
            dc: Vec::new(),
            ac: Vec::new(),
            mcus: usize::from(header.width).div_ceil(8 * across),
            mcu_rows: usize::from(header.height).div_ceil(8 * down),
            left: rows,
            restart: usize::from(header.restart),
            window: Window::new(header.data),
        };
        // Components mostly share tables.
        let (mut dc_known, mut ac_known) = (Vec::new(), Vec::new());
        for part in header.parts() {
            let (factors, dc, ac) = header.tables(part)?;
            let dc = match dc_known.iter().position(|known| *known == dc) {
                Some(index) => index,
                None => {
                    dc_known.push(dc);
                    scan.dc.push(DcTable::new(dc)?);
                    scan.dc.len() - 1
                }
            };
            let ac = match ac_known.iter().position(|known| *known == ac) {
                Some(index) => index,
                None => {
                    ac_known.push(ac);
                    scan.ac.push(AcTable::new(ac)?);
                    scan.ac.len() - 1
                }
            };
            let (across, down) = (usize::from(part.across), usize::from(part.down));
            scan.channels.push(Channel { across, down, dc, ac, quant: Quant::new(&factors), predicted: 0 });
        }
        Some(scan)
    }

    /// Decodes everything. A block becomes `SIZE` x `SIZE` samples by `transform`, which answers whether it could; with a `SIZE` of 1
    /// it is not called.
    #[inline(always)]
    pub(super) fn run<const SIZE: usize>(
        mut self,
        bands: &mut impl Bands,
        transform: impl Fn(&Block, &[i16; 64], &mut [u8], usize) -> bool,
    ) -> Result<(), Failure> {
        let mut bits = Bits::default();
        let (mut to_restart, mut next_restart) = (self.restart, 0);
        for _ in 0..self.mcu_rows {
            let mut rooms = bands.rooms();
            for mcu in 0..self.mcus {
                if self.restart > 0 {
                    if to_restart == 0 {
                        if self.window.end(bits) != Some(RST0 + next_restart) {
                            return Err(Failure::Odd);
                        }
                        self.window.restart();
                        bits = Bits::default();
                        self.channels.iter_mut().for_each(|channel| channel.predicted = 0);
                        (to_restart, next_restart) = (self.restart, (next_restart + 1) % 8);
                    }
                    to_restart -= 1;
                }
                self.window.prepare(&mut bits);
                self.mcu::<SIZE>(&mut bits, mcu, &mut rooms, &transform)?;
                if self.window.is_overrun(bits) {
                    return Err(Failure::Odd);
                }
            }
            for (component, channel) in self.channels.iter().enumerate() {
                let rows = self.left[component].min(SIZE * channel.down);
                self.left[component] -= rows;
                bands.filled(component, rows).map_err(Failure::Stopped)?;
            }
        }
        if self.window.end(bits) == Some(EOI) { Ok(()) } else { Err(Failure::Odd) }
    }

    #[inline(always)]
    fn mcu<const SIZE: usize>(
        &mut self,
        bits: &mut Bits,
        mcu: usize,
        rooms: &mut [Room<'_>; 4],
        transform: &impl Fn(&Block, &[i16; 64], &mut [u8], usize) -> bool,
    ) -> Result<(), Odd> {
        let bytes = self.window.bytes();
        let mut block: Block = [0; 256];
        for (channel, room) in self.channels.iter_mut().zip(rooms) {
            let (dc, ac) = (self.dc.get(channel.dc).ok_or(Odd)?, self.ac.get(channel.ac).ok_or(Odd)?);
            for down in 0..channel.down {
                for across in 0..channel.across {
                    let start = SIZE * (down * room.stride + mcu * channel.across + across);
                    let samples = room.samples.get_mut(start..).ok_or(Odd)?;
                    block[..64].fill(0);
                    bits.refill(bytes);
                    channel.predicted += dc.next(bits, bytes)?;
                    if channel.predicted.unsigned_abs() > u32::from(channel.quant.limits[0]) {
                        return Err(Odd);
                    }
                    let average = channel.predicted * i32::from(channel.quant.factors[0]);
                    let reach = if SIZE == 1 {
                        ac.read::<false>(bits, bytes, &mut block, &channel.quant.limits)?;
                        0
                    } else {
                        ac.read::<true>(bits, bytes, &mut block, &channel.quant.limits)?
                    };
                    if reach <= 1 {
                        flat::<SIZE>(average, samples, room.stride)?;
                    } else {
                        block[usize::from(PLACE[0])] = i16::try_from(channel.predicted).map_err(|_| Odd)?;
                        if !transform(&block, &channel.quant.factors, samples, room.stride) {
                            return Err(Odd);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A block of nothing but its average.
#[inline(always)]
fn flat<const SIZE: usize>(average: i32, samples: &mut [u8], stride: usize) -> Result<(), Odd> {
    let line = [portable::sample((average + 4) >> 3); SIZE];
    for start in (0..SIZE).map(|row| row * stride) {
        samples.get_mut(start..start + SIZE).ok_or(Odd)?.copy_from_slice(&line);
    }
    Ok(())
}
