//! Combines small chunks, so that files are written in whole steps.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// The size of steps of a slow upload, each of which takes as much memory.
pub(super) const SMALL_STEP: usize = 4 * 1024;

/// The end of a file that grows: bytes that are not written to it yet. They are fewer than a step. Steps begin at multiples of
/// their size.
#[derive(Debug)]
pub(super) struct Tail {
    /// Where `bytes` begin in the file.
    offset: u64,
    bytes: Vec<u8>,
}

/// Bytes to be written to a file.
#[derive(Debug)]
pub(super) struct Run {
    offset: u64,
    first: Vec<u8>,
    rest: Bytes,
}

impl Tail {
    /// The tail of a file of this length.
    pub(super) fn at(offset: u64) -> Self {
        Self { offset, bytes: Vec::new() }
    }

    /// Returns the length of the file together with the bytes that are not written.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Returns the bytes that are not written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `chunk`, and returns whole steps of `step` bytes, which must be written now.
    pub(super) fn push(&mut self, mut chunk: Bytes, step: usize) -> Option<Run> {
        // How much of the step is in the file: less than a step.
        let written = usize::try_from(self.offset % step as u64).unwrap_or(0);
        let filled = written + self.bytes.len();
        let whole = (filled + chunk.len()) / step * step;
        if whole == 0 {
            self.bytes.reserve_exact(step - filled);
            self.bytes.extend_from_slice(&chunk);
            return None;
        }
        // After larger steps the tail may have more than one.
        let now = chunk.split_to(whole.saturating_sub(filled));
        let mut tail = Vec::new();
        if !chunk.is_empty() {
            // Copied out of the frame, so that its buffer can be read into again.
            tail.reserve_exact(step.max(chunk.len()));
            tail.extend_from_slice(&chunk);
        }
        Some(self.replace(tail, now))
    }

    /// Returns all bytes that are not written, if there are any. They must be written now.
    pub(super) fn take(&mut self) -> Option<Run> {
        (!self.bytes.is_empty()).then(|| self.replace(Vec::new(), Bytes::new()))
    }

    fn replace(&mut self, tail: Vec<u8>, rest: Bytes) -> Run {
        let first = std::mem::replace(&mut self.bytes, tail);
        let run = Run { offset: self.offset, first, rest };
        self.offset = run.end();
        run
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.middle() + self.rest.len() as u64
    }

    fn middle(&self) -> u64 {
        self.offset + self.first.len() as u64
    }

    /// Writes the bytes to their place. Blocks.
    pub(super) fn write_to(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.first, self.offset)?;
        file.write_all_at(&self.rest, self.middle())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn file_has_all_bytes_and_the_tail_takes_less_than_a_step(
            start in 0u64..10_000,
            chunks in prop::collection::vec((0usize..9_000, any::<bool>(), any::<bool>()), 0..40),
        ) {
            let file = tempfile::tempfile().unwrap();
            file.set_len(start).unwrap();
            let (mut tail, mut expected) = (Tail::at(start), Vec::new());
            for (n, (length, is_taken, is_fast)) in chunks.into_iter().enumerate() {
                let step = if is_fast { 4 * SMALL_STEP } else { SMALL_STEP };
                let chunk = vec![u8::try_from(n).unwrap(); length];
                expected.extend_from_slice(&chunk);
                let run = tail.push(chunk.into(), step);
                if let Some(run) = run {
                    run.write_to(&file).unwrap();
                }
                prop_assert!(tail.bytes().len() < 4 * SMALL_STEP && tail.bytes.capacity() <= 4 * SMALL_STEP);
                if is_taken && let Some(run) = tail.take() {
                    run.write_to(&file).unwrap();
                    prop_assert_eq!(tail.bytes.capacity(), 0, "an idle upload holds no buffer");
                }
                prop_assert_eq!(tail.end(), start + expected.len() as u64);
            }
            if let Some(run) = tail.take() {
                run.write_to(&file).unwrap();
            }
            let mut written = vec![0; expected.len()];
            file.read_exact_at(&mut written, start).unwrap();
            prop_assert!(written == expected);
            prop_assert_eq!(file.metadata().unwrap().len(), start + expected.len() as u64);
        }
    }
}
