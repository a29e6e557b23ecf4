//! The end of an upload: photos become visible, then the draft is recorded, which is the commit point.
//!
//! A photo that was recognised by its source is not taken at the catalog's word: its file is read and verified while its key
//! is held, and stays from then on until the draft refers to it. One that went meanwhile (taken back by another upload that
//! failed, or removed as no longer needed) or that is damaged is made from its source after all.

use std::sync::Arc;

use futures_util::future::join_all;

use super::keys::KeysKept;
use super::photo::{Made, Prepared};
use super::quota::Charge;
use super::{Ingest, IngestError, Received, Uploaded};
use crate::catalog::{CatalogError, NewDraft, NewPhoto};
use crate::media::{Integrity, Staged};
use crate::model::{Caller, ClientKey, MediaKey};

impl Ingest {
    /// Publishes the photos, then records the draft. `photos` are in the order of the upload.
    pub(super) async fn commit(
        self: &Arc<Self>,
        caller: Caller,
        title: String,
        photos: Vec<Prepared>,
    ) -> Result<Uploaded, IngestError> {
        let (admitted, confirmed) = tokio::join!(self.check(), self.confirm(caller.client, photos));
        admitted?;
        let (photos, held) = confirmed?;
        let Batch { staged, photos, received, charges } = Batch::of(photos);
        let charges = self.charges_of_new_photos(charges).await?;
        let keep = || charges.into_iter().for_each(Charge::keep);
        let published = self.store.publish(staged).await?;
        match self.catalog.create_draft(NewDraft { title, photos, owner: caller.user }).await {
            Ok(draft) => {
                keep();
                published.settle().await;
                let user_id = caller.user.map_or_else(|| "anonymous".to_owned(), |user| user.to_string());
                for Received { key, mime, bytes, is_recognised } in &received {
                    tracing::info!(
                        sha = %key,
                        mime,
                        size = bytes,
                        recognised = is_recognised,
                        user_id = %user_id,
                        draft = draft.id.0,
                        "photo"
                    );
                }
                Ok(Uploaded { draft, photos: received })
            }
            // The draft may yet turn out to be there, and must find its photos then.
            Err(error @ CatalogError::Indeterminate(_)) => {
                keep();
                self.in_doubt.add(published);
                Err(error.into())
            }
            // Another instance may build on them already; that is asked once they can be held again.
            Err(error) if !held.is_sure() => {
                keep();
                self.in_doubt.add(published);
                Err(error.into())
            }
            Err(error) => {
                // Nobody else builds on these: they did not exist before, and the keys are still held.
                if let Err(undo) = published.take_back().await {
                    tracing::error!(error = %undo, "photos of a failed upload could not be removed");
                }
                Err(error.into())
            }
        }
    }

    /// Takes the locks of all keys, and makes those recognised photos anew that have no file any more.
    ///
    /// The locks are let go for that, as it takes long and may fail. Each round leaves fewer recognised photos, so this
    /// ends.
    async fn confirm(
        self: &Arc<Self>,
        client: ClientKey,
        mut photos: Vec<Prepared>,
    ) -> Result<(Vec<Prepared>, KeysKept), IngestError> {
        loop {
            let keys: Vec<MediaKey> =
                photos.iter().filter_map(|photo| Some(photo.made.photo()?.key)).collect();
            let known: Vec<Option<NewPhoto>> = photos.iter().map(|photo| photo.made.known()).collect();
            let held = self.hold(keys).await?;
            let are_there = known.iter().map(async |photo| match photo {
                Some(photo) => self.is_stored(photo.key, &held).await,
                None => true,
            });
            let are_there = join_all(are_there).await;
            if are_there.iter().all(|is_there| *is_there) {
                return Ok((photos, held));
            }
            drop(held);
            let mut confirmed = Vec::with_capacity(photos.len());
            for (photo, is_there) in photos.into_iter().zip(are_there) {
                confirmed.push(match photo.made {
                    Made::Known(_, arrived) if !is_there => self.make(client, *arrived).await?,
                    _ => photo,
                });
            }
            photos = confirmed;
        }
    }

    /// Whether the store has the bytes of this photo. If the store cannot say, the photo is made once more, which is always
    /// right.
    async fn is_stored(&self, key: MediaKey, held: &KeysKept) -> bool {
        match self.verify_or_quarantine(key, held).await {
            Ok(integrity) => integrity == Integrity::Whole,
            Err(error) => {
                tracing::warn!(%error, "a photo that was recognised cannot be verified");
                false
            }
        }
    }
}

/// What the photos of one upload come to, each list in the order of the upload.
#[derive(Default)]
struct Batch {
    staged: Vec<Box<dyn Staged>>,
    photos: Vec<NewPhoto>,
    received: Vec<Received>,
    charges: Vec<(MediaKey, Charge)>,
}

impl Batch {
    fn of(prepared: Vec<Prepared>) -> Self {
        let mut batch = Self::default();
        for Prepared { mime, bytes, made, .. } in prepared {
            let is_recognised = !matches!(made, Made::Staged(..));
            let photo = match made {
                Made::Staged(photo, staged, charge) => {
                    batch.staged.push(staged);
                    batch.charges.extend(charge.map(|charge| (photo.key, charge)));
                    photo
                }
                Made::Known(photo, _) => photo,
                // A photo repeats one in front of it.
                Made::Repeat(first) => batch.photos[first],
            };
            batch.photos.push(photo);
            batch.received.push(Received { key: photo.key, mime, bytes, is_recognised });
        }
        batch
    }
}
