//! The target that holds what a photo costs against what its budget allows.

use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::net::caught;
use super::pictures::RECIPE;
use crate::imaging::{self, EncodeError, Format, Recipe, WorkBudget, Workspace};

/// Processor time that the budget allows.
const PROCESSOR_TIME: Duration = Duration::from_millis(200);
/// How much longer work may go on. A decoder of a library that cannot be stopped takes tens of milliseconds for as many
/// pixels as the recipe allows, a checked build and a sanitizer many times that.
const MAX_DELAY: Duration = Duration::from_secs(3);
/// Memory that opening a photo may take, before it has stated any: a profile and its copy.
const OPENING_MEMORY: u64 = 16 << 20;
/// Memory beside what a photo states.
const FIXED_MEMORY: u64 = 1 << 20;
/// More than other targets allow, so that pixels that are not stated weigh more than what opening a photo may take.
const MAX_PIXELS: u64 = 1 << 23;
/// How many times the file may be held while it is opened: some decoders copy it, into a buffer that grows by doubling.
const MAX_COPIES: u64 = 4;

thread_local! {
    /// Bytes that the thread holds, as far as its allocator tells.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// The most since the last look.
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Counts a change of the bytes that this thread holds. The allocator of a fuzzing binary calls it; without one, memory is not
/// judged.
pub fn count_allocated(bytes: i64) {
    // The allocator is also asked while the thread ends.
    let _is_counted = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _is_counted = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

/// A byte that names the format, and a file: no more processor time is used than the budget allows, but for a delay, and no
/// more memory than the photo states before it is decoded.
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
    let (before, held) = (processor_time(), HELD.get());
    PEAK.set(held);
    let stated = caught(|| make(format, file, &recipe)).unwrap_or(recipe.memory);
    let used = processor_time().saturating_sub(before);
    let peak = u64::try_from(PEAK.get() - held).unwrap_or(0);
    assert!(used <= PROCESSOR_TIME + MAX_DELAY, "{format:?}: {used:?}");
    let allowed = stated.max(OPENING_MEMORY) + FIXED_MEMORY + MAX_COPIES * file.len() as u64;
    assert!(peak <= allowed, "{format:?}: {peak} bytes, {stated} stated");
}

/// Makes a photo as the image pool does, and returns the most memory that was stated.
fn make(format: Format, file: &[u8], recipe: &Recipe) -> u64 {
    let budget = WorkBudget::new(recipe, &|| false);
    let mut stated = 0;
    let Ok(mut inspected) = imaging::inspect(format, file, recipe, &budget) else { return stated };
    loop {
        stated = stated.max(inspected.memory());
        if inspected.memory() > recipe.memory {
            return stated;
        }
        match inspected.encode(&mut Workspace::default()) {
            Err(EncodeError::Fallback(next)) => inspected = next,
            Ok(_) | Err(EncodeError::Image(_)) => return stated,
        }
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
