//! Changes and removes drafts, and removes photos that no draft refers to. See `transaction` for the order of the locks.
//!
//! A transaction that removes references to photos excludes every other one that adds or removes references to them: it
//! locks exclusively what recording a photo locks shared. So the last of several concurrent ones notices that it is the last.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Client;
use futures_util::future::{join, join3, join4};
use tokio_postgres::{Error, Row};

use super::attempts;
use super::outbox;
use super::params::boxed;
use super::record::{REFERENCED, Recording, SOURCES, sources};
use super::rows::{self, Half, PHOTO_IDS, is_referenced, locks, number};
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use crate::catalog::{CatalogError, Change, ChangeError, DraftRow, Happening};
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, Timestamp};

/// Only the draft's own row is read as it is after the wait, so that a later statement reads the photos.
const LOCK_DRAFT: &str = "SELECT date_trunc('milliseconds', now()) FROM draft WHERE id = $1 FOR UPDATE";

/// Excludes transactions that add or remove references to photos.
const LOCK_PHOTOS: &str = "SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name";

const UPDATE: &str = "
    UPDATE draft SET title = $2, description = $3, status = $4, price_suggested = $5, updated = $6, version = $7
    WHERE id = $1";

const REMOVE_PHOTOS: &str = "DELETE FROM draft_photo WHERE draft_id = $1 AND order_index >= $2";

const INSERT_PHOTOS: &str = "
    INSERT INTO draft_photo (draft_id, order_index, media_id)
    SELECT $1, $2 + photo.place - 1, photo.media_id FROM unnest($3::bigint[]) WITH ORDINALITY AS photo (media_id, place)";

const DELETE_DRAFT: &str = "DELETE FROM draft WHERE id = $1";

/// Begins the time without a reference of those photos that have none.
pub(super) const UNREFERENCED: &str = concat!(
    "UPDATE media SET unreferenced_since = date_trunc('milliseconds', now())
     WHERE id = ANY($1::bigint[]) AND NOT ",
    is_referenced!("media.id")
);

/// Corrects a row to which an instance of an older version referred: it does not end the time without a draft.
const CORRECT_REFERENCED: &str = concat!(
    "UPDATE media SET unreferenced_since = NULL WHERE id = $1 AND unreferenced_since IS NOT NULL AND ",
    is_referenced!("$1")
);

/// Sources are locked in the order in which an upload records them.
const REMOVE_SOURCES: &str = "
    DELETE FROM source WHERE id IN (
        SELECT s.id FROM source s JOIN media m ON m.id = s.media_id
        WHERE s.media_id = $1 AND m.unreferenced_since <= $2 ORDER BY s.id FOR UPDATE OF s
    )";

/// Changes a draft.
pub(super) struct ChangeDraft<'a> {
    pub(super) id: DraftId,
    pub(super) version: Option<u64>,
    pub(super) change: &'a Change,
    pub(super) events: bool,
}

impl Work for ChangeDraft<'_> {
    type Output = Draft;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<Draft, Failed> {
        let lock = client.prepare_cached(LOCK_DRAFT).await?;
        let read = client.prepare_cached(&rows::one_draft()).await?;
        let id = number(self.id.0);
        let (begun, locked, found) =
            join3(client.batch_execute(BEGIN), client.query_opt(&lock, &[&id]), client.query(&read, &[&id]))
                .await;
        begun?;
        let now = time_of_locked(locked)?;
        let draft = rows::drafts(&found?)?.pop().ok_or(Failed::Other(ChangeError::NotFound))?;
        let old_ids = draft.photos.iter().map(|media| media.id).collect();
        let mut photos: BTreeMap<MediaId, Media> =
            draft.photos.iter().map(|media| (media.id, media.clone())).collect();
        let old: DraftRow = draft.with_photos(old_ids);
        // Checked before photos are recorded, although that would be rolled back.
        old.check_version(self.version).map_err(Failed::Other)?;

        let appended = match self.change.appended() {
            [] => Vec::new(),
            new => Recording::prepare(client).await?.media(client, new, old.owner).await?,
        };
        let appended_ids: Vec<MediaId> = appended.iter().map(|media| media.id).collect();
        photos.extend(appended.into_iter().map(|media| (media.id, media)));
        let new = self.change.apply(&old, self.version, &appended_ids, now).map_err(Failed::Other)?;
        let photo = |id: &MediaId| {
            let media = photos.get(id).cloned();
            media.ok_or_else(|| CatalogError::Corrupt(format!("media {id} has no row")))
        };
        let draft = new.clone().with_photos(new.photos.iter().map(photo).collect::<Result<_, _>>()?);
        if new != old {
            let mut steps = self.write(client, &old, &new, &photos).await?;
            for (sql, params) in attempts::statements(self.change.attempt(), &draft, now)? {
                steps.add(client, sql, params).await?;
            }
            if self.events {
                steps.add_event(client, Happening::updated(&draft), now).await?;
            }
            steps.commit(client, commit).await?;
        }
        Ok(draft)
    }
}

impl ChangeDraft<'_> {
    /// Returns the statements that replace `old` by `new`. `photos` are the media rows of both.
    async fn write(
        &self,
        client: &Client,
        old: &DraftRow,
        new: &DraftRow,
        photos: &BTreeMap<MediaId, Media>,
    ) -> Result<Steps, Error> {
        let mut steps = Steps::default();
        let kept: BTreeSet<MediaId> = new.photos.iter().copied().collect();
        let removed: BTreeMap<MediaId, MediaKey> = photos
            .values()
            .filter(|media| !kept.contains(&media.id))
            .map(|media| (media.id, media.key))
            .collect();
        if !removed.is_empty() {
            lock_photos(client, &mut steps, &removed).await?;
        }

        let id = number(new.id.0);
        let DraftRow { title, description, status, price_suggested, updated, version, .. } = new.clone();
        let (updated, version) = (rows::system_time(updated), number(version));
        let fields = boxed![id, title, description, status.name(), price_suggested, updated, version];
        steps.add(client, UPDATE, fields).await?;

        let same = old.photos.iter().zip(&new.photos).take_while(|(old, new)| old == new).count();
        let start = number(same as u64);
        if same < old.photos.len() {
            steps.add(client, REMOVE_PHOTOS, boxed![id, start]).await?;
        }
        let added: Vec<i64> = new.photos[same..].iter().map(|media| number(media.0)).collect();
        if !added.is_empty() {
            steps.add(client, INSERT_PHOTOS, boxed![id, start, added.clone()]).await?;
        }

        if !self.change.appended().is_empty() {
            let (sources, media) = sources(self.change.appended(), &added);
            let sources: Vec<Vec<u8>> = sources.into_iter().map(<[u8]>::to_vec).collect();
            steps.add(client, REFERENCED, boxed![added]).await?;
            steps.add(client, SOURCES, boxed![sources, media]).await?;
        }
        if !removed.is_empty() {
            mark_unreferenced(client, &mut steps, &removed).await?;
        }
        Ok(steps)
    }
}

/// Removes a draft.
pub(super) struct DeleteDraft {
    pub(super) id: DraftId,
    pub(super) version: Option<u64>,
    pub(super) events: bool,
}

impl Work for DeleteDraft {
    type Output = ();

    async fn run(&self, client: &Client, commit: &Commit) -> Result<(), Failed> {
        let lock = client.prepare_cached(LOCK_DRAFT).await?;
        let read = format!("SELECT {}, {PHOTO_IDS} FROM draft d WHERE d.id = $1", rows::DRAFT);
        let read = client.prepare_cached(&read).await?;
        let photos =
            "SELECT m.id, m.key FROM draft_photo p JOIN media m ON m.id = p.media_id WHERE p.draft_id = $1";
        let photos = client.prepare_cached(photos).await?;
        let id = number(self.id.0);
        let (begun, locked, found, photos) = join4(
            client.batch_execute(BEGIN),
            client.query_opt(&lock, &[&id]),
            client.query_opt(&read, &[&id]),
            client.query(&photos, &[&id]),
        )
        .await;
        begun?;
        let now = time_of_locked(locked)?;
        let found = found?.ok_or(Failed::Other(ChangeError::NotFound))?;
        rows::draft_row(&found)?.check_version(self.version).map_err(Failed::Other)?;
        let photo = |row: &Row| Ok::<_, CatalogError>((MediaId(rows::id(row, 0)?), rows::key(row, 1)?));
        let photos: BTreeMap<MediaId, MediaKey> = photos?.iter().map(photo).collect::<Result<_, _>>()?;

        let mut steps = Steps::default();
        lock_photos(client, &mut steps, &photos).await?;
        steps.add(client, DELETE_DRAFT, boxed![id]).await?;
        mark_unreferenced(client, &mut steps, &photos).await?;
        if self.events {
            steps.add_event(client, Happening::DraftDeleted(self.id), now).await?;
        }
        steps.commit(client, commit).await?;
        Ok(())
    }
}

/// Returns the time of the transaction that locked a draft.
fn time_of_locked(locked: Result<Option<Row>, Error>) -> Result<Timestamp, Failed> {
    let row = locked?.ok_or(Failed::Other(ChangeError::NotFound))?;
    Ok(rows::time(&row, 0)?)
}

pub(super) async fn lock_photos(
    client: &Client,
    steps: &mut Steps,
    photos: &BTreeMap<MediaId, MediaKey>,
) -> Result<(), Error> {
    let names = locks(photos.values().copied(), Half::Record);
    steps.add(client, LOCK_PHOTOS, boxed![names]).await
}

async fn mark_unreferenced(
    client: &Client,
    steps: &mut Steps,
    photos: &BTreeMap<MediaId, MediaKey>,
) -> Result<(), Error> {
    let ids: Vec<i64> = photos.keys().map(|id| number(id.0)).collect();
    steps.add(client, UNREFERENCED, boxed![ids]).await
}

/// Removes a media row and its sources if no draft has referred to it since `before`. Returns whether it was removed.
pub(super) struct RemoveMedia {
    pub(super) id: MediaId,
    pub(super) before: Timestamp,
    pub(super) events: bool,
}

impl Work for RemoveMedia {
    type Output = bool;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<bool, Failed> {
        let key = client.prepare_cached("SELECT key, width, height FROM media WHERE id = $1").await?;
        let (id, before) = (number(self.id.0), rows::system_time(self.before));
        let (begun, found) = join(client.batch_execute(BEGIN), client.query_opt(&key, &[&id])).await;
        begun?;
        let Some(found) = found? else { return Ok(false) };
        let mut steps = Steps::default();
        lock_photos(client, &mut steps, &BTreeMap::from([(self.id, rows::key(&found, 0)?)])).await?;
        steps.add(client, CORRECT_REFERENCED, boxed![id]).await?;
        steps.add(client, REMOVE_SOURCES, boxed![id, before]).await?;
        let [width, height] = [rows::side(&found, 1)?, rows::side(&found, 2)?];
        let what = Happening::PhotoRemoved {
            id: self.id,
            key: rows::key(&found, 0)?,
            width: Some(width),
            height: Some(height),
        };
        let (sql, params) = outbox::removal(what, before, self.events)?;
        steps.add(client, sql, params).await?;
        let changed = steps.commit(client, commit).await?;
        Ok(changed.last() == Some(&1))
    }
}
