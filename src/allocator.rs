//! Controls the allocator.
//!
//! Fuzz targets have the allocator of AddressSanitizer, which finds errors on the heap. They must not link mimalloc, which would
//! replace it and then crash at the start.

#![cfg_attr(not(fuzzing), expect(unsafe_code, reason = "mimalloc is a C library"))]

#[cfg(not(fuzzing))]
use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc 3: milliseconds until freed memory is returned to the system. The default is 1000.
#[cfg(not(fuzzing))]
const PURGE_DELAY: mi_option_t = 15;
/// `mi_option_arena_max_object_size` of mimalloc 3: KiB of the largest allocation in the arenas. Larger ones are maps of their own.
/// By default all are in arenas.
#[cfg(not(fuzzing))]
const ARENA_MAX_OBJECT_SIZE: mi_option_t = 45;

/// Sets how much free memory the allocator keeps. Called once, before the program allocates much.
///
/// What is freed goes back to the system immediately, so that the next large photo does not take as much again.
///
/// Memory of an arena that was in use has to be zeroed again, and so becomes resident. sled reserves 21 MB of zeros for its tables
/// and touches few of them; maps of their own leave the rest to the system. A photo takes as much processor time as with the
/// defaults; BENCHMARKS.md has the memory.
pub fn configure() {
    // SAFETY: the function may be called at any time, from any thread.
    #[cfg(not(fuzzing))]
    unsafe {
        mi_option_set(PURGE_DELAY, 0);
        mi_option_set(ARENA_MAX_OBJECT_SIZE, 1024);
    }
}

#[cfg(all(test, not(fuzzing)))]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn options_have_the_numbers_of_this_version_of_mimalloc() {
        // SAFETY: the function may be called at any time, from any thread.
        let default = |option| unsafe { mi_option_get(option) };
        assert_eq!(default(PURGE_DELAY), 1000);
        assert_eq!(default(ARENA_MAX_OBJECT_SIZE), 2 << 20);
    }
}
