//! EXIF values, and the checks that a value must pass before it is kept.

use std::collections::BTreeMap;

use crate::imaging::tiff_directory::Entry;

/// Tags with their values in the order of an IFD.
pub(super) type Tags = BTreeMap<u16, Value>;

/// A value that passed its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Byte(u8),
    Short(u16),
    Long(u32),
    /// Four bytes of type BYTE: a version.
    Version(u32),
    /// Four characters of type UNDEFINED: a version, too.
    Characters([u8; 4]),
    Rationals(Vec<[u32; 2]>),
    SignedRationals(Vec<[u32; 2]>),
}

/// Returns `N` fractions if none has a zero denominator.
pub(super) fn rationals<const N: usize>(entry: &Entry<'_>) -> Option<Value> {
    let pairs = entry.rationals::<N>(false)?;
    pairs.iter().all(|[_, denominator]| *denominator != 0).then(|| Value::Rationals(pairs.to_vec()))
}

/// Returns text of at most `max` bytes without control characters.
pub(super) fn name(entry: &Entry<'_>, max: usize) -> Option<Value> {
    text(entry, |text| text.len() <= max && !text.contains(char::is_control))
}

/// Returns the text if `is_acceptable` accepts it.
pub(super) fn text(entry: &Entry<'_>, is_acceptable: impl Fn(&str) -> bool) -> Option<Value> {
    entry.text().filter(|text| is_acceptable(text)).map(|text| Value::Text(text.to_owned()))
}

/// Returns whether the text is a date like `2026:11:23`. Devices that do not know the date write zeros or spaces.
pub(super) fn is_date(text: &str) -> bool {
    let number = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u8>().ok());
    is_shaped(text, 10, ":4:7")
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
}

pub(super) fn is_date_time(text: &str) -> bool {
    let (Some(date), Some(time)) = (text.get(..10), text.get(11..)) else {
        return false;
    };
    is_date(date) && text.get(10..11) == Some(" ") && is_shaped(time, 8, ":2:5")
}

pub(super) fn is_offset(text: &str) -> bool {
    text.strip_prefix(['+', '-']).is_some_and(|time| is_shaped(time, 5, ":2"))
}

/// Returns whether `text` has `length` bytes: colons at the indices in `colons` (like `":4:7"`), and digits everywhere else.
pub(super) fn is_shaped(text: &str, length: usize, colons: &str) -> bool {
    let is_colon = |at: usize| colons.split(':').any(|place| place.parse() == Ok(at));
    text.len() == length
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if is_colon(at) { byte == b':' } else { byte.is_ascii_digit() })
}
