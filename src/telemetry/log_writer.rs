//! A bounded queue between the threads that log and the one thread that writes the log.
//!
//! A reader that pauses (a stopped terminal, a log shipper that hangs) blocks every write to its pipe. With the queue, only the
//! writing thread blocks. Lines are queued up to a number of bytes; further lines are counted and dropped until the reader has
//! read all queued ones. Then one line reports how many are missing.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Maximum bytes of queued lines. The writing thread may hold the same amount again.
pub(crate) const CAPACITY: usize = 1024 * 1024;

/// A larger buffer is freed after writing, because bursts of lines are rare.
const KEPT_BYTES: usize = 64 * 1024;

/// Pause after each write, in which lines collect. The first line after a quiet time is written at once. Under load a wakeup and
/// a write for each line would cost more than many a request.
const PAUSE: Duration = Duration::from_millis(5);

/// Pause before retrying a non-blocking output that accepts nothing.
const RETRY: Duration = Duration::from_millis(10);

/// Accepts log lines without waiting for their reader.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    queue: Mutex<Queue>,
    work: Condvar,
    idle: Condvar,
    /// Number of lines since the start that were never written.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines dropped since one did not fit. Until it is zero again no line is accepted, so all missing lines are in one place.
    gap: u64,
    is_writing: bool,
    /// True while the writing thread waits for a line.
    is_waiting: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `output`, with a queue of `capacity` bytes. `notice` reports a number of missing lines.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        output: impl Write + Send + 'static,
        capacity: usize,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            capacity,
            queue: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let output = Output { output, is_line_open: false };
        let writing = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writing.run(output, notice))?;
        Ok(Self(shared))
    }

    /// Queues a line, including its line break, or drops it.
    pub fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.gap > 0 || queue.lines.len() + line.len() > self.0.capacity {
            queue.gap += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            queue.lines.extend_from_slice(line);
        }
        let is_waiting = std::mem::take(&mut queue.is_waiting);
        drop(queue);
        if is_waiting {
            self.0.work.notify_one();
        }
    }

    /// Returns how many lines were never written.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let queue = self.0.lock();
        let is_pending = |queue: &mut Queue| queue.is_writing || queue.gap > 0 || !queue.lines.is_empty();
        let _flushed_or_late = self.0.idle.wait_timeout_while(queue, limit, is_pending);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<W: Write>(&self, mut output: Output<W>, notice: impl Fn(u64) -> String) {
        let mut batch = Vec::new();
        let mut missing = 0;
        loop {
            let mut queue = self.lock();
            while queue.lines.is_empty() && queue.gap == 0 {
                queue.is_writing = false;
                queue.is_waiting = true;
                self.idle.notify_all();
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_writing = true;
            std::mem::swap(&mut queue.lines, &mut batch);
            if batch.is_empty() {
                missing += std::mem::take(&mut queue.gap);
            }
            drop(queue);
            if missing > 0 && output.write(notice(missing).as_bytes()).is_ok() {
                missing = 0;
            }
            // A notice that fails is written again with the next lines.
            let lost = if missing > 0 { lines(&batch) } else { output.write(&batch).err().unwrap_or(0) };
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            missing += lost;
            if batch.capacity() > KEPT_BYTES {
                batch = Vec::new();
            }
            batch.clear();
            std::thread::sleep(PAUSE);
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

struct Output<W> {
    output: W,
    /// True if an error cut off the last line.
    is_line_open: bool,
}

impl<W: Write> Output<W> {
    /// Writes all bytes, waiting while the reader pauses. The error is the number of lines that were not written completely.
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        if self.is_line_open && !bytes.is_empty() {
            self.put(&mut &b"\n"[..]).map_err(|_| lines(bytes))?;
        }
        self.put(&mut bytes).map_err(|_| lines(bytes))
    }

    /// Writes `bytes` and removes the written part from their front.
    fn put(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, rest) = bytes.split_at(written);
                    self.is_line_open = !done.ends_with(b"\n");
                    *bytes = rest;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

impl Write for &LogWriter {
    /// Queues a whole line, because the event formatter writes each line in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A pipe whose reader receives a piece only when it asks for one.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(capacity: usize) -> (LogWriter, Receiver<Vec<u8>>) {
        let (pipe, reader) = sync_channel(0);
        let log = LogWriter::start(Pipe(pipe), capacity, |missing| format!("{missing} missing\n")).unwrap();
        (log, reader)
    }

    fn read(reader: &Receiver<Vec<u8>>, end: &str) -> Vec<String> {
        let mut text = String::new();
        while !text.ends_with(&format!("{end}\n")) {
            text += std::str::from_utf8(&reader.recv_timeout(LONG).unwrap()).unwrap();
        }
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn active_reader_gets_all_lines_in_order() {
        let (log, reader) = log(1 << 20);
        let reading = std::thread::spawn(move || read(&reader, "end"));
        for n in 0..10_000 {
            log.push(format!("line {n}\n").as_bytes());
        }
        log.push(b"end\n");
        let lines = reading.join().unwrap();
        assert_eq!(lines.len(), 10_001);
        assert!(lines.iter().take(10_000).enumerate().all(|(n, line)| *line == format!("line {n}")));
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn paused_reader_loses_counted_lines_and_blocks_no_logger() {
        let (log, reader) = log(1000);
        let began = Instant::now();
        for n in 0..100_000 {
            log.push(format!("line {n}\n").as_bytes());
        }
        assert!(began.elapsed() < LONG);
        let dropped = log.dropped();
        assert!(dropped > 99_000, "{dropped}");
        let notice = format!("{dropped} missing");
        let mut lines = read(&reader, &notice);
        assert_eq!(lines.pop(), Some(notice));
        assert_eq!(lines.len() as u64 + dropped, 100_000);
        assert!(
            lines.iter().enumerate().all(|(n, line)| *line == format!("line {n}")),
            "the first lines are kept"
        );
        log.push(b"after\n");
        assert_eq!(read(&reader, "after"), ["after"]);
    }

    #[test]
    fn line_longer_than_the_queue_is_dropped_and_counted() {
        let (log, reader) = log(100);
        log.push(&[&[b'x'; 200][..], b"\n"].concat());
        assert_eq!(read(&reader, "1 missing"), ["1 missing"]);
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn flush_waits_for_the_reader_up_to_its_limit() {
        let (log, reader) = log(1000);
        log.push(b"line\n");
        let began = Instant::now();
        log.flush(Duration::from_millis(50));
        assert!((Duration::from_millis(50)..LONG).contains(&began.elapsed()));
        let reading = std::thread::spawn(move || read(&reader, "line"));
        log.flush(LONG);
        assert_eq!(reading.join().unwrap(), ["line"]);
    }

    #[test]
    fn closed_output_loses_lines_that_are_counted() {
        let (log, reader) = log(1000);
        drop(reader);
        for n in 1..=3 {
            log.push(b"line\n");
            log.flush(LONG);
            assert_eq!(log.dropped(), n);
        }
    }

    /// A disk that can be full, and that accepts four bytes per write.
    struct Disk(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            if disk.1 && disk.0.len() >= 8 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(4);
            disk.0.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn full_disk_loses_lines_that_are_reported_when_there_is_space() {
        let disk = Arc::new(Mutex::new((Vec::new(), true)));
        let log = LogWriter::start(Disk(Arc::clone(&disk)), 1000, |missing| format!("{missing} missing\n"));
        let log = log.unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            log.push(line.as_bytes());
            log.flush(LONG);
        }
        disk.lock().unwrap().1 = false;
        log.push(b"fourth\n");
        log.flush(LONG);
        let text = String::from_utf8(disk.lock().unwrap().0.clone()).unwrap();
        assert_eq!(text, "first\nseco\n2 missing\nfourth\n");
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn line_after_a_dropped_one_is_dropped_until_the_gap_is_reported() {
        let (log, reader) = log(100);
        log.push(b"in the hands of the writer\n");
        while !log.0.lock().lines.is_empty() {
            std::thread::yield_now();
        }
        for length in [90, 50, 1] {
            log.push(format!("{}\n", "x".repeat(length)).as_bytes());
        }
        assert_eq!(log.dropped(), 2);
        assert_eq!(read(&reader, "2 missing").len(), 3);
    }

    /// An output that first returns these results, the last one first.
    struct Hesitant(Vec<io::Result<usize>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Hesitant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.pop().unwrap_or_else(|| {
                self.1.lock().unwrap().extend(bytes);
                Ok(bytes.len())
            })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what an output with these first results receives of three lines, and how many lines are dropped.
    fn written_after(moods: Vec<io::Result<usize>>) -> (String, u64) {
        let taken = Arc::default();
        let output = Hesitant(moods, Arc::clone(&taken));
        let log = LogWriter::start(output, 1000, |missing| format!("{missing} missing\n")).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            log.push(line.as_bytes());
            log.flush(LONG);
        }
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        (text, log.dropped())
    }

    #[test]
    fn output_that_blocks_for_a_moment_loses_no_line() {
        let moods = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].map(|kind| Err(kind.into()));
        assert_eq!(written_after(moods.into()), ("first\nsecond\nthird\n".to_owned(), 0));
    }

    #[test]
    fn output_that_accepts_nothing_loses_the_line() {
        assert_eq!(written_after(vec![Ok(0)]), ("1 missing\nsecond\nthird\n".to_owned(), 1));
    }

    #[test]
    fn loss_is_reported_before_the_next_line() {
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert_eq!(written_after(vec![full(), full()]), ("2 missing\nthird\n".to_owned(), 2));
    }
}
