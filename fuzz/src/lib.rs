//! How a target meets libFuzzer.
//!
//! For campaigns by libfuzzer-sys, as `cargo fuzz` expects it. For `make fuzz-smoke` by the one function that libFuzzer asks
//! for: that crate would have a third of the server's dependencies compiled once more, for a feature of a crate that their
//! build scripts share.

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
