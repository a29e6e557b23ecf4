//! Limits on the cost of one photo: time, bytes read, pixels decoded, memory.
//!
//! Every job creates one [`WorkBudget`] as its first step and passes it to everything that reads the photo. A codec gets the
//! file only as an [`Input`], whose methods charge the budget for each byte that they return. So no codec can continue when the
//! time is up or the client has disconnected, or read the same bytes too often. A library's decoder reads through
//! [`InputReader`], which ends its work with an input error.
//!
//! If a decoder reads from memory and cannot be stopped, its codec first computes the worst case, and requests it with
//! [`WorkBudget::decode`] and [`WorkBudget::grant`].

use std::cell::Cell;
use std::io::{BufRead, Error, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::error::ImageError;
use super::recipe::Recipe;

/// How often a codec may read each byte of a file, on average. A JPEG that needs its second decoder is read five times. A TIFF
/// or HEIF file may use one extent for several tiles, as writers do for tiles of one colour.
const MAX_READS: u64 = 8;
/// Bytes that may be read of the smallest file.
const MIN_READ_BYTES: u64 = 64 << 10;
/// Pixels that a codec may decode for each pixel that a recipe allows. The last tiles of a grid may be nearly empty, and a
/// picture may have an alpha plane of its own size.
const MAX_DECODED: u64 = 4;
/// Bytes that a reader returns between two checks. The slowest decoder here takes 12 ms for them.
const PIECE_BYTES: usize = 64 << 10;

/// Time that the job of one photo has taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Wall time, without the waits between its turns.
    pub wall: Duration,
    /// Processor time.
    pub processor: Duration,
    /// The part of `wall` until the photo was decoded and resized. All of it until then.
    pub decoding: Duration,
}

/// The costs that one photo may still cause.
pub(crate) struct WorkBudget<'a> {
    started: Instant,
    /// Processor time of this thread at the start.
    started_processor: Duration,
    /// Time that earlier turns took.
    earlier: Spent,
    deadline: Instant,
    processor_time: Duration,
    is_abandoned: &'a dyn Fn() -> bool,
    bytes: Cell<u64>,
    pixels: Cell<u64>,
    /// Most bytes of memory for this photo.
    memory: u64,
    /// When the photo was decoded and resized.
    decoded: Cell<Option<Instant>>,
    /// The limit that stopped the work.
    stopped_by: Cell<Option<ImageError>>,
}

impl std::fmt::Debug for WorkBudget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkBudget({} bytes, {} pixels)", self.bytes.get(), self.pixels.get())
    }
}

impl<'a> WorkBudget<'a> {
    /// Starts the clocks. `is_abandoned` returns whether the client has disconnected. The budget counts the processor time of
    /// the calling thread, and belongs to that thread.
    pub(crate) fn new(recipe: &Recipe, is_abandoned: &'a dyn Fn() -> bool) -> Self {
        Self::resumed(recipe, Spent::default(), is_abandoned)
    }

    /// Starts the clocks of a job that runs again, from the time that its earlier turns took.
    pub(crate) fn resumed(recipe: &Recipe, earlier: Spent, is_abandoned: &'a dyn Fn() -> bool) -> Self {
        let started = Instant::now();
        Self {
            started,
            started_processor: processor_time(),
            earlier,
            deadline: started + recipe.timeout.saturating_sub(earlier.wall),
            processor_time: recipe.processor_time,
            is_abandoned,
            bytes: Cell::new(0),
            pixels: Cell::new(recipe.max_pixels.saturating_mul(MAX_DECODED)),
            memory: recipe.memory,
            decoded: Cell::new(None),
            stopped_by: Cell::new(None),
        }
    }

    /// Checks both clocks and whether the client is still connected. Codecs call this in every loop whose length the file
    /// decides. It takes some tens of nanoseconds.
    ///
    /// # Errors
    /// The time is up, or the client has disconnected.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        if let Some(error) = self.stopped_by.get() {
            return Err(error);
        }
        let now = Instant::now();
        // A thread cannot use more processor time than wall time, and asking for processor time is a system call.
        let is_long = now.duration_since(self.started) + self.earlier.processor > self.processor_time;
        if now > self.deadline || (is_long && self.processor_time_used() > self.processor_time) {
            Err(self.stop(ImageError::TooSlow))
        } else if (self.is_abandoned)() {
            Err(self.stop(ImageError::Abandoned))
        } else {
            Ok(())
        }
    }

    /// Charges `bytes` that are about to be read. Fails if the file was read too often, or if [`check`](Self::check) fails.
    pub(super) fn read(&self, bytes: u64) -> Result<(), ImageError> {
        // Only a file whose parts overlap many times reaches this limit.
        let left = self.bytes.get().checked_sub(bytes).ok_or_else(|| self.stop(ImageError::Corrupt))?;
        self.bytes.set(left);
        self.check()
    }

    /// Charges `pixels` that are about to be decoded. Fails if a photo cannot need so many, or if [`check`](Self::check) fails.
    pub(super) fn decode(&self, pixels: u64) -> Result<(), ImageError> {
        let left = self.pixels.get().checked_sub(pixels).ok_or_else(|| self.stop(ImageError::Corrupt))?;
        self.pixels.set(left);
        self.check()
    }

    /// Checks that a codec may use `bytes` of memory in all, its tables included. Codecs call this before they allocate;
    /// [`Picture::memory`](super::codec::Picture::memory) must include them. Fails if one photo may not have so much, or if
    /// [`check`](Self::check) fails.
    pub(super) fn grant(&self, bytes: u64) -> Result<(), ImageError> {
        if bytes > self.memory {
            return Err(self.stop(ImageError::TooMuchMemory));
        }
        self.check()
    }

    /// Checks that work which takes at most `longest`, and cannot be stopped, may begin. It may take half of a photo's
    /// processor time, because a second attempt may follow and a disconnect is not noticed before it ends, and must end before both
    /// limits. Fails if it does not fit, or if [`check`](Self::check) fails.
    pub(super) fn admit(&self, longest: Duration) -> Result<(), ImageError> {
        self.check()?;
        let left = self.processor_time.saturating_sub(self.processor_time_used());
        let until_deadline = self.deadline.saturating_duration_since(Instant::now());
        if longest > (self.processor_time / 2).min(left).min(until_deadline) {
            return Err(self.stop(ImageError::TooSlow));
        }
        Ok(())
    }

    /// Returns the time that the job has taken, including earlier turns.
    pub(crate) fn spent(&self) -> Spent {
        // In this order, so that the processor time is never above the wall time.
        let processor = self.processor_time_used();
        let wall = self.earlier.wall + self.started.elapsed();
        let until = |decoded: Instant| self.earlier.wall + decoded.duration_since(self.started);
        Spent { wall, processor, decoding: self.decoded.get().map_or(wall, until) }
    }

    /// Notes that the photo is decoded and resized.
    pub(super) fn note_decoded(&self) {
        self.decoded.set(Some(Instant::now()));
    }

    /// Opens a file. Each of its bytes may then be read [`MAX_READS`] times.
    pub(super) fn input(&'a self, bytes: &'a [u8]) -> Input<'a> {
        self.bytes.set((bytes.len() as u64).saturating_mul(MAX_READS).max(MIN_READ_BYTES));
        Input { bytes, budget: self }
    }

    /// Returns the limit that stopped the work, or `error`. A library's decoder reports a stop as its own error.
    pub(super) fn explain(&self, error: ImageError) -> ImageError {
        self.stopped_by.get().unwrap_or(error)
    }

    fn stop(&self, error: ImageError) -> ImageError {
        self.stopped_by.set(Some(error));
        error
    }

    fn processor_time_used(&self) -> Duration {
        self.earlier.processor + processor_time().saturating_sub(self.started_processor)
    }
}

/// Returns the processor time of this thread.
pub(super) fn processor_time() -> Duration {
    // On a system without this clock only the deadline applies.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// A file that charges the budget for the bytes that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    budget: &'a WorkBudget<'a>,
}

impl<'a> Input<'a> {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn budget(&self) -> &'a WorkBudget<'a> {
        self.budget
    }

    /// Returns the whole file, for one pass over it. Fails like [`WorkBudget::read`].
    pub(super) fn whole(&self) -> Result<&'a [u8], ImageError> {
        self.budget.read(self.bytes.len() as u64)?;
        Ok(self.bytes)
    }

    /// Returns `len` bytes from `offset` on, or [`ImageError::Truncated`]. Fails like [`WorkBudget::read`], too.
    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<&'a [u8], ImageError> {
        let end = offset.checked_add(len).ok_or(ImageError::Truncated)?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let extent = range.and_then(|(from, to)| self.bytes.get(from..to)).ok_or(ImageError::Truncated)?;
        self.budget.read(len)?;
        Ok(extent)
    }

    /// Returns the bytes of a range. Fails like [`extent`](Self::extent).
    pub(super) fn slice(&self, range: &Range<usize>) -> Result<&'a [u8], ImageError> {
        self.extent(range.start as u64, range.len() as u64)
    }

    /// Returns a part of this file, not charged yet, that charges the same budget. Fails like [`extent`](Self::extent).
    pub(super) fn part(&self, offset: usize, len: usize) -> Result<Self, ImageError> {
        let end = offset.checked_add(len).ok_or(ImageError::Truncated)?;
        let bytes = self.bytes.get(offset..end).ok_or(ImageError::Truncated)?;
        Ok(Self { bytes, budget: self.budget })
    }

    /// Returns a reader for a library's decoder.
    pub(super) fn reader(&self) -> InputReader<'a> {
        InputReader { input: *self, position: 0, uncharged: 0 }
    }
}

/// Implements the traits with which libraries read, for an [`Input`]. Reading fails once the budget is used up.
#[derive(Debug, Clone)]
pub(super) struct InputReader<'a> {
    input: Input<'a>,
    position: usize,
    uncharged: usize,
}

impl Read for InputReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let piece = self.fill_buf()?;
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for InputReader<'_> {
    fn fill_buf(&mut self) -> IoResult<&[u8]> {
        if self.uncharged >= PIECE_BYTES {
            self.input.budget.read(self.uncharged as u64).map_err(Error::other)?;
            self.uncharged = 0;
        }
        let rest = self.input.bytes.get(self.position..).unwrap_or_default();
        Ok(&rest[..rest.len().min(PIECE_BYTES - self.uncharged)])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
        self.uncharged += count;
    }
}

impl Seek for InputReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let from = |base: usize, by: i64| i64::try_from(base).ok()?.checked_add(by)?.try_into().ok();
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => from(self.input.len(), by),
            SeekFrom::Current(by) => from(self.position, by),
        };
        let position = position.and_then(|position: u64| usize::try_from(position).ok());
        self.position = position.ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe {
        max_pixels: 1 << 20,
        memory: 1 << 20,
        timeout: Duration::from_secs(3600),
        processor_time: Duration::from_secs(3600),
        ..Recipe::TEST
    };

    fn budget(recipe: &Recipe) -> WorkBudget<'static> {
        WorkBudget::new(recipe, &|| false)
    }

    #[test]
    fn file_read_too_often_is_corrupt() {
        let budget = budget(&RECIPE);
        let file = vec![0; 64 << 10];
        let input = budget.input(&file);
        for _ in 0..MAX_READS {
            assert_eq!(input.whole().map(<[u8]>::len), Ok(file.len()));
        }
        assert_eq!(input.extent(0, 1), Err(ImageError::Corrupt));
        assert_eq!(budget.explain(ImageError::Truncated), ImageError::Corrupt, "the first error is kept");
    }

    #[test]
    fn extent_past_the_end_is_truncated() {
        let budget = budget(&RECIPE);
        let input = budget.input(&[1, 2, 3]);
        assert_eq!(input.extent(1, 2), Ok(&[2, 3][..]));
        for (offset, len) in [(1, 3), (4, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(input.extent(offset, len), Err(ImageError::Truncated));
        }
    }

    #[test]
    fn each_limit_stops_the_work_with_its_own_error() {
        let late = budget(&Recipe { timeout: Duration::ZERO, ..RECIPE });
        assert_eq!(late.check(), Err(ImageError::TooSlow));
        let gone = WorkBudget::new(&RECIPE, &|| true);
        assert_eq!(gone.check(), Err(ImageError::Abandoned));
        assert_eq!(budget(&RECIPE).decode(MAX_DECODED * RECIPE.max_pixels + 1), Err(ImageError::Corrupt));
        assert_eq!(budget(&RECIPE).grant(RECIPE.memory + 1), Err(ImageError::TooMuchMemory));
        assert_eq!(budget(&RECIPE).grant(RECIPE.memory), Ok(()));
    }

    #[test]
    fn busy_thread_is_stopped_and_waiting_thread_is_not() {
        let limit = Duration::from_millis(20);
        let recipe = Recipe { processor_time: limit, ..RECIPE };
        let waits = budget(&recipe);
        std::thread::sleep(2 * limit);
        assert_eq!(waits.check(), Ok(()), "no processor time was used");
        let works = budget(&recipe);
        while works.check().is_ok() {}
        assert!(works.processor_time_used() > limit);
        assert_eq!(works.check(), Err(ImageError::TooSlow));
    }

    #[test]
    fn unstoppable_work_is_refused_above_half_of_the_time() {
        let limit = Duration::from_secs(4);
        let recipe = Recipe { processor_time: limit, ..RECIPE };
        assert_eq!(budget(&recipe).admit(limit / 2), Ok(()));
        assert_eq!(budget(&recipe).admit(limit / 2 + Duration::from_nanos(1)), Err(ImageError::TooSlow));
        let hurried = Recipe { timeout: limit / 4, ..recipe };
        assert_eq!(budget(&hurried).admit(limit / 2), Err(ImageError::TooSlow));
    }

    #[test]
    fn resumed_job_has_the_rest_of_its_budget() {
        let limit = Duration::from_millis(20);
        let recipe = Recipe { processor_time: limit, ..RECIPE };
        let first = budget(&recipe);
        while first.spent().processor < limit * 3 / 4 {}
        let earlier = first.spent();
        assert!(earlier.wall >= earlier.processor);
        let second = WorkBudget::resumed(&recipe, earlier, &|| false);
        let begun = processor_time();
        while second.check().is_ok() {}
        assert!(processor_time() - begun < limit / 2, "it does not have the whole limit once more");
        let spent = Spent { wall: RECIPE.timeout, ..Spent::default() };
        let late = WorkBudget::resumed(&RECIPE, spent, &|| false);
        while late.check().is_ok() {}
        assert_eq!(late.check(), Err(ImageError::TooSlow));
    }

    #[test]
    fn reader_returns_every_byte_and_stops_with_the_budget() {
        let file: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let is_gone = Cell::new(false);
        let abandoned = || is_gone.get();
        let budget = WorkBudget::new(&RECIPE, &abandoned);
        let mut reader = budget.input(&file).reader();
        let mut read = vec![0; 200_000];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, file[..200_000]);
        assert_eq!(reader.seek(SeekFrom::End(-100_000)).unwrap(), 200_000);
        is_gone.set(true);
        let mut rest = Vec::new();
        assert!(reader.read_to_end(&mut rest).is_err());
        assert!(rest.len() < 2 * PIECE_BYTES && file[200_000..].starts_with(&rest));
        assert_eq!(budget.explain(ImageError::Corrupt), ImageError::Abandoned);
    }
}
