//! Finds where the parts of a body begin and end. A state machine that is fed with frames, and does no I/O.

use bytes::{Buf, Bytes};
use memchr::{memmem, memrchr};

use super::PartsError;

/// Most bytes before the data of a part: the rest of its delimiter line and its headers, and for the first part the preamble too.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

const HEAD_TOO_LONG: PartsError =
    PartsError::Malformed("the headers of a part, or the bytes before the first part, exceed 16 KiB");
pub(super) const CUT_OFF: PartsError =
    PartsError::Malformed("it ends before its closing delimiter, or a delimiter line is broken");

/// The next thing that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: another frame is needed.
    More,
    /// The header block of a part, with the empty line after it.
    Head(Vec<u8>),
    /// Data of that part, not empty.
    Data(Bytes),
    /// The end of the data of that part.
    PartEnd,
    /// The closing delimiter. What follows it is not looked at.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    /// After a delimiter, before the end of its line.
    DelimiterLine,
    Headers,
    Data,
    End,
}

/// Scans the frames of one body.
#[derive(Debug)]
pub(super) struct Scanner {
    /// CRLF, two dashes, boundary. The delimiter contains one CR, at its start, so a failed partial match cannot contain
    /// the start of another match.
    delimiter: Bytes,
    finder: memmem::Finder<'static>,
    state: State,
    /// What is left of the last frame.
    frame: Bytes,
    /// How many bytes of the delimiter have matched at the end of what was scanned: 2 at the start of the body.
    matched: usize,
    /// An incomplete line or header block.
    held: Vec<u8>,
    /// How many more bytes may occur before the data.
    head_left: usize,
}

impl Scanner {
    /// Returns a scanner for a body delimited by `boundary`, which contains no CR.
    pub(super) fn new(boundary: &str) -> Self {
        let delimiter = Bytes::from(format!("\r\n--{boundary}"));
        let finder = memmem::Finder::new(&delimiter).into_owned();
        Self {
            delimiter,
            finder,
            state: State::Preamble,
            frame: Bytes::new(),
            // The first delimiter may be at the very start of the body, as if a line ended before it.
            matched: 2,
            held: Vec::new(),
            head_left: MAX_HEAD_BYTES,
        }
    }

    /// Returns whether the scanner is within the data of a part.
    pub(super) fn is_in_data(&self) -> bool {
        self.state == State::Data
    }

    /// Takes the next frame. Called after [`Step::More`].
    pub(super) fn push(&mut self, frame: Bytes) {
        debug_assert!(self.frame.is_empty(), "the last frame was not used up");
        self.frame = frame;
    }

    /// Returns the next thing that it finds.
    ///
    /// # Errors
    /// The body is malformed.
    pub(super) fn step(&mut self) -> Result<Step, PartsError> {
        loop {
            match self.state {
                State::Preamble => {
                    let Found { before, delimiter } = self.until_delimiter();
                    self.spend(before.len())?;
                    if delimiter {
                        self.state = State::DelimiterLine;
                    } else if before.is_empty() {
                        return Ok(Step::More);
                    }
                }
                State::Data => {
                    let Found { before, delimiter } = self.until_delimiter();
                    if delimiter {
                        self.state = State::DelimiterLine;
                        self.head_left = MAX_HEAD_BYTES;
                        if before.is_empty() {
                            return Ok(Step::PartEnd);
                        }
                    } else if before.is_empty() {
                        return Ok(Step::More);
                    }
                    return Ok(Step::Data(before));
                }
                State::DelimiterLine => match self.delimiter_line()? {
                    Some(next) => self.state = next,
                    None => return Ok(Step::More),
                },
                State::Headers => {
                    let Some(block) = self.headers()? else { return Ok(Step::More) };
                    self.state = State::Data;
                    return Ok(Step::Head(block));
                }
                State::End => return Ok(Step::End),
            }
        }
    }

    /// Returns data before the next delimiter, and whether the delimiter follows. The data may be what was held back of earlier frames. If
    /// there is neither, another frame is needed.
    fn until_delimiter(&mut self) -> Found {
        if self.frame.is_empty() {
            return Found::default();
        }
        if self.matched > 0 {
            let missing = &self.delimiter[self.matched..];
            let common = missing.iter().zip(&self.frame).take_while(|(a, b)| a == b).count();
            if common == missing.len() {
                self.frame.advance(common);
                self.matched = 0;
                return Found { before: Bytes::new(), delimiter: true };
            }
            if common == self.frame.len() {
                self.frame = Bytes::new();
                self.matched += common;
                return Found::default();
            }
            // What was held back as the start of a delimiter is data.
            let before = self.delimiter.slice(..self.matched);
            self.matched = 0;
            return Found { before, delimiter: false };
        }
        if let Some(at) = self.finder.find(&self.frame) {
            let before = self.frame.split_to(at);
            self.frame.advance(self.delimiter.len());
            return Found { before, delimiter: true };
        }
        let tail = self.frame.len().saturating_sub(self.delimiter.len() - 1);
        let begins = memrchr(b'\r', &self.frame[tail..]).map(|at| tail + at);
        let begins = begins.filter(|at| self.delimiter.starts_with(&self.frame[*at..]));
        let end = begins.unwrap_or(self.frame.len());
        self.matched = self.frame.len() - end;
        // No empty rest of the frame is kept: once the caller drops `before`, the buffer of the frame can be read into again.
        let before = std::mem::take(&mut self.frame).split_to(end);
        Found { before, delimiter: false }
    }

    /// Reads the rest of the line of a delimiter. Two more dashes close the body; otherwise the line ends after optional
    /// white space.
    fn delimiter_line(&mut self) -> Result<Option<State>, PartsError> {
        while let Some(byte) = self.frame.first().copied() {
            self.spend(1)?;
            self.frame.advance(1);
            self.held.push(byte);
            let next = match *self.held.as_slice() {
                [.., b'\r', b'\n'] => Some(State::Headers),
                [b'-', b'-'] => Some(State::End),
                [.., b'-' | b'\r', _] => return Err(CUT_OFF),
                [b'-'] | [.., b' ' | b'\t' | b'\r'] => None,
                _ => return Err(CUT_OFF),
            };
            if next.is_some() {
                self.held.clear();
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Collects bytes up to and including the empty line. Without headers that is only CRLF.
    fn headers(&mut self) -> Result<Option<Vec<u8>>, PartsError> {
        const CRLF: &[u8] = b"\r\n";
        const END: &[u8] = b"\r\n\r\n";
        let had = self.held.len();
        let take = self.frame.len().min(self.head_left);
        self.held.extend_from_slice(&self.frame[..take]);
        let from = had.saturating_sub(END.len() - 1);
        let found = if self.held.starts_with(CRLF) {
            Some(CRLF.len())
        } else {
            memmem::find(&self.held[from..], END).map(|at| from + at + END.len())
        };
        let used = found.unwrap_or(self.held.len());
        self.head_left -= used - had;
        self.frame.advance(used - had);
        match found {
            Some(used) => {
                self.held.truncate(used);
                Ok(Some(std::mem::take(&mut self.held)))
            }
            None if self.head_left == 0 => Err(HEAD_TOO_LONG),
            None => Ok(None),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), PartsError> {
        self.head_left = self.head_left.checked_sub(bytes).ok_or(HEAD_TOO_LONG)?;
        Ok(())
    }
}

/// See [`Scanner::until_delimiter`].
#[derive(Debug, Default)]
struct Found {
    before: Bytes,
    delimiter: bool,
}
