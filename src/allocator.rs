//! What the allocator is asked for beside memory.

/// Returns memory that was freed to the system now. The allocator does it by itself a moment later, and in that moment the
/// next large photo would borrow as much again. Takes under a millisecond.
pub(crate) fn return_freed() {
    // SAFETY: may be called at any time, from any thread.
    #[expect(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
