//! Controls the allocator.

/// Returns freed memory to the system immediately, in less than a millisecond. By default mimalloc does so after a delay, in
/// which the next large photo could take as much again.
pub(crate) fn return_freed() {
    // SAFETY: the function may be called at any time, from any thread.
    #[expect(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
