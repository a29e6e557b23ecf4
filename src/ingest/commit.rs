//! The end of an upload: its photos are confirmed, charged and published, and its draft is recorded.
//!
//! The catalog's word for a recognised photo is not enough: its file is read and verified while its key is locked, and cannot
//! be removed from then on until the draft refers to it. If the file is gone (another upload was rolled back, or the garbage
//! collector removed it) or damaged, the photo is encoded from its source after all.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::photo::{Output, ReadyPhoto};
use super::quota::Charge;
use super::steps::Step;
use super::{Ingest, IngestError, Target, UploadedPhoto};
use crate::catalog::{Catalog, Change, ChangeError, NewAttempt, NewDraft, NewPhoto};
use crate::media::{Integrity, Staging};
use crate::model::{Caller, ClientKey, Draft, MediaKey};
use crate::publication::{CommitError, KeyGuard};

/// What an upload records in addition to its photos.
pub(super) struct Commit {
    pub(super) caller: Caller,
    pub(super) target: Target,
    pub(super) title: String,
    pub(super) attempt: Option<NewAttempt>,
}

impl Ingest {
    /// Publishes the photos, then records the draft. `photos` are in the order of the upload. Returns the draft, and what was
    /// stored for each photo.
    pub(super) async fn commit(
        self: &Arc<Self>,
        Commit { caller, target, title, attempt }: Commit,
        photos: Vec<ReadyPhoto>,
        staging: &dyn Staging,
    ) -> Result<(Draft, Vec<UploadedPhoto>), IngestError> {
        let max = self.limits.photos_per_draft;
        let record = |catalog: Arc<dyn Catalog>, photos| async move {
            match target {
                Target::NewDraft => {
                    let owner = caller.user;
                    let new = NewDraft { title, photos, owner, attempt, ..NewDraft::default() };
                    catalog.create_draft(new).await
                }
                Target::Append { draft, version } => {
                    catalog.change_draft(draft, version, Change::Append { photos, max, attempt }).await
                }
            }
        };
        let (draft, uploaded) = self.publish(caller.client, photos, staging, record).await?;
        let user_id = caller.user.map_or_else(|| "anonymous".to_owned(), |user| user.to_string());
        for UploadedPhoto { key, mime, bytes, is_recognised } in &uploaded {
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
        Ok((draft, uploaded))
    }

    /// Publishes photos and has `record` record them. Returns what that returned, and what was stored for each photo.
    pub(super) async fn publish<T, F>(
        self: &Arc<Self>,
        client: ClientKey,
        photos: Vec<ReadyPhoto>,
        staging: &dyn Staging,
        record: impl FnOnce(Arc<dyn Catalog>, Vec<NewPhoto>) -> F,
    ) -> Result<(T, Vec<UploadedPhoto>), IngestError>
    where
        F: Future<Output = Result<T, ChangeError>>,
    {
        let begun = Instant::now();
        let (admitted, confirmed) = tokio::join!(self.check(), self.confirm(client, photos, staging));
        admitted?;
        let (photos, guard) = confirmed?;
        let Batch { photos, uploaded, charges } = Batch::of(photos);
        let charges = self.charges_of_new_photos(charges).await?;
        let recording = record(Arc::clone(self.publisher.catalog()), photos);
        let committed = self.publisher.commit(guard, staging, recording).await;
        self.steps.took(Step::Commit, "", begun.elapsed());
        // Photos that may stay are charged.
        if matches!(committed, Ok(_) | Err(CommitError::Pending(_))) {
            charges.into_iter().for_each(Charge::keep);
        }
        Ok((committed?, uploaded))
    }

    /// Locks the keys of all photos, and encodes recognised photos again whose file is gone or damaged.
    ///
    /// The locks are released for that, as encoding takes long and may fail. Each round leaves fewer recognised photos, so
    /// the loop ends.
    async fn confirm(
        self: &Arc<Self>,
        client: ClientKey,
        mut photos: Vec<ReadyPhoto>,
        staging: &dyn Staging,
    ) -> Result<(Vec<ReadyPhoto>, KeyGuard), IngestError> {
        loop {
            let keys: Vec<MediaKey> =
                photos.iter().filter_map(|photo| Some(photo.output.photo()?.key)).collect();
            let recognised: Vec<Option<NewPhoto>> =
                photos.iter().map(|photo| photo.output.recognised()).collect();
            let guard = self.publisher.lock_keys(keys).await?;
            let are_stored = recognised.iter().map(async |photo| match photo {
                Some(photo) => self.is_stored(photo.key, &guard).await,
                None => true,
            });
            let are_stored = join_all(are_stored).await;
            if are_stored.iter().all(|is_stored| *is_stored) {
                return Ok((photos, guard));
            }
            drop(guard);
            let mut confirmed = Vec::with_capacity(photos.len());
            for (photo, is_stored) in photos.into_iter().zip(are_stored) {
                confirmed.push(match photo.output {
                    Output::Recognised(_, source) if !is_stored => {
                        self.encode_and_stage(client, *source, staging).await?
                    }
                    _ => photo,
                });
            }
            photos = confirmed;
        }
    }

    /// Returns whether the store has the bytes of this photo. If the store cannot tell, the photo is encoded again, which is
    /// always correct.
    async fn is_stored(&self, key: MediaKey, guard: &KeyGuard) -> bool {
        match self.publisher.verify_or_quarantine(key, guard).await {
            Ok(integrity) => integrity == Integrity::Whole,
            Err(error) => {
                tracing::warn!(%error, "a photo that was recognised cannot be verified");
                false
            }
        }
    }
}

/// The photos of one upload, as the catalog, the quota and the answer need them. Each list is in the order of the upload.
#[derive(Default)]
struct Batch {
    photos: Vec<NewPhoto>,
    uploaded: Vec<UploadedPhoto>,
    charges: Vec<(MediaKey, Charge)>,
}

impl Batch {
    fn of(ready: Vec<ReadyPhoto>) -> Self {
        let mut batch = Self::default();
        let mut by_index = HashMap::new();
        for ReadyPhoto { index, mime, bytes, output } in ready {
            let is_recognised = !matches!(output, Output::Staged(..));
            let photo = match output {
                Output::Staged(photo, charge) => {
                    batch.charges.extend(charge.map(|charge| (photo.key, charge)));
                    photo
                }
                Output::Recognised(photo, _) => photo,
                // It refers to a photo before it, which is in the map.
                Output::Deduplicated { first, .. } => by_index[&first],
            };
            by_index.insert(index, photo);
            batch.photos.push(photo);
            batch.uploaded.push(UploadedPhoto { key: photo.key, mime, bytes, is_recognised });
        }
        batch
    }
}
