//! How a target meets libFuzzer.
//!
//! For campaigns by libfuzzer-sys, as `cargo fuzz` expects it. For `make fuzz-smoke` by the one function that libFuzzer asks
//! for: that crate would have a third of the server's dependencies compiled once more, for a feature of a crate that their
//! build scripts share.

use std::alloc::{GlobalAlloc, Layout, System};

use vintedbot_ingest::fuzzing::count_allocated;

/// The system's allocator, which tells the target how much each thread holds.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is passed on to `System` as it is. Counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocated(layout.size() as i64);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocated(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count_allocated(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_allocated(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Makes a function of [`vintedbot_ingest::fuzzing`] the target of this binary.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| vintedbot_ingest::fuzzing::$name(data));
    };
}

/// Makes a function of [`vintedbot_ingest::fuzzing`] the target of this binary.
#[cfg(not(feature = "libfuzzer"))]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        /// A panic cannot leave it, and ends the process.
        #[unsafe(no_mangle)]
        extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, length: usize) -> std::ffi::c_int {
            let data = match length {
                0 => &[],
                // SAFETY: libFuzzer passes a live buffer of that length, which nobody changes meanwhile.
                _ => unsafe { std::slice::from_raw_parts(data, length) },
            };
            vintedbot_ingest::fuzzing::$name(data);
            0
        }
    };
}
