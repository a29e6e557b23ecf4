//! Connects a fuzz target to libFuzzer.
//!
//! Campaigns and `cargo fuzz` use libfuzzer-sys. `make fuzz-smoke` defines the one function that libFuzzer calls:
//! libfuzzer-sys enables a feature of a crate that many build scripts share, so a third of the server's dependencies would be
//! compiled a second time.

use std::alloc::{GlobalAlloc, Layout, System};

use vintedbot_ingest::fuzzing::count_allocated;

/// The system's allocator. It counts how much memory each thread holds, for the target `work_budget`.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is passed to `System` unchanged, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocated(layout.size() as i64);
        // SAFETY: the caller keeps the contract of this function.
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

/// Starts this program again with the dictionary of its target, unless a dictionary was named.
///
/// libFuzzer takes a dictionary as an argument only, and `cargo fuzz run` passes none.
#[cfg(feature = "libfuzzer")]
pub fn use_dictionary(target: &str) {
    use std::os::unix::process::CommandExt;

    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries").join(format!("{target}.dict"));
    let mut arguments = std::env::args_os();
    let is_named = arguments.any(|argument| argument.as_encoded_bytes().starts_with(b"-dict="));
    if is_named || !path.exists() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut option = std::ffi::OsString::from("-dict=");
    option.push(path);
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).arg(option).exec();
    eprintln!("the target runs without its dictionary: {error}");
}

/// Makes a function of [`vintedbot_ingest::fuzzing`] the target of this binary.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::use_dictionary(stringify!($name)),
            |data: &[u8]| vintedbot_ingest::fuzzing::$name(data)
        );
    };
}

/// Makes a function of [`vintedbot_ingest::fuzzing`] the target of this binary.
#[cfg(not(feature = "libfuzzer"))]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        /// A panic cannot unwind out of this function, so it ends the process.
        #[unsafe(no_mangle)]
        extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, length: usize) -> std::ffi::c_int {
            let data = match length {
                0 => &[],
                // SAFETY: libFuzzer passes a live buffer of that length, and does not change it during the call.
                _ => unsafe { std::slice::from_raw_parts(data, length) },
            };
            vintedbot_ingest::fuzzing::$name(data);
            0
        }
    };
}
