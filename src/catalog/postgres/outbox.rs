//! The outbox: events that are not delivered, recorded in the transaction of their change.
//!
//! The row of a subject in `delivery` is locked by the transaction that adds or removes an event of the subject, so that its
//! number of events is right. Instances that look for due events skip what another one has locked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool_postgres::Client;
use tokio_postgres::Row;

use super::params::{Params, boxed};
use super::pool::Connections;
use super::rows::{self, limit_of, number};
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use crate::catalog::{CatalogError, DueEvent, Event, EventRow, Happening, Subject};
use crate::model::Timestamp;

/// Records an event under a new number.
const INSERT: &str = "
    INSERT INTO event (number, subject_kind, subject_id, event) VALUES (nextval('event_number_seq'), $1, $2, $3)";
/// The delivery of a new event is due immediately, unless an earlier one of its subject is not delivered.
const EXPECT: &str = "
    INSERT INTO delivery (subject_kind, subject_id, due) VALUES ($1, $2, now())
    ON CONFLICT (subject_kind, subject_id) DO UPDATE SET events = delivery.events + 1";

const REMOVE_MEDIA: &str = "
    WITH gone AS (
        DELETE FROM media WHERE id = $1 AND unreferenced_since <= $2 RETURNING id
    ), recorded AS (
        INSERT INTO event (number, subject_kind, subject_id, event)
            SELECT nextval('event_number_seq'), $3::smallint, id, $4::text FROM gone WHERE $5::boolean
    ), expected AS (
        INSERT INTO delivery (subject_kind, subject_id, due) SELECT $3::smallint, id, now() FROM gone
            WHERE $5::boolean ON CONFLICT (subject_kind, subject_id) DO UPDATE SET events = delivery.events + 1
    )
    SELECT id FROM gone";

const TAKE: &str = "
    WITH due AS (
        SELECT subject_kind, subject_id FROM delivery WHERE due <= $1 ORDER BY due LIMIT $3
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE delivery d SET due = $2 FROM due
        WHERE d.subject_kind = due.subject_kind AND d.subject_id = due.subject_id
        RETURNING d.subject_kind, d.subject_id, d.failures
    )
    SELECT first.number, first.event, taken.failures FROM taken CROSS JOIN LATERAL (
        SELECT e.number, e.event FROM event e
        WHERE e.subject_kind = taken.subject_kind AND e.subject_id = taken.subject_id ORDER BY e.number LIMIT 1
    ) AS first";

const FINISH: &str = "
    WITH gone AS (
        DELETE FROM event WHERE number = $1 RETURNING subject_kind, subject_id
    )
    UPDATE delivery d SET events = d.events - 1, due = now(), failures = 0 FROM gone
    WHERE d.subject_kind = gone.subject_kind AND d.subject_id = gone.subject_id";
/// Removes the rows of subjects that have no event any more.
const FINISH_LAST: &str = "
    DELETE FROM delivery d USING unnest($1::smallint[], $2::bigint[]) AS subject (kind, id)
    WHERE d.subject_kind = subject.kind AND d.subject_id = subject.id AND d.events <= 0";

/// Returns a row for each event that was there.
const REMOVE: &str = "
    WITH gone AS (
        DELETE FROM event WHERE number = ANY($1::bigint[]) RETURNING number, subject_kind, subject_id
    ), counted AS (
        SELECT subject_kind, subject_id, count(*) AS events FROM gone GROUP BY subject_kind, subject_id
    ), less AS (
        UPDATE delivery d SET events = d.events - counted.events FROM counted
        WHERE d.subject_kind = counted.subject_kind AND d.subject_id = counted.subject_id
    )
    SELECT number FROM gone";

const POSTPONE: &str = "
    UPDATE delivery SET due = $3, failures = failures + $4 WHERE subject_kind = $1 AND subject_id = $2";

fn parts(subject: Subject) -> (i16, i64) {
    let (kind, id) = subject.parts();
    (i16::from(kind), number(id))
}

impl Steps {
    /// Adds the statements that record an event.
    pub(super) async fn add_event(
        &mut self,
        client: &Client,
        what: Happening,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let (kind, id) = parts(what.subject());
        self.add(client, INSERT, boxed![kind, id, text(&Event::new(what, now))?]).await?;
        Ok(self.add(client, EXPECT, boxed![kind, id]).await?)
    }
}

/// Returns the statement that removes a media row without drafts since `before`, with its parameters. It returns a row if it
/// did, and records that then if this catalog `records` events.
pub(super) fn removal(
    what: Happening,
    before: SystemTime,
    records: bool,
) -> Result<(&'static str, Params), CatalogError> {
    let (kind, id) = parts(what.subject());
    let event = text(&Event::new(what, Timestamp::now()))?;
    Ok((REMOVE_MEDIA, boxed![id, before, kind, event, records]))
}

fn text(event: &Event) -> Result<String, CatalogError> {
    serde_json::to_string(event).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

/// Returns the statements that restore an event under its number, and their parameters.
pub(super) fn restoring(row: &EventRow) -> Result<[(&'static str, Params); 2], CatalogError> {
    let (kind, id) = parts(row.event.what.subject());
    let insert = "INSERT INTO event (number, subject_kind, subject_id, event) VALUES ($1, $2, $3, $4)";
    Ok([(insert, boxed![number(row.number), kind, id, text(&row.event)?]), (EXPECT, boxed![kind, id])])
}

/// Reads an event from its number and text, which begin at column `at`.
pub(super) fn row(row: &Row) -> Result<EventRow, CatalogError> {
    let event: &str = rows::column(row, 1)?;
    let event = serde_json::from_str(event).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    Ok(EventRow { number: rows::id(row, 0)?, event })
}

/// See [`Outbox::finish_event`](crate::catalog::Outbox::finish_event). In one transaction: an instance that is killed must not
/// leave a delivery without events.
pub(super) struct FinishEvent<'a>(pub(super) &'a EventRow);

impl Work for FinishEvent<'_> {
    type Output = ();

    async fn run(&self, client: &Client, commit: &Commit) -> Result<(), Failed> {
        client.batch_execute(BEGIN).await?;
        let (kind, id) = parts(self.0.event.what.subject());
        let mut steps = Steps::default();
        steps.add(client, FINISH, boxed![number(self.0.number)]).await?;
        steps.add(client, FINISH_LAST, boxed![vec![kind], vec![id]]).await?;
        steps.commit(client, commit).await?;
        Ok(())
    }
}

/// See [`Restorable::remove_events`](crate::catalog::Restorable::remove_events).
pub(super) struct RemoveEvents<'a>(pub(super) &'a [EventRow]);

impl Work for RemoveEvents<'_> {
    type Output = u64;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<u64, Failed> {
        client.batch_execute(BEGIN).await?;
        let numbers: Vec<i64> = self.0.iter().map(|row| number(row.number)).collect();
        let (kinds, ids): (Vec<i16>, Vec<i64>) =
            self.0.iter().map(|row| parts(row.event.what.subject())).unzip();
        let mut steps = Steps::default();
        steps.add(client, REMOVE, boxed![numbers]).await?;
        steps.add(client, FINISH_LAST, boxed![kinds, ids]).await?;
        match steps.commit(client, commit).await?[..] {
            [removed, _] => Ok(removed),
            _ => Err(CatalogError::Corrupt("a statement has no result".into()).into()),
        }
    }
}

impl Connections {
    pub(super) async fn take_due_events(
        self: &Arc<Self>,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<DueEvent>, CatalogError> {
        let (until, limit) = (rows::system_time(now.plus(lease)), limit_of(limit));
        let taken = self.read_once(TAKE, &[&rows::system_time(now), &until, &limit]).await?;
        let due = |found: &Row| {
            let failures = u32::try_from(rows::column::<i64>(found, 2)?).unwrap_or(u32::MAX);
            Ok(DueEvent { row: row(found)?, failures })
        };
        taken.iter().map(due).collect()
    }

    pub(super) async fn postpone_event(
        self: &Arc<Self>,
        row: &EventRow,
        until: Timestamp,
        is_failure: bool,
    ) -> Result<(), CatalogError> {
        let (kind, id) = parts(row.event.what.subject());
        self.write(POSTPONE, &[&kind, &id, &rows::system_time(until), &i64::from(is_failure)]).await
    }

    pub(super) async fn events_page(
        self: &Arc<Self>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<EventRow>, CatalogError> {
        let sql = "SELECT number, event FROM event WHERE number > $1 ORDER BY number LIMIT $2";
        self.read(sql, &[&number(after.unwrap_or(0)), &limit_of(limit)]).await?.iter().map(row).collect()
    }
}
