//! Computes from the markers of a JPEG what it costs to decode and whether it is complete.
//!
//! libjpeg-turbo cannot be stopped inside a decode, and a file of some kilobytes can cost it minutes. So one pass, which checks
//! the budget, visits every marker of the file, and computes an upper bound of the time from the declarations of the scans. The
//! costs below are 1.4 to 3 times those measured for the most expensive files that could be made.

use std::time::Duration;

use crate::imaging::codec::jpeg::markers::{self, Segment};
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;

const BLOCK: usize = 64;
const BLOCK_BYTES: u64 = 2 * BLOCK as u64;
/// Most components of a frame that are read. The library decodes at most four.
const MAX_COMPONENTS: usize = 4;
/// Markers that are visited between two checks of the budget.
const MARKERS_PER_CHECK: u64 = 1 << 14;

/// Nanoseconds for each byte of the file: the bits of Huffman codes, and segments between the scans.
const BYTE: u64 = 40;
/// Nanoseconds for each byte of arithmetic codes.
const ARITHMETIC_BYTE: u64 = 60;
/// Nanoseconds for each block of each scan, for any content.
const BLOCK_OF_SCAN: u64 = 20;
/// Nanoseconds for each coefficient of a progressive scan that no bits are spent on.
const COEFFICIENT: u64 = 1;
/// Nanoseconds for all decisions about a coefficient of a scan with arithmetic codes. They can take almost no bits.
const ARITHMETIC_COEFFICIENT: u64 = 85;
/// Nanoseconds for a coefficient of an arithmetic refinement scan, which adds one bit in at most three decisions.
const ARITHMETIC_REFINEMENT: u64 = 15;
/// Nanoseconds for 64 samples of a lossless scan.
const LOSSLESS_BLOCK: u64 = 500;
/// Nanoseconds for each block of the picture: its inverse transform, and the smoothing of a progressive one.
const TRANSFORM: u64 = 300;
/// Nanoseconds for each restart interval of each scan.
const RESTART: u64 = 200;
/// Nanoseconds for each scan: its tables.
const SCAN: u64 = 50_000;
/// Nanoseconds for each pixel that the library assembles from components.
const PIXEL: u64 = 10;

/// The cost and the completeness of all scans of a file.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) scans: u64,
    /// The longest time that one decode to components can take.
    pub(super) longest: Duration,
    /// Bytes of coefficients that the library holds during the decode. 0 if all components are in one sequential scan.
    pub(super) coefficients: u64,
    /// True if an end of image follows the first scan.
    pub(super) has_end: bool,
    /// True if the first scan is sequential and contains all components.
    pub(super) has_one_scan: bool,
    /// True if the scans contain every bit of every coefficient. The last scan may still be cut off.
    pub(super) is_complete: bool,
    /// True if the file has at least as many restart markers as its first scan declares, which is none unless it is sequential.
    /// If there is one scan, only samples after its last marker can then be missing.
    pub(super) has_restarts: bool,
}

/// How a frame is coded (T.81 table B.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    Lossless,
}

#[derive(Debug, Clone, Copy)]
struct Component {
    id: u8,
    across: u64,
    down: u64,
    /// For each coefficient, how many of its lowest bits are in no scan so far.
    missing_bits: [u8; BLOCK],
}

const ALL_BITS: u8 = u8::MAX;

#[derive(Debug)]
struct Frame {
    process: Process,
    is_arithmetic: bool,
    width: u64,
    height: u64,
    components: Vec<Component>,
    /// The largest sampling factors.
    across: u64,
    down: u64,
}

impl Survey {
    /// Visits all markers of `file`. Fails if the budget is used up.
    pub(super) fn new(file: &[u8], budget: &WorkBudget<'_>) -> Result<Self, ImageError> {
        let mut frame: Option<Frame> = None;
        let (mut scans, mut cost, mut restarts, mut needed_restarts, mut interval) = (0_u64, 0_u64, 0, 0, 0);
        let (mut has_end, mut has_one_scan) = (false, false);
        for (visited, segment) in (1_u64..).zip(markers::all(file)) {
            if visited.is_multiple_of(MARKERS_PER_CHECK) {
                budget.check()?;
            }
            match segment.marker {
                markers::DRI => {
                    interval =
                        segment.payload.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes).into());
                }
                marker if markers::is_frame(marker) && frame.is_none() => frame = Frame::read(&segment),
                markers::SOS => {
                    scans += 1;
                    let Some(frame) = &mut frame else { continue };
                    let scan = frame.scan(segment.payload, interval);
                    cost = cost.saturating_add(scan.cost);
                    if scans == 1 {
                        let is_sequential = frame.process == Process::Sequential;
                        has_one_scan = is_sequential && scan.components == frame.components.len();
                        needed_restarts = if is_sequential { scan.restarts } else { 0 };
                    }
                }
                markers::RST0..=markers::RST7 if scans > 0 => restarts += 1,
                markers::EOI => has_end = scans > 0,
                _ => {}
            }
        }
        let blocks = frame.as_ref().map_or(0, Frame::blocks);
        let byte =
            if frame.as_ref().is_some_and(|frame| frame.is_arithmetic) { ARITHMETIC_BYTE } else { BYTE };
        let longest = [byte.saturating_mul(file.len() as u64), blocks.saturating_mul(TRANSFORM)]
            .into_iter()
            .fold(cost, u64::saturating_add);
        let bits = frame.iter().flat_map(|frame| &frame.components).flat_map(|part| part.missing_bits);
        let is_complete = frame.is_some() && bits.max() == Some(0);
        Ok(Self {
            scans,
            longest: Duration::from_nanos(longest),
            coefficients: if has_one_scan { 0 } else { blocks.saturating_mul(BLOCK_BYTES) },
            has_end,
            has_one_scan,
            is_complete,
            has_restarts: restarts >= needed_restarts,
        })
    }
}

impl Survey {
    /// Returns the longest time that one decode to this many pixels can take.
    pub(super) fn longest_with_pixels(&self, pixels: u64) -> Duration {
        self.longest + Duration::from_nanos(PIXEL * pixels)
    }
}

struct Scan {
    components: usize,
    /// Restart markers between its first and its last MCU.
    restarts: u64,
    /// Nanoseconds, without those for the bytes of the scan.
    cost: u64,
}

impl Frame {
    /// Reads a frame header, or returns `None` if it is too short.
    fn read(segment: &Segment<'_>) -> Option<Self> {
        let [_, h0, h1, w0, w1, count, parts @ ..] = segment.payload else { return None };
        let component = |part: &[u8; 3]| Component {
            id: part[0],
            across: u64::from(part[1] >> 4).clamp(1, 4),
            down: u64::from(part[1] & 15).clamp(1, 4),
            missing_bits: [ALL_BITS; BLOCK],
        };
        let parts = parts.as_chunks::<3>().0.iter();
        let components: Vec<_> = parts.take(usize::from(*count).min(MAX_COMPONENTS)).map(component).collect();
        Some(Self {
            process: match segment.marker & 3 {
                2 => Process::Progressive,
                3 => Process::Lossless,
                _ => Process::Sequential,
            },
            is_arithmetic: segment.marker & 8 != 0,
            width: u16::from_be_bytes([*w0, *w1]).into(),
            height: u16::from_be_bytes([*h0, *h1]).into(),
            across: components.iter().map(|part| part.across).max()?,
            down: components.iter().map(|part| part.down).max()?,
            components,
        })
    }

    /// Returns the number of minimum coded units in a scan of all components.
    fn mcus(&self) -> u64 {
        // A scan of one component ignores its factors.
        let (across, down) = if self.components.len() == 1 { (1, 1) } else { (self.across, self.down) };
        self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down)
    }

    /// Returns the number of blocks of all components, including those that fill the last MCUs.
    fn blocks(&self) -> u64 {
        let mcus = self.width.div_ceil(8 * self.across) * self.height.div_ceil(8 * self.down);
        mcus * self.components.iter().map(|part| part.across * part.down).sum::<u64>()
    }

    /// Reads a scan header and records which bits of which coefficients the scan contains.
    fn scan(&mut self, payload: &[u8], interval: u64) -> Scan {
        let count = payload.first().map_or(0, |count| usize::from(*count));
        let selectors = payload.get(1..).unwrap_or_default();
        let parameters = selectors.get(2 * count..).unwrap_or_default();
        let (first, last, low, is_refinement) = match (self.process, parameters) {
            // The upper half of the byte is 0 unless an earlier scan had the upper bits of these coefficients.
            (Process::Progressive, [first, last, bits, ..]) => (*first, *last, bits & 15, *bits > 15),
            (Process::Progressive, _) => (1, 0, 0, false),
            _ => (0, 63, 0, false),
        };
        let mut blocks = 0;
        let ids = selectors.as_chunks::<2>().0.iter().take(count).map(|[id, _]| *id);
        for id in ids {
            let (width, height) = (self.width, self.height);
            let (most_across, most_down) = (self.across, self.down);
            for part in self.components.iter_mut().filter(|part| part.id == id) {
                let side = |side: u64, factor: u64, most: u64| (side * factor).div_ceil(8 * most);
                blocks += side(width, part.across, most_across) * side(height, part.down, most_down);
                let range = usize::from(first)..usize::from(last) + 1;
                part.missing_bits.get_mut(range).unwrap_or_default().fill(low);
            }
        }
        let mcus = if count == 1 { blocks } else { self.mcus() };
        // The decoder also decodes the blocks that fill the last MCUs of each row.
        let blocks = if count == 1 { blocks } else { blocks.max(self.blocks()) };
        let width = u64::from(last.saturating_sub(first)) + 1;
        let block = match (self.process, self.is_arithmetic) {
            (Process::Lossless, _) => LOSSLESS_BLOCK,
            (_, true) if is_refinement => BLOCK_OF_SCAN + width * ARITHMETIC_REFINEMENT,
            (_, true) => BLOCK_OF_SCAN + width * ARITHMETIC_COEFFICIENT,
            (Process::Progressive, false) => BLOCK_OF_SCAN + width * COEFFICIENT,
            (Process::Sequential, false) => BLOCK_OF_SCAN,
        };
        let restarts = if interval == 0 { 0 } else { mcus.div_ceil(interval).saturating_sub(1) };
        let cost = SCAN.saturating_add(blocks.saturating_mul(block)).saturating_add(restarts * RESTART);
        Scan { components: count, restarts, cost }
    }
}
