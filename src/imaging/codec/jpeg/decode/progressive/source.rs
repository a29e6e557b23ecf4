//! The entropy-coded data of one scan, with its restart markers.

use super::header::ScanHeader;
use crate::imaging::codec::jpeg::decode::bands::{FallbackReason, OrFallback};
use crate::imaging::codec::jpeg::decode::bits::{Bits, Window};
use crate::imaging::codec::jpeg::markers::RST0;

#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) window: Window<'a>,
    pub(super) bits: Bits,
    /// MCUs between restart markers; `usize::MAX` for none.
    interval: usize,
    /// MCUs up to the next restart marker.
    left: usize,
    /// The number of the next restart marker, 0..=7.
    next: u8,
}

impl<'a> Source<'a> {
    pub(super) fn new(scan: &ScanHeader<'a>) -> Self {
        let interval = if scan.restart == 0 { usize::MAX } else { usize::from(scan.restart) };
        let window = Window::new(scan.data);
        Self { window, bits: Bits::default(), interval, left: interval, next: 0 }
    }

    /// Returns how many MCUs there are before the next restart marker. If there are none, this function skips the marker, and
    /// the second result is true.
    #[inline(always)]
    pub(super) fn begin(&mut self, bits: &mut Bits) -> OrFallback<(usize, bool)> {
        if self.left > 0 {
            return Ok((self.left, false));
        }
        self.restart(bits)?;
        Ok((self.left, true))
    }

    /// Counts MCUs of those that [`begin`](Self::begin) returned.
    #[inline(always)]
    pub(super) fn count(&mut self, mcus: usize) {
        self.left -= mcus;
    }

    #[cold]
    #[inline(never)]
    fn restart(&mut self, bits: &mut Bits) -> OrFallback {
        self.window.prepare(bits);
        // Padding, which the sequential decoder skips here, is left to libjpeg-turbo.
        if !self.window.is_at_end(*bits) || self.window.end(*bits) != Some(RST0 + self.next) {
            return Err(FallbackReason::Restart);
        }
        self.window.restart();
        *bits = Bits::default();
        (self.left, self.next) = (self.interval, (self.next + 1) % 8);
        Ok(())
    }

    /// Makes the data of the next MCU available.
    #[inline(always)]
    pub(super) fn prepare(&mut self, bits: &mut Bits) {
        self.window.prepare(bits);
    }

    /// Fails if more bits were read than the scan has.
    #[inline(always)]
    pub(super) fn check(&self, bits: Bits) -> OrFallback {
        if self.window.is_overrun(bits) { Err(FallbackReason::Truncated) } else { Ok(()) }
    }

    /// Returns whether the scan ends after the last bit that was read.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.window.is_at_end(self.bits) && self.window.unread(self.bits).1.is_empty()
    }

    /// Returns the data after what was read, and whether it begins at a marker or at the end.
    pub(super) fn unread(&mut self) -> (bool, &'a [u8]) {
        self.window.prepare(&mut self.bits);
        self.window.unread(self.bits)
    }
}
