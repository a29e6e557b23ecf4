//! A client that sends random operations one after the other, and knows what each has to lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Random;
use super::gallery::{Gallery, MediaIds, kind};
use super::operation::{Content, MAX_UPLOADS, Members, Operation, Prediction, Refusal, Request};
use crate::support::sha256;

/// Time after which a test does not wait any longer for a server or an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Drafts above which a client rather deletes some.
const MANY_DRAFTS: usize = 12;
const STATES: [&str; 4] = ["draft", "ready", "published", "archived"];

/// Counts of what happened to all clients of a test.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests that were answered.
    pub(crate) answered: AtomicUsize,
    /// Answers that made, changed or deleted something.
    pub(crate) acknowledged: AtomicUsize,
    /// Answers of an earlier request with the same key.
    pub(crate) replayed: AtomicUsize,
    /// Changes that ended without an answer.
    pub(crate) unanswered: AtomicUsize,
    /// Those of them that had happened.
    pub(crate) happened: AtomicUsize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} requests answered, {} changes acknowledged, {} answers given again; {} changes cut off, of which {} happened",
            read(&self.answered),
            read(&self.acknowledged),
            read(&self.replayed),
            read(&self.unanswered),
            read(&self.happened)
        )
    }
}

impl Shared {
    fn note_change(&self, id: u64, state: Value) {
        self.history.lock().unwrap().entry(id).or_default().push(state);
    }

    /// Notes that all drafts are deleted, and returns the number of their photos' rows.
    pub(crate) fn note_erasure(&self) -> usize {
        for states in self.history.lock().unwrap().values_mut() {
            if states.last() != Some(&Value::Null) {
                states.push(Value::Null);
            }
        }
        self.media_ids.count()
    }
}

impl Counts {
    fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A run of the servers: its number, and their addresses while all of them run.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) number: usize,
    pub(super) bases: Vec<String>,
}

impl Run {
    /// Returns the address of a server. `turn` chooses which.
    fn base(&self, turn: usize) -> Option<String> {
        (!self.bases.is_empty()).then(|| self.bases[turn % self.bases.len()].clone())
    }
}

/// What all clients of a test share.
pub(crate) struct Shared {
    pub(super) gallery: Arc<Gallery>,
    pub(super) media_ids: MediaIds,
    /// Photos that were read, each with the number of the run.
    pub(super) photos_read: Mutex<BTreeSet<(usize, usize)>>,
    /// Each draft after its creation and after each change that happened. The last one is null if the draft was deleted.
    pub(crate) history: Mutex<BTreeMap<u64, Vec<Value>>>,
    pub(crate) counts: Counts,
}

struct Draft {
    content: Content,
    /// The draft as the server shows it.
    json: Value,
    etag: String,
    /// All ETags that it ever had.
    etags: BTreeSet<String>,
}

/// A request with a key, which may be sent again.
struct Attempt {
    key: String,
    operation: Operation,
    /// The answer, if it succeeded.
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    is_replayed: bool,
    etag: Option<String>,
    location: Option<String>,
    body: Value,
}

pub(super) struct Client {
    name: String,
    token: String,
    random: Random,
    shared: Arc<Shared>,
    runs: watch::Receiver<Run>,
    http: reqwest::Client,
    drafts: BTreeMap<u64, Draft>,
    attempts: Vec<Attempt>,
    /// The last operations, for the message of a failure.
    log: Vec<String>,
    /// The run of the server in which everything was checked.
    checked: usize,
}

impl Client {
    pub(super) fn new(
        name: String,
        token: String,
        random: Random,
        shared: Arc<Shared>,
        runs: watch::Receiver<Run>,
    ) -> Self {
        let http = reqwest::Client::new();
        let (drafts, attempts, log) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { name, token, random, shared, runs, http, drafts, attempts, log, checked: 0 }
    }

    /// Sends one random operation, or checks everything if the server was started since.
    pub(super) async fn step(&mut self) {
        let run = self.run_after(0).await;
        if run != self.checked {
            if self.check_all().await.is_some() {
                self.checked = run;
            }
            return;
        }
        match self.random.below(100) {
            0..5 => {
                self.list().await;
            }
            5..12 => {
                self.read().await;
            }
            12..14 => {
                self.reuse_key().await;
            }
            14..22 if !self.attempts.is_empty() => self.retry().await,
            _ => {
                let operation = self.operation();
                let is_keyed = operation.is_post() && self.random.chance(50);
                if is_keyed {
                    let key = format!("k-{}", self.attempts.len());
                    self.attempts.push(Attempt { key, operation, answer: None });
                    self.attempt(self.attempts.len() - 1, false).await;
                } else {
                    self.send_once(&operation).await;
                }
            }
        }
    }

    fn operation(&mut self) -> Operation {
        let is_many = self.drafts.len() > MANY_DRAFTS;
        match self.random.below(if is_many { 150 } else { 100 }) {
            0..28 => {
                let (photos, skip) = self.photos();
                let title = match self.random.below(10) {
                    0 => Some("x".repeat(161)),
                    1..5 => Some(self.text()),
                    _ => None,
                };
                Operation::Upload { photos, title, skip }
            }
            28..36 => {
                let mut members = self.members();
                if members.status.take().is_some() && members.bad.is_none() {
                    members.bad = Some(("status", "ready".into(), bad_member("/status")));
                }
                Operation::Create { members }
            }
            36..58 => {
                let (draft, if_match) = self.target(false);
                Operation::Patch { draft, members: self.members(), if_match }
            }
            58..70 => {
                let ((draft, if_match), (photos, skip)) = (self.target(false), self.photos());
                Operation::Append { draft, photos, skip, if_match }
            }
            70..80 => {
                let (draft, if_match) = self.target(true);
                let count = self.photo_count(draft) + usize::from(self.random.chance(10));
                let index = self.random.below(count);
                Operation::RemovePhoto { draft, index, if_match }
            }
            80..90 => {
                let (draft, if_match) = self.target(true);
                let mut order: Vec<usize> = (0..self.photo_count(draft)).collect();
                for at in (1..order.len()).rev() {
                    order.swap(at, self.random.below(at + 1));
                }
                if self.random.chance(15) {
                    order.push(0);
                }
                Operation::Reorder { draft, order, if_match }
            }
            _ => {
                let (draft, if_match) = self.target(false);
                Operation::Delete { draft, if_match }
            }
        }
    }

    fn text(&mut self) -> String {
        let number = self.random.below(1000);
        (*self.random.pick(&["", "Füße 👟", "two\nlines", "coat"])).to_owned() + &number.to_string()
    }

    fn members(&mut self) -> Members {
        let mut members = Members::default();
        if self.random.chance(50) {
            members.title = Some(self.text());
        }
        if self.random.chance(30) {
            members.description = Some(self.text());
        }
        if self.random.chance(40) {
            members.price = Some(*self.random.pick(&[None, Some(0.0), Some(19.99), Some(12.5), Some(1e6)]));
        }
        if self.random.chance(40) {
            members.status = Some(*self.random.pick(&STATES));
        }
        if self.random.chance(12) {
            let (name, value, refusal) = match self.random.below(4) {
                0 => ("colour", json!("blue"), bad_member("/colour")),
                1 => ("price_suggested", json!(-1), bad_member("/price_suggested")),
                2 => ("description", json!(7), bad_member("/description")),
                _ => {
                    let refusal = Refusal::new(422, "bad-title").blaming("pointer", "/title");
                    ("title", json!("x".repeat(161)), refusal)
                }
            };
            members.bad = Some((name, value, refusal));
        }
        members
    }

    /// Returns the photos of a form, and whether bad ones may be left out.
    fn photos(&mut self) -> (Vec<usize>, bool) {
        let gallery = Arc::clone(&self.shared.gallery);
        let is_over_limit = self.random.chance(3);
        let count = if is_over_limit { MAX_UPLOADS + 1 } else { 1 + self.random.below(3) };
        let has_bad = !is_over_limit && self.random.chance(25);
        let photos = (0..count).map(|_| {
            if has_bad && self.random.chance(50) {
                self.random.pick(&gallery.bad().collect::<Vec<_>>()).to_owned()
            } else {
                self.random.below(gallery.good())
            }
        });
        (photos.collect(), self.random.chance(if has_bad { 70 } else { 20 }))
    }

    /// Returns a draft, which seldom is not one of the client's, and a value for If-Match.
    fn target(&mut self, needs_if_match: bool) -> (u64, Option<String>) {
        let own: Vec<u64> = self.drafts.keys().copied().collect();
        if own.is_empty() || self.random.chance(6) {
            return (self.foreign_id(), self.random.chance(50).then(|| "*".to_owned()));
        }
        let id = *self.random.pick(&own);
        let draft = &self.drafts[&id];
        let (current, first) = (draft.etag.clone(), draft.etags.first().cloned());
        let if_match = match self.random.below(20) {
            0 => first,
            1 => Some("\"other\"".to_owned()),
            2..4 => Some("*".to_owned()),
            4 => None,
            _ if needs_if_match || self.random.chance(40) => Some(current),
            _ => None,
        };
        (id, if_match)
    }

    /// Returns the id of another client's draft, or of none.
    fn foreign_id(&mut self) -> u64 {
        loop {
            let id = 1 + self.random.below(300) as u64;
            if !self.drafts.contains_key(&id) {
                return id;
            }
        }
    }

    fn photo_count(&self, draft: u64) -> usize {
        self.drafts.get(&draft).map_or(3, |draft| draft.content.photos.len()).max(1)
    }

    fn predict(&self, operation: &Operation) -> Prediction {
        operation.predict(&self.shared.gallery, |id| {
            self.drafts.get(&id).map(|draft| (&draft.content, draft.etag.as_str()))
        })
    }

    /// Sends an operation without a key. If it is not answered, looks whether it happened.
    async fn send_once(&mut self, operation: &Operation) {
        let prediction = self.predict(operation);
        self.note(&format!("{operation:?}"));
        let run = self.runs.borrow().number;
        let request = operation.request(&self.shared.gallery);
        if let Some(answer) = self.send(&request, None).await {
            self.adopt(&prediction, &answer);
            return;
        }
        Counts::count(&self.shared.counts.unanswered);
        let mut run = run;
        loop {
            run = self.run_after(run).await;
            if let Some(happened) = self.settle(&prediction).await {
                self.note(if happened { "had happened" } else { "had not happened" });
                self.shared.counts.happened.fetch_add(usize::from(happened), Ordering::Relaxed);
                return;
            }
        }
    }

    /// Sends an operation with its key until it is answered, as a phone does. `has_failed` says that it was answered before, by a
    /// refusal.
    async fn attempt(&mut self, at: usize, has_failed: bool) {
        let Attempt { key, operation, .. } = &self.attempts[at];
        let (mut key, operation) = (key.clone(), operation.clone());
        let prediction = self.predict(&operation);
        self.note(&format!("{key}: {operation:?}"));
        let request = operation.request(&self.shared.gallery);
        // Now and then the client breaks off, and the server may be at work on the request or done with it.
        let mut impatience =
            self.random.chance(20).then(|| Duration::from_millis(self.random.below(20) as u64));
        let answer = timeout(PATIENCE, async {
            let mut was_sent_before = false;
            loop {
                self.run_after(0).await;
                let sent = self.send(&request, Some(&key));
                let answer = match impatience.take() {
                    Some(patience) => timeout(patience, sent).await.ok().flatten(),
                    None => sent.await,
                };
                match answer {
                    Some(answer)
                        if is_in_progress(&answer)
                            && (was_sent_before || has_failed && self.has_many_servers()) =>
                    {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Some(answer) => {
                        assert!(!answer.is_replayed || was_sent_before, "{answer:?} {}", self.story());
                        return answer;
                    }
                    None => {
                        if !was_sent_before {
                            Counts::count(&self.shared.counts.unanswered);
                        }
                        was_sent_before = true;
                        key = if self.random.chance(30) {
                            format!("\"{}\"", key.trim_matches('"'))
                        } else {
                            key
                        };
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
        let answer = answer.await.unwrap_or_else(|_| panic!("no answer in time {}", self.story()));
        if answer.is_replayed {
            Counts::count(&self.shared.counts.happened);
        }
        let succeeded = answer.status < 300;
        self.adopt(&prediction, &answer);
        self.attempts[at].answer = succeeded.then_some(answer);
    }

    /// Sends an earlier request with its key again: an answer of success is given again, a failed request is tried anew.
    async fn retry(&mut self) {
        let at = self.random.below(self.attempts.len());
        let Attempt { key, operation, answer } = &self.attempts[at];
        let Some(first) = answer.clone() else { return self.attempt(at, true).await };
        let (key, request) = (key.clone(), operation.request(&self.shared.gallery));
        self.note(&format!("retry of {key}"));
        if let Some(again) = self.send_again(&request, &key).await {
            Counts::count(&self.shared.counts.replayed);
            assert_eq!(again, Answer { is_replayed: true, ..first }, "{}", self.story());
        }
    }

    /// Uses the key of a request that succeeded for another one.
    async fn reuse_key(&mut self) -> Option<()> {
        let succeeded: Vec<&Attempt> =
            self.attempts.iter().filter(|attempt| attempt.answer.is_some()).collect();
        let Attempt { key, operation, .. } = *succeeded.get(self.random.below(succeeded.len().max(1)))?;
        let (key, mut request) = (key.clone(), operation.request(&self.shared.gallery));
        self.note(&format!("another request with {key}"));
        if request.path == "/api/v1/listings" {
            // No other body has this length.
            request.body = json!({"title": "x".repeat(100)}).to_string().into_bytes();
        } else {
            "/api/v1/listings".clone_into(&mut request.path);
        }
        let answer = self.send_again(&request, &key).await?;
        self.assert_refused(&[Refusal::new(422, "key-reused")], &answer);
        Some(())
    }

    /// Sends a request whose key was answered before. Another server may believe for a moment that the first request is in work.
    async fn send_again(&self, request: &Request, key: &str) -> Option<Answer> {
        loop {
            let answer = self.send(request, Some(key)).await?;
            if !is_in_progress(&answer) || !self.has_many_servers() {
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn has_many_servers(&self) -> bool {
        self.runs.borrow().bases.len() != 1
    }

    /// Sends a request. Returns `None` without a complete answer.
    async fn send(&self, request: &Request, key: Option<&str>) -> Option<Answer> {
        let base = self.runs.borrow().base(self.shared.counts.answered.load(Ordering::Relaxed))?;
        let Request { method, path, content_type, if_match, body } = request;
        let mut sent = self.http.request(method.clone(), base + path).bearer_auth(&self.token);
        let headers = [("content-type", content_type.as_deref()), ("if-match", if_match.as_deref())];
        for (name, value) in headers.into_iter().chain([("idempotency-key", key)]) {
            if let Some(value) = value {
                sent = sent.header(name, value);
            }
        }
        let response = sent.body(body.clone()).send().await.ok()?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let (etag, location, replayed) = (header("etag"), header("location"), header("idempotency-replayed"));
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Counts::count(&self.shared.counts.answered);
        Some(Answer { status, is_replayed: replayed.as_deref() == Some("true"), etag, location, body })
    }

    async fn get(&self, path: &str) -> Option<Answer> {
        let (content_type, if_match, body) = (None, None, Vec::new());
        let request = Request { method: Method::GET, path: path.to_owned(), content_type, if_match, body };
        self.send(&request, None).await
    }

    /// Waits until a run of the server with a higher number is up, and returns its number.
    async fn run_after(&mut self, number: usize) -> usize {
        let up = self.runs.wait_for(|run| run.number > number && !run.bases.is_empty());
        let number = timeout(PATIENCE, up).await.map(|run| run.unwrap().number);
        number.unwrap_or_else(|_| panic!("no server is up {}", self.story()))
    }

    /// Compares an answer with what the model expects, and takes over what it changed.
    fn adopt(&mut self, prediction: &Prediction, answer: &Answer) {
        let story = self.story();
        let rejected_in = |answer: &Answer| answer.body.get("rejected").map(without_words);
        match prediction {
            Prediction::Refused(refusals) => return self.assert_refused(refusals, answer),
            Prediction::Made { content, rejected } => {
                assert_eq!(answer.status, 201, "{answer:?} {story}");
                let id = answer.body["id"].as_u64().unwrap();
                let location = format!("/api/v1/listings/{id}");
                assert_eq!(answer.location.as_deref(), Some(location.as_str()), "{story}");
                assert_eq!(
                    rejected_in(answer).as_ref(),
                    rejected.clone().map(Value::from).as_ref(),
                    "{story}"
                );
                self.add(id, content, answer);
            }
            Prediction::Changed { draft, content, rejected } => {
                assert_eq!(answer.status, 200, "{answer:?} {story}");
                assert_eq!(
                    rejected_in(answer).as_ref(),
                    rejected.clone().map(Value::from).as_ref(),
                    "{story}"
                );
                self.replace(*draft, content, answer);
            }
            Prediction::Deleted { draft } => {
                assert_eq!((answer.status, &answer.body), (204, &Value::Null), "{answer:?} {story}");
                self.remove(*draft);
            }
        }
        Counts::count(&self.shared.counts.acknowledged);
    }

    fn assert_refused(&self, refusals: &[Refusal], answer: &Answer) {
        let fits = |refusal: &Refusal| {
            let is_blamed =
                refusal.blames.as_ref().is_none_or(|(name, value)| answer.body.get(*name) == Some(value));
            (u64::from(answer.status), kind(&answer.body)) == (refusal.status, refusal.kind.as_str())
                && is_blamed
        };
        assert!(refusals.iter().any(fits), "{answer:?} instead of {refusals:?} {}", self.story());
    }

    /// Compares the JSON of a draft with its content, and learns the ids of its photos.
    fn shows(&self, id: u64, content: &Content, shown: &Value) -> bool {
        let photo_id = |place: usize| shown["photos"][place]["media"]["id"].clone();
        if without(shown, &["created_at", "updated_at", "rejected"])
            != content.json(id, &self.shared.gallery, photo_id)
        {
            return false;
        }
        for (place, sample) in content.photos.iter().enumerate() {
            self.shared.media_ids.learn(*sample, photo_id(place).as_u64().unwrap());
        }
        true
    }

    fn add(&mut self, id: u64, content: &Content, answer: &Answer) {
        let story = self.story();
        assert!(self.drafts.keys().all(|earlier| *earlier < id), "{id} is not the highest id {story}");
        assert!(self.shows(id, content, &answer.body), "{content:?} is shown as {answer:?} {story}");
        assert_eq!(answer.body["created_at"], answer.body["updated_at"], "{story}");
        let etag = answer.etag.clone().unwrap();
        let (json, etags) = (without(&answer.body, &["rejected"]), BTreeSet::from([etag.clone()]));
        self.shared.note_change(id, json.clone());
        self.drafts.insert(id, Draft { content: content.clone(), json, etag, etags });
    }

    fn replace(&mut self, id: u64, content: &Content, answer: &Answer) {
        let story = self.story();
        assert!(self.shows(id, content, &answer.body), "{content:?} is shown as {answer:?} {story}");
        let (json, etag) = (without(&answer.body, &["rejected"]), answer.etag.clone().unwrap());
        let draft = self.drafts.get_mut(&id).unwrap();
        assert_eq!(json["created_at"], draft.json["created_at"], "{story}");
        if draft.content == *content {
            assert_eq!((&json, &etag), (&draft.json, &draft.etag), "a change of nothing {story}");
        } else {
            assert!(json["updated_at"].as_str() >= draft.json["updated_at"].as_str(), "{story}");
            assert!(draft.etags.insert(etag.clone()), "an ETag is used again {story}");
            self.shared.note_change(id, json.clone());
            (draft.content, draft.json, draft.etag) = (content.clone(), json, etag);
        }
    }

    fn remove(&mut self, id: u64) {
        self.shared.note_change(id, Value::Null);
        self.drafts.remove(&id);
    }

    /// Looks whether an operation without an answer happened. Returns `None` if the server does not answer now, either.
    async fn settle(&mut self, prediction: &Prediction) -> Option<bool> {
        match prediction {
            Prediction::Refused(_) => Some(false),
            Prediction::Made { content, .. } => {
                let items = self.listed("").await?;
                let is_new = |item: &&Value| !self.drafts.contains_key(&item["id"].as_u64().unwrap());
                let new: Vec<&Value> = items.iter().filter(is_new).collect();
                assert!(new.len() <= 1, "one request made {new:?} {}", self.story());
                let Some(id) = new.first().map(|item| item["id"].as_u64().unwrap()) else {
                    return Some(false);
                };
                let answer = self.get(&format!("/api/v1/listings/{id}")).await?;
                self.add(id, content, &answer);
                Some(true)
            }
            Prediction::Changed { draft: id, content, .. } => {
                let answer = self.get(&format!("/api/v1/listings/{id}")).await?;
                let happened = answer.body != self.drafts[id].json;
                assert_eq!(answer.status, 200, "{answer:?} {}", self.story());
                if happened {
                    self.replace(*id, content, &answer);
                }
                Some(happened)
            }
            Prediction::Deleted { draft: id } => {
                let answer = self.get(&format!("/api/v1/listings/{id}")).await?;
                let happened = answer.status == 404;
                if happened {
                    self.remove(*id);
                } else {
                    assert_eq!(answer.body, self.drafts[id].json, "{}", self.story());
                }
                Some(happened)
            }
        }
    }

    /// Returns all items of a list, page after page.
    async fn listed(&self, query: &str) -> Option<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("/api/v1/listings?{query}{cursor}")).await?;
            assert_eq!(page.status, 200, "{page:?}");
            let Value::Array(next) = page.body["items"].take() else { panic!("{page:?}") };
            items.extend(next);
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Some(items),
            }
        }
    }

    async fn list(&mut self) -> Option<()> {
        let status = self.random.chance(60).then(|| *self.random.pick(&STATES));
        let limit = 1 + self.random.below(8);
        let filter = status.map_or_else(String::new, |status| format!("&status={status}"));
        let items = self.listed(&format!("limit={limit}{filter}")).await?;
        let is_wanted = |draft: &&Draft| status.is_none_or(|status| draft.content.status == status);
        let drafts = self.drafts.values().rev().filter(is_wanted).map(|draft| draft.json.clone());
        assert_eq!(items, drafts.collect::<Vec<_>>(), "list of {status:?} by {limit} {}", self.story());
        Some(())
    }

    async fn read(&mut self) -> Option<()> {
        let own: Vec<u64> = self.drafts.keys().copied().collect();
        if own.is_empty() || self.random.chance(20) {
            let id = self.foreign_id();
            let answer = self.get(&format!("/api/v1/listings/{id}")).await?;
            self.assert_refused(&[Refusal::new(404, "not-found")], &answer);
        } else {
            let id = *self.random.pick(&own);
            self.check_draft(id).await?;
        }
        Some(())
    }

    async fn check_draft(&self, id: u64) -> Option<()> {
        let answer = self.get(&format!("/api/v1/listings/{id}")).await?;
        let draft = &self.drafts[&id];
        assert_eq!(answer.status, 200, "draft {id} is lost {}", self.story());
        assert_eq!(answer.body, draft.json, "{}", self.story());
        assert_eq!(answer.etag.as_ref(), Some(&draft.etag), "draft {id} {}", self.story());
        Some(())
    }

    /// Compares all drafts and all their photos with what the client knows, some of them once more by themselves. Returns `None`
    /// if the server does not answer. A photo is read by one client only in each run of the server.
    pub(super) async fn check_all(&mut self) -> Option<()> {
        let items = self.listed("limit=100").await?;
        let drafts: Vec<Value> = self.drafts.values().rev().map(|draft| draft.json.clone()).collect();
        assert_eq!(items, drafts, "{}", self.story());
        for id in self.drafts.keys().rev().take(3) {
            self.check_draft(*id).await?;
        }
        let photos: BTreeSet<usize> =
            self.drafts.values().flat_map(|draft| draft.content.photos.clone()).collect();
        for photo in photos {
            let run = self.runs.borrow().clone();
            let base = run.base(photo);
            if !self.shared.photos_read.lock().unwrap().insert((run.number, photo)) {
                continue;
            }
            let url = self.shared.gallery.media(photo)["url"].as_str().unwrap();
            let response = self.http.get(base? + url).send().await.ok()?;
            assert_eq!(response.status(), 200, "{url} is lost {}", self.story());
            assert_eq!(url, format!("/media/{}.jpg", sha256(response.bytes().await.ok()?)));
        }
        Some(())
    }

    fn note(&mut self, line: &str) {
        if self.log.len() == 12 {
            self.log.remove(0);
        }
        self.log.push(line.to_owned());
    }

    /// Returns who the client is and what it did last.
    fn story(&self) -> String {
        format!("\n{} did last:\n{}", self.name, self.log.join("\n"))
    }
}

fn is_in_progress(answer: &Answer) -> bool {
    answer.status == 409 && kind(&answer.body) == "in-progress"
}

fn bad_member(pointer: &str) -> Refusal {
    Refusal::new(422, "bad-member").blaming("pointer", pointer)
}

fn without(object: &Value, names: &[&str]) -> Value {
    let mut object = object.clone();
    for name in names {
        object.as_object_mut().unwrap().remove(*name);
    }
    object
}

/// Returns the photos that were left out without the words of their problems.
fn without_words(rejected: &Value) -> Value {
    let photos = rejected.as_array().unwrap().iter().map(|photo| {
        let mut photo = photo.clone();
        photo["problem"] = without(&photo["problem"], &["title", "detail"]);
        photo
    });
    photos.collect()
}
