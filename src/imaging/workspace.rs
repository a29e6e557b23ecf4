//! Buffers that a worker reuses. New ones cost page faults: a fifth of a photo's time on a small machine.

use super::plane::Plane;

/// Most bytes of a buffer that is kept. Larger ones are freed.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// Most bytes of all kept buffers.
const MAX_KEPT_TOGETHER: usize = 24 << 20;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub struct Workspace {
    free: Vec<Vec<u8>>,
}

impl Workspace {
    /// Returns a buffer of `len` bytes with undefined content.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        // Takes the smallest buffer that is large enough, otherwise the largest one.
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
