//! Opens the catalog and the photo store that the settings name, for the server and for the operator's commands alike.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{CatalogError, PostgresCatalog, Restorable, Schema, SledCatalog};
use crate::config::{Database, MediaStorage, Settings};
use crate::disk::{self, Scratch};
use crate::error_chain::error_chain;
use crate::media::{BucketError, BucketStore, LocalStore, MediaStore, RenditionStore};
use crate::partial::{BucketPartialStore, LocalPartialStore, PartialStore};

/// The purpose for which a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The server. It creates a missing store, logs a database that does not answer, and uses it once it does.
    Serve,
    /// A command that may create a store. A database must answer.
    Create,
    /// A command that needs an existing store: a mistaken path must not look like an empty store. A database must answer.
    Existing,
    /// A command that only reads, while a server may run. It does not lock a local store of photos, as other modes do.
    Read,
    /// A command that reads and removes photos, while a server may run if the catalog allows that, under the locks of their
    /// keys.
    Remove,
}

/// Both stores, opened.
pub(crate) struct Stores {
    /// The catalog.
    pub catalog: Arc<dyn Restorable>,
    /// The photos.
    pub media: Media,
}

/// The store of photos, opened.
pub(crate) struct Media {
    /// The store.
    pub store: Arc<dyn MediaStore>,
    /// The renditions, in the same directory or bucket.
    pub renditions: Arc<dyn RenditionStore>,
    /// The bytes of unfinished uploads, in the same directory or bucket.
    pub partial: Arc<dyn PartialStore>,
    /// The directory for photos that are not stored yet.
    pub scratch: Scratch,
}

/// Why a store cannot be opened. Each text names what to check.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no catalog.
    #[error("there is no catalog at {}: check DATABASE_URL and the working directory", .0.display())]
    NoCatalog(PathBuf),
    /// Another process has the catalog open.
    #[error("the catalog at {} is in use by another process: stop the server, and try again", .0.display())]
    InUse(PathBuf),
    /// The catalog lost rows.
    #[error(
        "the catalog at {path} is damaged: {what}. Nothing was changed, and no photo was touched. Put a backup of that \
         directory in its place, or build a new catalog from an export: vintedbot-ingest rebuild --from EXPORT. Without an \
         export, vintedbot-ingest export --salvage --output EXPORT writes one of all rows that can be read"
    )]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An import into the catalog was interrupted.
    #[error("the catalog at {0} is incomplete, because an import into it did not end: run that import again")]
    Partial(Database),
    /// The catalog cannot be opened for another reason.
    #[error("the catalog at {database} cannot be opened: {}", error_chain(.source))]
    Catalog {
        /// Its address.
        database: Database,
        /// The reason.
        source: CatalogError,
    },
    /// There is no directory of photos.
    #[error("there are no photos at {}: check MEDIA_ROOT and the working directory", .0.display())]
    NoMedia(PathBuf),
    /// The directory of photos cannot be used.
    #[error("the photos at {path} cannot be opened: {source}")]
    Media {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The bucket of photos cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl From<OpenError> for String {
    fn from(error: OpenError) -> Self {
        error.to_string()
    }
}

/// Opens catalog and photos. Called inside a tokio runtime.
///
/// # Errors
/// See [`OpenError`].
pub(crate) async fn open(settings: &Settings, mode: Mode) -> Result<Stores, OpenError> {
    let catalog = open_catalog(settings, mode).await?;
    let media = open_media(settings, mode).await?;
    Ok(Stores { catalog, media })
}

/// Opens the catalog alone. Called inside a tokio runtime.
///
/// # Errors
/// See [`OpenError`].
pub(crate) async fn open_catalog(settings: &Settings, mode: Mode) -> Result<Arc<dyn Restorable>, OpenError> {
    let database = &settings.database;
    let failed = |source| OpenError::Catalog { database: database.clone(), source };
    let must_exist = matches!(mode, Mode::Existing | Mode::Read | Mode::Remove);
    let catalog: Arc<dyn Restorable> = match database {
        Database::Sled(path) if must_exist && !SledCatalog::exists(path) => {
            return Err(OpenError::NoCatalog(path.clone()));
        }
        Database::Sled(path) => Arc::new(open_sled(settings, path).await?),
        Database::Postgres(url) => {
            let schema = if must_exist { Schema::Expect } else { Schema::Migrate };
            let opened = PostgresCatalog::open(url, settings.database_connections, schema).await;
            Arc::new(opened.map_err(failed)?.recording_events(settings.webhook.is_some()))
        }
    };
    match catalog.state().await {
        Ok(state) if state.is_partial && mode == Mode::Serve => Err(OpenError::Partial(database.clone())),
        Ok(_) => Ok(catalog),
        // Photos are readable during an import, and the catalog's own check refuses drafts while it is partial.
        Err(error @ CatalogError::Unavailable(_)) if mode == Mode::Serve => {
            tracing::warn!("{} (at {database}): uploads are refused until it answers", error_chain(&error));
            Ok(catalog)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens the embedded catalog at `path`, or creates it. Called inside a tokio runtime.
pub(crate) async fn open_sled(settings: &Settings, path: &Path) -> Result<SledCatalog, OpenError> {
    let opened = SledCatalog::open_with(path, settings.min_free_disk, settings.webhook.is_some()).await;
    opened.map_err(|error| match error {
        CatalogError::InUse => OpenError::InUse(path.to_owned()),
        CatalogError::Corrupt(what) => OpenError::Damaged { path: path.to_owned(), what },
        source => OpenError::Catalog { database: Database::Sled(path.to_owned()), source },
    })
}

/// Opens the store of photos alone. Called inside a tokio runtime.
///
/// # Errors
/// See [`OpenError`].
pub(crate) async fn open_media(settings: &Settings, mode: Mode) -> Result<Media, OpenError> {
    let (root, min_free) = (&settings.media_root, settings.min_free_disk);
    let failed = |source| OpenError::Media { path: root.clone(), source };
    let media = |store, renditions, partial, dir: PathBuf| Media {
        store,
        renditions,
        partial,
        scratch: Scratch { dir: dir.into(), min_free },
    };
    Ok(match &settings.media_storage {
        MediaStorage::Local if matches!(mode, Mode::Existing | Mode::Remove) && !root.is_dir() => {
            return Err(OpenError::NoMedia(root.clone()));
        }
        MediaStorage::Local => {
            let opened = match mode {
                Mode::Read => LocalStore::open_for_reading(root),
                Mode::Remove => LocalStore::open_for_removal(root),
                Mode::Serve | Mode::Create | Mode::Existing => LocalStore::open(root, min_free),
            };
            let store = Arc::new(opened.map_err(failed)?);
            let dir = store.scratch_dir();
            media(Arc::clone(&store) as _, store, Arc::new(LocalPartialStore::new(root, min_free)), dir)
        }
        MediaStorage::Bucket(bucket) => {
            disk::create_dir(root).map_err(failed)?;
            let store = BucketStore::open(bucket.connect()?, root, min_free).await?;
            let partial = Arc::new(BucketPartialStore::new(&store));
            let store = Arc::new(store);
            media(Arc::clone(&store) as _, store, partial, root.clone())
        }
    })
}
