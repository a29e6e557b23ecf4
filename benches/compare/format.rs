//! The blocks of the report, one for each kind of file that phones send.

use crate::Outcome;
use crate::participant::variable;

/// What a photo is reported under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// A sequential JPEG in sRGB.
    Jpeg,
    /// A sequential JPEG in Display P3.
    P3,
    Progressive,
    Heic,
    Avif,
    WebP,
    Png,
}

impl Format {
    pub(crate) const ALL: [Self; 7] =
        [Self::Jpeg, Self::P3, Self::Progressive, Self::Heic, Self::Avif, Self::WebP, Self::Png];

    /// Returns the word in `VINTEDBOT_COMPARE_FORMATS` and in the answers of `peers/judge.py`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::P3 => "p3",
            Self::Progressive => "progressive",
            Self::Heic => "heic",
            Self::Avif => "avif",
            Self::WebP => "webp",
            Self::Png => "png",
        }
    }

    /// Returns the name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG, sRGB",
            Self::P3 => "JPEG, Display P3",
            Self::Progressive => "JPEG, progressive",
            Self::Heic => "HEIC",
            Self::Avif => "AVIF",
            Self::WebP => "WebP",
            Self::Png => "PNG",
        }
    }

    /// Returns the ending of files that `make compare` writes.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Jpeg | Self::P3 | Self::Progressive => "jpg",
            _ => self.word(),
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }
}

/// Returns the formats to compare: those of `VINTEDBOT_COMPARE_FORMATS`, or all.
pub(crate) fn chosen() -> Outcome<Vec<Format>> {
    let Some(words) = variable("VINTEDBOT_COMPARE_FORMATS") else { return Ok(Format::ALL.to_vec()) };
    let known = Format::ALL.map(Format::word).join(",");
    let expected = || format!("VINTEDBOT_COMPARE_FORMATS takes some of {known}, and is {words}").into();
    words.split(',').map(|word| Format::of_word(word.trim()).ok_or_else(expected)).collect()
}
