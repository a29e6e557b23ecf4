//! The protocol by which photos become visible and stay: lock their keys, publish them, record the draft, then commit or
//! roll back.
//!
//! Code that publishes or removes a photo holds its key lock, on all instances, from before the photo is visible until the
//! catalog refers to it. So a rollback removes only photos that no other upload uses, and the garbage collector never removes
//! a photo to which a draft is about to refer.
//!
//! If the outcome of a recording is unknown, the photos stay, and the publication is pending until [`Publisher::reconcile`]
//! has asked the catalog. What a crash left pending is for [`Publisher::reconcile_crashed`].

mod integrity;
mod key_locks;
mod local_locks;
#[cfg(test)]
mod local_locks_tests;
mod pending;
mod removal_hold;
mod renditions;
mod unreferenced;

use std::future::Future;
use std::sync::{Arc, Mutex};

pub(crate) use self::key_locks::KeyGuard;
use self::local_locks::KeyLocks;
use self::removal_hold::RemovalHolds;
use crate::catalog::{Catalog, CatalogError, ChangeError};
use crate::media::{MediaError, MediaStore, Publication, Staging};
use crate::sync;
use crate::telemetry::metrics::Counter;

/// Publishes photos in a store and records them in a catalog. All users of the two in this process share one.
pub(crate) struct Publisher {
    store: Arc<dyn MediaStore>,
    catalog: Arc<dyn Catalog>,
    locks: KeyLocks,
    /// While there is one, photos that no draft has any more keep their rows and files.
    removal_holds: RemovalHolds,
    /// Publications whose recording has an unknown outcome. A catalog that fails lets no further commits begin, so these
    /// are few.
    pending: Mutex<Vec<Box<dyn Publication>>>,
    /// Photos that were moved to quarantine since the start.
    pub(crate) quarantined: Counter,
    /// Renditions that were stored with their photos.
    renditions_stored: Counter,
    /// Those that the store did not take.
    renditions_lost: Counter,
}

/// Why [`Publisher::commit`] recorded nothing, and what became of the photos.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The photos could not be published. Those that this call created were removed.
    #[error(transparent)]
    NotPublished(MediaError),
    /// The catalog refused the change, or failed. The photos that this call created were removed.
    #[error(transparent)]
    RolledBack(ChangeError),
    /// The draft may be recorded, or another instance may refer to the photos: they stay until [`Publisher::reconcile`].
    #[error(transparent)]
    Pending(ChangeError),
}

/// A store failed during a reconciliation or a removal, which can be tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoresError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}

impl Publisher {
    /// Publishes in `store`, and records in `catalog`.
    pub(crate) fn new(store: Arc<dyn MediaStore>, catalog: Arc<dyn Catalog>) -> Self {
        Self {
            store,
            catalog,
            locks: KeyLocks::default(),
            removal_holds: RemovalHolds::default(),
            pending: Mutex::default(),
            quarantined: Counter::default(),
            renditions_stored: Counter::default(),
            renditions_lost: Counter::default(),
        }
    }

    /// The store of the photos.
    pub(crate) fn store(&self) -> &Arc<dyn MediaStore> {
        &self.store
    }

    /// The catalog of the drafts.
    pub(crate) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Publishes what is staged, then runs `record`, a transaction of the catalog, which is the commit point. `guard` locks the
    /// keys of all photos that it refers to. Returns what it returned.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub(crate) async fn commit<T>(
        &self,
        guard: KeyGuard,
        staging: &dyn Staging,
        record: impl Future<Output = Result<T, ChangeError>>,
    ) -> Result<T, CommitError> {
        let publication = staging.publish().await.map_err(CommitError::NotPublished)?;
        self.publish_renditions(staging).await;
        match record.await {
            Ok(recorded) => {
                publication.commit().await;
                Ok(recorded)
            }
            // The draft may be recorded after all, and then needs its photos.
            Err(ChangeError::Catalog(error @ CatalogError::Indeterminate(_))) => {
                self.add_pending(publication);
                Err(CommitError::Pending(error.into()))
            }
            // Another instance may refer to the photos by now. That can be asked once their keys are locked again.
            Err(error) if !guard.is_valid() => {
                self.add_pending(publication);
                Err(CommitError::Pending(error))
            }
            Err(error) => {
                // No draft refers to these photos: they did not exist before, and their keys are locked.
                if let Err(failure) = publication.rollback().await {
                    tracing::error!(error = %failure, "photos of a failed upload could not be removed");
                }
                Err(CommitError::RolledBack(error))
            }
        }
    }
}
