//! Transactions over all trees. They keep the indexes, the references and the census in step with the rows.

use std::cell::Cell;
use std::collections::BTreeSet;

use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};

use super::id_sets::{block_key, changed};
use super::rows::{
    CENSUS, Census, DraftValue, NEXT_DRAFT_ID, NEXT_EVENT, NEXT_MEDIA_ID, Position, References, Trees,
    attempt_key, counter, decode, encode, next_id, number, owner_set, source_key, unreferenced_key,
};
use crate::catalog::{
    Attempt, CatalogError, ChangeError, DraftRow, Event, EventRow, Happening, NewAttempt, NewPhoto,
};
use crate::model::{AttemptId, Draft, DraftId, Media, MediaId, Timestamp, UserId};

/// The result of a step of a transaction. `Err` ends the transaction without effect.
pub(super) type Step<T, A> = ConflictableTransactionResult<T, A>;

/// Ends a transaction without effect.
pub(super) fn abort<A>(error: impl Into<A>) -> ConflictableTransactionError<A> {
    ConflictableTransactionError::Abort(error.into())
}

/// The trees inside a transaction.
pub(super) struct Transaction<'a> {
    pub(super) media: &'a TransactionalTree,
    pub(super) media_by_key: &'a TransactionalTree,
    pub(super) media_by_source: &'a TransactionalTree,
    pub(super) counters: &'a TransactionalTree,
    sources_by_media: &'a TransactionalTree,
    references: &'a TransactionalTree,
    unreferenced: &'a TransactionalTree,
    drafts: &'a TransactionalTree,
    drafts_of_owner: &'a TransactionalTree,
    drafts_with_media: &'a TransactionalTree,
    pub(super) attempts: &'a TransactionalTree,
    attempts_by_time: &'a TransactionalTree,
    pub(super) outbox: &'a TransactionalTree,
    pub(super) uploads: &'a TransactionalTree,
    pub(super) identities: &'a TransactionalTree,
    records_events: bool,
    lowest_media: u64,
    lowest_draft: u64,
    /// The numbers of media rows and drafts that the transaction adds, or `None` if it changed nothing.
    added: Cell<Option<(i64, i64)>>,
}

impl Trees {
    /// Runs `work` in a transaction. Returns its result and the position of the transaction, which is not durable yet.
    pub(super) fn transact<T, A: From<CatalogError>>(
        &self,
        work: impl Fn(&Transaction<'_>) -> Step<T, A>,
    ) -> Result<(T, Position), A> {
        // A slice, because sled takes no larger tuple than one of 14 trees.
        let trees = [
            &self.media,
            &self.media_by_key,
            &self.media_by_source,
            &self.counters,
            &self.sources_by_media,
            &self.references,
            &self.unreferenced,
            &self.drafts,
            &self.drafts_of_owner.0,
            &self.drafts_with_media.0,
            &self.attempts,
            &self.attempts_by_time,
            &self.outbox,
            &self.uploads,
            &self.identities,
        ];
        let committed = trees.as_slice().transaction(|trees| {
            let [
                media,
                media_by_key,
                media_by_source,
                counters,
                sources_by_media,
                references,
                unreferenced,
                drafts,
                drafts_of_owner,
                drafts_with_media,
                attempts,
                attempts_by_time,
                outbox,
                uploads,
                identities,
            ] = trees.as_slice()
            else {
                return Err(abort(CatalogError::Corrupt("a transaction has other trees".into())));
            };
            let transaction = Transaction {
                media,
                media_by_key,
                media_by_source,
                counters,
                sources_by_media,
                references,
                unreferenced,
                drafts,
                drafts_of_owner,
                drafts_with_media,
                attempts,
                attempts_by_time,
                outbox,
                uploads,
                identities,
                records_events: self.records_events,
                lowest_media: self.lowest_media,
                lowest_draft: self.lowest_draft,
                added: Cell::new(None),
            };
            let result = work(&transaction)?;
            Ok((result, transaction.write_census()?))
        });
        committed.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => CatalogError::from(error).into(),
        })
    }
}

impl Transaction<'_> {
    /// Remembers a change for the census.
    pub(super) fn count(&self, media: i64, drafts: i64) {
        let (all_media, all_drafts) = self.added.get().unwrap_or_default();
        self.added.set(Some((all_media + media, all_drafts + drafts)));
    }

    fn write_census<A>(&self) -> Step<Position, A> {
        let number = |name| self.counters.get(name).map(|bytes| bytes.map_or(0, |bytes| counter(&bytes)));
        // The census is created when the catalog is opened.
        let census = self.counters.get(CENSUS)?.and_then(|bytes| Census::read(&bytes));
        let (Some((media, drafts)), Some(census)) = (self.added.get(), census) else {
            return Ok(Position::default());
        };
        let census = Census {
            transactions: census.transactions + 1,
            media: census.media.saturating_add_signed(media),
            drafts: census.drafts.saturating_add_signed(drafts),
            next_media: number(NEXT_MEDIA_ID)?,
            next_draft: number(NEXT_DRAFT_ID)?,
        };
        self.counters.insert(CENSUS, census.bytes())?;
        let next_draft = next_id(Some(census.next_draft), self.lowest_draft);
        Ok(Position { transactions: census.transactions, next_draft })
    }

    /// Records an event, if this catalog records events.
    pub(super) fn record_event<A: From<CatalogError>>(
        &self,
        what: impl FnOnce() -> Happening,
        now: Timestamp,
    ) -> Step<(), A> {
        if !self.records_events {
            return Ok(());
        }
        let number = self.take_id(NEXT_EVENT, 1)?;
        self.insert_event(&EventRow { number, event: Event::new(what(), now) }, now)
    }

    fn take_id<A>(&self, name: &[u8], lowest: u64) -> Step<u64, A> {
        let next = next_id(self.counters.get(name)?.map(|bytes| counter(&bytes)), lowest);
        self.counters.insert(name, &(next + 1).to_be_bytes())?;
        Ok(next)
    }

    /// Returns an id for a new draft.
    pub(super) fn take_draft_id<A>(&self) -> Step<DraftId, A> {
        self.take_id(NEXT_DRAFT_ID, self.lowest_draft).map(DraftId)
    }

    /// Returns the media row of `photo`, which is created if there is none, and records the photo's source.
    pub(super) fn record_photo<A: From<CatalogError>>(
        &self,
        photo: &NewPhoto,
        owner: Option<UserId>,
        now: Timestamp,
    ) -> Step<Media, A> {
        let NewPhoto { key, width, height, size_bytes, source, facts } = *photo;
        let row = match self.media_by_key.get(key.as_bytes())? {
            Some(id) => {
                let row = self.media.get(&id)?;
                let row = row.ok_or_else(|| abort(corrupt("a media key refers to no row")))?;
                decode(&row).map_err(abort)?
            }
            None => {
                let id = MediaId(self.take_id(NEXT_MEDIA_ID, self.lowest_media)?);
                let row = Media { id, key, width, height, size_bytes, owner, facts };
                self.insert_media(&row, now)?;
                row
            }
        };
        self.record_source(source.as_bytes(), row.id)?;
        Ok(row)
    }

    /// Records a media row that does not exist yet, and its key.
    pub(super) fn insert_media<A: From<CatalogError>>(&self, row: &Media, now: Timestamp) -> Step<(), A> {
        let id = row.id.0.to_be_bytes();
        self.media.insert(&id, encode(row).map_err(abort)?)?;
        self.media_by_key.insert(row.key.as_bytes(), &id)?;
        // An import may record drafts before the rows of their photos.
        if self.references.get(id)?.is_none() {
            self.set_references(row.id, None, References { count: 0, since: now })?;
        }
        self.count(1, 0);
        Ok(())
    }

    /// Records that `media` was made from `source`. A retried upload finds an unchanged entry and writes nothing.
    pub(super) fn record_source<A: From<CatalogError>>(&self, source: &[u8], media: MediaId) -> Step<(), A> {
        let id = media.0.to_be_bytes();
        match self.media_by_source.get(source)? {
            Some(known) if known == id => return Ok(()),
            Some(other) => {
                let other = MediaId(number(&other).map_err(abort)?);
                self.sources_by_media.remove(source_key(other, source))?;
            }
            None => {}
        }
        self.media_by_source.insert(source, &id)?;
        self.sources_by_media.insert(source_key(media, source), &[])?;
        self.count(0, 0);
        Ok(())
    }

    /// Returns a media row.
    pub(super) fn media_row<A: From<CatalogError>>(&self, id: MediaId) -> Step<Media, A> {
        let row = self.media.get(id.0.to_be_bytes())?;
        let row = row.ok_or_else(|| abort(corrupt(&format!("media {id} has no row"))))?;
        decode(&row).map_err(abort)
    }

    /// Returns a draft's row.
    pub(super) fn draft<A: From<CatalogError>>(&self, id: DraftId) -> Step<Option<DraftRow>, A> {
        let Some(row) = self.drafts.get(id.0.to_be_bytes())? else { return Ok(None) };
        decode::<DraftValue>(&row).map(|value| Some(value.row(id))).map_err(abort)
    }

    /// Replaces the row of a draft: `None` is no row. Indexes and references follow.
    pub(super) fn replace_draft<A: From<CatalogError>>(
        &self,
        old: Option<&DraftRow>,
        new: Option<&DraftRow>,
        now: Timestamp,
    ) -> Step<(), A> {
        let Some(id) = new.or(old).map(|row| row.id) else { return Ok(()) };
        match new {
            Some(row) => {
                let value = encode(&DraftValue::from(row.clone())).map_err(abort)?;
                self.drafts.insert(&id.0.to_be_bytes(), value)?;
            }
            None => drop(self.drafts.remove(&id.0.to_be_bytes())?),
        }
        let set = |row: &DraftRow| owner_set(row.owner, row.status);
        let (old_set, new_set) = (old.map(set), new.map(set));
        if old_set != new_set {
            if let Some(set) = old_set {
                put(self.drafts_of_owner, &set, id, false)?;
            }
            if let Some(set) = new_set {
                put(self.drafts_of_owner, &set, id, true)?;
            }
        }
        let photos = |row: Option<&DraftRow>| -> BTreeSet<MediaId> {
            row.into_iter().flat_map(|row| row.photos.iter().copied()).collect()
        };
        let (before, after) = (photos(old), photos(new));
        for media in before.difference(&after) {
            self.remove_reference(*media, id, now)?;
        }
        for media in after.difference(&before) {
            self.add_reference(*media, id)?;
        }
        self.count(0, i64::from(new.is_some()) - i64::from(old.is_some()));
        Ok(())
    }

    fn add_reference<A: From<CatalogError>>(&self, media: MediaId, draft: DraftId) -> Step<(), A> {
        put(self.drafts_with_media, &media.0.to_be_bytes(), draft, true)?;
        self.count_reference(media)
    }

    /// Counts one more draft or upload that refers to a photo.
    pub(super) fn count_reference<A: From<CatalogError>>(&self, media: MediaId) -> Step<(), A> {
        let known = self.references(media)?;
        let count = known.unwrap_or_default().count + 1;
        self.set_references(media, known, References { count, since: Timestamp::UNKNOWN })
    }

    fn remove_reference<A: From<CatalogError>>(
        &self,
        media: MediaId,
        draft: DraftId,
        now: Timestamp,
    ) -> Step<(), A> {
        put(self.drafts_with_media, &media.0.to_be_bytes(), draft, false)?;
        self.uncount_reference(media, now)
    }

    /// Counts one draft or upload less that refers to a photo.
    pub(super) fn uncount_reference<A: From<CatalogError>>(
        &self,
        media: MediaId,
        now: Timestamp,
    ) -> Step<(), A> {
        let known = self.references(media)?;
        let count = known.unwrap_or_default().count.saturating_sub(1);
        let since = if count == 0 { now } else { Timestamp::UNKNOWN };
        self.set_references(media, known, References { count, since })
    }

    fn references<A: From<CatalogError>>(&self, media: MediaId) -> Step<Option<References>, A> {
        let found = self.references.get(media.0.to_be_bytes())?;
        found.map(|bytes| References::read(&bytes)).transpose().map_err(abort)
    }

    /// Records the references of a photo, and whether it can be removed.
    fn set_references<A>(&self, media: MediaId, old: Option<References>, new: References) -> Step<(), A> {
        if let Some(References { count: 0, since }) = old {
            self.unreferenced.remove(unreferenced_key(since, media))?;
        }
        if new.count == 0 {
            self.unreferenced.insert(unreferenced_key(new.since, media), &[])?;
        }
        self.references.insert(&media.0.to_be_bytes(), new.bytes())?;
        Ok(())
    }

    /// Records that an attempt succeeded with `draft`.
    pub(super) fn record_attempt(
        &self,
        attempt: Option<&NewAttempt>,
        draft: &Draft,
        now: Timestamp,
    ) -> Step<(), ChangeError> {
        let Some(attempt) = attempt else { return Ok(()) };
        let NewAttempt { id, since, .. } = attempt;
        if let Some(there) = self.attempts.get(id.as_bytes())? {
            let there = decode::<Attempt>(&there).map_err(abort)?;
            if there.created >= *since {
                return Err(abort(ChangeError::Repeated));
            }
            self.attempts_by_time.remove(attempt_key(there.created, id.as_bytes()))?;
        }
        self.insert_attempt(*id, &attempt.succeeded(draft, now))
    }

    /// Records an attempt that has no row.
    pub(super) fn insert_attempt<A: From<CatalogError>>(&self, id: AttemptId, row: &Attempt) -> Step<(), A> {
        self.attempts.insert(id.as_bytes(), encode(row).map_err(abort)?)?;
        self.attempts_by_time.insert(attempt_key(row.created, id.as_bytes()), &[])?;
        self.count(0, 0);
        Ok(())
    }

    /// Removes the attempt with this key in the index by time.
    pub(super) fn forget_attempt<A>(&self, key: &[u8]) -> Step<(), A> {
        self.attempts_by_time.remove(key)?;
        self.attempts.remove(&key[8.min(key.len())..])?;
        self.count(0, 0);
        Ok(())
    }

    /// Removes a media row and those of `sources` that it was made from, if no draft has referred to it since `before` or
    /// longer. Returns whether it was removed.
    pub(super) fn remove_media<A: From<CatalogError>>(
        &self,
        id: MediaId,
        sources: &[[u8; 32]],
        before: Timestamp,
        now: Timestamp,
    ) -> Step<bool, A> {
        let key = id.0.to_be_bytes();
        let since = match self.references(id)? {
            Some(References { count: 0, since }) if since <= before => since,
            _ => return Ok(false),
        };
        let row = self.media_row::<A>(id)?;
        self.media.remove(&key)?;
        self.media_by_key.remove(row.key.as_bytes())?;
        self.references.remove(&key)?;
        self.unreferenced.remove(unreferenced_key(since, id))?;
        let (key_of_file, width, height) = (row.key, row.width, row.height);
        let (width, height) = (Some(width), Some(height));
        self.record_event(|| Happening::PhotoRemoved { id, key: key_of_file, width, height }, now)?;
        for source in sources {
            self.sources_by_media.remove(source_key(id, source))?;
            if self.media_by_source.get(source)?.is_some_and(|media| media == key) {
                self.media_by_source.remove(source)?;
            }
        }
        self.count(-1, 0);
        Ok(true)
    }
}

/// Adds a draft to a set or removes it.
fn put<A: From<CatalogError>>(
    sets: &TransactionalTree,
    set: &[u8],
    draft: DraftId,
    is_member: bool,
) -> Step<(), A> {
    let key = block_key(set, draft);
    match changed(sets.get(&key)?.as_deref(), draft, is_member).map_err(abort)? {
        Some(value) => sets.insert(key, value)?,
        None => sets.remove(key)?,
    };
    Ok(())
}

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(what.to_owned())
}
