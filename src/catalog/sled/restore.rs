//! Operations for the operator's commands: record exported rows, and read the state.

use std::fmt::Display;

use sled::transaction::ConflictableTransactionError;

use super::rows::{NEXT_DRAFT_ID, NEXT_EVENT, NEXT_MEDIA_ID, Position, Trees, counter, decode};
use super::transaction::{Step, Transaction, abort};
use crate::catalog::{
    Attempt, AttemptRow, CatalogError, DraftRow, EventRow, IdentityRow, Restore, Row, SourceRow, State,
};
use crate::model::{MAX_ID, Media, MediaKey, Timestamp};

/// Key in `counters` that exists while an import is incomplete.
pub(super) const PARTIAL: &[u8] = b"partial";

/// A different row is already stored under the same id or key. Contains the message for the operator.
#[derive(Debug)]
pub(super) struct Conflict(pub(super) String);

enum Abort {
    Conflict(Conflict),
    Catalog(CatalogError),
}

impl From<CatalogError> for Abort {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

impl From<Conflict> for Abort {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl Trees {
    pub(super) fn restore(&self, step: &Restore) -> Result<Result<Position, Conflict>, CatalogError> {
        let was_empty = self.media.is_empty() && self.drafts.is_empty();
        let now = Timestamp::now();
        let recorded = self.transact(|transaction| {
            // Steps that repeat rows are transactions, too.
            transaction.count(0, 0);
            match step {
                Restore::Begin { next_media_id, next_draft_id } => {
                    transaction.raise(NEXT_MEDIA_ID, *next_media_id)?;
                    transaction.raise(NEXT_DRAFT_ID, *next_draft_id)?;
                    if was_empty {
                        transaction.counters.insert(PARTIAL, b"")?;
                    }
                }
                Restore::Rows(rows) => rows.iter().try_for_each(|row| transaction.restore(row, now))?,
                Restore::End => {
                    transaction.counters.remove(PARTIAL)?;
                }
            }
            Ok(())
        });
        match recorded {
            Ok(((), position)) => Ok(Ok(position)),
            Err(Abort::Conflict(conflict)) => Ok(Err(conflict)),
            Err(Abort::Catalog(error)) => Err(error),
        }
    }

    pub(super) fn state(&self) -> Result<State, CatalogError> {
        Ok(State {
            next_media_id: self.counter(NEXT_MEDIA_ID)?.unwrap_or(1),
            next_draft_id: self.counter(NEXT_DRAFT_ID)?.unwrap_or(1),
            is_partial: self.counters.contains_key(PARTIAL)?,
        })
    }

    pub(super) fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError> {
        let Some(id) = self.media_by_key.get(key.as_bytes())? else { return Ok(None) };
        let row = self.media.get(id)?;
        let row = row.ok_or_else(|| CatalogError::Corrupt(format!("media key {key} refers to no row")))?;
        decode(&row).map(Some)
    }
}

impl Transaction<'_> {
    fn restore(&self, row: &Row, now: Timestamp) -> Step<(), Abort> {
        match row {
            Row::Media(row) => self.restore_media(row, now),
            Row::Draft(row) => self.restore_draft(row, now),
            Row::Source(row) => self.restore_source(*row),
            Row::Attempt(row) => self.restore_attempt(row),
            Row::Event(row) => self.restore_event(row, now),
            Row::Identity(row) => self.restore_identity(row),
        }
    }

    fn restore_media(&self, row: &Media, now: Timestamp) -> Step<(), Abort> {
        let id = row.id.0.to_be_bytes();
        let by_key = self.media_by_key.get(row.key.as_bytes())?;
        if by_key.as_ref().is_some_and(|there| *there != id) {
            return Err(differs(format_args!("media {} (as the one with key {})", row.id, row.key)));
        }
        match self.media.get(id)? {
            None => self.insert_media(row, now)?,
            // Facts that were computed since are no difference.
            Some(there) if decode::<Media>(&there).map_err(abort)?.without_facts() == row.without_facts() => {
                if by_key.is_none() {
                    self.media_by_key.insert(row.key.as_bytes(), &id)?;
                }
            }
            Some(_) => return Err(differs(format_args!("media {}", row.id))),
        }
        self.reserve_user(row.owner)?;
        self.raise_above(NEXT_MEDIA_ID, row.id.0, "media")
    }

    /// A row of an old export has no date. It gets that of the import, and is equal to the row that was made of it.
    fn restore_draft(&self, row: &DraftRow, now: Timestamp) -> Step<(), Abort> {
        let there = self.draft(row.id)?;
        let mut row = row.clone();
        if row.created.is_unknown() {
            let date = |there: &DraftRow| (there.created, there.updated, there.version);
            (row.created, row.updated, row.version) = there.as_ref().map_or((now, now, 1), date);
        }
        match there {
            None => self.replace_draft(None, Some(&row), now)?,
            Some(there) if there == row => {}
            Some(_) => return Err(differs(format_args!("draft {}", row.id))),
        }
        self.reserve_user(row.owner)?;
        self.raise_above(NEXT_DRAFT_ID, row.id.0, "draft")
    }

    fn restore_source(&self, SourceRow { source, media }: SourceRow) -> Step<(), Abort> {
        match self.media_by_source.get(source.as_bytes())? {
            Some(there) if there != media.0.to_be_bytes() => Err(differs(format_args!("source {source}"))),
            Some(_) | None => self.record_source(source.as_bytes(), media),
        }
    }

    fn restore_event(&self, row: &EventRow, now: Timestamp) -> Step<(), Abort> {
        match self.event(row)? {
            Some(there) if there == row.event => Ok(()),
            Some(_) => Err(differs(format_args!("event {}", row.number))),
            None => {
                self.insert_event(row, now)?;
                self.raise_above(NEXT_EVENT, row.number, "event")
            }
        }
    }

    fn restore_attempt(&self, AttemptRow { id, attempt }: &AttemptRow) -> Step<(), Abort> {
        match self.attempts.get(id.as_bytes())? {
            Some(there) if decode::<Attempt>(&there).map_err(abort)? == *attempt => Ok(()),
            Some(_) => Err(differs(format_args!("attempt {id}"))),
            None => self.insert_attempt(*id, attempt),
        }
    }

    fn restore_identity(&self, row: &IdentityRow) -> Step<(), Abort> {
        match self.identities_like(row)? {
            [None, None] => self.insert_identity(row),
            [Some(of_user), Some(of_subject)] if of_user == *row && of_subject == *row => Ok(()),
            _ => Err(differs(format_args!("the subject of user {}", row.user))),
        }
    }

    fn raise_above(&self, counter: &[u8], id: u64, what: &str) -> Step<(), Abort> {
        if id >= MAX_ID {
            return Err(conflict(format!("{what} {id} has an id above the maximum {}", MAX_ID - 1)));
        }
        self.raise(counter, id + 1)
    }

    /// Raises a counter to at least `next`. Replaces a damaged counter.
    fn raise(&self, name: &[u8], next: u64) -> Step<(), Abort> {
        let current = self.counters.get(name)?.map_or(1, |bytes| counter(&bytes));
        if current < next || current > MAX_ID {
            self.counters.insert(name, &next.to_be_bytes())?;
        }
        Ok(())
    }
}

fn differs(name: impl Display) -> ConflictableTransactionError<Abort> {
    conflict(format!("{name} differs from the one in this catalog"))
}

fn conflict(text: String) -> ConflictableTransactionError<Abort> {
    abort(Conflict(text))
}
