//! Operations for the operator's commands: record exported rows, and read the state.
//!
//! Rows are inserted unless their id or key exists, and read back: a row that differs existed before. Each step is
//! one transaction. Counters come last in it, since a sequence is not rolled back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use deadpool_postgres::Client;
use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::attempts;
use super::failure::{proves_rollback, silent};
use super::identities;
use super::outbox;
use super::pool::{Connections, OPERATION, discard};
use super::record::{REFERENCED, USER};
use super::rows::{self, DRAFT, MEDIA, PHOTO_IDS, is_referenced, number};
use crate::catalog::{
    AttemptRow, CatalogError, DraftRow, EventRow, IdentityRow, Restore, RestoreError, Row, SourceRow, State,
};
use crate::model::{DraftId, MAX_ID, Media, MediaId, SourceId, UserId};

impl Connections {
    /// See [`Restorable::state`](crate::catalog::Restorable::state).
    pub(super) async fn state(self: &Arc<Self>) -> Result<State, CatalogError> {
        // The first value of an unused sequence is its `last_value`.
        let sql = "SELECT m.last_value, m.is_called::int::bigint, d.last_value, d.is_called::int::bigint, s.is_partial
                   FROM media_id_seq m, draft_id_seq d, catalog_state s";
        let found = self.read(sql, &[]).await?;
        let row = found.first().ok_or_else(super::no_state)?;
        let is_partial = rows::column(row, 4)?;
        Ok(State {
            next_media_id: rows::id(row, 0)? + rows::id(row, 1)?,
            next_draft_id: rows::id(row, 2)? + rows::id(row, 3)?,
            is_partial,
        })
    }

    /// See [`Restorable::restore`](crate::catalog::Restorable::restore).
    pub(super) async fn restore(self: &Arc<Self>, step: &Restore) -> Result<(), RestoreError> {
        let client = self.work().await?;
        let work = async {
            apply(&client, step).await?;
            client.batch_execute("COMMIT").await.map_err(|error| match proves_rollback(&error) {
                true => CatalogError::from(error).into(),
                false => RestoreError::Catalog(CatalogError::Indeterminate(Box::new(error.into()))),
            })
        };
        match timeout(OPERATION * 4, work).await {
            Ok(Err(error)) => {
                let _sent = client.batch_execute("ROLLBACK").now_or_never();
                Err(error)
            }
            Ok(Ok(())) => Ok(()),
            Err(_) => {
                discard(client);
                Err(CatalogError::Indeterminate(Box::new(silent())).into())
            }
        }
    }
}

async fn apply(client: &Client, step: &Restore) -> Result<(), RestoreError> {
    // The lock keeps uploads from drawing ids that this transaction would not see.
    let begin = "BEGIN; LOCK TABLE media, draft IN SHARE ROW EXCLUSIVE MODE";
    client.batch_execute(begin).await.map_err(CatalogError::from)?;
    match step {
        Restore::Begin { next_media_id, next_draft_id } => {
            let sql = "UPDATE catalog_state SET is_partial = is_partial
                       OR NOT EXISTS (SELECT FROM media) AND NOT EXISTS (SELECT FROM draft)";
            run(client, sql, &[]).await?;
            raise(client, "media", *next_media_id).await?;
            raise(client, "draft", *next_draft_id).await
        }
        Restore::Rows(rows) => record(client, rows).await,
        Restore::End => run(client, "UPDATE catalog_state SET is_partial = false", &[]).await,
    }
}

async fn run(client: &Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<(), RestoreError> {
    let run = async { client.execute(&client.prepare_cached(sql).await?, params).await };
    run.await.map(drop).map_err(|error: Error| CatalogError::from(error).into())
}

async fn read(
    client: &Client,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<tokio_postgres::Row>, RestoreError> {
    let read = async { client.query(&client.prepare_cached(sql).await?, params).await };
    read.await.map_err(|error: Error| CatalogError::from(error).into())
}

/// Raises a sequence to at least `next`. `what` is `media` or `draft`.
async fn raise(client: &Client, what: &str, next: u64) -> Result<(), RestoreError> {
    let Ok(wanted) = i64::try_from(next) else {
        return Err(conflict(format!("{what} id {next} is too large for PostgreSQL")));
    };
    let sql = format!(
        "SELECT setval('{what}_id_seq', $1, false) FROM {what}_id_seq
         WHERE CASE WHEN is_called THEN last_value < $1 - 1 ELSE last_value < $1 END"
    );
    run(client, &sql, &[&wanted]).await
}

/// Raises a sequence above `last`, if any.
async fn raise_above(client: &Client, what: &str, last: Option<u64>) -> Result<(), RestoreError> {
    match last {
        Some(last) => raise(client, what, last.saturating_add(1)).await,
        None => Ok(()),
    }
}

/// Converts an id to PostgreSQL's type.
fn fitting(id: u64, of: impl Display) -> Result<i64, RestoreError> {
    // The next id must fit too.
    i64::try_from(id)
        .ok()
        .filter(|id| *id < i64::MAX)
        .ok_or_else(|| conflict(format!("{of} id {id} is too large for PostgreSQL")))
}

fn differs(name: impl Display) -> RestoreError {
    conflict(format!("{name} differs from the one in this catalog"))
}

fn conflict(text: String) -> RestoreError {
    RestoreError::Conflict(text)
}

async fn record(client: &Client, rows: &[Row]) -> Result<(), RestoreError> {
    let (mut media, mut drafts, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let (mut attempts, mut events, mut identities) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::Media(row) => media.push(row),
            Row::Draft(row) => drafts.push(row),
            Row::Source(row) => sources.push(*row),
            Row::Attempt(row) => attempts.push(row),
            Row::Event(row) => events.push(row),
            Row::Identity(row) => identities.push(row),
        }
    }
    let owners = media.iter().map(|row| row.owner).chain(drafts.iter().map(|row| row.owner));
    let owners = owners.chain(identities.iter().map(|row| Some(row.user)));
    let owners: BTreeSet<i64> = owners.flatten().map(|owner: UserId| number(owner.get())).collect();
    run(client, USER, &[&Vec::from_iter(owners)]).await?;
    record_media(client, &media).await?;
    record_drafts(client, &drafts).await?;
    record_sources(client, &sources).await?;
    record_attempts(client, &attempts).await?;
    record_events(client, &events).await?;
    record_identities(client, &identities).await?;
    raise_above(client, "media", media.iter().map(|row| row.id.0).max()).await?;
    raise_above(client, "draft", drafts.iter().map(|row| row.id.0).max()).await
}

async fn record_media(client: &Client, media: &[&Media]) -> Result<(), RestoreError> {
    let (mut ids, mut keys, mut sizes) = (Vec::new(), Vec::new(), [const { Vec::new() }; 3]);
    let (mut owners, mut facts) = (Vec::new(), Vec::new());
    for row in media {
        ids.push(fitting(row.id.0, "media")?);
        keys.push(row.key.as_bytes().as_slice());
        let length = i64::try_from(row.size_bytes);
        sizes[0].push(i64::from(row.width));
        sizes[1].push(i64::from(row.height));
        sizes[2].push(length.map_err(|_| conflict(format!("media {} is too long for PostgreSQL", row.id)))?);
        owners.push(row.owner.map(|owner| number(owner.get())));
        facts.push(rows::facts_text(row.facts.as_ref())?);
    }
    let [widths, heights, lengths] = &sizes;
    // An import may record drafts before the rows of their photos.
    let sql = concat!(
        "INSERT INTO media (id, key, width, height, size_bytes, user_id, facts, unreferenced_since)
               SELECT given.*, CASE WHEN NOT ",
        is_referenced!("given.id"),
        " THEN date_trunc('milliseconds', now()) END
               FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
                   AS given (id, key, width, height, size_bytes, user_id, facts)
               ON CONFLICT DO NOTHING"
    );
    run(client, sql, &[&ids, &keys, widths, heights, lengths, &owners, &facts]).await?;
    let there = read(client, &format!("SELECT {MEDIA} FROM media m WHERE m.id = ANY($1)"), &[&ids]).await?;
    let there: HashMap<MediaId, Media> =
        collected(&there, |row| rows::media(row, 0).map(|row| (row.id, row)))?;
    for row in media {
        match there.get(&row.id) {
            // Facts that were computed since are no difference.
            Some(found) if found.without_facts() == row.without_facts() => {}
            Some(_) => return Err(differs(format_args!("media {}", row.id))),
            None => return Err(differs(format_args!("media {} (as the one with key {})", row.id, row.key))),
        }
    }
    Ok(())
}

async fn record_drafts(client: &Client, drafts: &[&DraftRow]) -> Result<(), RestoreError> {
    let (mut ids, mut titles, mut descriptions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut statuses, mut prices, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    let (mut created, mut updated, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for row in drafts {
        if row.title.contains('\0') || row.description.contains('\0') {
            return Err(conflict(format!(
                "draft {} contains a NUL character, which PostgreSQL cannot store",
                row.id
            )));
        }
        ids.push(fitting(row.id.0, "draft")?);
        titles.push(row.title.as_str());
        descriptions.push(row.description.as_str());
        statuses.push(row.status.name());
        prices.push(row.price_suggested);
        owners.push(row.owner.map(|owner| number(owner.get())));
        // A row of an old export has no date, and gets that of the import.
        let is_dated = !row.created.is_unknown();
        created.push(is_dated.then(|| rows::system_time(row.created)));
        updated.push(is_dated.then(|| rows::system_time(row.updated)));
        versions.push(if is_dated { number(row.version) } else { 1 });
    }
    let sql = "INSERT INTO draft (id, title, description, status, price_suggested, user_id, version, created, updated)
               SELECT given.id, title, description, status, price_suggested, user_id, version,
                   coalesce(created, date_trunc('milliseconds', now())), coalesce(updated, date_trunc('milliseconds', now()))
               FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::bigint[], $7::bigint[],
                   $8::timestamptz[], $9::timestamptz[])
                   AS given (id, title, description, status, price_suggested, user_id, version, created, updated)
               ON CONFLICT DO NOTHING RETURNING id";
    let params: [&(dyn ToSql + Sync); 9] =
        [&ids, &titles, &descriptions, &statuses, &prices, &owners, &versions, &created, &updated];
    let made = read(client, sql, &params).await?;
    let made: Vec<DraftId> =
        made.iter().map(|row| rows::id(row, 0).map(DraftId)).collect::<Result<_, _>>()?;
    let new: BTreeMap<DraftId, &DraftRow> = drafts.iter().rev().map(|row| (row.id, *row)).collect();
    let (mut of, mut places, mut photos) = (Vec::new(), Vec::new(), Vec::new());
    for row in made.iter().filter_map(|id| new.get(id)) {
        for (place, photo) in (0_i64..).zip(&row.photos) {
            of.push(fitting(row.id.0, "draft")?);
            places.push(place);
            photos.push(fitting(photo.0, "media")?);
        }
    }
    let sql = "INSERT INTO draft_photo (draft_id, order_index, media_id)
               SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])";
    run(client, sql, &[&of, &places, &photos]).await?;
    run(client, REFERENCED, &[&photos]).await?;
    let sql = format!("SELECT {DRAFT}, {PHOTO_IDS} FROM draft d WHERE d.id = ANY($1)");
    let there = read(client, &sql, &[&ids]).await?;
    let there: HashMap<DraftId, DraftRow> =
        collected(&there, |row| rows::draft_row(row).map(|row| (row.id, row)))?;
    let is_equal = |row: &DraftRow, there: &DraftRow| {
        let DraftRow { created, updated, version, .. } = *there;
        if row.created.is_unknown() {
            DraftRow { created, updated, version, ..row.clone() } == *there
        } else {
            row == there
        }
    };
    match drafts.iter().find(|row| !there.get(&row.id).is_some_and(|there| is_equal(row, there))) {
        Some(row) => Err(differs(format_args!("draft {}", row.id))),
        None => Ok(()),
    }
}

async fn record_events(client: &Client, events: &[&EventRow]) -> Result<(), RestoreError> {
    for row in events {
        let there = "SELECT number, event FROM event WHERE number = $1";
        let there = read(client, there, &[&number(row.number)]).await?;
        match there.first().map(outbox::row).transpose()? {
            Some(there) if there == **row => continue,
            Some(_) => return Err(differs(format_args!("event {}", row.number))),
            None => {}
        }
        for (sql, params) in outbox::restoring(row)? {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| &**value as _).collect();
            run(client, sql, &params).await?;
        }
    }
    let last = events.iter().map(|row| number(row.number)).max();
    let raise = "SELECT setval('event_number_seq', greatest($1, (SELECT last_value FROM event_number_seq)))";
    match last {
        Some(last) => read(client, raise, &[&last]).await.map(drop),
        None => Ok(()),
    }
}

async fn record_identities(client: &Client, identities: &[&IdentityRow]) -> Result<(), RestoreError> {
    for row in identities {
        let differs = || differs(format_args!("the subject of user {}", row.user));
        if row.issuer.contains('\0') || row.subject.contains('\0') {
            return Err(differs());
        }
        let insert =
            "INSERT INTO identity (user_id, issuer, subject) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        run(client, insert, &[&number(row.user.get()), &row.issuer, &row.subject]).await?;
        let sql = format!("SELECT {} FROM identity WHERE user_id = $1", identities::IDENTITY);
        let there = read(client, &sql, &[&number(row.user.get())]).await?;
        if there.first().map(identities::row).transpose()?.as_ref() != Some(*row) {
            return Err(differs());
        }
    }
    // Above the ids that new users would get, there is nothing to skip.
    let last = identities.iter().map(|row| row.user.get()).filter(|user| *user < MAX_ID).max();
    let raise =
        "SELECT setval('identity_user_id_seq', greatest($1, (SELECT last_value FROM identity_user_id_seq)))";
    match last.filter(|last| *last >= UserId::FIRST_OF_PROVIDER) {
        Some(last) => read(client, raise, &[&number(last)]).await.map(drop),
        None => Ok(()),
    }
}

async fn record_attempts(client: &Client, attempts: &[&AttemptRow]) -> Result<(), RestoreError> {
    for AttemptRow { id, attempt } in attempts {
        let params = attempts::columns(*id, attempt)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| &**value as _).collect();
        run(client, &format!("{} ON CONFLICT DO NOTHING", attempts::INSERT), &params).await?;
        let sql = format!("SELECT {} FROM attempt WHERE id = $1", attempts::ATTEMPT);
        let there = read(client, &sql, &[&id.as_bytes().as_slice()]).await?;
        let there = there.first().map(attempts::row).transpose()?;
        if there.is_none_or(|there| there.attempt != *attempt) {
            return Err(differs(format_args!("attempt {id}")));
        }
    }
    Ok(())
}

async fn record_sources(client: &Client, sources: &[SourceRow]) -> Result<(), RestoreError> {
    let (mut ids, mut media) = (Vec::new(), Vec::new());
    for row in sources {
        ids.push(row.source.as_bytes().as_slice());
        media.push(fitting(row.media.0, "media")?);
    }
    let sql = "INSERT INTO source (id, media_id) SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING";
    run(client, sql, &[&ids, &media]).await?;
    let there = read(client, "SELECT id, media_id FROM source WHERE id = ANY($1)", &[&ids]).await?;
    let there: HashMap<SourceId, MediaId> =
        collected(&there, |row| Ok((rows::source(row, 0)?, MediaId(rows::id(row, 1)?))))?;
    match sources.iter().find(|row| there.get(&row.source) != Some(&row.media)) {
        Some(row) => Err(differs(format_args!("source {}", row.source))),
        None => Ok(()),
    }
}

fn collected<K: std::hash::Hash + Eq, V>(
    rows: &[tokio_postgres::Row],
    entry: impl Fn(&tokio_postgres::Row) -> Result<(K, V), CatalogError>,
) -> Result<HashMap<K, V>, CatalogError> {
    rows.iter().map(entry).collect()
}
