//! Buffers that outlive a photo: each worker of the pool has its own.
//!
//! Fresh megabytes cost page faults, and on a small machine they were a fifth of a photo's time.

use super::plane::Plane;

/// Buffers larger than this are given back to the system.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// Most bytes that are kept.
const MAX_KEPT_TOGETHER: usize = 24 << 20;

/// Buffers for one photo at a time.
#[derive(Debug, Default)]
pub struct Workspace {
    free: Vec<Vec<u8>>,
}

impl Workspace {
    /// A buffer of `len` bytes whose content is of no meaning.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        // The smallest that is large enough, or else the largest.
        let best = (0..self.free.len()).min_by_key(|at| {
            let capacity = self.free[*at].capacity();
            (capacity < len, capacity.abs_diff(len))
        });
        let mut buffer = best.map(|at| self.free.swap_remove(at)).unwrap_or_default();
        if buffer.capacity() < len {
            // A new one of just this length: growing would copy the old content, and take more than was asked for.
            drop(buffer);
            return vec![0; len];
        }
        buffer.resize(len, 0);
        buffer
    }

    /// Takes a buffer back for the next one who asks.
    pub(super) fn give(&mut self, buffer: Vec<u8>) {
        let kept: usize = self.free.iter().map(Vec::capacity).sum();
        let fits = buffer.capacity() <= MAX_KEPT_BYTES && kept + buffer.capacity() <= MAX_KEPT_TOGETHER;
        if fits && buffer.capacity() > 0 {
            self.free.push(buffer);
        }
    }

    /// Takes the buffer of a plane back.
    pub(super) fn give_plane(&mut self, plane: Plane) {
        self.give(plane.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_very_large_ones_do_not() {
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
