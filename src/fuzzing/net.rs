//! Catches panics of libraries that decode hostile files.
//!
//! The image pool correctly reports such a panic as a corrupt file, but a panic of this crate is a bug. A fuzzer ends its
//! process at the first panic, so its hook must not see panics of libraries.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

/// Part of the path of every file outside this crate.
const REGISTRY: &str = "/registry/src/";

thread_local! {
    static IS_FOREIGN: Cell<bool> = const { Cell::new(false) };
}

/// Hides panics of libraries from the panic hook from now on.
pub(super) fn install_panic_filter() {
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

/// Returns the result of `work`, or `None` if a library panicked.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    install_panic_filter();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(_) if IS_FOREIGN.get() => None,
        Err(panic) => resume_unwind(panic),
    }
}
