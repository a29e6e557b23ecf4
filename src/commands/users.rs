//! Removes all that names a user.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Verdict;
use super::report::{refuse_if_read_only, say, with_causes};
use crate::catalog::{ChangeError, DraftFilter, EventRow, Restorable, UploadRow};
use crate::config::Settings;
use crate::model::{AttemptId, MediaId, Timestamp, UserId};
use crate::partial::PartialStore;
use crate::publication::Publisher;
use crate::stores::{self, Mode, Stores};

/// Rows that are read, and at most changed, in one step.
const PAGE: usize = 500;
/// Later than any time at which a photo became unreferenced, even if the clocks of this machine and the database differ.
const WITHOUT_GRACE: Timestamp = Timestamp::from_millis(u64::MAX);

/// What was removed.
#[derive(Default)]
struct Removed {
    drafts: u64,
    photos: u64,
    bytes: u64,
    /// Photos that stay because other drafts have them, and that named the user.
    disowned: u64,
    attempts: u64,
    uploads: u64,
    /// Events that were not delivered, and that had the contents of a draft.
    events: u64,
}

struct Erasure {
    user: UserId,
    catalog: Arc<dyn Restorable>,
    publisher: Publisher,
    removed: Removed,
}

/// Removes the drafts of a user, the resumable uploads, and the undelivered events with their contents, then their photos that no draft has any more, then
/// what else names the user. Each step may be repeated: an erasure that was interrupted continues when it is run again.
pub(super) async fn erase(settings: &Settings, user: u64) -> Result<Verdict, String> {
    let user = UserId::try_from(user).map_err(|error| error.to_string())?;
    refuse_if_read_only(settings)?;
    let Stores { catalog, media } = stores::open(settings, Mode::Remove).await?;
    let publisher = Publisher::new(media.store, Arc::clone(&catalog) as _);
    let mut erasure = Erasure { user, catalog, publisher, removed: Removed::default() };
    let photos = erasure.remove_drafts().await?;
    erasure.remove_uploads(&*media.partial).await?;
    erasure.remove_events().await?;
    erasure.remove_photos(&photos).await?;
    erasure.forget_attempts().await?;
    erasure.catalog.remove_user(user).await.map_err(with_causes)?;
    let Removed { drafts, photos, bytes, disowned, attempts, uploads, events } = erasure.removed;
    say(&format!(
        "Erased user {user}: {drafts} drafts, {photos} photos ({bytes} bytes), {attempts} idempotency keys, \
         {uploads} resumable uploads and {events} undelivered events. \
         {disowned} photos that drafts of others have stay, and no longer name the user."
    ));
    Ok(Verdict::Well)
}

impl Erasure {
    /// Removes all drafts of the user, and returns their photos.
    async fn remove_drafts(&mut self) -> Result<BTreeSet<MediaId>, String> {
        let filter = DraftFilter { owner: Some(self.user), status: None };
        let mut photos = BTreeSet::new();
        loop {
            let page = self.catalog.drafts_of(filter, None, PAGE).await.map_err(with_causes)?;
            if page.is_empty() {
                return Ok(photos);
            }
            for draft in page {
                photos.extend(draft.photos.iter().map(|photo| photo.id));
                match self.catalog.delete_draft(draft.id, None).await {
                    Ok(()) => self.removed.drafts += 1,
                    // The user deleted it since the page was read.
                    Err(ChangeError::NotFound) => {}
                    Err(error) => return Err(with_causes(error)),
                }
            }
        }
    }

    /// Removes the resumable uploads of the user, finished or not, and their bytes.
    async fn remove_uploads(&mut self, partial: &dyn PartialStore) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.catalog.uploads_page(after, PAGE).await.map_err(with_causes)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let newest = UploadRow::newest_writer(Timestamp::now());
            for row in page.iter().filter(|row| row.owner == Some(self.user)) {
                if self.catalog.remove_upload(row.id, None).await.map_err(with_causes)? {
                    self.removed.uploads += 1;
                }
                partial.remove(row.id, newest).await.map_err(with_causes)?;
            }
        }
    }

    /// Removes events with the contents of drafts of the user, also of those that the user deleted before. Events of deletions stay.
    async fn remove_events(&mut self) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.catalog.events_page(after, PAGE).await.map_err(with_causes)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.number);
            let is_own = |row: &EventRow| row.event.what.owner() == Some(self.user);
            let own: Vec<EventRow> = page.into_iter().filter(is_own).collect();
            if !own.is_empty() {
                self.removed.events += self.catalog.remove_events(&own).await.map_err(with_causes)?;
            }
        }
    }

    /// Removes those of `photos`, and of all that the user sent first, that no draft has. Clears the owner of the others.
    async fn remove_photos(&mut self, photos: &BTreeSet<MediaId>) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.catalog.media_page(after, PAGE).await.map_err(with_causes)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let mut kept = Vec::new();
            for media in page {
                let is_own = media.owner == Some(self.user);
                if !is_own && !photos.contains(&media.id) {
                    continue;
                }
                let removed = self.publisher.remove_unreferenced(&media, WITHOUT_GRACE).await;
                if removed.map_err(with_causes)? {
                    self.removed.photos += 1;
                    self.removed.bytes += media.size_bytes;
                } else if is_own {
                    kept.push(media.id);
                }
            }
            if !kept.is_empty() {
                let erased = self.catalog.erase(self.user, &[], &kept).await.map_err(with_causes)?;
                self.removed.disowned += erased.media;
            }
        }
    }

    async fn forget_attempts(&mut self) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.catalog.attempts_page(after, PAGE).await.map_err(with_causes)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let own = page.iter().filter(|row| row.attempt.draft.owner == Some(self.user));
            let own: Vec<AttemptId> = own.map(|row| row.id).collect();
            if !own.is_empty() {
                let erased = self.catalog.erase(self.user, &own, &[]).await.map_err(with_causes)?;
                self.removed.attempts += erased.attempts;
            }
        }
    }
}
