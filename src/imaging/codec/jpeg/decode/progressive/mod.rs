//! Decodes progressive JPEGs row by row: every scan up to the end of a row of MCUs, then the transforms of that row.
//!
//! The whole file is in memory, so all scans can be read side by side. Each has a reader of its own. A scan depends only on
//! what earlier scans say of the same blocks, so one row of coefficients suffices for a picture of any size. It stays in the
//! processor's cache, where a decoder that takes scan after scan reads and writes all coefficients of the picture each time.
//!
//! The files that this decoder accepts, and why, are in [`header`].

mod average;
mod first;
mod header;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod mask_tables;
mod refine;
mod source;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
pub(super) mod vector;

use std::ops::Range;
use std::rc::Rc;

use self::average::Average;
use self::first::First;
pub(super) use self::header::{Progression, ScanHeader, entropy_coded};
pub(super) use self::refine::{Masks, deposit, grow};
use self::refine::{Refinement, SignTable};
use self::source::Source;
use super::bands::{BandSink, FallbackReason, OrFallback, RegularError, RowBuffer};
use super::header::Header;
use super::huffman::{AcTable, DcTable};
use super::idct::{Coefficients, Factors, PLACE, Quant, Quantised, portable};
use super::sequential::shared;
use super::trailer;

/// Bytes of a scan: its window and its tables.
const SCAN_MEMORY: u64 = 48 << 10;
/// Bytes of a block: its coefficients and which of them are not zero.
const BLOCK_MEMORY: u64 = 128 + 8;

/// One component, and its blocks in the current row of MCUs.
#[derive(Debug)]
struct Channel {
    /// Sampling factors: blocks of an MCU across and down.
    across: usize,
    down: usize,
    /// Blocks that the picture has across and down, without those that complete MCUs.
    columns: usize,
    rows: usize,
    /// Blocks from the start of one row to the start of the next.
    stride: usize,
    blocks: Vec<Coefficients>,
    /// Which coefficients of each block are not zero, apart from the first: bit 63 - n is the nth in zigzag order.
    nonzero: Vec<u64>,
    factors: Factors,
    /// The largest absolute values of coefficients, placed as in [`Coefficients`].
    most: [u16; 64],
}

impl Channel {
    /// Returns how many rows of blocks the picture has in a row of MCUs.
    fn rows_in(&self, mcu_row: usize) -> usize {
        self.rows.saturating_sub(mcu_row * self.down).min(self.down)
    }

    /// Returns where the blocks of a row are that the picture has.
    #[inline(always)]
    fn line(&self, row: usize) -> Range<usize> {
        row * self.stride..row * self.stride + self.columns
    }
}

#[derive(Debug)]
enum Coder {
    Average(Average),
    First(First, usize),
    Refinement(Refinement, usize),
}

#[derive(Debug)]
struct Scan<'a> {
    source: Source<'a>,
    coder: Coder,
}

#[derive(Debug)]
pub(super) struct Progressive<'a> {
    channels: Vec<Channel>,
    scans: Vec<Scan<'a>>,
    mcu_rows: usize,
    /// Rows of samples that remain of each component.
    left: [usize; 4],
}

impl<'a> Progressive<'a> {
    /// Builds the tables. `rows` are the rows of samples of each component's plane. Returns `None` if a table is missing or
    /// irregular.
    pub(super) fn new(header: &Header<'a>, rows: [usize; 4]) -> Option<Self> {
        let (mcus, mcu_rows) = header.mcus()?;
        let mut channels = Vec::with_capacity(header.parts().len());
        for part in header.parts() {
            let quant = Quant::new(&header.quant(part)?);
            let mut most = [0; 64];
            for (place, limit) in PLACE.iter().zip(quant.limits) {
                most[usize::from(*place)] = limit;
            }
            let (across, down) = (usize::from(part.across), usize::from(part.down));
            let (columns, rows) = header.blocks(part)?;
            let stride = mcus * across;
            channels.push(Channel {
                across,
                down,
                columns,
                rows,
                stride,
                blocks: vec![[0; 64]; stride * down],
                nonzero: vec![0; stride * down],
                factors: quant.factors,
                most,
            });
        }
        // Many scans share tables; one copy of them leaves room in the cache.
        let (mut averages, mut bands, mut signs) = (Vec::new(), Vec::new(), Vec::new());
        let mut scans = Vec::with_capacity(header.scans.len());
        for scan in &header.scans {
            let [part, ..] = scan.parts.as_slice() else { return None };
            let coder = if scan.first == 0 {
                let mut tables: Vec<Rc<DcTable>> = Vec::new();
                for part in scan.parts.iter().filter(|_| !scan.is_refinement) {
                    tables.push(shared(&mut averages, part.dc?, DcTable::new)?);
                }
                Coder::Average(Average::new(scan, tables, mcus, &channels))
            } else if scan.is_refinement {
                let signs = shared(&mut signs, part.ac?, SignTable::new)?;
                let table = shared(&mut bands, part.ac?, AcTable::for_band)?;
                Coder::Refinement(Refinement::new(scan, signs, table), part.component)
            } else {
                let definition = part.ac?;
                First::accepts(definition, scan.low).then_some(())?;
                let table = shared(&mut bands, definition, AcTable::for_band)?;
                Coder::First(First::new(scan, table), part.component)
            };
            scans.push(Scan { source: Source::new(scan), coder });
        }
        Some(Self { channels, scans, mcu_rows, left: rows })
    }

    /// Returns an upper bound of the bytes that decoding holds. 0 if the file is sequential.
    pub(super) fn memory(header: &Header<'_>) -> u64 {
        let Some((mcus, _)) = header.mcus().filter(|_| !header.scans.is_empty()) else { return 0 };
        let blocks: usize =
            header.parts().iter().map(|part| usize::from(part.across) * usize::from(part.down)).sum();
        header.scans.len() as u64 * SCAN_MEMORY + (mcus * blocks) as u64 * BLOCK_MEMORY
    }

    /// Decodes the whole file. `transform` turns a block into `SIZE` x `SIZE` samples (unless 1), and returns false if the block
    /// is out of range.
    #[inline(always)]
    pub(super) fn run<const SIZE: usize>(
        mut self,
        bands: &mut impl BandSink,
        masks: &Masks<impl Fn(u64, u64) -> u64, impl Fn(&mut Coefficients, u64, i16)>,
        transform: impl Fn(Quantised<'_>, &[u16; 64], &mut [u8], usize) -> bool,
    ) -> Result<(), RegularError> {
        for mcu_row in 0..self.mcu_rows {
            for Scan { source, coder } in &mut self.scans {
                match coder {
                    Coder::Average(average) => average.read_row(source, &mut self.channels, mcu_row)?,
                    Coder::First(first, component) => {
                        let channel = &mut self.channels[*component];
                        let rows = channel.rows_in(mcu_row);
                        first.read(source, channel, rows)?;
                    }
                    Coder::Refinement(refinement, component) => {
                        let channel = &mut self.channels[*component];
                        let rows = channel.rows_in(mcu_row);
                        refinement.read(source, channel, rows, masks)?;
                    }
                }
            }
            let mut buffers = bands.row_buffers();
            for (channel, buffer) in self.channels.iter_mut().zip(&mut buffers) {
                write_row::<SIZE>(channel, buffer, &transform)?;
            }
            for (component, channel) in self.channels.iter().enumerate() {
                let rows = self.left[component].min(SIZE * channel.down);
                self.left[component] -= rows;
                bands.filled(component, rows).map_err(RegularError::Stopped)?;
            }
        }
        let Some((last, others)) = self.scans.split_last_mut() else { return Ok(()) };
        // libjpeg-turbo warns of more data, except before the end of image.
        if !others.iter_mut().all(|scan| scan.source.is_at_end()) {
            return Err(FallbackReason::Trailer.into());
        }
        let (is_clean, rest) = last.source.unread();
        trailer::end(rest, is_clean).map(|_| ()).ok_or(FallbackReason::Trailer.into())
    }
}

/// Transforms the blocks of a row of MCUs into the buffer of their component, and clears them.
#[inline(always)]
fn write_row<const SIZE: usize>(
    channel: &mut Channel,
    buffer: &mut RowBuffer<'_>,
    transform: &impl Fn(Quantised<'_>, &[u16; 64], &mut [u8], usize) -> bool,
) -> OrFallback {
    let RowBuffer { samples, stride } = buffer;
    let (factor, most) = (i32::from(channel.factors[0]), channel.most[0]);
    let rows = channel.blocks.chunks_exact_mut(channel.stride);
    for (down, (blocks, nonzero)) in rows.zip(channel.nonzero.chunks_exact_mut(channel.stride)).enumerate() {
        let line = samples.get_mut(down * SIZE * *stride..).ok_or(FallbackReason::Range)?;
        for (at, (block, nonzero)) in blocks.iter_mut().zip(nonzero).enumerate() {
            let samples = line.get_mut(at * SIZE..).ok_or(FallbackReason::Range)?;
            if SIZE > 1 && *nonzero != 0 {
                let quantised = Quantised { coefficients: block, factors: &channel.factors };
                if !transform(quantised, &channel.most, samples, *stride) {
                    return Err(FallbackReason::Range);
                }
            } else {
                let average = block[usize::from(PLACE[0]) & 63];
                if average.unsigned_abs() > most {
                    return Err(FallbackReason::Range);
                }
                // If a block has only a DC coefficient, all transforms give this value.
                let line = [portable::sample((i32::from(average) * factor + 4) >> 3); SIZE];
                for start in (0..SIZE).map(|row| row * *stride) {
                    samples.get_mut(start..start + SIZE).ok_or(FallbackReason::Range)?.copy_from_slice(&line);
                }
            }
            if *nonzero != 0 {
                block.fill(0);
                *nonzero = 0;
            }
        }
    }
    Ok(())
}
