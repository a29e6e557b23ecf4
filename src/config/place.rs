//! Sources and targets of `migrate-store`.

use std::fmt;
use std::path::PathBuf;

use super::{Database, MediaStorage, Settings, parse};
use crate::media::s3::S3Settings;

/// The address of a catalog, or of a store of photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `sled:PATH` or `postgres://…`.
    Catalog(Database),
    /// `local:PATH`.
    Directory(PathBuf),
    /// `s3:BUCKET`, reached with the settings of S3.
    Bucket(String),
}

impl Place {
    /// Parses a place, or returns `None` for any other text.
    pub fn parse(value: &str) -> Option<Self> {
        match (value.strip_prefix("local:"), value.strip_prefix("s3:")) {
            (Some(root), _) => (!root.is_empty()).then(|| Self::Directory(PathBuf::from(root))),
            (None, Some(bucket)) => parse::is_bucket(bucket).then(|| Self::Bucket(bucket.to_owned())),
            (None, None) => parse::database(value).map(Self::Catalog),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(Database::Sled(path)) => write!(f, "sled:{}", path.display()),
            Self::Catalog(database) => database.fmt(f),
            Self::Directory(root) => write!(f, "local:{}", root.display()),
            Self::Bucket(bucket) => write!(f, "s3:{bucket}"),
        }
    }
}

impl Settings {
    /// Returns the place of the catalog.
    pub fn catalog_place(&self) -> Place {
        Place::Catalog(self.database.clone())
    }

    /// Returns the place of the photos.
    pub fn media_place(&self) -> Place {
        match &self.media_storage {
            MediaStorage::Local => Place::Directory(self.media_root.clone()),
            MediaStorage::S3(settings) => Place::Bucket(settings.bucket.clone()),
        }
    }

    /// Returns the settings to reach a bucket of this name, or `None` if the settings of S3 are invalid.
    pub fn bucket(&self, name: &str) -> Option<S3Settings> {
        self.s3.clone().map(|settings| S3Settings { bucket: name.to_owned(), ..settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_each_kind_parses_and_others_do_not() {
        for place in ["sled:data/db", "postgres://db.example:5432/app", "local:data/uploads", "s3:photos"] {
            assert_eq!(Place::parse(place).unwrap().to_string(), place);
        }
        for bad in ["", "local:", "sled:", "s3:", "s3:a/b", "data/db", "https://db.example", "postgres:/x"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
        let secret = Place::parse("postgres://me:hunter2@db.example/app").unwrap();
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    }
}
