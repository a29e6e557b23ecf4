//! The fuzz target that compares a photo's cost with its budget.

use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::net::caught;
use super::pictures::RECIPE;
use crate::imaging::{self, EncodeError, Format, Recipe, WorkBudget, Workspace};

const PROCESSOR_TIME: Duration = Duration::from_millis(200);
/// Allowed overrun. A library decoder that cannot be stopped takes tens of milliseconds for the maximum number of pixels, and
/// many times that in a debug build or with a sanitizer.
const MAX_DELAY: Duration = Duration::from_secs(3);
/// Memory that may be used for opening a photo, before it declares its need: a profile and its copy.
const OPENING_MEMORY: u64 = 16 << 20;
/// Memory allowed in addition to the declared amount.
const FIXED_MEMORY: u64 = 1 << 20;
/// Larger than in other targets, so that undeclared pixels outweigh [`OPENING_MEMORY`].
const MAX_PIXELS: u64 = 1 << 23;
/// Copies of the file allowed while it is opened. Some decoders copy it into a buffer that grows by doubling.
const MAX_COPIES: u64 = 4;

thread_local! {
    /// Bytes that the thread has allocated, as reported by the allocator.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// Maximum of `HELD` since the last reset.
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Records an allocation, or a release if `bytes` is negative. Only the allocator of fuzzing binaries calls it.
pub fn count_allocated(bytes: i64) {
    // The allocator is also called while the thread ends.
    let _is_counted = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _is_counted = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

/// Processes a file of the format that the first byte selects. Its processor time must stay within the budget and the overrun,
/// its memory within what the photo declared before decoding.
pub fn work_budget(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    const FORMATS: [&str; 8] = [
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/gif",
        "image/tiff",
        "image/bmp",
        "image/vnd.microsoft.icon",
        "image/heif",
    ];
    let Some(format) = Format::from_mime(FORMATS[usize::from(choice % 8)]) else { return };
    let recipe = Recipe { processor_time: PROCESSOR_TIME, max_pixels: MAX_PIXELS, ..RECIPE };
    let spent = Spent::of(|| caught(|| make(format, file, &recipe)).unwrap_or(recipe.memory));
    if let Err(excess) = spent.check(file.len()) {
        panic!("{format:?}: {excess}");
    }
}

#[derive(Debug, Clone, Copy)]
struct Spent {
    processor_time: Duration,
    /// Maximum memory held.
    peak: u64,
    /// Maximum memory that the photo declared.
    declared: u64,
}

impl Spent {
    /// Measures `work`, which returns the declared memory.
    fn of(work: impl FnOnce() -> u64) -> Self {
        let (before, held) = (processor_time(), HELD.get());
        PEAK.set(held);
        let declared = work();
        let processor_time = processor_time().saturating_sub(before);
        Self { processor_time, peak: u64::try_from(PEAK.get() - held).unwrap_or(0), declared }
    }

    /// Compares the costs of a file of `length` bytes with its budget.
    fn check(&self, length: usize) -> Result<(), String> {
        let Self { processor_time, peak, declared } = *self;
        let allowed = declared.max(OPENING_MEMORY) + FIXED_MEMORY + MAX_COPIES * length as u64;
        if processor_time > PROCESSOR_TIME + MAX_DELAY {
            Err(format!("{processor_time:?} of processor time"))
        } else if peak > allowed {
            Err(format!("{peak} bytes, {declared} declared"))
        } else {
            Ok(())
        }
    }
}

/// Processes a photo as the image pool does. Returns the maximum memory that it declared.
fn make(format: Format, file: &[u8], recipe: &Recipe) -> u64 {
    let budget = WorkBudget::new(recipe, &|| false);
    let mut declared = 0;
    let Ok(mut inspected) = imaging::inspect(format, file, recipe, &budget) else { return declared };
    loop {
        declared = declared.max(inspected.memory());
        if inspected.memory() > recipe.memory {
            return declared;
        }
        match inspected.encode(&mut Workspace::default()) {
            Err(EncodeError::Fallback(next)) => inspected = *next,
            Ok(_) | Err(EncodeError::Image(_)) => return declared,
        }
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_its_budget_is_reported() {
        let within = Spent {
            processor_time: PROCESSOR_TIME + MAX_DELAY,
            peak: OPENING_MEMORY + FIXED_MEMORY + MAX_COPIES * 100,
            declared: 0,
        };
        assert_eq!(within.check(100), Ok(()));
        let late = Spent { processor_time: within.processor_time + Duration::from_nanos(1), ..within };
        assert_eq!(late.check(100), Err("3.200000001s of processor time".to_owned()));
        let large = Spent { peak: within.peak + 1, ..within };
        assert!(large.check(100).is_err());
        assert_eq!(Spent { declared: OPENING_MEMORY + 1, ..large }.check(100), Ok(()));
    }

    #[test]
    fn processor_time_and_peak_of_memory_are_measured() {
        let millis = Duration::from_millis(20);
        let spent = Spent::of(|| {
            let began = processor_time();
            while processor_time() - began < millis {}
            count_allocated(5000);
            count_allocated(-5000);
            7
        });
        assert!(spent.processor_time >= millis);
        assert_eq!((spent.peak, spent.declared), (5000, 7));
    }
}
