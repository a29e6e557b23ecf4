use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::bucket::{self, ACCESS_KEY, BUCKET, Line, SECRET_KEY};
use crate::disk::FreeDisk;
use crate::media::MediaStore;
use crate::media::s3::{S3Keys, S3Settings};
use crate::model::MediaKey;
use crate::partial::conformance::{self, Row};

struct Setup {
    photos: BucketStore,
    store: BucketPartialStore,
    server: bucket::Bucket,
    scratch: tempfile::TempDir,
}

async fn setup() -> Setup {
    let (server, scratch) = (bucket::Bucket::start(), tempfile::tempdir().unwrap());
    let settings = S3Settings {
        bucket: BUCKET.to_owned(),
        endpoint: Some(server.endpoint()),
        region: None,
        keys: Some(S3Keys::new(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
        presigned_for: Duration::ZERO,
    };
    let connection = settings.connect().unwrap();
    let photos = BucketStore::open(connection, scratch.path(), FreeDisk::Bytes(0)).await.unwrap();
    let store = BucketPartialStore::new(&photos);
    Setup { photos, store, server, scratch }
}

impl Setup {
    /// Returns the names of the objects of an upload.
    fn objects(&self, id: UploadId) -> Vec<String> {
        let paths = self.server.objects(&format!("uploads/{id}"));
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn object(&self, id: UploadId, name: &str) -> PathBuf {
        self.server.dir().join(BUCKET).join(format!("uploads/{id}/{name}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let setup = setup().await;
    conformance::run(&setup.store).await;
    assert_eq!(std::fs::read_dir(setup.scratch.path()).unwrap().count(), 0, "these files have no names");
}

fn at(epoch: u64, offset: u64) -> Resumption {
    Resumption { epoch, offset }
}

#[tokio::test]
async fn late_pieces_of_a_writer_without_the_claim_are_not_read() {
    let setup = setup().await;
    let store = &setup.store;
    let mut row = Row::new();
    let mut first = row.append(store, 0).await.unwrap();
    first.write(Bytes::from_static(b"acknowledged ")).await.unwrap();
    assert_eq!(first.sync().await.unwrap(), 13);
    // The first writer, in another process, does not know yet that it lost its claim.
    let mut second = row.append(store, 13).await.unwrap();
    first.write(Bytes::from_static(b"late and longer")).await.unwrap();
    assert_eq!(first.sync().await.unwrap(), 28);
    second.write(Bytes::from_static(b"valid")).await.unwrap();
    assert_eq!(second.sync().await.unwrap(), 18);
    first.write(Bytes::from_static(b"later")).await.unwrap();
    assert_eq!(first.sync().await.unwrap(), 33);
    assert_eq!(row.read(store, 0, 18).await.unwrap(), b"acknowledged valid");
    assert!(matches!(row.read(store, 0, 33).await, Err(PartialError::Missing)));
    assert_eq!(setup.objects(row.id).len(), 4);
    store.remove(row.id, 2).await.unwrap();
    assert_eq!(setup.objects(row.id), [] as [&str; 0]);
}

#[tokio::test]
async fn removal_leaves_the_bytes_of_later_writers() {
    let setup = setup().await;
    let store = &setup.store;
    let (mut old, id) = (Row::new(), UploadId::random());
    old.id = id;
    assert_eq!(old.add(store, 0, b"of the upload that is removed").await, 29);
    // It begins again with a larger epoch, while another process still removes the bytes of the old one.
    let layout = store.layout("", at(1_000, 0));
    let mut writer = store.append(id, &layout, at(1_000, 0)).await.unwrap();
    writer.write(Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(writer.sync().await.unwrap(), 3);
    assert_eq!(store.newest(id).await.unwrap(), 1_000);
    store.remove(id, 999).await.unwrap();
    assert_eq!(setup.objects(id), ["00000000000000000000-1000"]);
    let new: Vec<Bytes> = store.read(id, &layout, 0..3).await.unwrap().try_collect().await.unwrap();
    assert_eq!(new.concat(), b"new");
    store.remove(id, 1_000).await.unwrap();
    assert_eq!(setup.objects(id), [] as [&str; 0]);
}

#[tokio::test]
async fn bytes_wait_outside_memory_and_become_pieces_of_a_mebibyte() {
    let setup = setup().await;
    let mut row = Row::new();
    let mut writer = row.append(&setup.store, 0).await.unwrap();
    for _ in 0..25 {
        writer.write(Bytes::from(vec![7; 100_000])).await.unwrap();
    }
    let whole = ["00000000000000000000-1", "00000000000001048576-1"];
    assert_eq!(setup.objects(row.id), whole);
    assert_eq!(writer.sync().await.unwrap(), 2_500_000);
    assert_eq!(setup.objects(row.id), [whole[0], whole[1], "00000000000002097152-1"]);
    assert!(std::mem::size_of::<PieceWriter>() < 512);
}

#[tokio::test]
async fn lost_and_changed_objects_are_missing() {
    let setup = setup().await;
    let mut row = Row::new();
    for (offset, bytes) in [(0, b"aaa"), (3, b"bbb"), (6, b"ccc")] {
        row.add(&setup.store, offset, bytes).await;
    }
    assert_eq!(row.layout, "1:0,2:3,3:6");
    let middle = setup.object(row.id, "00000000000000000003-2");
    std::fs::write(&middle, "b").unwrap();
    assert!(matches!(row.read(&setup.store, 0, 9).await, Err(PartialError::Missing)));
    // Between the answer that lists the object and the one with its bytes.
    std::fs::write(&middle, "bbb").unwrap();
    let pieces = setup.store.read(row.id, &row.layout, 0..9).await.unwrap();
    std::fs::remove_file(&middle).unwrap();
    assert!(matches!(pieces.try_collect::<Vec<_>>().await, Err(PartialError::Missing)));
    assert!(matches!(row.read(&setup.store, 0, 9).await, Err(PartialError::Missing)));
    assert_eq!(row.read(&setup.store, 6, 9).await.unwrap(), b"ccc");
}

#[tokio::test]
async fn layout_of_another_writer_or_with_too_many_segments_is_refused() {
    let setup = setup().await;
    let id = UploadId::random();
    for (layout, epoch, offset) in [("", 1, 0), ("1:0", 2, 0), ("1:0,2:5", 1, 0), ("nonsense", 1, 0)] {
        let refused = setup.store.append(id, layout, at(epoch, offset)).await.map(drop);
        assert!(matches!(refused, Err(PartialError::Io(_))), "{layout}");
    }
    assert_eq!(setup.store.layout("nonsense", at(2, 0)), "nonsense");
    let mut layout = Layout::default();
    for n in 0..256 {
        layout.continue_at(at(n + 1, n));
    }
    setup.store.append(id, &layout.to_string(), at(256, 255)).await.map(drop).unwrap();
    let longer = setup.store.layout(&layout.to_string(), at(257, 256));
    let refused = setup.store.append(id, &longer, at(257, 256)).await.map(drop);
    assert!(matches!(refused, Err(PartialError::TooManyResumptions)));
    // Trying again does not make it longer.
    let again = setup.store.layout(&longer, at(258, 256));
    assert_eq!(again.len(), longer.len());
}

#[tokio::test]
async fn service_that_refuses_connections_is_unavailable_and_breaks_the_writer() {
    let setup = setup().await;
    let mut row = Row::new();
    let mut writer = row.append(&setup.store, 0).await.unwrap();
    writer.write(Bytes::from_static(b"lost")).await.unwrap();
    setup.server.switch(Line::Refusing);
    assert!(matches!(writer.sync().await, Err(PartialError::Unavailable(_))));
    assert!(matches!(row.read(&setup.store, 0, 4).await, Err(PartialError::Unavailable(_))));
    assert!(matches!(setup.store.page(None, 1).await, Err(PartialError::Unavailable(_))));
    setup.server.switch(Line::Open);
    assert!(matches!(writer.sync().await, Err(PartialError::Io(_))), "the caller opens it again");
    assert!(matches!(writer.write(Bytes::new()).await, Err(PartialError::Io(_))));
    assert_eq!(row.add(&setup.store, 0, b"kept").await, 4);
    assert_eq!(row.read(&setup.store, 0, 4).await.unwrap(), b"kept");
}

#[tokio::test]
async fn remove_and_read_span_several_answers_of_the_service() {
    let setup = setup().await;
    let mut row = Row::new();
    assert_eq!(row.add(&setup.store, 0, b"x").await, 1);
    let first = setup.object(row.id, "00000000000000000000-1");
    for n in 1..2_500 {
        std::fs::hard_link(&first, setup.object(row.id, &format!("{n:020}-1"))).unwrap();
    }
    assert_eq!(row.read(&setup.store, 900, 1_100).await.unwrap(), [b'x'; 200]);
    setup.store.remove(row.id, 1).await.unwrap();
    assert_eq!(setup.objects(row.id), [] as [&str; 0]);
}

#[tokio::test]
async fn photos_and_uploads_do_not_see_each_other() {
    let setup = setup().await;
    let mut row = Row::new();
    row.add(&setup.store, 0, b"half a photo").await;
    let staging = setup.photos.begin();
    let key = staging.stage(Bytes::from_static(b"photo")).await.unwrap();
    staging.publish().await.unwrap().commit().await;
    let photos = setup.photos.list().try_concat().await.unwrap();
    assert_eq!(photos.iter().map(|photo| photo.key).collect::<Vec<MediaKey>>(), [key]);
    assert_eq!(setup.store.page(None, 10).await.unwrap(), [row.id]);
}
