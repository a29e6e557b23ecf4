use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream;

use super::*;
use crate::catalog::{Catalog, CatalogError, SledCatalog};
use crate::disk::FreeDisk;
use crate::media::LocalStore;
use crate::model::DraftId;

mod again;
mod quota;

struct Setup {
    ingest: Arc<Ingest>,
    catalog: Arc<SledCatalog>,
    dir: tempfile::TempDir,
}

async fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let free = FreeDisk::Bytes(0);
    let catalog = Arc::new(SledCatalog::open(&dir.path().join("db"), free).await.unwrap());
    let store = LocalStore::open(&dir.path().join("media"), free).unwrap();
    let scratch = Scratch { dir: store.scratch_dir().into(), min_free: free };
    let pool = Arc::new(Pool::start(2, 256 << 20, 8, Duration::from_secs(5)).unwrap());
    let publisher = Arc::new(Publisher::new(Arc::new(store), Arc::clone(&catalog) as _));
    let ingest =
        Ingest::new(Limits::for_tests(), Recipe::TEST, Budget::new(1 << 26), pool, publisher, scratch);
    Setup { ingest: Arc::new(ingest), catalog, dir }
}

impl Setup {
    async fn upload(&self, photos: &[Vec<u8>]) -> Result<Uploaded, IngestError> {
        upload_to(&self.ingest, photos).await
    }

    fn files(&self) -> usize {
        let media = self.dir.path().join("media");
        let count = |dir: &Path| {
            std::fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
        };
        count(&media) + count(&media.join(".staging"))
    }
}

fn new_draft() -> Upload {
    let caller = Caller::new([127, 0, 0, 1].into(), None);
    Upload { caller, target: Target::NewDraft, on_error: OnError::Fail, attempt: None }
}

async fn record<S>(ingest: &Arc<Ingest>, body: S) -> Result<Uploaded, IngestError>
where
    S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
{
    let upload = new_draft();
    let form = ingest.read(upload.caller.client, upload.on_error, body, "b").await?;
    ingest.record(upload, form).await
}

async fn upload_to(ingest: &Arc<Ingest>, photos: &[Vec<u8>]) -> Result<Uploaded, IngestError> {
    let mut body = Vec::new();
    for photo in photos {
        body.extend_from_slice(
            b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"x\"\r\n\r\n",
        );
        body.extend_from_slice(photo);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    record(ingest, stream::iter([Ok(Bytes::from(body))])).await
}

fn photo(shade: u8) -> Vec<u8> {
    let image = image::RgbImage::from_pixel(32, 24, image::Rgb([shade, 100, 200]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn full() -> CatalogError {
    CatalogError::Full(std::io::ErrorKind::StorageFull.into())
}

#[tokio::test]
async fn failed_commit_removes_its_new_photos_and_keeps_older_ones() {
    let setup = setup().await;
    let kept = setup.upload(&[photo(1)]).await.unwrap();
    setup.catalog.fail_next_draft(Some(full()));
    let failed = setup.upload(&[photo(1), photo(2), photo(3)]).await;
    assert!(matches!(failed, Err(IngestError::Full(_))), "{failed:?}");
    assert_eq!(setup.files(), 1, "the photo of the first draft stays");
    let again = setup.upload(&[photo(1), photo(2)]).await.unwrap();
    assert_eq!(again.draft.photos[0], kept.draft.photos[0]);
    assert_eq!(setup.files(), 2);
}

#[tokio::test]
async fn commit_of_unknown_outcome_keeps_its_photos_until_reconciled() {
    let setup = setup().await;
    setup.catalog.fail_next_draft(Some(CatalogError::Indeterminate(Box::new(full()))));
    let failed = setup.upload(&[photo(1)]).await;
    assert!(matches!(failed, Err(IngestError::Full(_))), "{failed:?}");
    assert_eq!(
        setup.files(),
        2,
        "the draft may be recorded after all: the photo stays, and so does the staged file that makes it pending"
    );
    assert_eq!(setup.ingest.publisher.reconcile().await.unwrap(), 1);
    assert_eq!(setup.files(), 0, "it was not");
}

#[tokio::test]
async fn pending_photo_that_another_draft_refers_to_stays() {
    let setup = setup().await;
    setup.catalog.fail_next_draft(Some(CatalogError::Indeterminate(Box::new(full()))));
    setup.upload(&[photo(1), photo(2)]).await.unwrap_err();
    let draft = setup.upload(&[photo(1)]).await.unwrap().draft;
    assert_eq!(setup.ingest.publisher.reconcile().await.unwrap(), 1);
    assert_eq!(setup.files(), 1);
    let photo = &draft.photos[0];
    assert_eq!(setup.ingest.publisher.store().length(photo.key).await.unwrap(), Some(photo.size_bytes));
}

#[tokio::test]
async fn refused_upload_leaves_nothing_staged() {
    let setup = setup().await;
    let bad = photo(9)[..60].to_vec();
    for _ in 0..20 {
        let refused = setup.upload(&[photo(1), photo(2), bad.clone(), photo(3)]).await;
        assert!(matches!(refused, Err(IngestError::Photo { index: 2, .. })), "{refused:?}");
        assert_eq!(setup.files(), 0);
        // A job that has begun cannot be cancelled; it gives its memory back when it ends, which it does.
        let held = || (setup.ingest.budget.sources.used(), setup.ingest.pool.lent());
        for _ in 0..500 {
            if held() == (0, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(held(), (0, 0));
    }
}

#[tokio::test]
async fn commit_whose_client_left_completes_and_drained_waits_for_it() {
    let setup = setup().await;
    let asked = Arc::new(AtomicBool::new(false));
    // As another upload of the same photo does: the commit begins and waits for the lock.
    let made = setup.upload(&[photo(1)]).await.unwrap();
    let guard = setup.ingest.publisher.lock_keys([made.photos[0].key]).await.unwrap();
    let client = tokio::spawn({
        let ingest = Arc::clone(&setup.ingest);
        let asked = Arc::clone(&asked);
        let body = [
            b"--b\r\nContent-Disposition: form-data; name=\"files\"\r\n\r\n".as_slice(),
            &photo(1),
            b"\r\n--b--",
        ]
        .concat();
        async move {
            let body = stream::once(async move {
                asked.store(true, Ordering::Relaxed);
                Ok(Bytes::from(body))
            });
            record(&ingest, body).await.map(|_| ())
        }
    });
    while setup.ingest.commits.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(asked.load(Ordering::Relaxed));
    client.abort();
    assert!(client.await.is_err());
    drop(guard);
    setup.ingest.drained().await;
    assert_eq!(setup.catalog.draft(DraftId(2)).await.unwrap().unwrap().photos, made.draft.photos);
}

/// Lines of a log, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn panicking_decoder_blames_the_photo_and_is_logged_and_counted() {
    let setup = setup().await;
    let pool = &setup.ingest.pool;
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _in_this_thread = tracing::subscriber::set_default(log);
    let label = photo::Label { index: 3, filename: Some("/home/me/x.jpg".into()) };
    let cost = crate::imaging::Cost { time: Duration::ZERO, memory: 0 };
    let done = pool.run(new_draft().caller.client, cost, |_| panic!("a decoder's bug")).await;
    let blamed = tracing::info_span!("request", request_id = "r-17")
        .in_scope(|| photo::encoded::<()>(done, "image/png", &label).unwrap_err());
    assert!(matches!(
        blamed,
        IngestError::Photo { index: 3, reason: PhotoError::Image(crate::imaging::ImageError::Corrupt), .. }
    ));
    assert_eq!(pool.panics(), 1);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("a decoder panicked")).unwrap();
    assert!(line.contains("ERROR") && line.contains("r-17") && !line.contains("/home"), "{line}");
    setup.upload(&[self::photo(1)]).await.unwrap();
}
