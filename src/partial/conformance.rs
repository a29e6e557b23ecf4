//! What every store of unfinished uploads must do. Runs against an empty store and leaves it empty.

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{PartialError, PartialStore, PartialWriter, Resumption};
use crate::model::UploadId;

/// What the catalog knows of an upload.
pub(super) struct Row {
    pub(super) id: UploadId,
    pub(super) layout: String,
    epoch: u64,
}

impl Row {
    pub(super) fn new() -> Self {
        Self { id: UploadId::random(), layout: String::new(), epoch: 0 }
    }

    /// Claims the upload for a new writer at an acknowledged offset.
    pub(super) async fn append(
        &mut self,
        store: &dyn PartialStore,
        offset: u64,
    ) -> Result<Box<dyn PartialWriter>, PartialError> {
        self.epoch += 1;
        let at = Resumption { epoch: self.epoch, offset };
        self.layout = store.layout(&self.layout, at);
        store.append(self.id, &self.layout, at).await
    }

    /// Appends bytes with a writer of its own.
    pub(super) async fn add(&mut self, store: &dyn PartialStore, offset: u64, bytes: &'static [u8]) -> u64 {
        let mut writer = self.append(store, offset).await.unwrap();
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        writer.sync().await.unwrap()
    }

    pub(super) async fn read(
        &self,
        store: &dyn PartialStore,
        from: u64,
        to: u64,
    ) -> Result<Vec<u8>, PartialError> {
        let pieces = store.read(self.id, &self.layout, from..to).await?;
        let pieces: Vec<Bytes> = pieces.try_collect().await?;
        assert!(pieces.iter().all(|piece| piece.len() <= 1 << 20), "pieces are small");
        Ok(pieces.concat())
    }
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn bytes(&mut self, length: u64) -> Bytes {
        let first = self.below(1 << 20);
        (first..first + length)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes().into_iter().take(1))
            .collect()
    }
}

pub(super) async fn run(store: &dyn PartialStore) {
    acknowledged_bytes_are_read_back_whatever_writers_and_chunks(store).await;
    bytes_that_were_not_acknowledged_are_replaced_by_the_next_writer(store).await;
    upload_without_bytes_is_read_as_empty(store).await;
    pending_counts_bytes_since_the_last_sync(store).await;
    flushed_bytes_are_read_and_still_pending(store).await;
    lost_bytes_are_missing(store).await;
    removal_succeeds_twice_and_leaves_other_uploads(store).await;
    pages_have_every_upload_once_in_order(store).await;
    assert_eq!(store.page(None, 10).await.unwrap(), [], "the suite leaves nothing behind");
}

/// One upload is continued many times. Before each time its writer may be dropped with bytes that are not acknowledged.
async fn acknowledged_bytes_are_read_back_whatever_writers_and_chunks(store: &dyn PartialStore) {
    for seed in 0..6 {
        let mut numbers = Numbers(seed);
        let (mut row, mut expected) = (Row::new(), Vec::new());
        let mut acknowledged = 0;
        for _ in 0..12 {
            let mut writer = row.append(store, acknowledged).await.unwrap();
            expected.truncate(usize::try_from(acknowledged).unwrap());
            for _ in 0..numbers.below(12) {
                let longest = [10, 5_000, 100_000, 3 << 20][usize::try_from(numbers.below(40) / 13).unwrap()];
                let length = numbers.below(longest);
                let chunk = numbers.bytes(length);
                expected.extend_from_slice(&chunk);
                writer.write(chunk).await.unwrap();
                if numbers.below(3) == 0 {
                    let offset = writer.sync().await.unwrap();
                    assert_eq!(offset, expected.len() as u64);
                    // The process may die between the sync and the acknowledgement.
                    if numbers.below(4) > 0 {
                        acknowledged = offset;
                    }
                }
            }
            drop(writer);
            let all = row.read(store, 0, acknowledged).await.unwrap();
            assert!(all == expected[..all.len()] && all.len() as u64 == acknowledged, "seed {seed}");
            let from = numbers.below(acknowledged + 1);
            let to = from + numbers.below(acknowledged - from + 1);
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            assert!(row.read(store, from, to).await.unwrap() == expected[range], "seed {seed}: {from}..{to}");
        }
        assert!(acknowledged > 0, "seed {seed} tests something");
        store.remove(row.id, row.epoch).await.unwrap();
    }
}

async fn bytes_that_were_not_acknowledged_are_replaced_by_the_next_writer(store: &dyn PartialStore) {
    let mut row = Row::new();
    assert_eq!(row.add(store, 0, b"kept, ").await, 6);
    // Synced, but the process died before it was acknowledged.
    assert_eq!(row.add(store, 6, b"never acknowledged").await, 24);
    let mut unsynced = row.append(store, 6).await.unwrap();
    unsynced.write(Bytes::from(vec![1; 1_500_000])).await.unwrap();
    drop(unsynced);
    assert_eq!(row.add(store, 6, b"new").await, 9);
    assert_eq!(row.read(store, 0, 9).await.unwrap(), b"kept, new");
    assert!(matches!(row.read(store, 0, 10).await, Err(PartialError::Missing)), "the old bytes are gone");
    store.remove(row.id, row.epoch).await.unwrap();
}

async fn upload_without_bytes_is_read_as_empty(store: &dyn PartialStore) {
    let mut row = Row::new();
    let mut writer = row.append(store, 0).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    assert_eq!(writer.sync().await.unwrap(), 0);
    assert_eq!(row.read(store, 0, 0).await.unwrap(), b"");
    drop(writer);
    store.remove(row.id, row.epoch).await.unwrap();
}

async fn pending_counts_bytes_since_the_last_sync(store: &dyn PartialStore) {
    let mut row = Row::new();
    let mut writer = row.append(store, 0).await.unwrap();
    let mut expected = Vec::new();
    for (length, pending) in [(10, 10), (4_086, 4_096), (3 << 20, 4_096 + (3 << 20))] {
        let chunk = Numbers(length).bytes(length);
        expected.extend_from_slice(&chunk);
        writer.write(chunk).await.unwrap();
        assert_eq!(writer.pending(), pending);
    }
    for _ in 0..2 {
        assert_eq!(writer.sync().await.unwrap(), expected.len() as u64);
        assert_eq!(writer.pending(), 0);
    }
    // The writer goes on after what it synced, and its bytes can be read meanwhile.
    writer.write(Bytes::from_static(b"more")).await.unwrap();
    assert!(row.read(store, 0, expected.len() as u64).await.unwrap() == expected);
    assert_eq!(writer.sync().await.unwrap(), expected.len() as u64 + 4);
    drop(writer);
    let end = expected.len() as u64;
    assert_eq!(row.read(store, end, end + 4).await.unwrap(), b"more");
    store.remove(row.id, row.epoch).await.unwrap();
}

async fn flushed_bytes_are_read_and_still_pending(store: &dyn PartialStore) {
    let mut row = Row::new();
    assert_eq!(row.add(store, 0, b"synced, ").await, 8);
    let mut writer = row.append(store, 8).await.unwrap();
    for (bytes, end) in [(b"flushed".as_slice(), 15), (b"", 15), (b", again", 22)] {
        writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        assert_eq!(writer.flush().await.unwrap(), end);
        assert_eq!(writer.pending(), end - 8);
        let expected = &b"synced, flushed, again"[..usize::try_from(end).unwrap()];
        assert_eq!(row.read(store, 0, end).await.unwrap(), expected);
    }
    writer.write(Bytes::from_static(b", and more")).await.unwrap();
    assert_eq!(writer.sync().await.unwrap(), 32);
    assert_eq!(writer.flush().await.unwrap(), 32);
    assert_eq!(writer.pending(), 0);
    drop(writer);
    assert_eq!(row.read(store, 8, 32).await.unwrap(), b"flushed, again, and more");
    // What was only flushed is not acknowledged, and is replaced.
    let mut writer = row.append(store, 32).await.unwrap();
    writer.write(Bytes::from_static(b"lost")).await.unwrap();
    assert_eq!(writer.flush().await.unwrap(), 36);
    drop(writer);
    assert_eq!(row.add(store, 32, b"!").await, 33);
    assert!(matches!(row.read(store, 0, 36).await, Err(PartialError::Missing)));
    assert_eq!(row.read(store, 30, 33).await.unwrap(), b"re!");
    store.remove(row.id, row.epoch).await.unwrap();
}

async fn lost_bytes_are_missing(store: &dyn PartialStore) {
    let mut row = Row::new();
    row.layout = store.layout("", Resumption { epoch: 1, offset: 0 });
    assert!(matches!(row.read(store, 0, 1).await, Err(PartialError::Missing)), "nothing was written");
    row.add(store, 0, b"lost").await;
    store.remove(row.id, row.epoch).await.unwrap();
    for (from, to) in [(0, 4), (3, 4), (0, 1)] {
        assert!(matches!(row.read(store, from, to).await, Err(PartialError::Missing)));
    }
    assert_eq!(row.add(store, 0, b"again").await, 5);
    assert!(matches!(row.read(store, 2, 6).await, Err(PartialError::Missing)));
    store.remove(row.id, row.epoch).await.unwrap();
}

async fn removal_succeeds_twice_and_leaves_other_uploads(store: &dyn PartialStore) {
    let (mut row, mut other) = (Row::new(), Row::new());
    store.remove(row.id, row.epoch).await.unwrap();
    other.add(store, 0, b"stays").await;
    let end = row.add(store, 0, b"a").await;
    row.add(store, end, b"b").await;
    assert!(store.newest(row.id).await.unwrap() >= row.epoch);
    for _ in 0..2 {
        store.remove(row.id, row.epoch).await.unwrap();
        assert_eq!(store.page(None, 10).await.unwrap(), [other.id]);
    }
    assert_eq!(other.read(store, 0, 5).await.unwrap(), b"stays");
    store.remove(other.id, other.epoch).await.unwrap();
}

async fn pages_have_every_upload_once_in_order(store: &dyn PartialStore) {
    // The first two have equal first digits.
    let mut ids: Vec<UploadId> = (0..38).map(|_| UploadId::random()).collect();
    ids.extend([
        UploadId::from_bytes([7; 16]),
        UploadId::from_bytes([[7; 15].as_slice(), &[8]].concat().try_into().unwrap()),
    ]);
    for id in &ids {
        let mut row = Row { id: *id, ..Row::new() };
        row.add(store, 0, b"x").await;
        row.add(store, 1, b"y").await;
    }
    ids.sort();
    for limit in [1, 7, 40, 41, 5000] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.page(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            listed.extend_from_slice(&page);
            after = page.last().copied();
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(listed, ids, "{limit}");
    }
    assert_eq!(store.page(None, 0).await.unwrap(), []);
    // `after` need not exist.
    store.remove(ids[20], 2).await.unwrap();
    assert_eq!(store.page(Some(ids[20]), 2).await.unwrap(), ids[21..23]);
    for id in ids {
        store.remove(id, 2).await.unwrap();
    }
}
