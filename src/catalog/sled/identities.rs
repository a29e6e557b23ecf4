//! Users of identity providers. The tree has two kinds of keys, distinguished by their first byte: `u` user id → [`IdentityRow`], and
//! `i` digest of issuer and subject → the key of that row.

use sled::transaction::ConflictableTransactionError;

use super::pages::after_key;
use super::rows::{NEXT_USER_ID, Position, Trees, counter, decode, encode, number};
use super::transaction::{Step, Transaction, abort};
use crate::catalog::{CatalogError, Identity, IdentityRow};
use crate::model::{MAX_ID, Media, UserId};

fn row_key(user: UserId) -> Vec<u8> {
    [b"u", &user.get().to_be_bytes()[..]].concat()
}

fn identity_key(identity: &Identity) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    // The length separates the two texts.
    hash.update(&(identity.issuer.len() as u64).to_be_bytes());
    hash.update(identity.issuer.as_bytes());
    hash.update(identity.subject.as_bytes());
    [b"i", &hash.finalize().as_bytes()[..]].concat()
}

/// Returns the user in a key that [`row_key`] made.
fn user(key: &[u8]) -> Result<UserId, CatalogError> {
    let id = number(key.get(1..).unwrap_or_default())?;
    UserId::try_from(id).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

impl Trees {
    /// Returns the user of a subject, or `None`.
    pub(super) fn user_of(&self, identity: &Identity) -> Result<Option<UserId>, CatalogError> {
        self.identities.get(identity_key(identity))?.map(|id| user(&id)).transpose()
    }

    /// Returns the user of a subject, and records a new one if it has none. Not durable yet.
    pub(super) fn user_for(&self, identity: &Identity) -> Result<(UserId, Position), CatalogError> {
        let free = self.free_user()?;
        self.transact(|transaction| {
            if let Some(id) = transaction.identities.get(identity_key(identity))? {
                return user(&id).map_err(abort);
            }
            let next = transaction.counters.get(NEXT_USER_ID)?.map_or(0, |bytes| counter(&bytes));
            let next = if next < MAX_ID { next.max(free) } else { free };
            let id =
                UserId::try_from(next).map_err(|error| abort(CatalogError::Corrupt(error.to_string())))?;
            let Identity { issuer, subject } = identity.clone();
            transaction.insert_identity(&IdentityRow { user: id, issuer, subject })?;
            Ok(id)
        })
    }

    /// Returns an id from [`UserId::FIRST_OF_PROVIDER`] up that no draft and no identity has.
    fn free_user(&self) -> Result<u64, CatalogError> {
        let last = self.identities.scan_prefix(b"u").next_back().transpose()?;
        let above = last.map(|(key, _)| user(&key)).transpose()?.map_or(0, |last| last.get() + 1);
        let counter = self.counter(NEXT_USER_ID)?.filter(|next| *next < MAX_ID).unwrap_or(0);
        let mut next = above.max(counter).max(UserId::FIRST_OF_PROVIDER);
        while self.drafts_of_owner.0.scan_prefix(next.to_be_bytes()).next().transpose()?.is_some() {
            next += 1;
        }
        Ok(next)
    }

    /// Removes the identity of a user whom no draft and no media row names. Returns whether there was one. Not durable yet.
    pub(super) fn remove_user(&self, user: UserId) -> Result<(bool, Position), CatalogError> {
        let is_named = self.names_user(user)?;
        self.transact(|transaction| {
            let Some(row) = transaction.identities.get(row_key(user))?.filter(|_| !is_named) else {
                return Ok(false);
            };
            let row = decode::<IdentityRow>(&row).map_err(abort::<CatalogError>)?;
            transaction.identities.remove(row_key(user))?;
            transaction.identities.remove(identity_key(&row.identity()))?;
            transaction.count(0, 0);
            Ok(true)
        })
    }

    /// Returns whether a draft or a media row names the user. Reads all media rows: an index would cost each upload.
    fn names_user(&self, user: UserId) -> Result<bool, CatalogError> {
        if self.drafts_of_owner.0.scan_prefix(user.get().to_be_bytes()).next().transpose()?.is_some() {
            return Ok(true);
        }
        for row in self.media.iter() {
            if decode::<Media>(&row?.1)?.owner == Some(user) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns identities in ascending order of their users.
    pub(super) fn identities_page(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<IdentityRow>, CatalogError> {
        // `u` is the last kind of key.
        let first = after.map_or_else(|| b"u".to_vec(), row_key);
        let rows = self.identities.range(after_key(Some(first)));
        rows.take(limit).map(|row| decode(&row?.1)).collect()
    }
}

impl Transaction<'_> {
    /// Records an identity whose user and subject have none.
    pub(super) fn insert_identity<A: From<CatalogError>>(&self, row: &IdentityRow) -> Step<(), A> {
        self.identities.insert(row_key(row.user), encode(row).map_err(abort)?)?;
        self.identities.insert(identity_key(&row.identity()), row_key(row.user))?;
        self.reserve_user(Some(row.user))?;
        self.count(0, 0);
        Ok(())
    }

    /// Gives no new subject the id of `user`.
    pub(super) fn reserve_user<A>(
        &self,
        user: Option<UserId>,
    ) -> Result<(), ConflictableTransactionError<A>> {
        let Some(user) = user.map(UserId::get).filter(|user| *user < MAX_ID - 1) else { return Ok(()) };
        if user >= UserId::FIRST_OF_PROVIDER {
            let next = self.counters.get(NEXT_USER_ID)?.map_or(0, |bytes| counter(&bytes));
            if next <= user || next >= MAX_ID {
                self.counters.insert(NEXT_USER_ID, &(user + 1).to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// Returns the identities that `row` may not contradict: that of its user, and that of its subject.
    pub(super) fn identities_like<A: From<CatalogError>>(
        &self,
        row: &IdentityRow,
    ) -> Step<[Option<IdentityRow>; 2], A> {
        let find = |user: UserId| -> Step<Option<IdentityRow>, A> {
            let found = self.identities.get(row_key(user))?;
            found.map(|row| decode(&row)).transpose().map_err(abort)
        };
        let of_subject = self.identities.get(identity_key(&row.identity()))?;
        let of_subject = match of_subject {
            Some(id) => find(user(&id).map_err(abort)?)?,
            None => None,
        };
        Ok([find(row.user)?, of_subject])
    }
}
