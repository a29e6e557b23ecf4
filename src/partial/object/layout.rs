//! The layout of an upload: which writer wrote which bytes.

use std::fmt;
use std::str::FromStr;

use crate::partial::Resumption;

/// Segments that every upload may have. Each is an object at least, which is read in the end.
const SEGMENTS: u64 = 256;
/// An upload may have another segment for each of so many acknowledged bytes, so that the number of objects is no more than
/// in proportion to them. A client that sends pieces of this size is not refused.
const BYTES_PER_SEGMENT: u64 = 64 << 10;
/// The most segments of any upload. The text of one has at most 42 characters, usually fewer than 24.
const MAX_SEGMENTS: u64 = 4096;

/// The segments of an upload, by where they start. Each ends where the next one starts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Layout(Vec<Segment>);

/// The bytes that one writer appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    epoch: u64,
    start: u64,
}

/// The text is not a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the layout of an upload is EPOCH:START,EPOCH:START,… with ascending starts")]
pub(super) struct InvalidLayout;

impl Layout {
    /// Adds the segment of a writer. Segments from its offset on have no acknowledged bytes and are removed.
    pub(super) fn continue_at(&mut self, Resumption { epoch, offset }: Resumption) {
        self.0.retain(|segment| segment.start < offset);
        self.0.push(Segment { epoch, start: offset });
    }

    /// Returns whether the last segment is that of this writer.
    pub(super) fn ends_with(&self, Resumption { epoch, offset }: Resumption) -> bool {
        self.0.last() == Some(&Segment { epoch, start: offset })
    }

    /// Returns whether there are more segments than an upload may have of which `offset` bytes are acknowledged.
    pub(super) fn is_too_long(&self, offset: u64) -> bool {
        self.0.len() as u64 > (SEGMENTS + offset / BYTES_PER_SEGMENT).min(MAX_SEGMENTS)
    }

    /// Returns the epoch of the segment that has the byte at `offset`, and where that segment ends.
    pub(super) fn segment_at(&self, offset: u64) -> Option<(u64, u64)> {
        let next = self.0.partition_point(|segment| segment.start <= offset);
        let epoch = self.0[..next].last()?.epoch;
        Some((epoch, self.0.get(next).map_or(u64::MAX, |next| next.start)))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Segment { epoch, start }) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "," };
            write!(f, "{separator}{epoch}:{start}")?;
        }
        Ok(())
    }
}

impl FromStr for Layout {
    type Err = InvalidLayout;

    fn from_str(text: &str) -> Result<Self, InvalidLayout> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let segment = |text: &str| {
            let (epoch, start) = text.split_once(':')?;
            Some(Segment { epoch: epoch.parse().ok()?, start: start.parse().ok()? })
        };
        let segments = text.split(',').map(segment).collect::<Option<Vec<_>>>().ok_or(InvalidLayout)?;
        if segments.is_sorted_by(|a, b| a.start < b.start) { Ok(Self(segments)) } else { Err(InvalidLayout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_without_bytes_are_replaced() {
        let mut layout = Layout::default();
        assert_eq!(layout.to_string(), "");
        for (epoch, offset, expected) in [
            (1, 0, "1:0"),
            (2, 0, "2:0"),
            (3, 70, "2:0,3:70"),
            (4, 90, "2:0,3:70,4:90"),
            (5, 90, "2:0,3:70,5:90"),
            (6, 80, "2:0,3:70,6:80"),
        ] {
            layout.continue_at(Resumption { epoch, offset });
            assert_eq!(layout.to_string(), expected);
            assert_eq!(expected.parse(), Ok(layout.clone()));
            assert!(layout.ends_with(Resumption { epoch, offset }));
            assert!(!layout.ends_with(Resumption { epoch, offset: offset + 1 }));
        }
        let covering: Vec<_> = [0, 69, 70, 79, 80, 900].map(|offset| layout.segment_at(offset)).to_vec();
        let (first, second, third) = (Some((2, 70)), Some((3, 80)), Some((6, u64::MAX)));
        assert_eq!(covering, [first, first, second, second, third, third]);
        assert_eq!(Layout::default().segment_at(0), None);
    }

    #[test]
    fn segments_are_limited_in_proportion_to_the_bytes() {
        let length_at = |step: u64| {
            let mut layout = Layout::default();
            let continued = (0..).find(|n| {
                layout.continue_at(Resumption { epoch: n + 1, offset: n * step });
                layout.is_too_long(n * step)
            });
            continued.unwrap()
        };
        assert_eq!(length_at(1), 256);
        assert_eq!(length_at(32 << 10), 511, "half of the pieces are counted");
        assert_eq!(length_at(64 << 10), 4096);
    }

    #[test]
    fn other_texts_are_no_layouts() {
        for bad in
            ["1", "1:", ":1", "1:0,", "1:5,2:5", "1:5,2:4", "1:-1", "1:0 ,2:1", "1:18446744073709551616"]
        {
            assert_eq!(bad.parse::<Layout>(), Err(InvalidLayout), "{bad}");
        }
    }
}
