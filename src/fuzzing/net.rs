//! The net under panics of libraries that are fed hostile files.
//!
//! The image pool makes "corrupt" of them, which is the right answer; a panic of this crate is a fault nevertheless.
//! A fuzzer ends its process at the first panic, so its hook must not be asked about the others.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

/// Part of the path of every file that does not belong to this crate.
const REGISTRY: &str = "/registry/src/";

thread_local! {
    static IS_FOREIGN: Cell<bool> = const { Cell::new(false) };
}

/// From here on, panics of libraries are told to nobody.
pub(super) fn spread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            let is_foreign = panic.location().is_some_and(|place| place.file().contains(REGISTRY));
            IS_FOREIGN.set(is_foreign);
            if !is_foreign {
                previous(panic);
            }
        }));
    });
}

/// The result of `work`; `None` if a library panicked.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    spread();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(_) if IS_FOREIGN.get() => None,
        Err(panic) => resume_unwind(panic),
    }
}
