//! Tells a body that is too large from a head that is.
//!
//! hyper keeps the lengths 2^64-2 and 2^64-1 for itself and answers them with 431; to it a larger one is no number. Both are
//! bodies that nobody takes, so the answer is 413. The watch reads heads as they pass and changes nothing.

/// The largest length that hyper takes.
const MAX_LENGTH: u64 = u64::MAX - 2;

const NAME: &[u8] = b"content-length:";

/// See the module. Follows the first head after an answer; after its end there may be a body.
#[derive(Debug, Default)]
pub(super) struct LengthWatch {
    state: State,
    is_beyond: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a line that has so far been these bytes of the name.
    Name(usize),
    /// In the value, after digits that make this number.
    Value(u64),
    /// In another line.
    Other,
    /// After the head.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl LengthWatch {
    /// Takes the next bytes that were read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.state = match self.state {
                State::Over => return,
                State::Other => match memchr::memchr(b'\n', rest) {
                    _ if *byte == b'\n' => State::Name(0),
                    Some(end) => {
                        bytes = &rest[end + 1..];
                        State::Name(0)
                    }
                    None => return,
                },
                State::Name(0) if *byte == b'\r' => State::Name(0),
                State::Name(0) if *byte == b'\n' => State::Over,
                State::Name(matched) if byte.to_ascii_lowercase() == NAME[matched] => {
                    if matched + 1 == NAME.len() { State::Value(0) } else { State::Name(matched + 1) }
                }
                State::Value(length) => match byte {
                    b'0'..=b'9' => {
                        State::Value(length.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
                    }
                    b' ' | b'\t' | b'\r' => State::Value(length),
                    b'\n' => {
                        self.is_beyond |= length > MAX_LENGTH;
                        State::Name(0)
                    }
                    _ => State::Other,
                },
                State::Name(_) if *byte == b'\n' => State::Name(0),
                State::Name(_) => State::Other,
            };
        }
    }

    /// Expects a new head.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Whether the head has a length that hyper does not take.
    pub(super) fn is_beyond(&self) -> bool {
        self.is_beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_beyond(text: &str, step: usize) -> bool {
        let mut watch = LengthWatch::default();
        for piece in text.as_bytes().chunks(step) {
            watch.read(piece);
        }
        watch.is_beyond()
    }

    #[test]
    fn length_beyond_64_bits_is_seen_however_the_head_is_cut() {
        for (head, expected) in [
            ("Content-Length: 18446744073709551615\r\n", true),
            ("content-LENGTH:18446744073709551614 \n", true),
            ("Content-Length: 18446744073709551613\r\n", false),
            ("Content-Length: 184467440737095516150000000000000000000000000000\r\n", true),
            ("Content-Length: 00000000000000000000000000000000000000000000005\r\n", false),
            ("Content-Length: 18446744073709551615x\r\n", false),
            ("Content-Length: 18446744073709551615\r\nContent-Length: 5\r\n", true),
            ("Con\nContent-Length: 18446744073709551615\r\n", true),
            ("X-Content-Length: 18446744073709551615\r\n", false),
            ("X: Content-Length: 18446744073709551615\r\nContent-Len: 99999999999999999999\r\n", false),
            ("Content-Length: 5\r\n\r\nContent-Length: 18446744073709551615\r\n", false),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n");
            for step in [1, 2, 7, 1000] {
                assert_eq!(is_beyond(&head, step), expected, "{step}: {head}");
            }
        }
    }

    #[test]
    fn watch_that_is_restarted_knows_the_next_head_alone() {
        let mut watch = LengthWatch::default();
        for _ in 0..2 {
            watch.read(b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n");
            assert!(watch.is_beyond());
            watch.restart();
            assert!(!watch.is_beyond());
        }
    }
}
