//! Detects whether a request was refused for its Content-Length rather than for its head.
//!
//! hyper reserves the lengths 2^64-2 and 2^64-1 and answers them with 431; it does not parse larger lengths as numbers. All
//! three are too large bodies, so the response is 413. This type reads heads as they pass and does not change them.

const MAX_LENGTH: u64 = u64::MAX - 2;

const NAME: &[u8] = b"content-length:";

/// Reads the first request head after a response, and stops at its end, because a body may follow.
#[derive(Debug, Default)]
pub(super) struct LengthWatch {
    state: State,
    exceeds_limit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a line that has matched this many bytes of the name so far.
    Name(usize),
    /// In the value, whose digits so far make this number.
    Value(u64),
    /// In a line that is not a Content-Length.
    Other,
    /// After the end of the head.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl LengthWatch {
    /// Scans the next bytes received.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.state = match self.state {
                State::Done => return,
                State::Other => match memchr::memchr(b'\n', rest) {
                    _ if *byte == b'\n' => State::Name(0),
                    Some(end) => {
                        bytes = &rest[end + 1..];
                        State::Name(0)
                    }
                    None => return,
                },
                State::Name(0) if *byte == b'\r' => State::Name(0),
                State::Name(0) if *byte == b'\n' => State::Done,
                State::Name(matched) if byte.to_ascii_lowercase() == NAME[matched] => {
                    if matched + 1 == NAME.len() { State::Value(0) } else { State::Name(matched + 1) }
                }
                State::Value(length) => match byte {
                    b'0'..=b'9' => {
                        State::Value(length.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
                    }
                    b' ' | b'\t' | b'\r' => State::Value(length),
                    b'\n' => {
                        self.exceeds_limit |= length > MAX_LENGTH;
                        State::Name(0)
                    }
                    _ => State::Other,
                },
                State::Name(_) if *byte == b'\n' => State::Name(0),
                State::Name(_) => State::Other,
            };
        }
    }

    /// Starts again at the beginning of a new head.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Returns true if the head contains a Content-Length that hyper does not accept.
    pub(super) fn exceeds_limit(&self) -> bool {
        self.exceeds_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceeds_limit(text: &str, step: usize) -> bool {
        let mut watch = LengthWatch::default();
        for piece in text.as_bytes().chunks(step) {
            watch.scan(piece);
        }
        watch.exceeds_limit()
    }

    #[test]
    fn content_length_above_limit_is_found_for_any_split_of_the_head() {
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
                assert_eq!(exceeds_limit(&head, step), expected, "{step}: {head}");
            }
        }
    }

    #[test]
    fn restarted_watch_ignores_earlier_heads() {
        let mut watch = LengthWatch::default();
        for _ in 0..2 {
            watch.scan(b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n");
            assert!(watch.exceeds_limit());
            watch.restart();
            assert!(!watch.exceeds_limit());
        }
    }
}
