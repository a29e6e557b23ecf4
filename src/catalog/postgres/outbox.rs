//! The outbox: events that are not delivered, recorded in the transaction of their change.
//!
//! The row of a subject in `delivery` is locked by the transaction that adds or removes an event of the subject, so that its
//! number of events is right. Instances that look for due events skip what another one has locked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_postgres::Row;

use super::params::{Params, boxed};
use super::pool::Connections;
use super::rows::{self, limit_of, number};
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
const FINISH_LAST: &str = "DELETE FROM delivery WHERE subject_kind = $1 AND subject_id = $2 AND events <= 0";

const POSTPONE: &str = "
    UPDATE delivery SET due = $3, failures = failures + $4 WHERE subject_kind = $1 AND subject_id = $2";

fn parts(subject: Subject) -> (i16, i64) {
    let (kind, id) = subject.parts();
    (i16::from(kind), number(id))
}

/// Returns the statements that record that something happened, and their parameters.
pub(super) fn statements(
    what: Happening,
    now: Timestamp,
) -> Result<[(&'static str, Params); 2], CatalogError> {
    let (kind, id) = parts(what.subject());
    Ok([(INSERT, boxed![kind, id, text(&Event::new(what, now))?]), (EXPECT, boxed![kind, id])])
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

    pub(super) async fn finish_event(self: &Arc<Self>, row: &EventRow) -> Result<(), CatalogError> {
        let (kind, id) = parts(row.event.what.subject());
        self.write(FINISH, &[&number(row.number)]).await?;
        self.write(FINISH_LAST, &[&kind, &id]).await
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
