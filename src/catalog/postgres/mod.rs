//! The shared catalog: a PostgreSQL database, shared by any number of instances.
//!
//! Equal photos that two instances receive share one row, by an upsert over the key. Locks in the database prevent
//! two instances from publishing and removing the same photo at the same time: see [`Catalog::lock_keys`]. No call
//! waits for the database longer than a few seconds.

mod attempts;
mod change;
mod erasure;
mod facts;
mod failure;
mod identities;
mod indexes;
mod key_lock;
mod migrate;
mod outbox;
mod params;
mod pool;
mod record;
mod restore;
mod rows;
mod task_leases;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;
mod upload_changes;
mod uploads;
mod url;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio_postgres::types::ToSql;

use self::attempts::Claims;
use self::change::{ChangeDraft, DeleteDraft, RemoveMedia};
use self::erasure::Erase;
use self::facts::RecordFacts;
pub use self::migrate::Schema;
use self::outbox::{FinishEvent, RemoveEvents};
use self::pool::Connections;
use self::record::CreateDraft;
use self::rows::{DRAFT, MEDIA, PHOTO_IDS, limit_of, number};
use self::upload_changes::{ChangeUpload, CreateUpload, RecordUpload, RemoveUpload};
pub use self::url::{InvalidPostgresUrl, PostgresUrl};
use super::{
    AttemptRow, Begun, Catalog, CatalogError, Change, ChangeError, DraftFilter, DraftRow, DueEvent, Erased,
    EventRow, Identities, Identity, IdentityRow, IndexFault, KeyLock, KnownSource, NewDraft, NewPhoto,
    Outbox, Restorable, Restore, RestoreError, State, UploadChange, UploadRow, Uploads,
};
use crate::model::{
    AttemptId, Draft, DraftId, DraftStatus, Media, MediaId, MediaKey, PhotoFacts, SourceId, Timestamp,
    UploadId, UserId,
};

/// A catalog in a PostgreSQL database; see the module.
pub struct PostgresCatalog {
    connections: Arc<Connections>,
    claims: Arc<Claims>,
    records_events: bool,
}

impl PostgresCatalog {
    /// Connects to the database at `url` and creates or checks the tables, as `schema` says. Opens at most
    /// `connections` connections. Must be called inside a tokio runtime.
    ///
    /// A database that is down is not an error: calls fail until it is up again.
    ///
    /// # Errors
    /// The database permanently refuses this program (wrong password or database name), contains tables of another
    /// program, or `sslrootcert` cannot be read.
    pub async fn open(url: &PostgresUrl, connections: usize, schema: Schema) -> Result<Self, CatalogError> {
        let connections = Arc::new(Connections::new(url, connections, schema)?);
        match connections.prepare().await {
            Err(error) if failure::is_refusal(&error) => return Err(error),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%cause, "{error}; connecting again when it answers");
            }
            Ok(()) => {}
        }
        Ok(Self { claims: Claims::new(Arc::clone(&connections)), connections, records_events: false })
    }

    /// Sets whether changes record events.
    #[must_use]
    pub fn recording_events(self, records_events: bool) -> Self {
        Self { records_events, ..self }
    }

    async fn one_media(&self, from: &str, id: &[u8]) -> Result<Option<Media>, CatalogError> {
        let found = self.connections.read(&format!("SELECT {MEDIA} {from}"), &[&id]).await?;
        found.first().map(|row| rows::media(row, 0)).transpose()
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, ChangeError> {
        self.connections.transact(&CreateDraft { new: &new, events: self.records_events }).await
    }

    async fn change_draft(
        &self,
        id: DraftId,
        version: Option<u64>,
        change: Change,
    ) -> Result<Draft, ChangeError> {
        self.connections
            .transact(&ChangeDraft { id, version, change: &change, events: self.records_events })
            .await
    }

    async fn delete_draft(&self, id: DraftId, version: Option<u64>) -> Result<(), ChangeError> {
        self.connections.transact(&DeleteDraft { id, version, events: self.records_events }).await
    }

    async fn begin_attempt(&self, id: AttemptId, since: Timestamp) -> Result<Begun, CatalogError> {
        self.claims.begin(id, since).await
    }

    async fn forget_attempts(&self, before: Timestamp, limit: usize) -> Result<usize, CatalogError> {
        self.connections.forget_attempts(before, limit).await
    }

    async fn lock_keys(&self, keys: &[MediaKey]) -> Result<Box<dyn KeyLock>, CatalogError> {
        self.connections.lock_keys(keys).await
    }

    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let Ok(id) = i64::try_from(id.0) else { return Ok(None) };
        Ok(rows::drafts(&self.connections.read(&rows::one_draft(), &[&id]).await?)?.pop())
    }

    async fn drafts_of(
        &self,
        DraftFilter { owner, status }: DraftFilter,
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<Draft>, CatalogError> {
        let and_status = if status.is_some() { "AND status = $4" } else { "" };
        let sql = rows::drafts_from(&format!(
            "(SELECT * FROM draft WHERE coalesce(user_id, 0) = $1 AND id < $2 {and_status} ORDER BY id DESC LIMIT $3)"
        ));
        let owner = number(owner.map_or(0, UserId::get));
        let (before, limit) = (number(before.map_or(u64::MAX, |id| id.0)), limit_of(limit));
        let status = status.map(DraftStatus::name);
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&owner, &before, &limit];
        if status.is_some() {
            params.push(&status);
        }
        rows::drafts(&self.connections.read(&sql, &params).await?)
    }

    async fn drafts_with(
        &self,
        media: MediaId,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        let sql = "SELECT DISTINCT draft_id FROM draft_photo WHERE media_id = $1 AND draft_id > $2
                   ORDER BY draft_id LIMIT $3";
        let after = number(after.map_or(0, |id| id.0));
        let found = self.connections.read(sql, &[&number(media.0), &after, &limit_of(limit)]).await?;
        found.iter().map(|row| rows::id(row, 0).map(DraftId)).collect()
    }

    async fn unreferenced_media(&self, before: Timestamp, limit: usize) -> Result<Vec<Media>, CatalogError> {
        let sql = format!(
            "SELECT {MEDIA} FROM media m WHERE m.unreferenced_since <= $1
             ORDER BY m.unreferenced_since, m.id LIMIT $2"
        );
        let found = self.connections.read(&sql, &[&rows::system_time(before), &limit_of(limit)]).await?;
        found.iter().map(|row| rows::media(row, 0)).collect()
    }

    async fn remove_media(&self, id: MediaId, before: Timestamp) -> Result<bool, CatalogError> {
        let work = RemoveMedia { id, before, events: self.records_events };
        self.connections.transact(&work).await.map_err(catalog_error)
    }

    async fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        self.one_media("FROM source s JOIN media m ON m.id = s.media_id WHERE s.id = $1", source.as_bytes())
            .await
    }

    async fn media(&self, id: MediaId) -> Result<Option<Media>, CatalogError> {
        let sql = format!("SELECT {MEDIA} FROM media m WHERE m.id = $1");
        let found = self.connections.read(&sql, &[&number(id.0)]).await?;
        found.first().map(|row| rows::media(row, 0)).transpose()
    }

    async fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError> {
        let asked: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
        let found = self.connections.read("SELECT key FROM media WHERE key = ANY($1)", &[&asked]).await?;
        let found: HashSet<MediaKey> = found.iter().map(|row| rows::key(row, 0)).collect::<Result<_, _>>()?;
        Ok(keys.iter().copied().filter(|key| !found.contains(key)).collect())
    }

    async fn media_page(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<Media>, CatalogError> {
        let sql = format!("SELECT {MEDIA} FROM media m WHERE m.id > $1 ORDER BY m.id LIMIT $2");
        let (after, limit) = (number(after.map_or(0, |id| id.0)), limit_of(limit));
        self.connections.read(&sql, &[&after, &limit]).await?.iter().map(|row| rows::media(row, 0)).collect()
    }

    async fn media_by_key(
        &self,
        after: Option<MediaKey>,
        upto: Option<MediaKey>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        let sql =
            format!("SELECT {MEDIA} FROM media m WHERE m.key > $1 AND m.key <= $2 ORDER BY m.key LIMIT $3");
        let after = after.as_ref().map_or(&[][..], |key| key.as_bytes());
        let upto = upto.unwrap_or(MediaKey::from_digest([0xFF; 32]));
        let (upto, limit) = (upto.as_bytes().as_slice(), limit_of(limit));
        let found = self.connections.read(&sql, &[&after, &upto, &limit]).await?;
        found.iter().map(|row| rows::media(row, 0)).collect()
    }

    async fn drafts_page(&self, after: Option<DraftId>, limit: usize) -> Result<Vec<DraftRow>, CatalogError> {
        let sql = format!("SELECT {DRAFT}, {PHOTO_IDS} FROM draft d WHERE d.id > $1 ORDER BY d.id LIMIT $2");
        let (after, limit) = (number(after.map_or(0, |id| id.0)), limit_of(limit));
        self.connections.read(&sql, &[&after, &limit]).await?.iter().map(rows::draft_row).collect()
    }

    async fn record_facts(&self, facts: &[(MediaId, PhotoFacts)]) -> Result<(), CatalogError> {
        self.connections.transact(&RecordFacts(facts)).await.map_err(catalog_error)
    }

    async fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError> {
        let sql = format!(
            "SELECT s.id, s.media_id, {MEDIA} FROM source s LEFT JOIN media m ON m.id = s.media_id
             WHERE s.id > $1 ORDER BY s.id LIMIT $2"
        );
        let after = after.as_ref().map_or(&[][..], |source| source.as_bytes());
        self.connections
            .read(&sql, &[&after, &limit_of(limit)])
            .await?
            .iter()
            .map(rows::known_source)
            .collect()
    }

    async fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError> {
        // Not by the index on media_id: a photo may have many sources.
        let sql = "DELETE FROM source WHERE id = $1 AND media_id IS NOT DISTINCT FROM $2";
        self.connections.write(sql, &[&source.as_bytes().as_slice(), &number(media.0)]).await
    }

    async fn created(&self) -> Result<SystemTime, CatalogError> {
        let found = self.connections.read("SELECT created FROM catalog_state", &[]).await?;
        let row = found.first().ok_or_else(no_state)?;
        rows::column(row, 0)
    }

    /// Fails for a read-only replica and for a catalog whose import is incomplete, since neither accepts drafts.
    async fn check(&self) -> Result<(), CatalogError> {
        let sql = "SELECT current_setting('transaction_read_only')::boolean, is_partial FROM catalog_state";
        let found = self.connections.read(sql, &[]).await?;
        let row = found.first().ok_or_else(no_state)?;
        match (rows::column(row, 0)?, rows::column(row, 1)?) {
            (false, false) => Ok(()),
            (true, _) => Err(CatalogError::Unavailable("the database is read-only".into())),
            (false, true) => Err(CatalogError::Unavailable("an import into it is incomplete".into())),
        }
    }
}

/// Returns the error of a transaction that refuses nothing.
fn catalog_error(error: ChangeError) -> CatalogError {
    match error {
        ChangeError::Catalog(error) => error,
        refusal => CatalogError::Corrupt(refusal.to_string()),
    }
}

fn no_state() -> CatalogError {
    CatalogError::Corrupt("the table catalog_state has no row".into())
}

#[async_trait]
impl Outbox for PostgresCatalog {
    async fn take_due_events(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<DueEvent>, CatalogError> {
        self.connections.take_due_events(now, lease, limit).await
    }

    async fn finish_event(&self, row: &EventRow) -> Result<(), CatalogError> {
        self.connections.transact(&FinishEvent(row)).await.map_err(catalog_error)
    }

    async fn postpone_event(
        &self,
        row: &EventRow,
        until: Timestamp,
        is_failure: bool,
    ) -> Result<(), CatalogError> {
        self.connections.postpone_event(row, until, is_failure).await
    }

    async fn oldest_event(&self) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.connections.events_page(None, 1).await?.first().map(|row| row.event.time))
    }
}

#[async_trait]
impl Uploads for PostgresCatalog {
    async fn create_upload(&self, row: UploadRow) -> Result<bool, CatalogError> {
        self.connections.transact(&CreateUpload(&row)).await.map_err(catalog_error)
    }

    async fn record_upload(
        &self,
        row: UploadRow,
        photo: NewPhoto,
    ) -> Result<Option<UploadRow>, CatalogError> {
        let work = RecordUpload { row: &row, photo: &photo };
        self.connections.transact(&work).await.map_err(catalog_error)
    }

    async fn upload(&self, id: UploadId) -> Result<Option<UploadRow>, CatalogError> {
        self.connections.upload(id).await
    }

    async fn change_upload(
        &self,
        id: UploadId,
        writer: u64,
        change: UploadChange,
    ) -> Result<Option<UploadRow>, CatalogError> {
        let work = ChangeUpload { id, writer, change: &change };
        self.connections.transact(&work).await.map_err(catalog_error)
    }

    async fn remove_upload(&self, id: UploadId, before: Option<Timestamp>) -> Result<bool, CatalogError> {
        self.connections.transact(&RemoveUpload { id, before }).await.map_err(catalog_error)
    }

    async fn expired_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadId>, CatalogError> {
        self.connections.expired_uploads(before, limit).await
    }

    async fn uploads_page(
        &self,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRow>, CatalogError> {
        self.connections.uploads_page(after, limit).await
    }
}

#[async_trait]
impl Identities for PostgresCatalog {
    async fn user_of(&self, identity: &Identity) -> Result<Option<UserId>, CatalogError> {
        self.connections.user_of(identity).await
    }

    async fn user_for(&self, identity: &Identity) -> Result<UserId, CatalogError> {
        self.connections.user_for(identity).await
    }
}

#[async_trait]
impl Restorable for PostgresCatalog {
    async fn state(&self) -> Result<State, CatalogError> {
        self.connections.state().await
    }

    async fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError> {
        self.one_media("FROM media m WHERE m.key = $1", key.as_bytes()).await
    }

    async fn attempts_page(
        &self,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<AttemptRow>, CatalogError> {
        self.connections.attempts_page(after, limit).await
    }

    async fn events_page(&self, after: Option<u64>, limit: usize) -> Result<Vec<EventRow>, CatalogError> {
        self.connections.events_page(after, limit).await
    }

    async fn identities_page(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<IdentityRow>, CatalogError> {
        self.connections.identities_page(after, limit).await
    }

    async fn remove_events(&self, events: &[EventRow]) -> Result<u64, CatalogError> {
        self.connections.transact(&RemoveEvents(events)).await.map_err(catalog_error)
    }

    async fn check_indexes(&self, repair: bool) -> Result<Vec<IndexFault>, CatalogError> {
        self.connections.check_indexes(repair).await
    }

    async fn erase(
        &self,
        user: UserId,
        attempts: &[AttemptId],
        media: &[MediaId],
    ) -> Result<Erased, CatalogError> {
        self.connections.transact(&Erase { user, attempts, media }).await.map_err(catalog_error)
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, CatalogError> {
        self.connections.remove_user(user).await
    }

    async fn restore(&self, step: Restore) -> Result<(), RestoreError> {
        self.connections.restore(&step).await
    }
}
