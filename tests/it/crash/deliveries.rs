//! A receiver of events that fails now and then, and what it must have got in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::model::Random;
use crate::webhook::{CLOSED, Delivery, FAILED, OK, Receiver};

/// Time within which everything is delivered: longer than the pauses after three failures.
const PATIENCE: Duration = Duration::from_secs(90);

/// A receiver that refuses some first tries of events, or closes the connection, and is slow now and then.
pub(super) struct FailingReceiver {
    receiver: Receiver,
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    /// Where photos are; a photo that is reported as removed must not be there.
    photos: Option<PathBuf>,
    /// Events that were refused once.
    refused: BTreeSet<String>,
    /// Events that were answered with success. A killed server may not have read the answer.
    accepted: BTreeSet<String>,
    /// Photos that were reported while they were there.
    reported_early: Vec<Value>,
}

impl State {
    /// Returns the answer to a delivery, and how long it takes.
    fn answer(&mut self, delivery: &Delivery) -> (&'static str, Duration) {
        if delivery.kind() == "photo.removed" {
            let url = &delivery.body["data"]["url"];
            let name = url.as_str().unwrap().rsplit('/').next().unwrap();
            if self.photos.as_ref().is_some_and(|dir| dir.join(name).exists()) {
                self.reported_early.push(url.clone());
            }
        }
        let is_slow = self.random.chance(5);
        let pause = Duration::from_millis(if is_slow { self.random.below(150) as u64 } else { 0 });
        // Each event fails once at most, so that the pauses stay short.
        if self.random.chance(6) && self.refused.insert(delivery.id.clone()) {
            return (if self.random.chance(50) { FAILED } else { CLOSED }, pause);
        }
        self.accepted.insert(delivery.id.clone());
        (OK, pause)
    }
}

/// What was delivered.
pub(super) struct Delivered {
    drafts: usize,
    events: usize,
    photos: usize,
    again: usize,
    refused: usize,
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drafts, events, photos, again, refused } = self;
        write!(
            f,
            "{events} events of {drafts} drafts and {photos} of photos delivered in order, {refused} refused once, {again} delivered again"
        )
    }
}

impl FailingReceiver {
    pub(super) fn start(seed: u64, photos: Option<PathBuf>) -> Self {
        println!("seed of the receiver: {seed}");
        let (refused, accepted, reported_early) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let random = Random::new(seed);
        let state = Arc::new(Mutex::new(State { random, photos, refused, accepted, reported_early }));
        let own = Arc::clone(&state);
        let receiver = Receiver::start(move |delivery, _| {
            let (answer, pause) = own.lock().unwrap().answer(delivery);
            std::thread::sleep(pause);
            answer
        });
        Self { receiver, state }
    }

    pub(super) fn settings(&self) -> Vec<(String, String)> {
        self.receiver.settings().into()
    }

    /// Waits until as many events were accepted as there are, and asserts that they are those of `history`, each draft's in the order
    /// of its changes, and those of this number of removed photos. An event that comes again is the same.
    pub(super) async fn check(&self, history: &Mutex<BTreeMap<u64, Vec<Value>>>, photos: usize) -> Delivered {
        let history = history.lock().unwrap().clone();
        let events: usize = history.values().map(Vec::len).sum();
        let begun = Instant::now();
        while self.state.lock().unwrap().accepted.len() < events + photos && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let got = self.receiver.got();
        let mut first_tries = BTreeMap::<u64, Vec<Value>>::new();
        let (mut bodies, mut removed, mut again) = (BTreeMap::new(), BTreeSet::new(), 0);
        for delivery in &got {
            let Delivery { id, body } = delivery;
            if let Some(before) = bodies.insert(id, body) {
                assert_eq!(before, body, "{id} differs when it comes again");
                again += 1;
            } else if delivery.kind() == "photo.removed" {
                assert!(removed.insert(delivery.subject()), "{body} is reported twice");
            } else {
                let event = json!([body["type"], body["data"]]);
                first_tries.entry(delivery.subject()).or_default().push(event);
            }
        }
        for (id, states) in &history {
            let got = first_tries.remove(id).unwrap_or_default();
            assert_eq!(got, events_of(*id, states), "events of draft {id} after {:?}", begun.elapsed());
        }
        assert!(first_tries.is_empty(), "events of changes that did not happen: {first_tries:?}");
        assert_eq!(removed.len(), photos, "removed photos after {:?}", begun.elapsed());
        let state = self.state.lock().unwrap();
        assert!(bodies.into_keys().all(|id| state.accepted.contains(id)), "an event is given up");
        assert_eq!(state.reported_early, Vec::<Value>::new(), "photos that are still there");
        Delivered { drafts: history.len(), events, photos, again, refused: state.refused.len() }
    }
}

/// Returns type and data of each event of a draft that went through these states.
fn events_of(id: u64, states: &[Value]) -> Vec<Value> {
    let event = |(number, state): (usize, &Value)| match (number, state) {
        (_, Value::Null) => json!(["draft.deleted", {"id": id}]),
        (0, state) => json!(["draft.created", state]),
        (_, state) => json!(["draft.updated", state]),
    };
    states.iter().enumerate().map(event).collect()
}
