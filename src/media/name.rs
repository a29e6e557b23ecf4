//! Names of stored photos, and what follows from them: file extension, content type and cache policy.

use std::fmt;
use std::str::FromStr;

use crate::model::{InvalidMediaKey, MediaKey};

/// A format of stored photos.
struct Format {
    extension: &'static str,
    content_type: &'static str,
}

/// The format of every photo that is stored today. What `imaging/finish.rs` encodes has this format.
const STORED: Format = Format { extension: ".jpg", content_type: "image/jpeg" };

/// The name of a stored photo: its key and the extension of its format, as in `<sha256>.jpg`.
///
/// All photos have one format, so a name contains only the key. A second format would need the format in this type
/// and in the media row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MediaName(MediaKey);

impl MediaName {
    /// The content type of every photo that is stored today.
    pub(crate) const CONTENT_TYPE: &'static str = STORED.content_type;
    /// The file extension of every photo that is stored today, with its dot.
    pub(crate) const EXTENSION: &'static str = STORED.extension;

    /// The key of the photo.
    pub(crate) fn key(self) -> MediaKey {
        self.0
    }

    /// The file extension with its dot.
    pub(crate) fn extension(self) -> &'static str {
        Self::EXTENSION
    }

    /// The content type of the photo.
    pub(crate) fn content_type(self) -> &'static str {
        Self::CONTENT_TYPE
    }

    /// How long a cache may keep the photo: for ever, because its name is the hash of its bytes.
    pub(crate) fn cache_control(self) -> &'static str {
        "public, max-age=31536000, immutable"
    }

    /// A second name for the same bytes, as in `<sha256>.<tag>.jpg`.
    pub(super) fn tagged(self, tag: impl fmt::Display) -> String {
        format!("{}.{tag}{}", self.0, self.extension())
    }

    /// Reads a [`tagged`](Self::tagged) name.
    pub(super) fn of_tagged(name: &str) -> Option<Self> {
        let (key, tag) = name.split_once('.')?;
        let name = Self(key.parse().ok()?);
        tag.ends_with(name.extension()).then_some(name)
    }
}

impl From<MediaKey> for MediaName {
    fn from(key: MediaKey) -> Self {
        Self(key)
    }
}

impl fmt::Display for MediaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        f.write_str(self.extension())
    }
}

impl FromStr for MediaName {
    type Err = InvalidMediaKey;

    fn from_str(text: &str) -> Result<Self, InvalidMediaKey> {
        let (key, _) = text.split_once('.').ok_or(InvalidMediaKey)?;
        let name = Self(key.parse()?);
        if text.ends_with(name.extension()) && text.len() == key.len() + name.extension().len() {
            Ok(name)
        } else {
            Err(InvalidMediaKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_round_trips_and_other_texts_are_no_names() {
        let key = MediaKey::of(b"photo");
        let name = MediaName::from(key);
        assert_eq!(name.to_string(), format!("{key}.jpg"));
        assert_eq!(name.to_string().parse(), Ok(name));
        let bad = [
            key.to_string(),
            format!("{key}jpg"),
            format!("{key}.JPG"),
            format!("{key}.png"),
            format!("{key}..jpg"),
            format!("{key}.0.jpg"),
            format!("{key}.jpg.jpg"),
            format!("{key}.jpg/"),
            ".jpg".to_owned(),
        ];
        for bad in bad {
            assert_eq!(bad.parse::<MediaName>(), Err(InvalidMediaKey), "{bad}");
        }
    }

    #[test]
    fn tagged_name_gives_its_name_back() {
        let name = MediaName::from(MediaKey::of(b"photo"));
        assert_eq!(MediaName::of_tagged(&name.tagged(7)), Some(name));
        assert_eq!(MediaName::of_tagged(&format!("{}.7.png", name.key())), None);
        assert_eq!(MediaName::of_tagged("spilled"), None);
    }
}
