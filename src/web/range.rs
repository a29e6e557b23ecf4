//! Parses the `Range` header (RFC 9110 section 14).

use std::ops::Range;

/// The part of a representation that a `Range` header requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requested {
    /// Everything: the header is missing or may be ignored (another unit, several ranges, bad syntax).
    Whole,
    /// One range, not empty, within the representation.
    Part(Range<u64>),
    /// A range without any byte of the representation.
    Unsatisfiable,
}

/// Returns what `header` requests of a representation of `length` bytes.
pub(crate) fn requested(header: Option<&str>, length: u64) -> Requested {
    let Some((unit, spec)) = header.and_then(|value| value.split_once('=')) else {
        return Requested::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Requested::Whole;
    }
    // Several ranges would need multipart/byteranges, which no photo viewer uses. RFC 9110 allows the whole instead.
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Requested::Whole;
    };
    let is_ordered = is_at_most(first, last);
    let (first, last) = match (number(first), number(last)) {
        (Some(Some(first)), Some(Some(last))) if is_ordered => (first, last),
        (Some(Some(first)), Some(None)) => (first, u64::MAX),
        (Some(None), Some(Some(0))) => return Requested::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => (length.saturating_sub(suffix), u64::MAX),
        _ => return Requested::Whole,
    };
    if first >= length {
        return Requested::Unsatisfiable;
    }
    Requested::Part(first..last.saturating_add(1).min(length))
}

/// Parses a number: `Some(None)` for an empty text, `None` for an invalid one. A number above 64 bits is the largest one.
fn number(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(digits.parse().unwrap_or(u64::MAX)))
}

/// Compares numbers by their digits, so that above 64 bits, too, a range after the end is 416 and an invalid one is ignored.
fn is_at_most(first: &str, last: &str) -> bool {
    let [first, last] = [first, last].map(|digits| digits.trim_start_matches('0'));
    (first.len(), first) <= (last.len(), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_rfc_9110_are_parsed() {
        let cases = [
            ("bytes=0-499", Requested::Part(0..500)),
            ("bytes=500-999", Requested::Part(500..1000)),
            ("bytes=9500-", Requested::Part(9500..10_000)),
            ("bytes=-500", Requested::Part(9500..10_000)),
            ("bytes=-20000", Requested::Part(0..10_000)),
            ("bytes=9999-99999999999999999999999", Requested::Part(9999..10_000)),
            ("BYTES=0-0", Requested::Part(0..1)),
            ("bytes=10000-", Requested::Unsatisfiable),
            ("bytes=-0", Requested::Unsatisfiable),
            ("bytes=5-4", Requested::Whole),
            ("bytes=99999999999999999999-88888888888888888888", Requested::Whole),
            ("bytes=88888888888888888888-99999999999999999999", Requested::Unsatisfiable),
            ("bytes=0010-9", Requested::Whole),
            ("bytes=0009-10", Requested::Part(9..11)),
            ("bytes=0-0,-1", Requested::Whole),
            ("bytes=-", Requested::Whole),
            ("bytes=+1-2", Requested::Whole),
            ("lines=0-1", Requested::Whole),
            ("0-1", Requested::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(requested(Some(header), 10_000), expected, "{header}");
        }
        assert_eq!(requested(None, 10), Requested::Whole);
        assert_eq!(requested(Some("bytes=-5"), 0), Requested::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn part_is_never_empty_or_outside(header in "bytes=[0-9]{0,4}-[0-9]{0,4}|\\PC{0,20}", length in 0u64..2000) {
            if let Requested::Part(range) = requested(Some(&header), length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
