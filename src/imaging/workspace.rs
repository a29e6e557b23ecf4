//! Buffers that a worker of the pool reuses from photo to photo.
//!
//! New buffers cost page faults, which took a fifth of a photo's time on a small machine.

use super::plane::Plane;

/// Larger buffers are freed, not kept.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// Most bytes that are kept in all.
const MAX_KEPT_TOGETHER: usize = 24 << 20;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub struct Workspace {
    free: Vec<Vec<u8>>,
}

impl Workspace {
    /// Returns a buffer of `len` bytes with undefined content.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        // The smallest buffer that is large enough, or else the largest one.
        let best = (0..self.free.len()).min_by_key(|at| {
            let capacity = self.free[*at].capacity();
            (capacity < len, capacity.abs_diff(len))
        });
        let mut buffer = best.map(|at| self.free.swap_remove(at)).unwrap_or_default();
        if buffer.capacity() < len {
            // Growing would copy the old content, and allocate more than `len`.
            drop(buffer);
            return vec![0; len];
        }
        buffer.resize(len, 0);
        buffer
    }

    /// Returns a buffer to the workspace for reuse.
    pub(super) fn give(&mut self, buffer: Vec<u8>) {
        let kept: usize = self.free.iter().map(Vec::capacity).sum();
        let fits = buffer.capacity() <= MAX_KEPT_BYTES && kept + buffer.capacity() <= MAX_KEPT_TOGETHER;
        if fits && buffer.capacity() > 0 {
            self.free.push(buffer);
        }
    }

    /// Returns the buffer of a plane to the workspace.
    pub(super) fn give_plane(&mut self, plane: Plane) {
        self.give(plane.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_and_large_ones_are_freed() {
        let mut workspace = Workspace::default();
        let buffer = workspace.take(1000);
        let place = buffer.as_ptr();
        workspace.give(buffer);
        let again = workspace.take(800);
        assert_eq!((again.as_ptr(), again.len()), (place, 800));
        workspace.give(vec![0; MAX_KEPT_BYTES + 1]);
        assert!(workspace.free.is_empty());
        (0..10).for_each(|_| workspace.give(vec![0; MAX_KEPT_BYTES]));
        assert_eq!(workspace.free.len(), MAX_KEPT_TOGETHER / MAX_KEPT_BYTES);
    }
}
