//! Users of an identity provider: which user id a subject has.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::CatalogError;
use crate::model::UserId;

/// A subject of an identity provider. Two providers may use one subject for two people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The provider: the claim `iss` of its tokens.
    pub issuer: String,
    /// Its user: the claim `sub`.
    pub subject: String,
}

/// A subject and its user, as they are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRow {
    /// The user.
    pub user: UserId,
    /// See [`Identity::issuer`].
    pub issuer: String,
    /// See [`Identity::subject`].
    pub subject: String,
}

impl IdentityRow {
    /// Returns the subject.
    pub(super) fn identity(&self) -> Identity {
        Identity { issuer: self.issuer.clone(), subject: self.subject.clone() }
    }
}

/// The users of identity providers that a catalog has.
#[async_trait]
pub trait Identities: Send + Sync {
    /// Returns the user of a subject, or `None` if it has none yet. No crash undoes what it returned.
    ///
    /// # Errors
    /// The catalog failed.
    async fn user_of(&self, identity: &Identity) -> Result<Option<UserId>, CatalogError>;

    /// Returns the user of a subject, and records a new one for a subject that has none. Returns once that is durable.
    ///
    /// All callers, of all instances, get the same user for a subject. A new user has an id from
    /// [`UserId::FIRST_OF_PROVIDER`] up, which no draft has and no user of a provider had.
    ///
    /// # Errors
    /// The catalog failed. The user may be recorded, and the call may be repeated.
    async fn user_for(&self, identity: &Identity) -> Result<UserId, CatalogError>;
}
