//! A client that sends photos by resumable uploads, one after the other, and holds the server to what it acknowledged.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::sleep;

use super::exchange::{Answer, Exchange, Headers};
use crate::model::Random;

pub(super) const UPLOADS: &str = "/api/v1/uploads";

/// Finished uploads of a client that are read again after each restart. At the end all of them are.
const READ_AGAIN: usize = 3;
/// Pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(30);

/// A photo, and the media that a plain upload of it has, without its id.
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    pub(super) media: Value,
}

/// What the servers are doing.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    /// The number of restarts.
    pub(super) restarts: usize,
    /// The servers that run.
    pub(super) servers: Vec<SocketAddr>,
    /// Whether clients should end: none of the servers is killed any more.
    pub(super) is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    created: AtomicUsize,
    finished: AtomicUsize,
    cancelled: AtomicUsize,
    continued: AtomicUsize,
    unanswered: AtomicUsize,
    /// Offsets in interim responses.
    interim: AtomicUsize,
    /// Requests that another one of the client ended.
    superseded: AtomicUsize,
    /// Requests that the server was too busy for.
    refused: AtomicUsize,
    /// Requests that went on with other bytes after another request had taken over.
    stale: AtomicUsize,
    /// Checks of an offset after a restart.
    checked: AtomicUsize,
}

impl Counts {
    fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} uploads created, {} finished, {} cancelled; continued {} times, {} requests unanswered, {} superseded, {} refused, \
             {} went on when they were stale; {} offsets in 104; {} offsets checked after a restart",
            read(&self.created),
            read(&self.finished),
            read(&self.cancelled),
            read(&self.continued),
            read(&self.unanswered),
            read(&self.superseded),
            read(&self.refused),
            read(&self.stale),
            read(&self.interim),
            read(&self.checked)
        )
    }
}

/// How a client talks about its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// draft-ietf-httpbis-resumable-upload in this interop version.
    Ietf(&'static str),
    Tus,
}

impl Wire {
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Ietf(version) => ("upload-draft-interop-version", version),
            Self::Tus => ("tus-resumable", "1.0.0"),
        }
    }

    fn media_type(self) -> (&'static str, &'static str) {
        let value = match self {
            Self::Ietf(_) => "application/partial-upload",
            Self::Tus => "application/offset+octet-stream",
        };
        ("content-type", value)
    }

    /// Returns the header that says whether the upload ends with the request.
    fn completeness(self, is_last: bool) -> Option<(&'static str, &'static str)> {
        let flag = |value| if value { "?1" } else { "?0" };
        match self {
            Self::Ietf("3") => Some(("upload-incomplete", flag(!is_last))),
            Self::Ietf(_) => Some(("upload-complete", flag(is_last))),
            Self::Tus => None,
        }
    }
}

/// An upload that its client knows.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) location: String,
    pub(super) sample: usize,
    wire: Wire,
    /// Whether a request that creates it may still come, although the client knows the answer to a later one.
    may_begin_again: bool,
}

/// An upload in progress.
struct Upload {
    wire: Wire,
    sample: usize,
    bytes: Vec<u8>,
    /// The header Idempotency-Key of the request that creates it, and the number of bytes of that request.
    key: String,
    first: usize,
    /// Whether the client sends a digest of the whole.
    has_digest: bool,
    /// Whether a request that creates it broke off.
    may_begin_again: bool,
    location: Option<String>,
    /// The highest offset that the server acknowledged.
    acknowledged: usize,
    /// The offset, if nothing happened since the server said it.
    offset: Option<usize>,
    is_finished: bool,
    /// Requests that hang, each with the number of bytes that it still may send, if the server has begun to read it.
    hanging: Vec<(Exchange, usize)>,
}

/// How the client ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Whole,
    /// It disconnects after this many bytes.
    Cut(usize),
    /// It sends nothing after this many bytes.
    Hang(usize),
}

/// A client.
pub(super) struct Uploader {
    pub(super) number: usize,
    pub(super) random: Random,
    pub(super) samples: Arc<Vec<Sample>>,
    pub(super) counts: Arc<Counts>,
    pub(super) running: watch::Receiver<Running>,
    /// The directory in which the S3 server of the test has the objects of uploads.
    pub(super) objects: Option<PathBuf>,
    /// The number of restarts after which the client has checked its uploads.
    pub(super) checked: watch::Sender<usize>,
    pub(super) finished: Vec<Known>,
    pub(super) cancelled: Vec<Known>,
    /// Uploads that the client gave up: they expire.
    pub(super) abandoned: Vec<Known>,
}

impl Uploader {
    /// Uploads photos until the servers are not killed any more, and the last upload has ended.
    pub(super) async fn run(mut self) -> Self {
        for turn in 0.. {
            if self.running.borrow().is_over {
                break;
            }
            self.upload(turn).await;
            self.remove_empty_directory();
        }
        let everything = self.finished.len();
        self.read_finished(everything).await;
        for known in self.cancelled.clone() {
            let answer = self.ask("GET", &known).await;
            match answer.status {
                404 => {}
                _ if known.may_begin_again => self.abandoned.push(known),
                _ => panic!("{known:?} was cancelled: {answer:?}"),
            }
        }
        self
    }

    async fn upload(&mut self, turn: usize) {
        let mut upload = self.begin(turn);
        loop {
            self.check(&mut upload).await;
            if upload.is_finished {
                let known = upload.known().unwrap();
                self.finished.push(known);
                Counts::count(&self.counts.finished);
                return self.read_finished(1).await;
            }
            let Some(known) = upload.known() else {
                self.create(&mut upload).await;
                continue;
            };
            let is_over = self.running.borrow().is_over;
            if is_over && self.random.chance(30) {
                self.abandoned.push(known);
                return;
            }
            if self.random.chance(if is_over { 20 } else { 3 }) {
                // Until it is answered.
                let answer = self.ask("DELETE", &known).await;
                assert!(matches!(answer.status, 204 | 404), "{known:?}: {answer:?}");
                self.cancelled.push(known);
                Counts::count(&self.counts.cancelled);
                return;
            }
            match upload.offset {
                Some(offset) if !self.random.chance(20) => self.append(&mut upload, &known, offset).await,
                _ => self.find_offset(&mut upload, &known).await,
            }
        }
    }

    /// Removes the directory of the upload that ended last. The S3 server of the test leaves it, and reads all of them for each list.
    fn remove_empty_directory(&self) {
        let last = |uploads: &[Known]| uploads.last().map(|known| known.location.clone());
        for location in [last(&self.finished), last(&self.cancelled)].into_iter().flatten() {
            if let Some(objects) = &self.objects {
                let _not_empty = std::fs::remove_dir(
                    objects.join(location.trim_start_matches(UPLOADS).trim_start_matches('/')),
                );
            }
        }
    }

    /// Begins an upload that no other has had: its photo has a comment of its own.
    fn begin(&mut self, turn: usize) -> Upload {
        let wire = match self.random.below(6) {
            0 => Wire::Ietf("3"),
            1 => Wire::Ietf("5"),
            2 => Wire::Ietf("6"),
            3 => Wire::Ietf("8"),
            _ => Wire::Tus,
        };
        let sample = self.random.below(self.samples.len());
        let key = format!("{}-{turn}", self.number);
        let bytes = with_comment(&self.samples[sample].bytes, &key);
        let first = match self.random.below(4) {
            0 => 0,
            1 => bytes.len(),
            _ => 1 + self.random.below(bytes.len() / 2),
        };
        Upload {
            wire,
            sample,
            bytes,
            key,
            first,
            has_digest: self.random.chance(40),
            may_begin_again: false,
            location: None,
            acknowledged: 0,
            offset: None,
            is_finished: false,
            hanging: Vec::new(),
        }
    }

    /// Checks all that was acknowledged if a server was started again since the last time.
    async fn check(&mut self, upload: &mut Upload) {
        let restarts = self.running.borrow().restarts;
        if *self.checked.borrow() == restarts {
            return;
        }
        if let Some(known) = upload.known() {
            upload.offset = None;
            while upload.offset.is_none() && !upload.is_finished {
                self.find_offset(upload, &known).await;
            }
            Counts::count(&self.counts.checked);
        }
        self.read_finished(READ_AGAIN).await;
        self.checked.send_replace(restarts);
    }

    /// Asserts that the newest finished uploads are as they were acknowledged.
    async fn read_finished(&mut self, count: usize) {
        for known in self.finished.iter().rev().take(count).cloned().collect::<Vec<_>>() {
            let answer = self.ask("GET", &known).await;
            assert_eq!(answer.status, 200, "{known:?} was finished: {answer:?}");
            self.assert_finished(&known, &answer.body);
        }
    }

    fn assert_finished(&self, known: &Known, body: &str) {
        let shown: Value = serde_json::from_str(body).unwrap();
        assert_eq!(shown["state"], "finished", "{known:?}: {shown}");
        assert_eq!(without_id(&shown["media"]), self.samples[known.sample].media, "{known:?}: {shown}");
    }

    /// Returns the address of a server that runs.
    async fn server(&mut self) -> SocketAddr {
        let running = self.running.wait_for(|running| !running.servers.is_empty()).await.unwrap().clone();
        *self.random.pick(&running.servers)
    }

    /// Sends a request without a body until it is answered.
    async fn ask(&mut self, method: &str, known: &Known) -> Answer {
        loop {
            let server = self.server().await;
            let sent = async {
                let headers = [known.wire.name()];
                let mut exchange = Exchange::begin(server, method, &known.location, &headers, 0).await?;
                exchange.answer().await
            };
            match sent.await {
                Ok(answer) if !self.is_temporary(&answer) => return answer,
                Ok(_) => {}
                Err(_) => Counts::count(&self.counts.unanswered),
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns whether the request may be sent again: it was superseded, or the server is busy.
    fn is_temporary(&self, answer: &Answer) -> bool {
        match answer.status {
            503 => Counts::count(&self.counts.refused),
            409 | 423 if !answer.headers.contains_key("upload-offset") => {
                assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
                Counts::count(&self.counts.superseded);
            }
            _ => return false,
        }
        true
    }

    /// Asks where to continue. Requests that hang are stale then.
    async fn find_offset(&mut self, upload: &mut Upload, known: &Known) {
        let answer = self.ask("HEAD", known).await;
        assert!(matches!(answer.status, 200 | 204), "{known:?} is lost: {answer:?}");
        let offset = usize::try_from(answer.number("upload-offset")).unwrap();
        // A request with the whole photo begins the upload again.
        let begins_again = upload.may_begin_again && upload.first == upload.bytes.len();
        assert!(
            (offset >= upload.acknowledged || begins_again) && offset <= upload.bytes.len(),
            "{known:?}: {offset} after {} of {}",
            upload.acknowledged,
            upload.bytes.len()
        );
        upload.acknowledged = offset;
        upload.offset = Some(offset);
        upload.is_finished = match upload.wire.completeness(true) {
            Some((name, complete)) => answer.header(name) == complete,
            None => offset == upload.bytes.len(),
        };
        assert!(!upload.is_finished || offset == upload.bytes.len(), "{known:?} ended at {offset}");
        for (exchange, rest) in std::mem::take(&mut upload.hanging) {
            self.go_on(exchange, rest).await;
        }
    }

    /// Sends other bytes over a request that another one has superseded. The server must not take them.
    async fn go_on(&mut self, mut exchange: Exchange, rest: usize) {
        if rest == 0 {
            return;
        }
        Counts::count(&self.counts.stale);
        let sent = async {
            exchange.send(&vec![b'x'; rest]).await?;
            exchange.answer().await
        };
        if let Ok(answer) = sent.await {
            assert!(answer.status >= 400, "bytes of a superseded request were taken: {answer:?}");
        }
    }

    fn manner(&mut self, length: usize) -> Manner {
        match self.random.below(10) {
            0 => Manner::Cut(self.random.below(length + 1)),
            1 => Manner::Hang(self.random.below(length + 1)),
            _ => Manner::Whole,
        }
    }

    async fn create(&mut self, upload: &mut Upload) {
        let body = &upload.bytes[..upload.first];
        let is_last = upload.first == upload.bytes.len();
        let length = upload.bytes.len().to_string();
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&upload.bytes)));
        let mut headers = vec![upload.wire.name(), ("idempotency-key", upload.key.as_str())];
        headers.extend(upload.wire.completeness(is_last));
        if upload.wire == Wire::Tus || upload.has_digest {
            headers.push(("upload-length", &length));
        }
        if upload.wire == Wire::Tus && upload.first > 0 {
            headers.push(upload.wire.media_type());
        }
        if upload.has_digest {
            headers.push(("repr-digest", &digest));
        }
        let manner = self.manner(body.len());
        let server = self.server().await;
        let Sent { interim, answer, hanging } = send(server, "POST", UPLOADS, &headers, body, manner).await;
        self.note(upload, &interim);
        match answer {
            None => {
                upload.may_begin_again = true;
                self.pause_unanswered().await;
            }
            Some(answer) if self.is_temporary(&answer) => return sleep(PAUSE).await,
            Some(answer) => {
                assert_eq!(answer.status, 201, "{}: {answer:?}", upload.key);
                upload.location = Some(answer.header("location").to_owned());
                // That of a request that was sent again is not the offset of this request.
                let is_replayed = answer.header("idempotency-replayed") == "true";
                let offset = usize::try_from(answer.number("upload-offset")).unwrap();
                assert!(is_replayed || offset == upload.first, "{}: {answer:?}", upload.key);
                upload.acknowledged = upload.acknowledged.max(offset);
                upload.offset = (!is_replayed).then_some(offset);
                self.end_if_finished(upload, &answer);
            }
        }
        if upload.location.is_some() {
            Counts::count(&self.counts.created);
        }
        let rest = body_rest(upload.first, manner);
        // Without its location nobody would end the request.
        if let Some(exchange) = hanging.filter(|_| upload.location.is_some()) {
            upload.keep_hanging(exchange, rest);
        }
    }

    async fn append(&mut self, upload: &mut Upload, known: &Known, offset: usize) {
        let rest = upload.bytes.len() - offset;
        let length = if rest == 0 || self.random.chance(15) { rest } else { 1 + self.random.below(rest) };
        let is_last = length == rest;
        let body = &upload.bytes[offset..offset + length];
        let at = offset.to_string();
        let checksum = format!("sha256 {}", STANDARD.encode(Sha256::digest(body)));
        let mut headers = vec![upload.wire.name(), upload.wire.media_type(), ("upload-offset", at.as_str())];
        headers.extend(upload.wire.completeness(is_last));
        if upload.wire == Wire::Tus && self.random.chance(30) {
            headers.push(("upload-checksum", &checksum));
        }
        let manner = self.manner(length);
        let server = self.server().await;
        upload.offset = None;
        let sent = send(server, "PATCH", &known.location, &headers, body, manner).await;
        let Sent { interim, answer, hanging } = sent;
        Counts::count(&self.counts.continued);
        self.note(upload, &interim);
        match answer {
            None => self.pause_unanswered().await,
            Some(answer) if self.is_temporary(&answer) => sleep(PAUSE).await,
            // A request of which the client knows no end came later than this one.
            Some(answer) if answer.status == 409 => {
                assert_ne!(answer.number("upload-offset"), offset as u64, "{known:?}: {answer:?}");
                Counts::count(&self.counts.superseded);
            }
            // It ended the upload.
            Some(answer) if answer.status == 400 => {
                assert_eq!(
                    answer.number("upload-offset"),
                    upload.bytes.len() as u64,
                    "{known:?}: {answer:?}"
                );
                Counts::count(&self.counts.superseded);
            }
            Some(answer) => {
                assert!(matches!(answer.status, 201 | 204), "{known:?} at {offset}: {answer:?}");
                assert_eq!(answer.number("upload-offset"), (offset + length) as u64, "{known:?}: {answer:?}");
                upload.acknowledged = offset + length;
                upload.offset = Some(offset + length);
                self.end_if_finished(upload, &answer);
                assert!(!is_last || upload.is_finished, "{known:?}: {answer:?}");
            }
        }
        if let Some(exchange) = hanging {
            upload.keep_hanging(exchange, body_rest(length, manner));
        }
    }

    fn end_if_finished(&self, upload: &mut Upload, answer: &Answer) {
        let is_whole = upload.acknowledged == upload.bytes.len();
        upload.is_finished = match upload.wire.completeness(true) {
            Some((name, complete)) => answer.header(name) == complete,
            None => is_whole && answer.header("idempotency-replayed") != "true",
        };
        assert!(!upload.is_finished || is_whole, "{}: {answer:?}", upload.key);
        if upload.is_finished && !answer.body.is_empty() {
            self.assert_finished(&upload.known().unwrap(), &answer.body);
        }
    }

    /// Notes what interim responses say.
    fn note(&self, upload: &mut Upload, interim: &[Headers]) {
        for headers in interim {
            if let Some(location) = headers.get("location") {
                upload.location = Some(location.clone());
            }
            if let Some(offset) = headers.get("upload-offset") {
                upload.acknowledged = upload.acknowledged.max(offset.parse().unwrap());
                Counts::count(&self.counts.interim);
            }
        }
    }

    async fn pause_unanswered(&self) {
        Counts::count(&self.counts.unanswered);
        sleep(PAUSE).await;
    }
}

impl Upload {
    fn known(&self) -> Option<Known> {
        let location = self.location.clone()?;
        let Self { wire, sample, may_begin_again, .. } = *self;
        Some(Known { location, sample, wire, may_begin_again })
    }

    /// Keeps a request that hangs. With an interim response the server has begun to read it, and a later request supersedes it.
    fn keep_hanging(&mut self, exchange: Exchange, rest: usize) {
        self.hanging.push((exchange, if self.wire == Wire::Tus { 0 } else { rest }));
    }
}

/// What became of a request.
#[derive(Default)]
struct Sent {
    /// The interim responses, also those of a request that broke off.
    interim: Vec<Headers>,
    answer: Option<Answer>,
    /// The connection of a request that hangs.
    hanging: Option<Exchange>,
}

/// Sends a request. One that hangs has got an interim response, unless its protocol has none.
async fn send(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    manner: Manner,
) -> Sent {
    let Ok(mut exchange) = Exchange::begin(server, method, path, headers, body.len()).await else {
        return Sent::default();
    };
    let has_interim = headers.iter().any(|(name, _)| *name == "upload-draft-interop-version");
    let ended = async {
        let sent = match manner {
            Manner::Whole => body.len(),
            Manner::Cut(sent) | Manner::Hang(sent) => sent,
        };
        exchange.send(&body[..sent]).await?;
        match manner {
            Manner::Cut(_) => return Ok(None),
            Manner::Hang(_) if !has_interim || exchange.wait_for_interim().await? => return Ok(None),
            // It is answered already.
            Manner::Hang(_) | Manner::Whole => {}
        }
        exchange.answer().await.map(Some)
    };
    let ended: io::Result<_> = ended.await;
    let interim = exchange.take_interim();
    let is_hanging = matches!((&ended, manner), (Ok(None), Manner::Hang(_)));
    Sent { interim, answer: ended.unwrap_or_default(), hanging: is_hanging.then_some(exchange) }
}

/// Returns how many bytes of a body the client has not sent.
fn body_rest(length: usize, manner: Manner) -> usize {
    match manner {
        Manner::Hang(sent) => length - sent,
        Manner::Whole | Manner::Cut(_) => 0,
    }
}

/// Returns a photo with a comment, which changes its bytes and not its pixels.
fn with_comment(jpeg: &[u8], comment: &str) -> Vec<u8> {
    let length = u16::try_from(comment.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xFE], &length, comment.as_bytes(), &jpeg[2..]].concat()
}

pub(super) fn without_id(media: &Value) -> Value {
    let mut media = media.clone();
    media["id"] = Value::Null;
    media
}
