//! Recording rows that another catalog exported.

use std::fmt::Display;

use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};

use super::rows::{DraftValue, NEXT_DRAFT_ID, NEXT_MEDIA_ID, Trees, decode, encode, number};
use crate::catalog::{CatalogError, DraftRow, Restore, Row, SourceRow};
use crate::model::{Media, MediaId, SourceId};

/// Among the counters as long as rows are missing.
pub(super) const PARTIAL: &[u8] = b"partial";

/// Something else is in a row's place; names the row.
#[derive(Debug)]
pub(super) struct Conflict(pub(super) String);

type Taken<T> = ConflictableTransactionResult<T, Failed>;

enum Failed {
    Conflict(Conflict),
    Catalog(CatalogError),
}

/// The trees inside a transaction.
struct Inside<'a> {
    media: &'a TransactionalTree,
    media_by_key: &'a TransactionalTree,
    media_by_source: &'a TransactionalTree,
    drafts: &'a TransactionalTree,
    counters: &'a TransactionalTree,
}

impl Trees {
    pub(super) fn restore(&self, step: &Restore) -> Result<Result<(), Conflict>, CatalogError> {
        let was_empty = self.media.is_empty() && self.drafts.is_empty();
        let trees = (&self.media, &self.media_by_key, &self.media_by_source, &self.drafts, &self.counters);
        let taken = trees.transaction(|(media, media_by_key, media_by_source, drafts, counters)| {
            let inside = Inside { media, media_by_key, media_by_source, drafts, counters };
            match step {
                Restore::Begin { next_media_id, next_draft_id } => {
                    inside.raise(NEXT_MEDIA_ID, *next_media_id)?;
                    inside.raise(NEXT_DRAFT_ID, *next_draft_id)?;
                    if was_empty {
                        counters.insert(PARTIAL, b"")?;
                    }
                }
                Restore::Rows(rows) => rows.iter().try_for_each(|row| inside.record(row))?,
                Restore::End => {
                    counters.remove(PARTIAL)?;
                }
            }
            Ok(())
        });
        match taken {
            Ok(()) => Ok(Ok(())),
            Err(TransactionError::Abort(Failed::Conflict(conflict))) => Ok(Err(conflict)),
            Err(TransactionError::Abort(Failed::Catalog(error))) => Err(error),
            Err(TransactionError::Storage(error)) => Err(error.into()),
        }
    }

    pub(super) fn forget_sources(&self, sources: &[SourceId]) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for source in sources {
            batch.remove(source.as_bytes());
        }
        Ok(self.media_by_source.apply_batch(batch)?)
    }
}

impl Inside<'_> {
    fn record(&self, row: &Row) -> Taken<()> {
        match row {
            Row::Media(row) => self.record_media(row),
            Row::Draft(row) => self.record_draft(row),
            Row::Source(row) => self.record_source(*row),
        }
    }

    fn record_media(&self, row: &Media) -> Taken<()> {
        let id = row.id.0.to_be_bytes();
        match self.media.get(id)? {
            None => {
                self.media.insert(&id, encode(row).map_err(failed)?)?;
            }
            Some(there) if decode::<Media>(&there).map_err(failed)? == *row => {}
            Some(_) => return Err(other(format_args!("media {}", row.id))),
        }
        match self.media_by_key.get(row.key.as_bytes())? {
            None => {
                self.media_by_key.insert(row.key.as_bytes(), &id)?;
            }
            Some(there) if there == id => {}
            Some(_) => return Err(other(format_args!("media {} (as the one with key {})", row.id, row.key))),
        }
        self.raise_above(NEXT_MEDIA_ID, row.id.0, "media")
    }

    fn record_draft(&self, row: &DraftRow) -> Taken<()> {
        let id = row.id.0.to_be_bytes();
        match self.drafts.get(id)? {
            None => {
                self.drafts.insert(&id, encode(&DraftValue::from(row)).map_err(failed)?)?;
            }
            Some(there) if decode::<DraftValue>(&there).map_err(failed)?.row(row.id) == *row => {}
            Some(_) => return Err(other(format_args!("draft {}", row.id))),
        }
        self.raise_above(NEXT_DRAFT_ID, row.id.0, "draft")
    }

    fn record_source(&self, SourceRow { source, media: MediaId(id) }: SourceRow) -> Taken<()> {
        let id = id.to_be_bytes();
        match self.media_by_source.get(source.as_bytes())? {
            None => {
                self.media_by_source.insert(source.as_bytes(), &id)?;
            }
            Some(there) if there == id => {}
            Some(_) => return Err(other(format_args!("source {source}"))),
        }
        Ok(())
    }

    fn raise_above(&self, counter: &[u8], id: u64, what: &str) -> Taken<()> {
        let Some(next) = id.checked_add(1) else {
            return Err(conflict(format!(
                "{what} {id} has the last of all ids, and none is left for the next"
            )));
        };
        self.raise(counter, next)
    }

    fn raise(&self, counter: &[u8], next: u64) -> Taken<()> {
        if number(self.counters.get(counter)?).map_err(failed)? < next {
            self.counters.insert(counter, &next.to_be_bytes())?;
        }
        Ok(())
    }
}

fn other(name: impl Display) -> ConflictableTransactionError<Failed> {
    conflict(format!("{name} is another one in this catalog"))
}

fn conflict(text: String) -> ConflictableTransactionError<Failed> {
    ConflictableTransactionError::Abort(Failed::Conflict(Conflict(text)))
}

fn failed(error: CatalogError) -> ConflictableTransactionError<Failed> {
    ConflictableTransactionError::Abort(Failed::Catalog(error))
}
