//! Addresses of stores: what `migrate-store` copies from and to.

use std::fmt;
use std::path::PathBuf;

use super::storage::{MediaStorage, StorageKind};
use super::table::{MEDIA_STORAGE, Settings};
use super::{Database, parse};
use crate::media::BucketSettings;

/// The address of a catalog, or of a store of photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A value of `DATABASE_URL`.
    Catalog(Database),
    /// `local:PATH`.
    Directory(PathBuf),
    /// `s3:BUCKET`: a bucket, reached with the settings of its service.
    Bucket {
        /// The service, as `MEDIA_STORAGE` names it.
        service: &'static str,
        /// The name of the bucket.
        name: String,
    },
}

impl StoreAddress {
    /// Parses an address, or returns `None` for any other text.
    pub fn parse(value: &str) -> Option<Self> {
        let media = value.split_once(':').and_then(|(kind, at)| Some(((MEDIA_STORAGE.parse)(kind)?, at)));
        match media {
            Some((StorageKind::Local, root)) => {
                (!root.is_empty()).then(|| Self::Directory(PathBuf::from(root)))
            }
            Some((StorageKind::Bucket(service), name)) => {
                parse::is_bucket(name).then(|| Self::Bucket { service, name: name.to_owned() })
            }
            None => Database::parse(value).map(Self::Catalog),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(database) => match database.directory() {
                Some(path) => write!(f, "sled:{}", path.display()),
                None => database.fmt(f),
            },
            Self::Directory(root) => write!(f, "local:{}", root.display()),
            Self::Bucket { service, name } => write!(f, "{service}:{name}"),
        }
    }
}

impl Settings {
    /// Returns the address of the catalog.
    pub fn catalog_address(&self) -> StoreAddress {
        StoreAddress::Catalog(self.database.clone())
    }

    /// Returns the address of the photos.
    pub fn media_address(&self) -> StoreAddress {
        match &self.media_storage {
            MediaStorage::Local => StoreAddress::Directory(self.media_root.clone()),
            MediaStorage::Bucket(bucket) => {
                StoreAddress::Bucket { service: bucket.service(), name: bucket.name().to_owned() }
            }
        }
    }

    /// Returns the settings to reach a bucket of this name.
    ///
    /// # Errors
    /// The settings of the service are invalid. The text is a sentence for the operator.
    pub fn bucket(&self, service: &str, name: &str) -> Result<BucketSettings, String> {
        match self.buckets.get(service) {
            Some(Ok(settings)) => Ok(settings.clone().with_name(name)),
            Some(Err(why)) => Err((*why).to_owned()),
            None => Err(format!("no service is called {service}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_each_kind_parses_and_others_do_not() {
        for address in ["sled:data/db", "postgres://db.example:5432/app", "local:data/uploads", "s3:photos"] {
            assert_eq!(StoreAddress::parse(address).unwrap().to_string(), address);
        }
        for bad in ["", "local:", "sled:", "s3:", "s3:a/b", "data/db", "https://db.example", "postgres:/x"] {
            assert_eq!(StoreAddress::parse(bad), None, "{bad}");
        }
        let secret = StoreAddress::parse("postgres://me:hunter2@db.example/app").unwrap();
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    }
}
