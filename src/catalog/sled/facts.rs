//! Records what is known of the pixels of photos.

use super::rows::{Position, Trees, decode, encode};
use super::transaction::abort;
use crate::catalog::CatalogError;
use crate::model::{Media, MediaId, PhotoFacts};

impl Trees {
    /// Records the facts of media rows that have none, in one transaction. Not durable yet.
    pub(super) fn record_facts(
        &self,
        facts: &[(MediaId, PhotoFacts)],
    ) -> Result<((), Position), CatalogError> {
        self.transact(|transaction| {
            for (id, facts) in facts {
                let key = id.0.to_be_bytes();
                let Some(row) = transaction.media.get(key)? else { continue };
                let row = decode::<Media>(&row).map_err(abort)?;
                if row.facts.is_none() {
                    let row = encode(&Media { facts: Some(*facts), ..row }).map_err(abort)?;
                    transaction.media.insert(&key, row)?;
                    transaction.count(0, 0);
                }
            }
            Ok(())
        })
    }
}
