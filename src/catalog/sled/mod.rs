//! The embedded catalog: a sled database in one directory, used by one process.
//!
//! sled acknowledges a transaction before it is on disk, its flush does not fsync, and after one failed write every
//! later write fails. So every write waits for a group commit (see `commit`), and a database that failed is closed
//! and opened again, which drops exactly the transactions that were never acknowledged.

mod attempts;
mod batches;
#[cfg(test)]
mod batches_model;
mod commit;
mod drafts;
mod erasure;
mod error;
mod facts;
mod id_sets;
mod identities;
mod indexes;
mod migrate;
mod ondisk;
mod outbox;
mod pages;
mod restore;
mod rows;
mod task_leases;
mod transaction;
mod uploads;
mod watermark;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::RwLock;

use self::attempts::Claims;
use self::commit::{GroupCommit, Log};
use self::ondisk::DB_FILE;
pub use self::ondisk::{Salvage, SalvageReport};
use self::outbox::Leases;
use self::rows::{Position, Trees};
use self::task_leases::TaskLeaseTable;
use self::watermark::{Acknowledged, Watermark};
use super::{
    AttemptRow, Begun, Catalog, CatalogError, Change, ChangeError, DraftFilter, DraftRow, DueEvent, Erased,
    EventRow, Identities, Identity, IdentityRow, IndexFault, KeyLock, KnownSource, NewDraft, NewPhoto,
    Outbox, Restorable, Restore, RestoreError, State, UploadChange, UploadRow, Uploads,
};
use crate::blocking::{BlockingError, FewThreads, blocking};
use crate::disk::{self, FreeDisk};
use crate::model::{
    AttemptId, Draft, DraftId, Media, MediaId, MediaKey, PhotoFacts, SourceId, Timestamp, UploadId, UserId,
};
use crate::sync;

/// Size of sled's page cache. sled's default is 1 GB, more memory than the target machines have. The system's cache of the file
/// has what this one lacks.
const CACHE_BYTES: u64 = 2 << 20;

/// Threads that work on the database. Transactions exclude each other, so that one thread writes while another waits for the
/// disk.
const THREADS: usize = 2;

/// Number of attempts to open a database whose lock is still held, and the pause between them.
const REOPEN_TRIES: u32 = 50;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// A catalog in a sled database; see the module.
#[derive(Debug)]
pub struct SledCatalog {
    path: Arc<Path>,
    min_free: FreeDisk,
    threads: FewThreads,
    claims: Claims,
    leases: Leases,
    task_leases: TaskLeaseTable,
    records_events: bool,
    /// The open database, or `None` after a failed attempt to open it again.
    current: RwLock<Option<Arc<Opened>>>,
    /// Set once a page or row cannot be read.
    is_damaged: AtomicBool,
    /// The error of the next recording of a draft, which records nothing.
    #[cfg(test)]
    next_failure: std::sync::Mutex<Option<Box<CatalogError>>>,
}

/// An open sled database.
#[derive(Debug)]
struct Opened {
    trees: Trees,
    watermark: Arc<Watermark>,
    group_commit: Arc<GroupCommit>,
    broken: AtomicBool,
}

impl Opened {
    async fn open(path: Arc<Path>, threads: &FewThreads, records_events: bool) -> Result<Self, CatalogError> {
        let open = move || -> Result<_, CatalogError> {
            // sled repairs files while it opens them. Damage that it must not repair is refused first, and the files
            // stay as they are.
            let acknowledged = Acknowledged::read(&path)?;
            let found = ondisk::verify(&path)?.unwrap_or_default();
            if let Some(acknowledged) = &acknowledged {
                acknowledged.check(&found)?;
            }
            ondisk::remove_unfinished(&path)?;
            disk::create_dir(&path)?;
            let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES);
            // The group commit flushes; a timer would only add writes at other times.
            let db = config.flush_every_ms(None).open().map_err(|error| open_error(error, &path))?;
            disk::sync_dir(&path)?;
            let mut trees =
                Trees::open(&db, acknowledged.map_or(1, |acknowledged| acknowledged.next_draft()))?;
            trees.records_events = records_events;
            migrate::migrate(&db, &trees)?;
            let file = path.join(DB_FILE);
            let watermark =
                Watermark::open(&path, acknowledged, &found, &trees, || Ok(Log::make_durable(&db, &file)?))?;
            Ok((trees, Log { db, file, watermark: Arc::new(watermark) }))
        };
        let opened = threads.run(move || Ok::<_, BlockingError>(open())).await;
        let (trees, log) = opened.map_err(|panic| {
            tracing::debug!(%panic, "opening the catalog panicked");
            CatalogError::Corrupt("its files cannot be read".into())
        })??;
        let watermark = Arc::clone(&log.watermark);
        Ok(Self { trees, watermark, group_commit: GroupCommit::new(log), broken: AtomicBool::new(false) })
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Closes the database and waits until its lock is released.
    async fn close(self) {
        let Self { trees, watermark, group_commit, .. } = self;
        drop((trees, watermark));
        group_commit.stop().await;
    }
}

impl SledCatalog {
    /// Opens the catalog in directory `path`, or creates it. Must be called inside a tokio runtime.
    ///
    /// [`check`](Catalog::check) reports a full disk when less than `min_free` is free on the volume.
    ///
    /// # Errors
    /// Another process has the catalog open, it is corrupt, or the disk fails.
    pub async fn open(path: &Path, min_free: FreeDisk) -> Result<Self, CatalogError> {
        Self::open_with(path, min_free, false).await
    }

    /// Opens the catalog as [`open`](Self::open) does. Changes record events if `records_events`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        path: &Path,
        min_free: FreeDisk,
        records_events: bool,
    ) -> Result<Self, CatalogError> {
        let path: Arc<Path> = path.into();
        let threads = FewThreads::new("catalog", THREADS)?;
        let opened = Opened::open(Arc::clone(&path), &threads, records_events).await?;
        let current = RwLock::new(Some(Arc::new(opened)));
        let is_damaged = AtomicBool::new(false);
        let (claims, leases, task_leases) = (Claims::default(), Leases::default(), TaskLeaseTable::default());
        Ok(Self {
            path,
            min_free,
            threads,
            claims,
            leases,
            task_leases,
            records_events,
            current,
            is_damaged,
            #[cfg(test)]
            next_failure: std::sync::Mutex::default(),
        })
    }

    /// Returns the open database, and opens it again first if it failed.
    async fn opened(&self) -> Result<Arc<Opened>, CatalogError> {
        if let Some(opened) = &*self.current.read().await
            && !opened.is_broken()
        {
            return Ok(Arc::clone(opened));
        }
        let mut current = self.current.write().await;
        match current.take().map(Arc::try_unwrap) {
            None => {}
            Some(Ok(opened)) if !opened.is_broken() => {
                return Ok(Arc::clone(current.insert(Arc::new(opened))));
            }
            Some(Ok(broken)) => broken.close().await,
            Some(Err(in_use)) => {
                let is_broken = in_use.is_broken();
                let opened = Arc::clone(current.insert(in_use));
                let busy = "it is being opened again after a failed write";
                return if is_broken { Err(CatalogError::Unavailable(busy.into())) } else { Ok(opened) };
            }
        }
        tracing::warn!("opening the catalog again after a failed write");
        Ok(Arc::clone(current.insert(Arc::new(self.open_again().await?))))
    }

    /// Opens the directory that was just closed. sled's threads may hold its lock for a moment longer.
    async fn open_again(&self) -> Result<Opened, CatalogError> {
        for _ in 0..REOPEN_TRIES {
            match Opened::open(Arc::clone(&self.path), &self.threads, self.records_events).await {
                Err(CatalogError::Unavailable(_) | CatalogError::InUse) => {
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                opened_or_failed => return opened_or_failed,
            }
        }
        Opened::open(Arc::clone(&self.path), &self.threads, self.records_events).await
    }

    /// Returns true if directory `path` contains a catalog. [`open`](Self::open) would create one.
    pub fn exists(path: &Path) -> bool {
        path.join(DB_FILE).exists()
    }

    /// Returns the next draft id that the catalog in directory `path` last acknowledged, or `None` if that is not
    /// recorded.
    ///
    /// Works for a catalog that cannot be opened.
    pub fn acknowledged_next_draft(path: &Path) -> Option<u64> {
        Acknowledged::read(path).ok().flatten().map(|acknowledged| acknowledged.next_draft())
    }

    /// Reads all readable rows of the catalog in directory `path`, which may be damaged. Writes nothing. Blocks.
    ///
    /// # Errors
    /// There is no catalog, another process has it open, or the disk failed.
    pub fn salvage(path: &Path) -> Result<Salvage, CatalogError> {
        Salvage::read(path)
    }

    /// Sets the error that the next [`create_draft`](Catalog::create_draft) returns instead of recording the draft, or unsets it.
    #[cfg(test)]
    pub(crate) fn fail_next_draft(&self, error: Option<CatalogError>) {
        *self.next_failure.lock().unwrap() = error.map(Box::new);
    }

    /// Closes the database and waits until its lock is released. Dropping it releases the lock a moment later.
    pub async fn close(self) {
        if let Some(Ok(opened)) = self.current.into_inner().map(Arc::try_unwrap) {
            opened.close().await;
        }
    }

    /// Runs `work`, which reads, or writes what a crash may undo.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let opened = self.opened().await?;
        let result = self.threads.run(move || work(&opened.trees)).await;
        self.note_damage(&result);
        result
    }

    /// Remembers that the catalog is damaged if `result` reports damage.
    fn note_damage<T>(&self, result: &Result<T, CatalogError>) {
        if let Err(CatalogError::Corrupt(what)) = result
            && !self.is_damaged.swap(true, Ordering::Relaxed)
        {
            tracing::error!("the catalog is damaged, and records no more drafts: {what}");
        }
    }

    /// Returns an error if damage was found. The next start refuses a damaged catalog, so a draft recorded in it may be lost.
    fn check_undamaged(&self) -> Result<(), CatalogError> {
        if self.is_damaged.load(Ordering::Relaxed) {
            return Err(CatalogError::Unavailable("it is damaged; stop the server and repair it".into()));
        }
        Ok(())
    }

    /// Runs `work`, which writes one transaction and returns its position, and returns when that transaction is
    /// durable.
    async fn record<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<(T, Position), CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.check_undamaged()?;
        let opened = self.opened().await?;
        let trees = opened.trees.clone();
        let recorded = opened.group_commit.record(&self.threads, move || work(&trees)).await;
        self.note_damage(&recorded);
        recorded.map_err(|error| match error {
            CatalogError::Corrupt(_) => error,
            failed => {
                opened.broken.store(true, Ordering::Relaxed);
                CatalogError::Indeterminate(Box::new(failed))
            }
        })
    }
}

#[async_trait]
impl Catalog for SledCatalog {
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, ChangeError> {
        #[cfg(test)]
        if let Some(error) = self.next_failure.lock().unwrap().take() {
            return Err((*error).into());
        }
        self.record(move |trees| refused(trees.insert(&new))).await?
    }

    async fn change_draft(
        &self,
        id: DraftId,
        version: Option<u64>,
        change: Change,
    ) -> Result<Draft, ChangeError> {
        self.record(move |trees| refused(trees.change(id, version, &change))).await?
    }

    async fn delete_draft(&self, id: DraftId, version: Option<u64>) -> Result<(), ChangeError> {
        self.record(move |trees| refused(trees.delete(id, version))).await?
    }

    async fn drafts_of(
        &self,
        filter: DraftFilter,
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<Draft>, CatalogError> {
        self.read(move |trees| trees.drafts_of(filter, before, limit)).await
    }

    async fn drafts_with(
        &self,
        media: MediaId,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        self.read(move |trees| trees.drafts_with(media, after, limit)).await
    }

    async fn unreferenced_media(&self, before: Timestamp, limit: usize) -> Result<Vec<Media>, CatalogError> {
        self.read(move |trees| trees.unreferenced_media(before, limit)).await
    }

    async fn remove_media(&self, id: MediaId, before: Timestamp) -> Result<bool, CatalogError> {
        self.record(move |trees| trees.remove_media(id, before)).await
    }

    async fn begin_attempt(&self, id: AttemptId, since: Timestamp) -> Result<Begun, CatalogError> {
        // The claim comes first: a request that recorded its attempt releases its claim afterwards.
        let Some(claim) = self.claims.claim(id) else { return Ok(Begun::InWork) };
        let done = self.read(move |trees| trees.attempt(id, since)).await?;
        Ok(done.map_or(Begun::Claimed(claim), |attempt| Begun::Done(Box::new(attempt))))
    }

    async fn forget_attempts(&self, before: Timestamp, limit: usize) -> Result<usize, CatalogError> {
        self.record(move |trees| trees.forget_attempts(before, limit)).await
    }

    /// No other process can have the catalog open, so there is nothing to lock.
    async fn lock_keys(&self, _keys: &[MediaKey]) -> Result<Box<dyn KeyLock>, CatalogError> {
        Ok(Box::new(SoleProcess))
    }

    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        self.read(move |trees| trees.load(id)).await
    }

    async fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        self.read(move |trees| trees.media_of_source(source)).await
    }

    async fn media(&self, id: MediaId) -> Result<Option<Media>, CatalogError> {
        self.read(move |trees| trees.one_media(id)).await
    }

    async fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError> {
        let keys = keys.to_vec();
        self.read(move |trees| trees.without_row(&keys)).await
    }

    async fn media_page(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<Media>, CatalogError> {
        self.read(move |trees| trees.media_page(after, limit)).await
    }

    async fn media_by_key(
        &self,
        after: Option<MediaKey>,
        upto: Option<MediaKey>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        self.read(move |trees| trees.media_by_key(after, upto, limit)).await
    }

    async fn drafts_page(&self, after: Option<DraftId>, limit: usize) -> Result<Vec<DraftRow>, CatalogError> {
        self.read(move |trees| trees.drafts_page(after, limit)).await
    }

    async fn record_facts(&self, facts: &[(MediaId, PhotoFacts)]) -> Result<(), CatalogError> {
        let facts = facts.to_vec();
        self.record(move |trees| trees.record_facts(&facts)).await
    }

    async fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError> {
        self.read(move |trees| trees.sources_page(after, limit)).await
    }

    async fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError> {
        self.read(move |trees| trees.forget_source(source, media)).await
    }

    async fn created(&self) -> Result<SystemTime, CatalogError> {
        Ok(self.opened().await?.watermark.created())
    }

    async fn check(&self) -> Result<(), CatalogError> {
        self.check_undamaged()?;
        self.opened().await?;
        let (path, min_free) = (Arc::clone(&self.path), self.min_free);
        let check = move || {
            min_free.check(&path)?;
            disk::check_writable(&path)?;
            // If the data file was removed or made read-only, the next draft would fail or be lost.
            File::options().write(true).open(path.join(DB_FILE)).map(drop)
        };
        blocking(move || Ok(check()?)).await
    }
}

#[async_trait]
impl Outbox for SledCatalog {
    async fn take_due_events(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<DueEvent>, CatalogError> {
        let leases = self.leases.clone();
        let taken = self.read(move |trees| trees.take_due_events(&leases, now, lease, limit)).await?;
        if !taken.is_empty() {
            // The changes may be recorded and not durable: no event of a change that a crash undoes may be delivered.
            self.record(|_| Ok(((), Position::default()))).await?;
        }
        Ok(taken)
    }

    // A crash may restore a delivered event, which is then delivered twice.
    async fn finish_event(&self, row: &EventRow) -> Result<(), CatalogError> {
        let row = row.clone();
        let subject = row.event.what.subject();
        self.read(move |trees| trees.finish_event(&row, Timestamp::now())).await?;
        self.leases.release(subject);
        Ok(())
    }

    async fn postpone_event(
        &self,
        row: &EventRow,
        until: Timestamp,
        is_failure: bool,
    ) -> Result<(), CatalogError> {
        let row = row.clone();
        let subject = row.event.what.subject();
        self.read(move |trees| trees.postpone_event(&row, until, is_failure)).await?;
        self.leases.release(subject);
        Ok(())
    }

    async fn oldest_event(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.read(Trees::oldest_event).await
    }
}

#[async_trait]
impl Identities for SledCatalog {
    async fn user_of(&self, identity: &Identity) -> Result<Option<UserId>, CatalogError> {
        let identity = identity.clone();
        let user = self.read(move |trees| trees.user_of(&identity)).await?;
        // Callers remember it. A damaged catalog records nothing that a crash could undo.
        if user.is_some() && self.check_undamaged().is_ok() {
            self.record(|_| Ok(((), Position::default()))).await?;
        }
        Ok(user)
    }

    async fn user_for(&self, identity: &Identity) -> Result<UserId, CatalogError> {
        let identity = identity.clone();
        self.record(move |trees| trees.user_for(&identity)).await
    }
}

#[async_trait]
impl Uploads for SledCatalog {
    async fn create_upload(&self, row: UploadRow) -> Result<bool, CatalogError> {
        self.record(move |trees| trees.create_upload(&row)).await
    }

    async fn record_upload(
        &self,
        row: UploadRow,
        photo: NewPhoto,
    ) -> Result<Option<UploadRow>, CatalogError> {
        self.record(move |trees| trees.record_upload(&row, &photo)).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<UploadRow>, CatalogError> {
        self.read(move |trees| trees.upload(id)).await
    }

    async fn change_upload(
        &self,
        id: UploadId,
        writer: u64,
        change: UploadChange,
    ) -> Result<Option<UploadRow>, CatalogError> {
        if let UploadChange::Claim { .. } = change {
            // A crash that undoes it ends the writer, too.
            self.check_undamaged()?;
            return self.read(move |trees| Ok(trees.change_upload(id, writer, &change)?.0)).await;
        }
        self.record(move |trees| trees.change_upload(id, writer, &change)).await
    }

    async fn remove_upload(&self, id: UploadId, before: Option<Timestamp>) -> Result<bool, CatalogError> {
        self.record(move |trees| trees.remove_upload(id, before)).await
    }

    async fn expired_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadId>, CatalogError> {
        self.read(move |trees| trees.expired_uploads(before, limit)).await
    }

    async fn uploads_page(
        &self,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRow>, CatalogError> {
        self.read(move |trees| trees.uploads_page(after, limit)).await
    }
}

#[async_trait]
impl Restorable for SledCatalog {
    async fn state(&self) -> Result<State, CatalogError> {
        self.read(Trees::state).await
    }

    async fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError> {
        self.read(move |trees| trees.media_of_key(key)).await
    }

    async fn attempts_page(
        &self,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<AttemptRow>, CatalogError> {
        self.read(move |trees| trees.attempts_page(after, limit)).await
    }

    async fn events_page(&self, after: Option<u64>, limit: usize) -> Result<Vec<EventRow>, CatalogError> {
        self.read(move |trees| trees.events_page(after, limit)).await
    }

    async fn remove_events(&self, events: &[EventRow]) -> Result<u64, CatalogError> {
        let events = events.to_vec();
        self.record(move |trees| trees.remove_events(&events)).await
    }

    async fn check_indexes(&self, repair: bool) -> Result<Vec<IndexFault>, CatalogError> {
        if repair {
            self.record(|trees| Ok((trees.check_indexes(true)?, Position::default()))).await
        } else {
            self.read(|trees| trees.check_indexes(false)).await
        }
    }

    async fn erase(
        &self,
        user: UserId,
        attempts: &[AttemptId],
        media: &[MediaId],
    ) -> Result<Erased, CatalogError> {
        let (attempts, media) = (attempts.to_vec(), media.to_vec());
        self.record(move |trees| trees.erase(user, &attempts, &media)).await
    }

    /// Users have no rows, but those of identity providers have one of their subject.
    async fn remove_user(&self, user: UserId) -> Result<bool, CatalogError> {
        self.record(move |trees| trees.remove_user(user)).await
    }

    async fn identities_page(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<IdentityRow>, CatalogError> {
        self.read(move |trees| trees.identities_page(after, limit)).await
    }

    async fn restore(&self, step: Restore) -> Result<(), RestoreError> {
        let step = move |trees: &Trees| {
            Ok(match trees.restore(&step)? {
                Ok(position) => (Ok(()), position),
                Err(conflict) => (Err(conflict), Position::default()),
            })
        };
        let recorded = self.record(step).await?;
        recorded.map_err(|conflict| RestoreError::Conflict(conflict.0))
    }
}

/// What a recorded transaction returns, with its position.
type Recorded<T> = Result<(T, Position), CatalogError>;

/// Turns a refusal, which records nothing, into a result, and leaves failures of the catalog as errors.
fn refused<T>(outcome: Result<(T, Position), ChangeError>) -> Recorded<Result<T, ChangeError>> {
    match outcome {
        Ok((made, position)) => Ok((Ok(made), position)),
        Err(ChangeError::Catalog(error)) => Err(error),
        Err(refusal) => Ok((Err(refusal), Position::default())),
    }
}

/// The locks of a process that has the catalog for itself.
struct SoleProcess;

impl KeyLock for SoleProcess {
    fn is_valid(&self) -> bool {
        true
    }
}

/// Classifies an error of opening sled: in use by another process, damaged, or another problem, such as the disk or
/// its permissions. Damage causes many kinds of errors, because sled checks little of what it reads.
fn open_error(error: sled::Error, path: &Path) -> CatalogError {
    use sled::Error as E;
    match error {
        E::Io(_) if is_locked(path) => CatalogError::InUse,
        E::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            CatalogError::Corrupt("its files cannot be read".into())
        }
        error => error.into(),
    }
}

/// Returns true if another process holds sled's lock. sled does not distinguish this from other errors.
fn is_locked(path: &Path) -> bool {
    let tried = File::open(path.join(DB_FILE)).map(|file| file.try_lock());
    matches!(tried, Ok(Err(TryLockError::WouldBlock)))
}

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> Self {
        if disk::is_full(&error) { Self::Full(error) } else { Self::Unavailable(error.into()) }
    }
}

#[cfg(test)]
mod tests;
