//! Names of stored photos, and what follows from them: file extension, content type and cache policy.

use std::fmt;
use std::str::FromStr;

use crate::model::{InvalidMediaKey, MediaKey};

/// A format of stored photos.
struct Format {
    extension: &'static str,
    content_type: &'static str,
}

/// The format of all stored photos. `imaging/finish.rs` encodes them.
const STORED: Format = Format { extension: ".jpg", content_type: "image/jpeg" };

/// The name of a stored photo: its key and the extension of its format, as in `<sha256>.jpg`.
///
/// All photos have one format, so the key is enough. With a second format, this type and the media row would contain the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MediaName(MediaKey);

impl MediaName {
    /// The content type of all stored photos.
    pub(crate) const CONTENT_TYPE: &'static str = STORED.content_type;
    /// The file extension of all stored photos, with its dot.
    pub(crate) const EXTENSION: &'static str = STORED.extension;

    /// The `Cache-Control` of photos and renditions (RFC 8246). A photo never changes, because its name is the hash of its
    /// bytes. A rendition that another version of this server makes may differ in its bytes, but it shows the same photo.
    pub(crate) const CACHE_CONTROL: &'static str = "public, max-age=31536000, immutable";

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

    /// How long a cache may keep the photo.
    pub(crate) fn cache_control(self) -> &'static str {
        Self::CACHE_CONTROL
    }

    /// Returns the name of another file with the same bytes, as in `<sha256>.<tag>.jpg`.
    pub(super) fn tagged(self, tag: impl fmt::Display) -> String {
        format!("{}.{tag}{}", self.0, self.extension())
    }

    /// Returns the name without its tag, if `name` is a [`tagged`](Self::tagged) one.
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

/// The name of a smaller copy of a photo, as in `<sha256>/<longer side>.jpg`. URLs, directories and buckets use the same name,
/// so that a web server or a CDN can serve copies without this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RenditionName {
    /// The key of the photo.
    pub key: MediaKey,
    /// The longer side of the copy in pixels.
    pub side: u32,
}

impl RenditionName {
    /// Reads a name from its two parts. Returns `None` if they are not exactly those that [`fmt::Display`] writes.
    pub(crate) fn parse(photo: &str, file: &str) -> Option<Self> {
        let name =
            Self { key: photo.parse().ok()?, side: file.strip_suffix(MediaName::EXTENSION)?.parse().ok()? };
        (name.file() == file).then_some(name)
    }

    /// Returns the last part of the name.
    pub(crate) fn file(self) -> String {
        format!("{}{}", self.side, MediaName::EXTENSION)
    }
}

impl fmt::Display for RenditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.key, self.side, MediaName::EXTENSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendition_name_round_trips_and_other_texts_are_no_names() {
        let key = MediaKey::of(b"photo");
        let name = RenditionName { key, side: 320 };
        assert_eq!(name.to_string(), format!("{key}/320.jpg"));
        assert_eq!(RenditionName::parse(&key.to_string(), "320.jpg"), Some(name));
        for bad in [
            "320",
            "0320.jpg",
            "+320.jpg",
            "-1.jpg",
            "320.JPG",
            "320.jpg.jpg",
            ".jpg",
            "99999999999.jpg",
            "٣٢٠.jpg",
        ] {
            assert_eq!(RenditionName::parse(&key.to_string(), bad), None, "{bad}");
        }
        assert_eq!(RenditionName::parse(&format!("{key}.jpg"), "320.jpg"), None);
    }

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
