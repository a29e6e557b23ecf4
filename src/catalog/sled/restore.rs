//! Operations for the operator's commands: record exported rows, and read the state.

use std::cell::Cell;
use std::fmt::Display;

use sled::IVec;
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};

use super::pages::after_key;
use super::rows::{
    DraftValue, NEXT_DRAFT_ID, NEXT_MEDIA_ID, Position, Trees, add_to_census, counter, decode, encode,
    next_id, number,
};
use crate::catalog::{CatalogError, DraftRow, Restore, Row, SourceRow, State};
use crate::model::{DraftId, MAX_ID, Media, MediaId, MediaKey};

/// Key in `counters` that exists while an import is incomplete.
pub(super) const PARTIAL: &[u8] = b"partial";

/// A different row is already stored under the same id or key. Contains the message for the operator.
#[derive(Debug)]
pub(super) struct Conflict(pub(super) String);

type RestoreResult<T> = ConflictableTransactionResult<T, Abort>;

enum Abort {
    Conflict(Conflict),
    Catalog(CatalogError),
}

/// The trees, inside a transaction.
struct RestoreTransaction<'a> {
    media: &'a TransactionalTree,
    media_by_key: &'a TransactionalTree,
    media_by_source: &'a TransactionalTree,
    drafts: &'a TransactionalTree,
    counters: &'a TransactionalTree,
    /// Number of rows that this transaction adds.
    new_media: Cell<u64>,
    new_drafts: Cell<u64>,
}

impl Trees {
    pub(super) fn restore(&self, step: &Restore) -> Result<Result<Position, Conflict>, CatalogError> {
        let was_empty = self.media.is_empty() && self.drafts.is_empty();
        let trees = (&self.media, &self.media_by_key, &self.media_by_source, &self.drafts, &self.counters);
        let recorded = trees.transaction(|(media, media_by_key, media_by_source, drafts, counters)| {
            let transaction = RestoreTransaction {
                media,
                media_by_key,
                media_by_source,
                drafts,
                counters,
                new_media: Cell::default(),
                new_drafts: Cell::default(),
            };
            match step {
                Restore::Begin { next_media_id, next_draft_id } => {
                    transaction.raise(NEXT_MEDIA_ID, *next_media_id)?;
                    transaction.raise(NEXT_DRAFT_ID, *next_draft_id)?;
                    if was_empty {
                        counters.insert(PARTIAL, b"")?;
                    }
                }
                Restore::Rows(rows) => rows.iter().try_for_each(|row| transaction.record(row))?,
                Restore::End => {
                    counters.remove(PARTIAL)?;
                }
            }
            let transactions =
                add_to_census(counters, transaction.new_media.get(), transaction.new_drafts.get())?;
            // No draft is recorded while an import runs.
            let next_draft = next_id(counters.get(NEXT_DRAFT_ID)?.map(|bytes| counter(&bytes)), 1);
            Ok(Position { transactions, next_draft })
        });
        match recorded {
            Ok(position) => Ok(Ok(position)),
            Err(TransactionError::Abort(Abort::Conflict(conflict))) => Ok(Err(conflict)),
            Err(TransactionError::Abort(Abort::Catalog(error))) => Err(error),
            Err(TransactionError::Storage(error)) => Err(error.into()),
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

    pub(super) fn drafts_page(
        &self,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftRow>, CatalogError> {
        let rows = self.drafts.range(after_key(after.map(|id| id.0.to_be_bytes())));
        let row = |entry: sled::Result<(IVec, IVec)>| {
            let (id, value) = entry?;
            Ok(decode::<DraftValue>(&value)?.row(DraftId(number(&id)?)))
        };
        rows.take(limit).map(row).collect()
    }
}

impl RestoreTransaction<'_> {
    fn record(&self, row: &Row) -> RestoreResult<()> {
        match row {
            Row::Media(row) => self.record_media(row),
            Row::Draft(row) => self.record_draft(row),
            Row::Source(row) => self.record_source(*row),
        }
    }

    fn record_media(&self, row: &Media) -> RestoreResult<()> {
        let id = row.id.0.to_be_bytes();
        match self.media.get(id)? {
            None => {
                self.media.insert(&id, encode(row).map_err(abort)?)?;
                self.new_media.update(|count| count + 1);
            }
            Some(there) if decode::<Media>(&there).map_err(abort)? == *row => {}
            Some(_) => return Err(differs(format_args!("media {}", row.id))),
        }
        match self.media_by_key.get(row.key.as_bytes())? {
            None => {
                self.media_by_key.insert(row.key.as_bytes(), &id)?;
            }
            Some(there) if there == id => {}
            Some(_) => {
                return Err(differs(format_args!("media {} (as the one with key {})", row.id, row.key)));
            }
        }
        self.raise_above(NEXT_MEDIA_ID, row.id.0, "media")
    }

    fn record_draft(&self, row: &DraftRow) -> RestoreResult<()> {
        let id = row.id.0.to_be_bytes();
        match self.drafts.get(id)? {
            None => {
                self.drafts.insert(&id, encode(&DraftValue::from(row.clone())).map_err(abort)?)?;
                self.new_drafts.update(|count| count + 1);
            }
            Some(there) if decode::<DraftValue>(&there).map_err(abort)?.row(row.id) == *row => {}
            Some(_) => return Err(differs(format_args!("draft {}", row.id))),
        }
        self.raise_above(NEXT_DRAFT_ID, row.id.0, "draft")
    }

    fn record_source(&self, SourceRow { source, media: MediaId(id) }: SourceRow) -> RestoreResult<()> {
        let id = id.to_be_bytes();
        match self.media_by_source.get(source.as_bytes())? {
            None => {
                self.media_by_source.insert(source.as_bytes(), &id)?;
            }
            Some(there) if there == id => {}
            Some(_) => return Err(differs(format_args!("source {source}"))),
        }
        Ok(())
    }

    fn raise_above(&self, counter: &[u8], id: u64, what: &str) -> RestoreResult<()> {
        if id >= MAX_ID {
            return Err(conflict(format!("{what} {id} has an id above the maximum {}", MAX_ID - 1)));
        }
        self.raise(counter, id + 1)
    }

    /// Raises a counter to at least `next`. Replaces a damaged counter.
    fn raise(&self, name: &[u8], next: u64) -> RestoreResult<()> {
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
    ConflictableTransactionError::Abort(Abort::Conflict(Conflict(text)))
}

fn abort(error: CatalogError) -> ConflictableTransactionError<Abort> {
    ConflictableTransactionError::Abort(Abort::Catalog(error))
}
