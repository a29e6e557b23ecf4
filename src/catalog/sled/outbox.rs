//! The outbox: events that are not delivered.
//!
//! Leases are kept in memory: no other process has the catalog open, so that the events that a killed process had taken are due
//! at the next start.
//!
//! The tree has four kinds of keys, told apart by their first byte. `e` subject number → event. `n` number → subject, the order in which
//! events happened. `s` subject → [`Delivery`]. `d` due time, subject → nothing, an index of the deliveries. A subject has a
//! delivery while it has events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pages::after_key;
use super::rows::{Position, Trees, decode, encode, number};
use super::transaction::{Step, Transaction, abort};
use crate::catalog::{CatalogError, DueEvent, Event, EventRow, Subject};
use crate::model::Timestamp;

/// When the first event of a subject is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivery {
    due: Timestamp,
    failures: u64,
    /// Number of events of the subject.
    events: u64,
}

impl Delivery {
    fn read(bytes: &[u8]) -> Result<Self, CatalogError> {
        let ([due, failures, events], []) = bytes.as_chunks::<8>() else {
            return Err(corrupt("a delivery is not three numbers"));
        };
        let [due, failures, events] = [due, failures, events].map(|number| u64::from_be_bytes(*number));
        Ok(Self { due: Timestamp::from_millis(due), failures, events })
    }

    fn bytes(self) -> Vec<u8> {
        [self.due.millis(), self.failures, self.events].map(u64::to_be_bytes).concat()
    }
}

/// The subjects whose first event was taken, with the end of each lease.
#[derive(Debug, Default, Clone)]
pub(super) struct Leases(Arc<Mutex<HashMap<Subject, Timestamp>>>);

impl Leases {
    /// Ends the lease on a subject.
    pub(super) fn release(&self, subject: Subject) {
        self.lock().remove(&subject);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject_bytes(subject: Subject) -> [u8; 9] {
    let (kind, id) = subject.parts();
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&id.to_be_bytes());
    bytes
}

fn read_subject(bytes: &[u8]) -> Result<Subject, CatalogError> {
    let subject = bytes
        .split_first()
        .and_then(|(kind, id)| Subject::from_parts(*kind, id.try_into().ok().map(u64::from_be_bytes)?));
    subject.ok_or_else(|| corrupt("the subject of an event cannot be read"))
}

fn event_key(subject: Subject, number: u64) -> Vec<u8> {
    [b"e", &subject_bytes(subject)[..], &number.to_be_bytes()].concat()
}

fn number_key(number: u64) -> Vec<u8> {
    [b"n", &number.to_be_bytes()[..]].concat()
}

fn delivery_key(subject: Subject) -> Vec<u8> {
    [b"s", &subject_bytes(subject)[..]].concat()
}

fn due_key(due: Timestamp, subject: Subject) -> Vec<u8> {
    [b"d", &due.millis().to_be_bytes()[..], &subject_bytes(subject)].concat()
}

impl Transaction<'_> {
    /// Records an event that has no row. It is due at `now`, unless earlier ones of its subject are not delivered.
    pub(super) fn insert_event<A: From<CatalogError>>(&self, row: &EventRow, now: Timestamp) -> Step<(), A> {
        let subject = row.event.what.subject();
        self.outbox.insert(event_key(subject, row.number), encode(&row.event).map_err(abort)?)?;
        self.outbox.insert(number_key(row.number), &subject_bytes(subject))?;
        let old = self.delivery(subject)?;
        let new = match old {
            Some(old) => Delivery { events: old.events + 1, ..old },
            None => Delivery { due: now, failures: 0, events: 1 },
        };
        self.count(0, 0);
        self.set_delivery(subject, old, Some(new))
    }

    /// Returns the event under the number and subject of `row`.
    pub(super) fn event<A: From<CatalogError>>(&self, row: &EventRow) -> Step<Option<Event>, A> {
        let found = self.outbox.get(event_key(row.event.what.subject(), row.number))?;
        found.map(|event| decode(&event)).transpose().map_err(abort)
    }

    /// Removes an event, if it is there. `later` returns the delivery of the later events of its subject. Returns whether it was
    /// there.
    fn remove_event<A: From<CatalogError>>(
        &self,
        row: &EventRow,
        later: impl FnOnce(Delivery) -> Delivery,
    ) -> Step<bool, A> {
        let subject = row.event.what.subject();
        let Some(_) = self.outbox.remove(event_key(subject, row.number))? else { return Ok(false) };
        self.outbox.remove(number_key(row.number))?;
        let old = self.delivery(subject)?;
        let left = old.map(|delivery| Delivery { events: delivery.events.saturating_sub(1), ..delivery });
        self.set_delivery(subject, old, left.filter(|delivery| delivery.events > 0).map(later))?;
        Ok(true)
    }

    fn delivery<A: From<CatalogError>>(&self, subject: Subject) -> Step<Option<Delivery>, A> {
        let found = self.outbox.get(delivery_key(subject))?;
        found.map(|bytes| Delivery::read(&bytes)).transpose().map_err(abort)
    }

    fn set_delivery<A>(&self, subject: Subject, old: Option<Delivery>, new: Option<Delivery>) -> Step<(), A> {
        let due = |delivery: Option<Delivery>| delivery.map(|delivery| delivery.due);
        if due(old) != due(new) {
            if let Some(due) = due(old) {
                self.outbox.remove(due_key(due, subject))?;
            }
            if let Some(due) = due(new) {
                self.outbox.insert(due_key(due, subject), &[])?;
            }
        }
        match new {
            Some(delivery) => drop(self.outbox.insert(delivery_key(subject), delivery.bytes())?),
            None => drop(self.outbox.remove(delivery_key(subject))?),
        }
        Ok(())
    }
}

impl Trees {
    /// See [`Outbox::take_due_events`](crate::catalog::Outbox::take_due_events). Their changes may not be durable yet.
    pub(super) fn take_due_events(
        &self,
        leases: &Leases,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<DueEvent>, CatalogError> {
        let mut leases = leases.lock();
        leases.retain(|_, until| *until > now);
        let end = [b"d", &(now.millis() + 1).to_be_bytes()[..]].concat();
        let mut taken = Vec::new();
        for key in self.outbox.range(b"d".to_vec()..end).keys() {
            let subject = read_subject(key?.get(9..).unwrap_or_default())?;
            if leases.contains_key(&subject) {
                continue;
            }
            if let Some(event) = self.due_event(subject, now)? {
                leases.insert(subject, now.plus(lease));
                taken.push(event);
            }
            if taken.len() >= limit {
                break;
            }
        }
        Ok(taken)
    }

    /// Returns the first event of a subject, if it is due. Its transaction has ended, because this one waits for it.
    fn due_event(&self, subject: Subject, now: Timestamp) -> Result<Option<DueEvent>, CatalogError> {
        let prefix = [b"e", &subject_bytes(subject)[..]].concat();
        let Some(first) = self.outbox.scan_prefix(&prefix).keys().next().transpose()? else {
            return Ok(None);
        };
        let number = number(&first[prefix.len()..])?;
        let found = |transaction: &Transaction<'_>| -> Step<Option<DueEvent>, CatalogError> {
            let delivery = transaction.delivery(subject)?.filter(|delivery| delivery.due <= now);
            let event = transaction.outbox.get(&first)?;
            let (Some(delivery), Some(event)) = (delivery, event) else { return Ok(None) };
            let row = EventRow { number, event: decode(&event).map_err(abort)? };
            Ok(Some(DueEvent { row, failures: u32::try_from(delivery.failures).unwrap_or(u32::MAX) }))
        };
        self.transact(found).map(|(event, _)| event)
    }

    /// See [`Outbox::finish_event`](crate::catalog::Outbox::finish_event).
    pub(super) fn finish_event(&self, row: &EventRow, now: Timestamp) -> Result<(), CatalogError> {
        let later = |delivery| Delivery { due: now, failures: 0, ..delivery };
        self.transact(|transaction| transaction.remove_event(row, later)).map(|_| ())
    }

    /// Removes events in one transaction, and returns the number of those that were there. Not durable yet.
    pub(super) fn remove_events(&self, rows: &[EventRow]) -> Result<(u64, Position), CatalogError> {
        self.transact(|transaction| {
            let mut removed = 0;
            for row in rows {
                removed += u64::from(transaction.remove_event(row, |delivery| delivery)?);
            }
            transaction.count(0, 0);
            Ok(removed)
        })
    }

    /// See [`Outbox::postpone_event`](crate::catalog::Outbox::postpone_event).
    pub(super) fn postpone_event(
        &self,
        row: &EventRow,
        until: Timestamp,
        is_failure: bool,
    ) -> Result<(), CatalogError> {
        let subject = row.event.what.subject();
        let postpone = |transaction: &Transaction<'_>| -> Step<(), CatalogError> {
            let Some(old) = transaction.delivery(subject)? else { return Ok(()) };
            let new = Delivery { due: until, failures: old.failures + u64::from(is_failure), ..old };
            transaction.set_delivery(subject, Some(old), Some(new))
        };
        self.transact(postpone).map(|((), _)| ())
    }

    /// See [`Outbox::oldest_event`](crate::catalog::Outbox::oldest_event).
    pub(super) fn oldest_event(&self) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.events_page(None, 1)?.first().map(|row| row.event.time))
    }

    /// Returns events in ascending order of number.
    pub(super) fn events_page(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<EventRow>, CatalogError> {
        let (start, _) = after_key(Some(number_key(after.unwrap_or(0))));
        let mut rows = Vec::new();
        for entry in self.outbox.range((start, std::ops::Bound::Excluded(b"o".to_vec()))).take(limit) {
            let (key, subject) = entry?;
            let (number, subject) = (number(&key[1..])?, read_subject(&subject)?);
            let event = self.outbox.get(event_key(subject, number))?;
            // It was delivered meanwhile.
            let Some(event) = event else { continue };
            rows.push(EventRow { number, event: decode::<Event>(&event)? });
        }
        Ok(rows)
    }
}

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(what.to_owned())
}
