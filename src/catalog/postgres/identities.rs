//! Users of identity providers.

use std::sync::Arc;

use tokio_postgres::Row;

use super::pool::Connections;
use super::rows::{self, limit_of, number};
use crate::catalog::{CatalogError, Identity, IdentityRow};
use crate::model::UserId;

const FIND: &str = "SELECT user_id FROM identity WHERE issuer = $1 AND subject = $2";
/// Records nothing if the subject has a user, or if the id that it draws is that of a user. Both tables get their row, or none.
const MAKE: &str = r#"
    WITH drawn AS MATERIALIZED (SELECT nextval('identity_user_id_seq') AS id),
    made AS (
        INSERT INTO identity (issuer, subject, user_id)
            SELECT $1, $2, id FROM drawn WHERE NOT EXISTS (SELECT FROM "user" u WHERE u.id = drawn.id)
            ON CONFLICT DO NOTHING
            RETURNING user_id
    )
    INSERT INTO "user" (id) SELECT user_id FROM made RETURNING id"#;
/// How often a subject draws an id that a user has already, or meets another instance that records it at the same moment.
const TRIES: usize = 100;

/// The columns of [`row`].
pub(super) const IDENTITY: &str = "user_id, issuer, subject";

pub(super) fn row(row: &Row) -> Result<IdentityRow, CatalogError> {
    Ok(IdentityRow { user: user(row)?, issuer: rows::column(row, 1)?, subject: rows::column(row, 2)? })
}

fn user(row: &Row) -> Result<UserId, CatalogError> {
    UserId::try_from(rows::id(row, 0)?).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

impl Connections {
    /// See [`Identities::user_of`](crate::catalog::Identities::user_of).
    pub(super) async fn user_of(
        self: &Arc<Self>,
        Identity { issuer, subject }: &Identity,
    ) -> Result<Option<UserId>, CatalogError> {
        self.read(FIND, &[issuer, subject]).await?.first().map(user).transpose()
    }

    /// See [`Identities::user_for`](crate::catalog::Identities::user_for).
    pub(super) async fn user_for(self: &Arc<Self>, identity: &Identity) -> Result<UserId, CatalogError> {
        for _ in 0..TRIES {
            if let Some(user) = self.user_of(identity).await? {
                return Ok(user);
            }
            if let Some(made) = self.read_once(MAKE, &[&identity.issuer, &identity.subject]).await?.first() {
                return user(made);
            }
        }
        let what = "users of tokens of this server have the ids that new subjects would get";
        Err(CatalogError::Unavailable(what.into()))
    }

    /// See [`Restorable::identities_page`](crate::catalog::Restorable::identities_page).
    pub(super) async fn identities_page(
        self: &Arc<Self>,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<IdentityRow>, CatalogError> {
        let sql = format!("SELECT {IDENTITY} FROM identity WHERE user_id > $1 ORDER BY user_id LIMIT $2");
        let after = number(after.map_or(0, UserId::get));
        self.read(&sql, &[&after, &limit_of(limit)]).await?.iter().map(row).collect()
    }
}
