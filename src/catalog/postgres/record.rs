//! Records a draft in one transaction of two round trips.
//!
//! Statements are pipelined: each is sent without waiting for the previous results, and the first error in order is
//! the cause of the later ones. Rows are written in the order of their keys, so that transactions cannot deadlock.
//! COMMIT is sent with the last statements; a connection lost after that leaves the outcome unknown.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use futures_util::future::{join3, join4};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Error, Row};

use super::failure::{is_conflict, proves_rollback, silent};
use super::pool::{Connections, OPERATION, discard};
use super::rows::{self, Half, locks, number, status_name};
use crate::catalog::{CatalogError, NewDraft, NewPhoto};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaKey};
use std::sync::Arc;

/// Number of attempts for a transaction that conflicts with another one. The pause before each attempt is multiplied
/// by the number of attempts so far.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Lets another instance wait until this transaction has ended before it checks the outcome: see
/// [`lock_keys`](crate::catalog::Catalog::lock_keys).
const LOCK: &str = "SELECT pg_advisory_xact_lock_shared(name) FROM unnest($1::bigint[]) AS name";

pub(super) const USER: &str = r#"INSERT INTO "user" (id) SELECT given.id FROM unnest($1::bigint[]) AS given (id)
    WHERE NOT EXISTS (SELECT FROM "user" u WHERE u.id = given.id) ORDER BY given.id ON CONFLICT DO NOTHING"#;

/// Inserts missing media rows and returns the rows of all keys, except a row that another transaction inserted at the
/// same moment. Ids are assigned in the order of the upload, and rows are inserted in the order of their keys.
const MEDIA: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])
            WITH ORDINALITY AS input (key, width, height, size_bytes, place)
    ), missing AS MATERIALIZED (
        SELECT nextval('media_id_seq') AS id, ordered.* FROM (
            SELECT * FROM input WHERE NOT EXISTS (SELECT FROM media WHERE media.key = input.key) ORDER BY place
        ) AS ordered
    ), made AS (
        INSERT INTO media (id, key, width, height, size_bytes, user_id)
            SELECT id, key, width, height, size_bytes, $5::bigint FROM missing ORDER BY key
            ON CONFLICT (key) DO NOTHING
            RETURNING id, key, width, height, size_bytes, user_id
    )
    SELECT m.id, m.key, m.width, m.height, m.size_bytes, m.user_id FROM media m JOIN input USING (key)
    UNION ALL SELECT id, key, width, height, size_bytes, user_id FROM made";

/// A retried upload finds unchanged sources and writes nothing.
const SOURCES: &str = "
    INSERT INTO source (id, media_id)
    SELECT input.id, input.media_id FROM unnest($1::bytea[], $2::bigint[]) AS input (id, media_id)
    WHERE NOT EXISTS (SELECT FROM source s WHERE s.id = input.id AND s.media_id = input.media_id)
    ORDER BY input.id
    ON CONFLICT (id) DO UPDATE SET media_id = excluded.media_id";

const DRAFT: &str = "
    WITH made AS (
        INSERT INTO draft (id, title, description, status, user_id)
            VALUES (nextval('draft_id_seq'), $1, '', $2, $3) RETURNING id
    ), photos AS (
        INSERT INTO draft_photo (draft_id, order_index, media_id)
            SELECT made.id, photo.place - 1, photo.media_id
            FROM made, unnest($4::bigint[]) WITH ORDINALITY AS photo (media_id, place)
    )
    SELECT id FROM made";

/// Why an attempt failed.
enum Failed {
    /// A concurrent transaction caused the database to abort this one.
    Conflict(Error),
    Other(CatalogError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        if is_conflict(&error) { Self::Conflict(error) } else { Self::Other(error.into()) }
    }
}

impl From<CatalogError> for Failed {
    fn from(error: CatalogError) -> Self {
        Self::Other(error)
    }
}

impl Connections {
    /// See [`Catalog::create_draft`](crate::catalog::Catalog::create_draft).
    pub(super) async fn record(self: &Arc<Self>, new: &NewDraft) -> Result<Draft, CatalogError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(new).await {
                Ok(draft) => return Ok(draft),
                Err(Failed::Conflict(_)) if tries < TRIES => sleep(PAUSE * tries).await,
                Err(Failed::Conflict(error)) => return Err(error.into()),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
    }

    async fn attempt(self: &Arc<Self>, new: &NewDraft) -> Result<Draft, Failed> {
        let client = self.work().await?;
        let is_committing = AtomicBool::new(false);
        let recorded = timeout(OPERATION, transaction(&client, new, &is_committing)).await;
        match recorded {
            Ok(Ok(draft)) => Ok(draft),
            Ok(Err(failed)) => {
                // Sent without waiting: the next user of the connection has its statements queued after it.
                let _sent = client.batch_execute("ROLLBACK").now_or_never();
                Err(failed)
            }
            Err(_) => {
                discard(client);
                let error = silent();
                Err(Failed::Other(match is_committing.load(Ordering::Relaxed) {
                    true => CatalogError::Indeterminate(Box::new(error)),
                    false => error,
                }))
            }
        }
    }
}

async fn transaction(client: &Client, new: &NewDraft, is_committing: &AtomicBool) -> Result<Draft, Failed> {
    // Costs a round trip only once per connection.
    let lock = client.prepare_cached(LOCK).await?;
    let user = client.prepare_cached(USER).await?;
    let media = client.prepare_cached(MEDIA).await?;
    let sources = client.prepare_cached(SOURCES).await?;
    let draft = client.prepare_cached(DRAFT).await?;

    let columns = Columns::of(new)?;
    let owner = new.owner.map(|owner| number(owner.get()));
    let users = Vec::from_iter(owner);
    let names = locks(new.photos.iter().map(|photo| photo.key), Half::Record);
    let Columns { keys, widths, heights, lengths } = &columns;
    // Explicit, because the database's default may differ: the second query must see what a concurrent transaction
    // committed.
    let (begun, locked, made_user, found) = join4(
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
        client.execute(&lock, &[&names]),
        client.execute(&user, &[&users]),
        client.query(&media, &[keys, widths, heights, lengths, &owner]),
    )
    .await;
    begun?;
    locked?;
    made_user?;
    let mut known = by_key(&found?)?;
    if known.len() < keys.len() {
        let again = client
            .prepare_cached(&format!("SELECT {} FROM media m WHERE m.key = ANY($1)", rows::MEDIA))
            .await?;
        known.extend(by_key(&client.query(&again, &[keys]).await?)?);
    }
    let photos = new.photos.iter().map(|photo| {
        let row = known.get(&photo.key).cloned();
        row.ok_or_else(|| CatalogError::Corrupt(format!("the media row of {} was removed", photo.key)))
    });
    let photos: Vec<Media> = photos.collect::<Result<_, _>>()?;

    let ids: Vec<i64> = photos.iter().map(|photo| number(photo.id.0)).collect();
    // If a source occurs twice, the last photo counts.
    let made_of: BTreeMap<&[u8], i64> =
        new.photos.iter().zip(&ids).map(|(photo, id)| (photo.source.as_bytes().as_slice(), *id)).collect();
    let (source_ids, source_media): (Vec<&[u8]>, Vec<i64>) = made_of.into_iter().unzip();
    let status = status_name(DraftStatus::Draft);
    is_committing.store(true, Ordering::Relaxed);
    let (remembered, recorded, committed) = join3(
        client.execute(&sources, &[&source_ids, &source_media]),
        client.query_one(&draft, &[&new.title, &status, &owner, &ids]),
        client.batch_execute("COMMIT"),
    )
    .await;
    // After an error, COMMIT did not commit. Without an answer the outcome is unknown.
    remembered.map_err(indeterminate_without_answer)?;
    let recorded = recorded.map_err(indeterminate_without_answer)?;
    if let Err(error) = committed {
        let is_indeterminate = !proves_rollback(&error);
        return Err(if is_indeterminate { indeterminate(error) } else { error.into() });
    }
    Ok(Draft {
        id: DraftId(rows::id(&recorded, 0)?),
        title: new.title.clone(),
        description: String::new(),
        status: DraftStatus::Draft,
        price_suggested: None,
        photos,
        owner: new.owner,
        created: Default::default(),
        updated: Default::default(),
        version: 1,
    })
}

fn indeterminate_without_answer(error: Error) -> Failed {
    if error.as_db_error().is_some() { error.into() } else { indeterminate(error) }
}

fn indeterminate(error: Error) -> Failed {
    Failed::Other(CatalogError::Indeterminate(Box::new(error.into())))
}

fn by_key(rows: &[Row]) -> Result<HashMap<MediaKey, Media>, CatalogError> {
    rows.iter().map(|row| rows::media(row, 0).map(|media| (media.key, media))).collect()
}

/// The distinct photos of a draft in order, as column arrays.
#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    widths: Vec<i64>,
    heights: Vec<i64>,
    lengths: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(new: &'a NewDraft) -> Result<Self, CatalogError> {
        let mut columns = Self::default();
        for NewPhoto { key, width, height, size_bytes, source: _ } in &new.photos {
            if columns.keys.contains(&key.as_bytes().as_slice()) {
                continue;
            }
            let too_long = |_| {
                CatalogError::Corrupt(format!("a photo of {size_bytes} bytes is too large for PostgreSQL"))
            };
            columns.keys.push(key.as_bytes());
            columns.widths.push(i64::from(*width));
            columns.heights.push(i64::from(*height));
            columns.lengths.push(i64::try_from(*size_bytes).map_err(too_long)?);
        }
        Ok(columns)
    }
}
