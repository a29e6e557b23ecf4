//! Clears the owner of photos that stay, removes the idempotency keys of a user, and removes the user with its subject, unless a draft or
//! a photo names the user.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use tokio::time::timeout;

use super::failure::silent;
use super::params::boxed;
use super::pool::{Connections, discard};
use super::rows::number;
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use crate::catalog::{CatalogError, Erased};
use crate::model::{AttemptId, MediaId, UserId};

/// Rows are locked by ascending id, as `REFERENCED` in `record` does, so that the two do not deadlock.
const DISOWN: &str = "
    UPDATE media SET user_id = NULL FROM (
        SELECT id FROM media WHERE id = ANY($1::bigint[]) AND user_id = $2 ORDER BY id FOR UPDATE
    ) AS locked WHERE media.id = locked.id";

/// The owner of an attempt stands only in its draft, which is stored as JSON.
const FORGET: &str =
    "DELETE FROM attempt WHERE id = ANY($1::bytea[]) AND (draft::json ->> 'owner')::bigint = $2";

/// The row in `identity` goes too: it refers to this one with `ON DELETE CASCADE`.
const REMOVE_USER: &str = r#"
    DELETE FROM "user" WHERE id = $1
        AND NOT EXISTS (SELECT FROM draft WHERE user_id = $1) AND NOT EXISTS (SELECT FROM media WHERE user_id = $1)"#;

/// Longest time for [`REMOVE_USER`] in PostgreSQL. It reads all media rows: an index by user would cost every upload, and only this statement
/// would use it.
const SEARCH: Duration = Duration::from_secs(120);

/// See [`Restorable::erase`](crate::catalog::Restorable::erase).
pub(super) struct Erase<'a> {
    pub(super) user: UserId,
    pub(super) attempts: &'a [AttemptId],
    pub(super) media: &'a [MediaId],
}

impl Work for Erase<'_> {
    type Output = Erased;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<Erased, Failed> {
        client.batch_execute(BEGIN).await?;
        let media: Vec<i64> = self.media.iter().map(|id| number(id.0)).collect();
        let attempts: Vec<Vec<u8>> = self.attempts.iter().map(|id| id.as_bytes().to_vec()).collect();
        let user = number(self.user.get());
        let mut steps = Steps::default();
        steps.add(client, DISOWN, boxed![media, user]).await?;
        steps.add(client, FORGET, boxed![attempts, user]).await?;
        match steps.commit(client, commit).await?[..] {
            [media, attempts] => Ok(Erased { attempts, media }),
            _ => Err(CatalogError::Corrupt("a statement has no result".into()).into()),
        }
    }
}

impl Connections {
    /// See [`Restorable::remove_user`](crate::catalog::Restorable::remove_user).
    pub(super) async fn remove_user(self: &Arc<Self>, user: UserId) -> Result<bool, CatalogError> {
        let client = self.work().await?;
        let remove = async {
            let longer = format!("{BEGIN}; SET LOCAL statement_timeout = {}", SEARCH.as_millis());
            client.batch_execute(&longer).await?;
            let removed = client.execute(REMOVE_USER, &[&number(user.get())]).await?;
            client.batch_execute("COMMIT").await?;
            Ok::<_, tokio_postgres::Error>(removed > 0)
        };
        match timeout(SEARCH * 2, remove).await {
            Ok(Ok(is_removed)) => Ok(is_removed),
            Ok(Err(error)) => {
                let _sent = client.batch_execute("ROLLBACK").now_or_never();
                Err(error.into())
            }
            Err(_) => {
                discard(client);
                Err(silent())
            }
        }
    }
}
