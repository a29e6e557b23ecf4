//! Controls the allocator.

/// Returns freed memory to the system immediately, in less than a millisecond. By default mimalloc does so after a delay, in
/// which the next large photo could take as much again.
///
/// Fuzz targets have the allocator of AddressSanitizer, which finds errors on the heap. They must not link mimalloc, which would
/// replace it and then crash at the start.
pub(crate) fn return_freed() {
    // SAFETY: the function may be called at any time, from any thread.
    #[cfg(not(fuzzing))]
    #[expect(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
