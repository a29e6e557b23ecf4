//! Clears the owner of photos that stay, and removes the idempotency keys of a user.

use super::rows::{Position, Trees, attempt_key, decode, encode};
use super::transaction::abort;
use crate::catalog::{Attempt, CatalogError, Erased};
use crate::model::{AttemptId, Media, MediaId, UserId};

impl Trees {
    /// Removes attempts of a user, and the user as the owner of media rows, in one transaction. Not durable yet.
    pub(super) fn erase(
        &self,
        user: UserId,
        attempts: &[AttemptId],
        media: &[MediaId],
    ) -> Result<(Erased, Position), CatalogError> {
        self.transact(|transaction| {
            let mut erased = Erased::default();
            for id in attempts {
                let Some(row) = transaction.attempts.get(id.as_bytes())? else { continue };
                let row = decode::<Attempt>(&row).map_err(abort)?;
                if row.draft.owner == Some(user) {
                    transaction.forget_attempt(&attempt_key(row.created, id.as_bytes()))?;
                    erased.attempts += 1;
                }
            }
            for id in media {
                let key = id.0.to_be_bytes();
                let Some(row) = transaction.media.get(key)? else { continue };
                let row = decode::<Media>(&row).map_err(abort)?;
                if row.owner == Some(user) {
                    let row = encode(&Media { owner: None, ..row }).map_err(abort)?;
                    transaction.media.insert(&key, row)?;
                    transaction.count(0, 0);
                    erased.media += 1;
                }
            }
            Ok(erased)
        })
    }
}
