use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use image::ImageEncoder;

use self::cluster::Cluster;
use super::collect::Collected;
use super::*;
use crate::budget::Budget;
use crate::catalog::{Change, NewDraft, NewPhoto, PostgresCatalog, Restorable, Schema, SledCatalog};
use crate::disk::{FreeDisk, Scratch};
use crate::imaging::{Pool, Recipe};
use crate::ingest::{Ingest, Limits, OnError, Target, Upload};
use crate::media::LocalStore;
use crate::model::{Caller, Draft, Media, MediaKey, SourceId};

#[path = "../../tests/cluster/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the tests of PostgreSQL have it, too")]
mod cluster;

mod leases;
mod listings;

const DAY: Duration = Duration::from_secs(86_400);

struct Setup {
    maintenance: Arc<Maintenance>,
    dir: tempfile::TempDir,
}

/// Waits up to a minute until `condition` is true.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn setup() -> Setup {
    setup_in(tempfile::tempdir().unwrap(), DAY).await
}

/// Photos are garbage without a grace time, as no test can wait until they are old and younger than the catalog.
async fn without_grace() -> Setup {
    let setup = setup_in(tempfile::tempdir().unwrap(), Duration::ZERO).await;
    // The clock of files is coarser than ours.
    let (opened, probe) = (SystemTime::now(), setup.dir.path().join("probe"));
    let is_later = || {
        std::fs::write(&probe, "").unwrap();
        probe.metadata().unwrap().modified().unwrap() > opened
    };
    eventually("the clock of files must advance", async || is_later()).await;
    std::fs::remove_file(&probe).unwrap();
    setup
}

async fn setup_in(dir: tempfile::TempDir, grace: Duration) -> Setup {
    let free = FreeDisk::Bytes(0);
    let catalog = Arc::new(SledCatalog::open(&dir.path().join("db"), free).await.unwrap());
    let store = Arc::new(LocalStore::open(&dir.path().join("media"), free).unwrap());
    let publisher = Arc::new(Publisher::new(Arc::clone(&store) as _, Arc::clone(&catalog) as _));
    let rules = Rules {
        collects: true,
        grace,
        pause: Duration::ZERO,
        scrub_hours: 1,
        draft_ttl: None,
        attempt_lifetime: Duration::from_secs(86_400),
        requests_per_hour: 0,
    };
    let pool = Arc::new(Pool::start(1, 256 << 20, 64, Duration::from_secs(20)).unwrap());
    let measuring = Measuring::new(pool, Recipe::TEST);
    Setup { maintenance: Arc::new(Maintenance::new(rules, publisher, store, catalog, measuring)), dir }
}

impl Setup {
    /// A photo in the store, to which nothing refers.
    async fn publish(&self, name: &str) -> MediaKey {
        self.publish_bytes(Bytes::copy_from_slice(name.as_bytes())).await
    }

    async fn publish_bytes(&self, bytes: Bytes) -> MediaKey {
        let staging = self.maintenance.store.begin();
        let key = staging.stage(bytes).await.unwrap();
        staging.publish().await.unwrap().commit().await;
        key
    }

    /// A draft that refers to it.
    async fn record(&self, name: &str) -> Media {
        self.record_photo(MediaKey::of(name.as_bytes()), name.len() as u64).await
    }

    /// A draft that refers to a photo that was never measured.
    async fn record_photo(&self, key: MediaKey, size_bytes: u64) -> Media {
        let source = SourceId::from_digest(*key.as_bytes());
        let photo = NewPhoto { key, width: 1, height: 1, size_bytes, source, facts: None };
        let new = NewDraft { photos: vec![photo], ..NewDraft::default() };
        self.maintenance.catalog.create_draft(new).await.unwrap().photos.remove(0)
    }

    async fn publish_and_record(&self, name: &str) -> MediaKey {
        let key = self.publish(name).await;
        self.record(name).await;
        key
    }

    fn path(&self, key: MediaKey) -> PathBuf {
        self.dir.path().join(format!("media/{key}.jpg"))
    }

    /// Lets a photo be as old as if it had been published then.
    fn make_old(&self, key: MediaKey, modified: SystemTime) {
        std::fs::File::open(self.path(key)).unwrap().set_modified(modified).unwrap();
    }

    async fn collect(&self) -> Collected {
        self.maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn unreferenced_photo_is_removed_after_its_grace_time() {
    let setup = without_grace().await;
    let [kept, old, young] =
        [setup.publish_and_record("kept").await, setup.publish("old").await, setup.publish("young").await];
    let foreign = setup.dir.path().join("media/README");
    std::fs::write(&foreign, "mine").unwrap();
    setup.make_old(kept, SystemTime::now() - 2 * DAY);
    setup.make_old(young, SystemTime::now() + DAY);
    assert_eq!(setup.collect().await, Collected { files: 1, bytes: 3, left: 0 });
    assert!(setup.path(kept).exists() && setup.path(young).exists() && foreign.exists());
    assert!(!setup.path(old).exists());
    let figures = setup.maintenance.figures();
    assert_eq!((figures.collected, figures.collected_bytes, figures.left), (1, 3, 0));
    assert!(figures.last_run > 1_000_000_000);
    assert_eq!(setup.collect().await, Collected::default());
}

#[tokio::test]
async fn photos_older_than_the_catalog_are_not_removed() {
    let setup = setup().await;
    setup.publish_and_record("kept").await;
    let old = setup.publish("of an earlier catalog").await;
    setup.make_old(old, SystemTime::now() - 2 * DAY);
    assert_eq!(setup.collect().await, Collected { files: 0, bytes: 0, left: 1 });
    assert!(setup.path(old).exists());
    assert_eq!(setup.maintenance.figures().left, 1);
}

#[tokio::test]
async fn nothing_is_removed_if_most_photos_are_unknown() {
    let setup = without_grace().await;
    setup.publish_and_record("kept").await;
    for name in ["copied", "here with", "new dates"] {
        setup.publish(name).await;
    }
    assert_eq!(setup.collect().await, Collected { files: 0, bytes: 0, left: 3 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photo_uploaded_during_a_collection_is_stored_in_the_end() {
    let setup = Arc::new(without_grace().await);
    for n in 0..20 {
        setup.publish_and_record(&format!("kept {n}")).await;
    }
    for n in 0..50 {
        let name = format!("photo {n}");
        let key = setup.publish(&name).await;
        let upload = tokio::spawn({
            let (setup, name) = (Arc::clone(&setup), name.clone());
            async move {
                // As a commit does it.
                let bytes = Bytes::copy_from_slice(name.as_bytes());
                let staging = setup.maintenance.store.begin();
                let key = staging.stage(bytes).await.unwrap();
                let _guard = setup.maintenance.publisher.lock_keys([key]).await.unwrap();
                let published = staging.publish().await.unwrap();
                setup.record(&name).await;
                published.commit().await;
            }
        });
        setup.collect().await;
        upload.await.unwrap();
        assert!(setup.path(key).exists(), "{n}");
    }
}

#[tokio::test]
async fn photos_that_a_crash_left_pending_stay_only_if_the_catalog_knows_them_or_is_younger() {
    let setup = setup().await;
    let store = &setup.maintenance.store;
    let staging = store.begin();
    for name in ["recorded", "not recorded", "of another catalog"] {
        staging.stage(Bytes::copy_from_slice(name.as_bytes())).await.unwrap();
    }
    drop(staging.publish().await.unwrap());
    drop(staging);
    let staged = format!("media/.staging/{}.crash.jpg", MediaKey::of(b"not published"));
    std::fs::write(setup.dir.path().join(staged), b"not published").unwrap();
    setup.record("recorded").await;
    let keys = ["recorded", "not recorded", "of another catalog"].map(|name| MediaKey::of(name.as_bytes()));
    setup.make_old(keys[2], SystemTime::now() - DAY);
    let Setup { maintenance, dir } = setup;
    drop(maintenance);
    let file = std::fs::File::open(dir.path().join("db/db")).unwrap();
    eventually("the catalog must be closed", async || file.try_lock().is_ok()).await;
    drop(file);
    let setup = setup_in(dir, DAY).await;
    assert_eq!(setup.maintenance.publisher.reconcile_crashed().await.unwrap(), 4);
    assert_eq!(keys.map(|key| setup.path(key).exists()), [true, false, true]);
    assert_eq!(std::fs::read_dir(setup.dir.path().join("media/.staging")).unwrap().count(), 0);
    assert_eq!(setup.maintenance.publisher.reconcile_crashed().await.unwrap(), 0);
}

/// Returns a JPEG that is `shade` all over.
fn flat_jpeg(shade: u8) -> Bytes {
    let mut file = Vec::new();
    let pixels = [shade; 48 * 32];
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut file);
    encoder.write_image(&pixels, 48, 32, image::ExtendedColorType::L8).unwrap();
    file.into()
}

#[tokio::test]
async fn photos_without_facts_are_measured_and_lost_and_damaged_ones_are_skipped() {
    let setup = setup().await;
    let mut photos = Vec::new();
    for shade in 0..40 {
        let file = flat_jpeg(3 * shade);
        let key = setup.publish_bytes(file.clone()).await;
        photos.push(setup.record_photo(key, file.len() as u64).await);
    }
    let no_photo = setup.publish_and_record("not a photo").await;
    let lost = setup.publish_and_record("lost").await;
    std::fs::remove_file(setup.path(lost)).unwrap();
    let damaged = setup.publish_and_record("damaged").await;
    std::fs::write(setup.path(damaged), "demaged").unwrap();

    let (maintenance, stop) = (&setup.maintenance, CancellationToken::new());
    for _ in 0..2 {
        maintenance.measure(&stop).await.unwrap();
        assert_eq!(maintenance.figures().measured, 40, "each photo once");
    }
    for (photo, shade) in photos.iter().zip(0_u16..) {
        let facts = maintenance.catalog.media(photo.id).await.unwrap().unwrap().facts.unwrap();
        let is_dark = if shade < 2 { 10_000 } else { 0 };
        assert_eq!((facts.brightness, facts.dark, facts.light), (300 * shade, is_dark, 0));
        assert_eq!(facts.sharpness, 0);
    }
    let unknown = maintenance.catalog.media_page(Some(photos[39].id), 9).await.unwrap();
    let unknown: Vec<_> = unknown.iter().map(|media| (media.key, media.facts)).collect();
    assert_eq!(unknown, [(no_photo, None), (lost, None), (damaged, None)]);
    assert!(!setup.path(damaged).exists(), "it is in quarantine");
}

#[tokio::test]
async fn measuring_stops_at_once_and_is_off_where_nothing_may_be_changed() {
    let setup = setup().await;
    let file = flat_jpeg(9);
    let key = setup.publish_bytes(file.clone()).await;
    setup.record_photo(key, file.len() as u64).await;
    let stop = CancellationToken::new();
    stop.cancel();
    setup.maintenance.measure(&stop).await.unwrap();
    assert_eq!(setup.maintenance.figures().measured, 0);
    let Maintenance { rules, publisher, renditions, .. } = &*setup.maintenance;
    let rules = Rules { collects: false, ..*rules };
    let pool = Arc::new(Pool::start(1, 256 << 20, 64, Duration::from_secs(20)).unwrap());
    let measuring = Measuring::new(pool, Recipe::TEST);
    let idle = Maintenance::new(
        rules,
        Arc::clone(publisher),
        Arc::clone(renditions),
        Arc::clone(&setup.maintenance.leases),
        measuring,
    );
    idle.keep_measuring(&CancellationToken::new()).await;
    assert_eq!(idle.figures().measured, 0);
}

#[tokio::test]
async fn missing_photos_are_counted_until_they_are_back() {
    let setup = setup().await;
    let [whole, gone, short] = [
        setup.publish_and_record("whole").await,
        setup.publish_and_record("gone").await,
        setup.publish_and_record("short").await,
    ];
    std::fs::remove_file(setup.path(gone)).unwrap();
    std::fs::write(setup.path(short), "sho").unwrap();
    assert_eq!(setup.maintenance.missing().await, 0, "not searched yet");
    setup.maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(setup.maintenance.figures().missing, 2);
    setup.publish("gone").await;
    assert_eq!(setup.maintenance.missing().await, 1);
    setup.publish("short").await;
    eventually("no photo is missing", async || setup.maintenance.missing().await == 0).await;
    assert!(setup.path(whole).exists());
}

#[tokio::test]
async fn damaged_photo_is_quarantined_and_reported_until_it_is_replaced() {
    let setup = setup().await;
    let maintenance = &setup.maintenance;
    let [whole, damaged] =
        [setup.publish_and_record("whole").await, setup.publish_and_record("damaged").await];
    std::fs::write(setup.path(damaged), "damagEd").unwrap();
    maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(maintenance.figures().missing, 0, "no length tells");
    maintenance.scrub(SystemTime::now(), &CancellationToken::new()).await.unwrap();
    assert_eq!((maintenance.figures().missing, maintenance.figures().scrubbed), (1, 2));
    assert!(setup.path(whole).exists() && !setup.path(damaged).exists());
    let aside = setup.dir.path().join(format!("media/.quarantine/{damaged}.0.jpg"));
    assert_eq!(std::fs::read(aside).unwrap(), b"damagEd");
    maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(maintenance.missing().await, 1, "it counts once");
    setup.publish("damaged").await;
    eventually("no photo is missing", async || maintenance.missing().await == 0).await;
    maintenance.scrub(SystemTime::now(), &CancellationToken::new()).await.unwrap();
    assert_eq!(maintenance.figures().scrubbed, 2, "the photos of this hour are verified once");
}

/// As on a disk that turned read-only. The file in the place of the quarantine has the same effect.
#[tokio::test]
async fn damaged_photo_that_cannot_be_moved_is_withheld_until_it_is_replaced() {
    let setup = setup().await;
    let key = setup.publish_and_record("photo").await;
    std::fs::write(setup.dir.path().join("media/.quarantine"), "").unwrap();
    assert!(!setup.maintenance.withholds(key).await);
    std::fs::write(setup.path(key), "photO").unwrap();
    setup.maintenance.scrub(SystemTime::now(), &CancellationToken::new()).await.unwrap();
    assert!(setup.path(key).exists());
    assert!(setup.maintenance.withholds(key).await);
    setup.maintenance.compare(&CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(setup.maintenance.missing().await, 1);
    setup.publish("photo").await;
    assert!(!setup.maintenance.withholds(key).await);
    assert_eq!(setup.maintenance.missing().await, 0);
}

/// The scrub finds the damaged file just before the upload replaces it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photo_replaced_during_the_scrub_is_not_quarantined() {
    let setup = Arc::new(setup().await);
    let key = setup.publish_and_record("photo").await;
    for _ in 0..50 {
        std::fs::write(setup.path(key), "photO").unwrap();
        let upload = tokio::spawn({
            let setup = Arc::clone(&setup);
            async move {
                // As a commit does it.
                let staging = setup.maintenance.store.begin();
                staging.stage(Bytes::from_static(b"photo")).await.unwrap();
                let _guard = setup.maintenance.publisher.lock_keys([key]).await.unwrap();
                staging.publish().await.unwrap().commit().await;
            }
        });
        setup.maintenance.scrub.forget();
        setup.maintenance.scrub(SystemTime::now(), &CancellationToken::new()).await.unwrap();
        upload.await.unwrap();
        assert_eq!(std::fs::read(setup.path(key)).unwrap(), b"photo");
    }
}

#[tokio::test]
async fn sources_without_a_photo_are_forgotten() {
    let setup = setup().await;
    let [kept, gone] = [setup.publish_and_record("kept").await, setup.publish_and_record("gone").await];
    std::fs::remove_file(setup.path(gone)).unwrap();
    setup.collect().await;
    assert_eq!(setup.maintenance.forget_sources(&CancellationToken::new()).await.unwrap(), 1);
    let source = |key: MediaKey| SourceId::from_digest(*key.as_bytes());
    assert!(setup.maintenance.catalog.media_of_source(source(kept)).await.unwrap().is_some());
    assert!(setup.maintenance.catalog.media_of_source(source(gone)).await.unwrap().is_none());
}

#[tokio::test]
async fn cancelled_maintenance_stops() {
    let setup = setup().await;
    let stop = CancellationToken::new();
    let maintenance = Arc::clone(&setup.maintenance);
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { maintenance.run(stop).await }
    });
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}

/// Instances that share a store, each with its own catalog, image pool and maintenance without a grace time.
struct Instances {
    store: Arc<dyn MediaStore>,
    catalogs: Vec<Arc<dyn Catalog>>,
    ingests: Vec<Arc<Ingest>>,
    maintenances: Vec<Arc<Maintenance>>,
    _dir: tempfile::TempDir,
}

impl Instances {
    fn new(shared: Vec<Arc<dyn Restorable>>) -> Self {
        let (dir, free, second) = (tempfile::tempdir().unwrap(), FreeDisk::Bytes(0), Duration::from_secs(1));
        let local = LocalStore::open(&dir.path().join("media"), free).unwrap();
        let scratch = Scratch { dir: local.scratch_dir().into(), min_free: free };
        let store = Arc::new(local);
        let (mut ingests, mut maintenances) = (Vec::new(), Vec::new());
        for catalog in &shared {
            let publisher = Arc::new(Publisher::new(Arc::clone(&store) as _, Arc::clone(catalog) as _));
            let rules = Rules {
                collects: true,
                grace: Duration::ZERO,
                pause: Duration::ZERO,
                scrub_hours: 0,
                draft_ttl: None,
                attempt_lifetime: DAY,
                requests_per_hour: 0,
            };
            let pool = Arc::new(Pool::start(1, 256 << 20, 64, 20 * second).unwrap());
            maintenances.push(Arc::new(Maintenance::new(
                rules,
                Arc::clone(&publisher),
                Arc::clone(&store) as _,
                Arc::clone(catalog) as _,
                Measuring::new(Arc::clone(&pool), Recipe::TEST),
            )));
            let limits = Limits { memory_wait: 20 * second, ..Limits::for_tests() };
            let ingest =
                Ingest::new(limits, Recipe::TEST, Budget::new(1 << 26), pool, publisher, scratch.clone());
            ingests.push(Arc::new(ingest));
        }
        let catalogs = shared.into_iter().map(|catalog| catalog as _).collect();
        Self { store, catalogs, ingests, maintenances, _dir: dir }
    }

    /// Uploads the photos of these shades to one of the instances.
    async fn upload(&self, at: usize, shades: &[u8], target: Target) -> Draft {
        let mut body = Vec::new();
        for shade in shades {
            let image = image::RgbImage::from_pixel(8, 8, image::Rgb([*shade, 100, 200]));
            let mut png = std::io::Cursor::new(Vec::new());
            image.write_to(&mut png, image::ImageFormat::Png).unwrap();
            let head = "--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"x\"\r\n\r\n";
            body.extend([head.as_bytes(), png.get_ref(), b"\r\n"].concat());
        }
        body.extend_from_slice(b"--b--\r\n");
        let caller = Caller::new([127, 0, 0, 1].into(), None);
        let upload = Upload { caller, target, on_error: OnError::Fail, attempt: None };
        let body = futures_util::stream::iter([Ok(Bytes::from(body))]);
        let ingest = &self.ingests[at % self.ingests.len()];
        let form = ingest.read(upload.caller.client, upload.on_error, body, "b").await.unwrap();
        ingest.record(upload, form).await.unwrap().draft
    }

    async fn assert_photos_are_stored(&self, draft: &Draft) {
        for photo in &draft.photos {
            let length = self.store.length(photo.key).await.unwrap();
            assert_eq!(length, Some(photo.size_bytes), "a photo of the live draft {} is gone", draft.id);
        }
    }

    /// Makes drafts of the same few photos and deletes them, again and again until the deadline. Returns how many.
    async fn make_and_delete(self: Arc<Self>, mut at: usize, deadline: tokio::time::Instant) -> usize {
        let mut made = 0;
        while tokio::time::Instant::now() < deadline {
            at = at.wrapping_mul(31).wrapping_add(7);
            let shades = [at % 3, at / 3 % 3].map(|shade| u8::try_from(shade).unwrap());
            let mut draft = self.upload(at, &shades[..=at / 9 % 2], Target::NewDraft).await;
            self.assert_photos_are_stored(&draft).await;
            let catalog = &self.catalogs[at / 2 % self.catalogs.len()];
            if at.is_multiple_of(4) {
                draft = catalog.change_draft(draft.id, None, Change::RemovePhoto(0)).await.unwrap();
                let target = Target::Append { draft: draft.id, version: None };
                draft = self.upload(at / 5, &shades[..1], target).await;
            }
            tokio::time::sleep(Duration::from_millis(at as u64 % 4)).await;
            self.assert_photos_are_stored(&draft).await;
            catalog.delete_draft(draft.id, Some(draft.version)).await.unwrap();
            made += 1;
        }
        made
    }
}

/// Uploads, deletions, removals and collections of the same three photos race on all instances. `VINTEDBOT_RACE_SECONDS` is how long.
async fn assert_no_live_draft_loses_a_photo(catalogs: Vec<Arc<dyn Restorable>>) {
    let seconds = std::env::var("VINTEDBOT_RACE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let instances = Arc::new(Instances::new(catalogs));
    let stop = CancellationToken::new();
    let removers = instances.maintenances.iter().cloned().map(|maintenance| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut removed = 0;
            while !stop.is_cancelled() {
                removed += maintenance.remove_unreferenced(&stop).await.unwrap();
                // On all instances at the same time: those of earlier versions know no lease.
                maintenance.compare(&stop).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            removed
        })
    });
    let removers: Vec<_> = removers.collect();
    let clients = (0..6).map(|client| tokio::spawn(Arc::clone(&instances).make_and_delete(client, deadline)));
    let (mut made, mut removed) = (0, 0);
    for client in clients.collect::<Vec<_>>() {
        made += client.await.unwrap();
    }
    stop.cancel();
    for remover in removers {
        removed += remover.await.unwrap();
    }
    println!("{made} drafts made and deleted, {removed} photos removed at the same time");
    assert!(made > 20 && removed > 0, "{made} {removed}");
    instances.maintenances[0].remove_unreferenced(&CancellationToken::new()).await.unwrap();
    assert_eq!(instances.catalogs[0].media_page(None, 9).await.unwrap(), []);
    for shade in 0..3 {
        let draft = instances.upload(0, &[shade], Target::NewDraft).await;
        instances.assert_photos_are_stored(&draft).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photo_of_a_live_draft_is_stored_while_equal_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(&dir.path().join("db"), FreeDisk::Bytes(0)).await.unwrap();
    assert_no_live_draft_loses_a_photo(vec![Arc::new(catalog)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photo_of_a_live_draft_is_stored_while_other_instances_remove_equal_ones() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await.parse().unwrap();
    let mut catalogs: Vec<Arc<dyn Restorable>> = Vec::new();
    for _ in 0..2 {
        catalogs.push(Arc::new(PostgresCatalog::open(&url, 8, Schema::Migrate).await.unwrap()));
    }
    assert_no_live_draft_loses_a_photo(catalogs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_without_a_draft_stay_while_a_backup_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open(&dir.path().join("db"), FreeDisk::Bytes(0)).await.unwrap();
    let instances = Instances::new(vec![Arc::new(catalog)]);
    let draft = instances.upload(0, &[1], Target::NewDraft).await;
    instances.catalogs[0].delete_draft(draft.id, None).await.unwrap();
    let maintenance = &instances.maintenances[0];
    let hold = maintenance.publisher.hold_removals();
    assert_eq!(maintenance.remove_unreferenced(&CancellationToken::new()).await.unwrap(), 0);
    instances.assert_photos_are_stored(&draft).await;
    drop(hold);
    assert_eq!(maintenance.remove_unreferenced(&CancellationToken::new()).await.unwrap(), 1);
}

/// Ends the connection that holds the lock of a photo's key just before the photo's row is removed.
const LOSE_THE_LOCK: &str = "
    CREATE FUNCTION lose_the_lock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        PERFORM pg_sleep(0.3);
        RETURN OLD;
    END $$;
    CREATE TRIGGER lose_the_lock BEFORE DELETE ON media FOR EACH ROW EXECUTE FUNCTION lose_the_lock()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_whose_lock_was_lost_is_not_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = PostgresCatalog::open(&url.parse().unwrap(), 8, Schema::Migrate).await.unwrap();
    let instances = Instances::new(vec![Arc::new(catalog)]);
    let draft = instances.upload(0, &[1], Target::NewDraft).await;
    cluster.client(&url).await.batch_execute(LOSE_THE_LOCK).await.unwrap();
    instances.catalogs[0].delete_draft(draft.id, None).await.unwrap();
    assert_eq!(instances.maintenances[0].remove_unreferenced(&CancellationToken::new()).await.unwrap(), 1);
    assert_eq!(instances.catalogs[0].media_page(None, 9).await.unwrap(), []);
    instances.assert_photos_are_stored(&draft).await;
}
