//! Passes over listings that are stale, cut off or interrupted, and leaders that cannot renew their lease. None of them removes
//! a photo that has a row, or one that is not garbage any more.

use std::collections::VecDeque;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::super::lead::LEASE;
use super::super::notes::{Notes, Pass};
use super::*;
use crate::catalog::{Holder, TaskLease};
use crate::media::{ListPage, MediaObject, Staging, Stored};

type Page = Result<ListPage, MediaError>;

/// A store whose lists a test makes up, as long as it has some left. All else is that of a directory.
struct Scripted {
    store: Arc<dyn MediaStore>,
    lists: Mutex<VecDeque<BoxStream<'static, Page>>>,
    /// The keys after which it was listed.
    listed: Mutex<Vec<Option<MediaKey>>>,
    /// Cancelled by the first removal.
    removed: CancellationToken,
}

#[async_trait]
impl MediaStore for Scripted {
    fn begin(&self) -> Box<dyn Staging> {
        self.store.begin()
    }

    async fn pending(&self) -> Result<Vec<MediaKey>, MediaError> {
        self.store.pending().await
    }

    async fn reconcile(&self, key: MediaKey, keep: bool) -> Result<(), MediaError> {
        self.store.reconcile(key, keep).await
    }

    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError> {
        self.store.remove(keys).await
    }

    async fn remove_older(&self, key: MediaKey, than: SystemTime) -> Result<Option<u64>, MediaError> {
        self.removed.cancel();
        self.store.remove_older(key, than).await
    }

    async fn quarantine(&self, key: MediaKey) -> Result<Option<String>, MediaError> {
        self.store.quarantine(key).await
    }

    fn list(&self) -> BoxStream<'static, Result<Vec<Stored>, MediaError>> {
        self.store.list()
    }

    fn list_by_key(&self, after: Option<MediaKey>) -> BoxStream<'static, Page> {
        self.listed.lock().unwrap().push(after);
        let scripted = self.lists.lock().unwrap().pop_front();
        scripted.unwrap_or_else(|| self.store.list_by_key(after))
    }

    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError> {
        self.store.open(key).await
    }

    async fn stat(&self, key: MediaKey) -> Result<Option<Stored>, MediaError> {
        self.store.stat(key).await
    }

    async fn check(&self) -> Result<(), MediaError> {
        self.store.check().await
    }
}

/// An instance with the catalog of `setup`, and with its store but for these lists.
fn with_lists(setup: &Setup, lists: Vec<BoxStream<'static, Page>>) -> (Arc<Maintenance>, Arc<Scripted>) {
    let Maintenance { rules, catalog, store, renditions, leases, .. } = &*setup.maintenance;
    let scripted = Arc::new(Scripted {
        store: Arc::clone(store),
        lists: Mutex::new(lists.into()),
        listed: Mutex::default(),
        removed: CancellationToken::new(),
    });
    let publisher = Arc::new(Publisher::new(Arc::clone(&scripted) as _, Arc::clone(catalog)));
    let (renditions, leases) = (Arc::clone(renditions), Arc::clone(leases));
    (Arc::new(Maintenance::new(*rules, publisher, renditions, leases, measuring())), scripted)
}

fn measuring() -> Measuring {
    let pool = Arc::new(Pool::start(1, 256 << 20, 64, Duration::from_secs(20)).unwrap());
    Measuring::new(pool, Recipe::TEST)
}

/// Returns all photos in the store, in order.
async fn stored(setup: &Setup) -> Vec<Stored> {
    let pages: Vec<ListPage> = setup.maintenance.store.list_by_key(None).try_collect().await.unwrap();
    pages.into_iter().flat_map(|page| page.photos).collect()
}

fn page(photos: &[Stored]) -> ListPage {
    let last = photos.last().map(|photo| photo.key);
    ListPage { photos: photos.to_vec(), last, ..ListPage::default() }
}

/// A list of one page with all of `photos`, and of a last one without any, before which `meanwhile` happens.
fn list_then(photos: &[Stored], meanwhile: BoxFuture<'static, ()>) -> BoxStream<'static, Page> {
    let (first, last) = (page(photos), ListPage { photos: Vec::new(), is_end: true, ..page(photos) });
    let last = async move {
        meanwhile.await;
        Ok(last)
    };
    stream::iter([Ok(first)]).chain(stream::once(last)).boxed()
}

/// Rows and files of `kept` photos with a row and of `garbage` photos without one.
async fn with_photos(kept: usize, garbage: usize) -> Setup {
    let setup = without_grace().await;
    for n in 0..kept {
        setup.publish_and_record(&format!("kept {n}")).await;
    }
    for n in 0..garbage {
        setup.publish(&format!("garbage {n}")).await;
    }
    setup
}

#[tokio::test]
async fn photo_that_the_scrub_quarantines_after_it_was_listed_stays_counted() {
    let setup = Arc::new(without_grace().await);
    let damaged = setup.publish_and_record("damaged").await;
    std::fs::write(setup.path(damaged), "damagEd").unwrap();
    let itself = Arc::new(std::sync::OnceLock::<Arc<Maintenance>>::new());
    let scrub = {
        let itself = Arc::clone(&itself);
        async move {
            let stop = CancellationToken::new();
            itself.get().unwrap().scrub(SystemTime::now(), &stop).await.unwrap();
        }
    };
    let list = list_then(&stored(&setup).await, scrub.boxed());
    let (maintenance, _) = with_lists(&setup, vec![list]);
    itself.set(Arc::clone(&maintenance)).ok().unwrap();
    for pass in 1..=2 {
        maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
        assert_eq!(maintenance.missing().await, 1, "after pass {pass}");
    }
    assert!(!setup.path(damaged).exists());
    setup.publish("damaged").await;
    maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(maintenance.missing().await, 0);
}

#[tokio::test]
async fn photo_that_an_upload_took_after_it_was_listed_as_garbage_stays() {
    let setup = Arc::new(with_photos(4, 1).await);
    let [recorded, published] = [setup.publish("recorded").await, setup.publish("published").await];
    let meanwhile = {
        let setup = Arc::clone(&setup);
        async move {
            setup.record("recorded").await;
            // Of an upload that is not recorded yet, on an instance whose locks were lost.
            setup.make_old(published, SystemTime::now() + DAY);
        }
    };
    let list = list_then(&stored(&setup).await, Box::pin(meanwhile));
    let (maintenance, _) = with_lists(&setup, vec![list]);
    let collected = maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(collected.files, 1, "that of the garbage");
    assert!(setup.path(recorded).exists() && setup.path(published).exists());
    assert_eq!(maintenance.figures().missing, 0);
}

#[tokio::test]
async fn list_of_an_earlier_time_loses_no_photo_and_misses_none() {
    let setup = with_photos(6, 0).await;
    let mut photos = stored(&setup).await;
    // Photos that are there are not listed, and one is listed that is gone with its row.
    let (gone, listed) = (photos[1], [photos[0], photos[1], photos[4]]);
    photos.remove(1);
    let media = setup.maintenance.catalog.media_page(None, 9).await.unwrap();
    let row = media.iter().find(|media| media.key == gone.key).unwrap();
    let drafts = setup.maintenance.catalog.drafts_with(row.id, None, 9).await.unwrap();
    setup.maintenance.catalog.delete_draft(drafts[0], None).await.unwrap();
    let stop = CancellationToken::new();
    let is_removed = async || setup.maintenance.remove_unreferenced(&stop).await.unwrap() == 1;
    eventually("the photo of no draft is removed", is_removed).await;
    let (maintenance, _) = with_lists(&setup, vec![list_then(&listed, Box::pin(async {}))]);
    let collected = maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(collected, Collected::default());
    assert_eq!(maintenance.figures().missing, 0);
    assert_eq!(stored(&setup).await, photos);
}

/// A list that fails, and one that only ends, are continued after a pause. Nothing is removed and nothing settled before the end.
#[tokio::test]
async fn list_that_breaks_off_is_not_taken_for_the_whole_store() {
    for is_error in [true, false] {
        let setup = Arc::new(with_photos(10, 6).await);
        let photos = stored(&setup).await;
        let half = page(&photos[..8]);
        let after = half.last;
        let broken = is_error.then(|| Err(MediaError::Unavailable("a test".into())));
        let list = stream::iter([Ok(half)]).chain(stream::iter(broken)).boxed();
        let rest = page(&photos[8..]);
        let rest = {
            let (setup, photos) = (Arc::clone(&setup), photos.clone());
            stream::once(async move {
                assert!(photos.iter().all(|photo| setup.path(photo.key).exists()), "nothing is removed yet");
                Ok(ListPage { is_end: true, ..rest })
            })
        };
        let (maintenance, scripted) = with_lists(&setup, vec![list, rest.boxed()]);
        // The pause after a failure takes no time.
        tokio::time::pause();
        let begun = Instant::now();
        let collected = maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(60));
        tokio::time::resume();
        assert_eq!(*scripted.listed.lock().unwrap(), [None, after]);
        assert_eq!((collected.files, maintenance.figures().missing), (6, 0));
        assert_eq!(stored(&setup).await.len(), 10);
    }
}

#[tokio::test]
async fn pass_whose_lease_is_lost_removes_nothing_more() {
    let setup = with_photos(10, 6).await;
    let photos = stored(&setup).await;
    let stop = CancellationToken::new();
    let lost = stop.clone();
    let list = list_then(&photos, Box::pin(async move { lost.cancel() }));
    let (maintenance, _) = with_lists(&setup, vec![list]);
    assert_eq!(maintenance.compare(&stop).await.unwrap(), None);
    assert_eq!(stored(&setup).await, photos);
    assert!(maintenance.current_notes().pass.is_some(), "the next leader continues");
    // Between two removals, too.
    let (maintenance, scripted) = with_lists(&setup, Vec::new());
    assert_eq!(maintenance.compare(&scripted.removed).await.unwrap(), None);
    assert_eq!(stored(&setup).await.len(), photos.len() - 1);
    assert_eq!(maintenance.figures().collected, 1);
}

/// As after `S3_BUCKET` was changed to that of another catalog in the middle of a pass.
#[tokio::test]
async fn pass_that_continues_in_a_store_of_another_catalog_removes_nothing() {
    let setup = with_photos(0, 20).await;
    let photos = stored(&setup).await;
    let pass = Pass { after: Some(photos[9].key), known: 1_000_000, ..Pass::default() };
    setup.maintenance.with_notes(|notes| notes.pass = Some(pass));
    assert_eq!(setup.collect().await, Collected { left: 10, ..Collected::default() });
    assert_eq!(stored(&setup).await, photos);
}

/// A catalog that gives a lease once and then fails, or does not answer.
struct Broken {
    is_silent: bool,
}

#[async_trait]
impl TaskLeases for Broken {
    async fn take_lease(&self, _: Holder<'_>, _: Duration) -> Result<Option<String>, CatalogError> {
        Ok(Some(String::new()))
    }

    async fn renew_lease(&self, _: Holder<'_>, _: Duration, _: &str) -> Result<bool, CatalogError> {
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        Err(CatalogError::Unavailable("a test".into()))
    }

    async fn task_lease(&self, _: &str) -> Result<Option<TaskLease>, CatalogError> {
        Ok(None)
    }
}

#[tokio::test]
async fn leader_that_cannot_renew_its_lease_stops_before_another_one_has_it() {
    for is_silent in [true, false] {
        // No photos: time that is paused jumps while another thread works on one.
        let setup = without_grace().await;
        let Maintenance { rules, publisher, renditions, .. } = &*setup.maintenance;
        let (publisher, renditions) = (Arc::clone(publisher), Arc::clone(renditions));
        let leases = Arc::new(Broken { is_silent });
        let maintenance = Maintenance::new(*rules, publisher, renditions, leases, measuring());
        // A minute takes no time.
        tokio::time::pause();
        let (begun, stop) = (Instant::now(), CancellationToken::new());
        maintenance.try_to_lead(&stop).await.unwrap();
        let led = begun.elapsed();
        tokio::time::resume();
        assert!(led >= LEASE && led < LEASE + Duration::from_secs(1), "{led:?}");
        assert!(!maintenance.figures().leads && !stop.is_cancelled());
    }
}

#[tokio::test]
async fn instance_that_does_not_lead_shows_how_far_the_scrub_of_the_leader_is() {
    let setup = with_photos(1, 0).await;
    let Maintenance { holder, leases, .. } = &*setup.maintenance;
    let hour = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 3600;
    let notes = Notes { scrubbed_hour: hour - 5, ..Notes::default() };
    assert!(leases.take_lease(Holder::new("maintenance", holder ^ 1), LEASE).await.unwrap().is_some());
    assert!(leases.renew_lease(Holder::new("maintenance", holder ^ 1), LEASE, &notes.text()).await.unwrap());
    setup.maintenance.try_to_lead(&CancellationToken::new()).await.unwrap();
    // The hour may have changed meanwhile.
    assert!((5..=6).contains(&setup.maintenance.figures().scrub_behind));
}
