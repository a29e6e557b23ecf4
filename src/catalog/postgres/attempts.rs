//! Idempotency keys in PostgreSQL. An instance claims a key, as an *attempt*, while the request runs; the transaction of the draft
//! records its result; old results are deleted.
//!
//! A claim is a row that its instance renews. The claims of an instance that ended expire 20 seconds after their last renewal.
//! Losing a claim while its request runs is harmless: the primary key of `attempt` lets one of two transactions commit.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio_postgres::Row;

use super::params::{Params, boxed};
use super::pool::Connections;
use super::rows::{self, limit_of, number};
use crate::catalog::{Attempt, AttemptRow, Begun, CatalogError, Claim, NewAttempt, RequestHead};
use crate::model::{AttemptId, Draft, Timestamp};

/// How often claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Another instance may take a claim that was not renewed for 20 seconds. The same instance may take its own claim at once: `held`
/// excludes running requests, and a row is left if a request was cancelled while this statement ran.
const CLAIM: &str = "
    INSERT INTO attempt_claim (id, holder) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, renewed = now()
        WHERE attempt_claim.renewed < now() - interval '20 seconds' OR attempt_claim.holder = excluded.holder
    RETURNING id";
/// Renews the claims that running requests hold. Others expire.
const RENEW: &str = "UPDATE attempt_claim SET renewed = now() WHERE id = ANY($1::bytea[]) AND holder = $2";
const RELEASE: &str = "DELETE FROM attempt_claim WHERE id = $1 AND holder = $2";
const FORGET_CLAIMS: &str = "DELETE FROM attempt_claim WHERE renewed < now() - interval '1 hour'";

/// Makes room for a new attempt where an old one has expired. A row that is left makes [`INSERT`] fail.
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM attempt WHERE id = $1 AND created < $2";
pub(super) const INSERT: &str =
    "INSERT INTO attempt (id, path, content_length, created, draft, note) VALUES ($1, $2, $3, $4, $5, $6)";

/// Columns of an attempt, in the order in which [`row`] reads them.
pub(super) const ATTEMPT: &str = "id, path, content_length, created, draft, note";

/// The attempts that requests of this instance work on.
pub(super) struct Claims {
    connections: Arc<Connections>,
    /// A random number, which names this instance.
    holder: i64,
    held: Mutex<HashSet<AttemptId>>,
}

struct ClaimGuard {
    claims: Arc<Claims>,
    id: AttemptId,
}

impl Claim for ClaimGuard {}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.held().remove(&self.id);
        let (claims, id) = (Arc::clone(&self.claims), self.id);
        // Also for a claim of another instance and for an attempt that is done: `release` removes only rows of this holder. Without a runtime the process ends, and the claim expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { claims.release(id).await });
        }
    }
}

impl Claims {
    /// Starts renewing the claims of this instance. Called inside a tokio runtime.
    pub(super) fn new(connections: Arc<Connections>) -> Arc<Self> {
        let holder = RandomState::new().hash_one(std::process::id()).cast_signed();
        let claims = Arc::new(Self { connections, holder, held: Mutex::default() });
        tokio::spawn(keep_renewing(Arc::downgrade(&claims)));
        claims
    }

    /// See [`Catalog::begin_attempt`](crate::catalog::Catalog::begin_attempt).
    pub(super) async fn begin(
        self: &Arc<Self>,
        id: AttemptId,
        since: Timestamp,
    ) -> Result<Begun, CatalogError> {
        if !self.held().insert(id) {
            return Ok(Begun::InWork);
        }
        let claim = Box::new(ClaimGuard { claims: Arc::clone(self), id });
        // Claim first, then read: an earlier request releases its claim after its commit, so its row is seen. It may not have
        // released it yet, or its instance may be gone: then the row is the answer all the same.
        let claimed = self.connections.read_once(CLAIM, &[&id.as_bytes().as_slice(), &self.holder]).await?;
        let sql = format!("SELECT {ATTEMPT} FROM attempt WHERE id = $1 AND created >= $2");
        let since = rows::system_time(since);
        let found = self.connections.read(&sql, &[&id.as_bytes().as_slice(), &since]).await?;
        match found.first() {
            Some(found) => Ok(Begun::Done(Box::new(row(found)?.attempt))),
            None if claimed.is_empty() => Ok(Begun::InWork),
            None => Ok(Begun::Claimed(claim)),
        }
    }

    /// Renews the claims of requests that are in progress.
    pub(super) async fn renew(&self) {
        let held: Vec<Vec<u8>> = self.held().iter().map(|id| id.as_bytes().to_vec()).collect();
        if held.is_empty() {
            return;
        }
        if let Err(error) = self.connections.write(RENEW, &[&held, &self.holder]).await {
            tracing::debug!(%error, "claims on idempotency keys cannot be renewed");
        }
    }

    async fn release(&self, id: AttemptId) {
        let released = self.connections.write(RELEASE, &[&id.as_bytes().as_slice(), &self.holder]).await;
        if let Err(error) = released {
            tracing::debug!(%error, "a claim on an idempotency key stays until it expires");
        }
    }

    fn held(&self) -> MutexGuard<'_, HashSet<AttemptId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews the claims until the catalog is dropped.
async fn keep_renewing(claims: Weak<Claims>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let Some(claims) = claims.upgrade() else { return };
        claims.renew().await;
    }
}

impl Connections {
    /// See [`Catalog::forget_attempts`](crate::catalog::Catalog::forget_attempts).
    pub(super) async fn forget_attempts(
        self: &Arc<Self>,
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, CatalogError> {
        self.write(FORGET_CLAIMS, &[]).await?;
        let sql = "DELETE FROM attempt WHERE id IN (
                       SELECT id FROM attempt WHERE created < $1 ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED
                   ) RETURNING id";
        let (before, limit) = (rows::system_time(before), limit_of(limit));
        Ok(self.read_once(sql, &[&before, &limit]).await?.len())
    }

    /// See [`Restorable::attempts_page`](crate::catalog::Restorable::attempts_page).
    pub(super) async fn attempts_page(
        self: &Arc<Self>,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<AttemptRow>, CatalogError> {
        let sql = format!("SELECT {ATTEMPT} FROM attempt WHERE id > $1 ORDER BY id LIMIT $2");
        let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
        self.read(&sql, &[&after, &limit_of(limit)]).await?.iter().map(row).collect()
    }
}

/// Returns the parameters of [`INSERT`].
pub(super) fn columns(id: AttemptId, attempt: &Attempt) -> Result<Params, CatalogError> {
    let Attempt { request: RequestHead { path, content_length }, created, draft, note } = attempt;
    let draft = serde_json::to_string(draft).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    let content_length = content_length.map(number);
    let created = rows::system_time(*created);
    Ok(boxed![id.as_bytes().to_vec(), path.clone(), content_length, created, draft, note.clone()])
}

/// Returns the statements that record `new`, which succeeds with `draft`, and their parameters.
pub(super) fn statements(
    new: Option<&NewAttempt>,
    draft: &Draft,
    now: Timestamp,
) -> Result<Vec<(&'static str, Params)>, CatalogError> {
    let Some(new) = new else { return Ok(Vec::new()) };
    let expired = boxed![new.id.as_bytes().to_vec(), rows::system_time(new.since)];
    Ok(vec![(DELETE_EXPIRED, expired), (INSERT, columns(new.id, &new.succeeded(draft, now))?)])
}

/// Reads an attempt from its [`ATTEMPT`] columns.
pub(super) fn row(row: &Row) -> Result<AttemptRow, CatalogError> {
    let content_length: Option<i64> = rows::column(row, 2)?;
    let content_length = content_length.map(rows::positive).transpose()?;
    let draft: &str = rows::column(row, 4)?;
    let draft = serde_json::from_str(draft).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    let request = RequestHead { path: rows::column(row, 1)?, content_length };
    let attempt = Attempt { request, created: rows::time(row, 3)?, draft, note: rows::column(row, 5)? };
    Ok(AttemptRow { id: AttemptId::from_digest(rows::digest(rows::column(row, 0)?)?), attempt })
}
