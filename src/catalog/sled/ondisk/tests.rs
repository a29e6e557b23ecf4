//! Tests that fill catalogs with sled, damage them byte by byte, and open them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::catalog::sled::watermark::Acknowledged;
use crate::catalog::{Catalog, DraftRow, NewDraft, NewPhoto, Restorable, Restore, Row, SledCatalog};
use crate::disk::FreeDisk;
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, SourceId, Timestamp};

const SLOT: usize = codec::SLOT;

/// A pseudorandom number below `below` that is the same in every run.
fn pseudorandom(seed: u64, below: usize) -> usize {
    let hash = blake3::hash(&seed.to_le_bytes());
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
    usize::try_from(number % below as u64).unwrap()
}

async fn open(dir: &Path) -> Result<SledCatalog, CatalogError> {
    // sled releases its lock a moment after the last handle is dropped.
    for _ in 0..1000 {
        match SledCatalog::open(dir, FreeDisk::Bytes(0)).await {
            Err(CatalogError::InUse) => tokio::time::sleep(Duration::from_millis(2)).await,
            opened => return opened,
        }
    }
    panic!("the catalog stays in use");
}

fn new_draft(number: u64) -> NewDraft {
    let photo = |number: u64| NewPhoto {
        key: MediaKey::of(&number.to_le_bytes()),
        width: 4,
        height: 3,
        size_bytes: number,
        source: SourceId::from_digest(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        facts: None,
    };
    // Every second draft shares a photo with the one before.
    NewDraft {
        title: "t".repeat(usize::try_from(number % 150).unwrap()),
        photos: vec![photo(number), photo(number / 2)],
        ..NewDraft::default()
    }
}

/// Fills a catalog as a server does, and returns its drafts.
async fn fill(dir: &Path, from: u64, count: u64) -> Vec<Draft> {
    let catalog = open(dir).await.unwrap();
    let mut drafts = Vec::new();
    for number in from..from + count {
        drafts.push(catalog.create_draft(new_draft(number)).await.unwrap());
    }
    catalog.close().await;
    drafts
}

/// Fills a catalog of many segments in batches, as an import does.
async fn import(dir: &Path, count: u64) {
    let catalog = open(dir).await.unwrap();
    catalog.restore(Restore::Begin { next_media_id: 1, next_draft_id: 1 }).await.unwrap();
    for batch in 0..count / 100 {
        let mut rows = Vec::new();
        for id in batch * 100 + 1..=batch * 100 + 100 {
            let key = MediaKey::of(&id.to_le_bytes());
            rows.push(Row::Media(Media {
                id: MediaId(id),
                key,
                width: 4,
                height: 3,
                size_bytes: 2,
                owner: None,
                facts: None,
            }));
            rows.push(Row::Draft(draft_row(id)));
        }
        catalog.restore(Restore::Rows(rows)).await.unwrap();
    }
    catalog.restore(Restore::End).await.unwrap();
    catalog.close().await;
}

fn draft_row(id: u64) -> DraftRow {
    DraftRow {
        id: DraftId(id),
        title: "t".repeat(150),
        description: String::new(),
        status: crate::model::DraftStatus::Draft,
        price_suggested: None,
        photos: vec![MediaId(id)],
        owner: None,
        created: Timestamp::from_millis(id),
        updated: Timestamp::from_millis(id),
        version: 1,
    }
}

/// Returns the length without trailing zeros.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

type Bytes = Vec<(PathBuf, Vec<u8>)>;

fn contents(dir: &Path) -> Bytes {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.push((path.clone(), Vec::new()));
            files.extend(contents(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for (path, bytes) in contents(from) {
        let target = to.path().join(path.strip_prefix(from).unwrap());
        if path.is_dir() { fs::create_dir(target).unwrap() } else { fs::write(target, bytes).unwrap() }
    }
    to
}

/// Opens a damaged catalog. Either it opens with all its rows, or it is refused with its files unchanged. Returns
/// true if it was opened.
async fn opens_intact_or_is_refused_unchanged(dir: &Path, expected: &Export, what: &str) -> bool {
    let before = contents(dir);
    match open(dir).await {
        Ok(catalog) => {
            assert_eq!(export(&catalog).await, *expected, "{what}: opened, but rows are lost");
            catalog.close().await;
            true
        }
        Err(CatalogError::Corrupt(_)) => {
            let after = contents(dir);
            let names = |files: &Bytes| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
            assert_eq!(names(&after), names(&before), "{what}: refused, but files were created or removed");
            assert!(after == before, "{what}: refused, but files were changed");
            false
        }
        Err(error) => panic!("{what}: {error:?}"),
    }
}

type Export = (Vec<Media>, Vec<DraftRow>, BTreeSet<(SourceId, MediaId)>);

async fn export(catalog: &SledCatalog) -> Export {
    let sources = catalog.sources_page(None, 1_000_000).await.unwrap();
    (
        catalog.media_page(None, 1_000_000).await.unwrap(),
        catalog.drafts_page(None, 1_000_000).await.unwrap(),
        sources.into_iter().map(|known| (known.source, known.media_id)).collect(),
    )
}

async fn export_of(dir: &Path) -> Export {
    let catalog = open(dir).await.unwrap();
    let all = export(&catalog).await;
    catalog.close().await;
    all
}

fn salvaged(dir: &Path) -> (Export, SalvageReport) {
    let mut salvage = loop {
        match Salvage::read(dir) {
            Err(CatalogError::InUse) => std::thread::sleep(Duration::from_millis(2)),
            salvage => break salvage.unwrap(),
        }
    };
    let mut all = Export::default();
    salvage
        .rows(|row| {
            match row {
                Row::Media(row) => all.0.push(row),
                Row::Draft(row) => all.1.push(row),
                Row::Source(row) => {
                    all.2.insert((row.source, row.media));
                }
                Row::Attempt(_) | Row::Event(_) | Row::Identity(_) => {}
            }
            Ok::<_, CatalogError>(())
        })
        .unwrap();
    (all, salvage.report().clone())
}

/// A catalog with a snapshot and a log that continues after it: filled, closed, opened and filled again.
async fn filled() -> (tempfile::TempDir, Export) {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 60).await;
    fill(dir.path(), 61, 40).await;
    let all = export_of(dir.path()).await;
    assert_eq!(all.1.len(), 100);
    (dir, all)
}

#[tokio::test]
async fn flipped_bit_is_harmless_or_refused_unchanged() {
    let (dir, all) = filled().await;
    let files = contents(dir.path());
    let mut refused = 0;
    let mut tried = 0;
    for (path, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let is_log = path.ends_with("db");
        let used = used(bytes);
        for number in 0..if is_log { 150 } else { 25 } {
            let at = pseudorandom(number, used);
            let damaged = copy(dir.path());
            let file = damaged.path().join(path.strip_prefix(dir.path()).unwrap());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (number % 8);
            fs::write(&file, flipped).unwrap();
            let what = format!("bit {} of byte {at} of {}", number % 8, file.display());
            tried += 1;
            refused += u64::from(!opens_intact_or_is_refused_unchanged(damaged.path(), &all, &what).await);
        }
    }
    assert!(refused > tried / 10, "too little damage was refused: {refused} of {tried}");
}

#[tokio::test]
async fn zeroed_cut_or_extended_file_is_harmless_or_refused_unchanged() {
    let (dir, all) = filled().await;
    for (path, bytes) in contents(dir.path()).iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for number in 0..30 {
            let at = pseudorandom(number, bytes.len());
            let mut changed = bytes.clone();
            let what = match number % 4 {
                0 => {
                    let page = at / 4096 * 4096;
                    let end = changed.len().min(page + 4096);
                    changed[page..end].fill(0);
                    "zeroed page"
                }
                1 => {
                    changed.truncate(at);
                    "truncation"
                }
                2 => {
                    changed.extend(std::iter::repeat_n(0xA5, at + 1));
                    "garbage tail"
                }
                _ => {
                    changed.resize(changed.len().next_multiple_of(SLOT), 0);
                    changed.extend(std::iter::repeat_n(0xA5, at + 1));
                    "garbage slot"
                }
            };
            let damaged = copy(dir.path());
            let file = damaged.path().join(path.strip_prefix(dir.path()).unwrap());
            fs::write(&file, changed).unwrap();
            // A truncated watermark counts as missing, and a catalog without one is accepted as it is.
            let what = format!("{what} at {at} of {}", file.display());
            opens_intact_or_is_refused_unchanged(damaged.path(), &all, &what).await;
        }
    }
}

/// sled would skip the unreadable rest of a segment that is followed by another one.
#[tokio::test]
async fn flipped_bit_before_tail_of_long_log_is_harmless_or_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), 3000).await;
    let all = loop {
        // The snapshot stays at the catalog's creation, so that the whole log is read again.
        match verify(dir.path()) {
            Err(CatalogError::InUse) => tokio::time::sleep(Duration::from_millis(2)).await,
            found => break found.map(|_| copy(dir.path())).unwrap(),
        }
    };
    let all = export_of(all.path()).await;
    let log = fs::read(dir.path().join("db")).unwrap();
    // Random bytes, and the last messages of segments: no page is first written after these, so none would be
    // missing.
    let mut places: Vec<usize> = (0..15).map(|number| pseudorandom(number, used(&log) - SLOT)).collect();
    for (number, slot) in log.chunks_exact(SLOT).enumerate() {
        let mut starts = vec![codec::SEGMENT_HEADER];
        while let Some(message) = codec::message(slot, starts[starts.len() - 1])
            && message.kind != codec::Kind::Cap
            && codec::has_room(message.body.end)
        {
            starts.push(message.body.end);
        }
        places.extend(starts.iter().rev().skip(1).take(8).map(|start| number * SLOT + start + 8));
    }
    let (mut refused, mut located) = (0, 0);
    for (number, at) in places.into_iter().enumerate() {
        let damaged = copy(dir.path());
        let file = fs::File::options().write(true).open(damaged.path().join("db")).unwrap();
        file.write_all_at(&[log[at] ^ 1 << (number % 8)], at as u64).unwrap();
        let why = verify(damaged.path());
        located += u64::from(
            matches!(why, Err(CatalogError::Corrupt(what)) if what.starts_with("a record at byte ")),
        );
        let what = format!("bit {} of byte {at}", number % 8);
        refused += u64::from(!opens_intact_or_is_refused_unchanged(damaged.path(), &all, &what).await);
    }
    // The census would also notice lost rows, but not their location.
    assert!(
        refused > 10 && located > 10,
        "too little damage was refused: {refused} refused, {located} located"
    );
}

/// A catalog of several slots, some of them reused.
#[tokio::test]
async fn lost_segment_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), 6000).await;
    let all = export_of(dir.path()).await;
    for is_reopened in [false, true] {
        let original = copy(dir.path());
        if is_reopened {
            // Without a snapshot, the log is the only source.
            for (path, _) in contents(original.path()) {
                if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let length = fs::metadata(original.path().join("db")).unwrap().len();
        let slots = length.div_ceil(SLOT as u64);
        assert!(slots > 4, "{slots} slots");
        let mut refused = 0;
        for slot in 0..slots {
            for zeros in [true, false] {
                let damaged = copy(original.path());
                let log = fs::File::options().write(true).open(damaged.path().join("db")).unwrap();
                if zeros {
                    log.write_all_at(&vec![0; SLOT], slot * SLOT as u64).unwrap();
                    log.set_len(length).unwrap();
                } else {
                    log.set_len(slot * SLOT as u64).unwrap();
                }
                let what = format!("slot {slot} lost (zeros: {zeros}, without snapshot: {is_reopened})");
                refused +=
                    u64::from(!opens_intact_or_is_refused_unchanged(damaged.path(), &all, &what).await);
            }
        }
        assert!(refused >= slots, "{refused} of {} refused", 2 * slots);
    }
}

#[tokio::test]
async fn damaged_snapshot_or_parameters_are_called_by_name() {
    let (dir, _) = filled().await;
    let name_of = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let all = contents(dir.path());
    // sled may not have removed an older snapshot yet, which nobody reads.
    let newest = all.iter().map(|(path, _)| name_of(path)).filter(|name| name.starts_with("snap.")).max();
    for (path, bytes) in all {
        let name = name_of(&path);
        if name != "conf" && Some(&name) != newest.as_ref() {
            continue;
        }
        for number in 0..50 {
            let damaged = copy(dir.path());
            let mut flipped = bytes.clone();
            // The eight bytes before the checksum of a snapshot are a length that is used for compressed ones only.
            let unused = if name == "conf" { 0..0 } else { bytes.len() - 12..bytes.len() - 4 };
            let at = pseudorandom(number, bytes.len());
            if unused.contains(&at) {
                continue;
            }
            flipped[at] ^= 1 << (number % 8);
            fs::write(damaged.path().join(&name), flipped).unwrap();
            let why = verify(damaged.path());
            let is_called = |what: &String| *what == format!("its file {name} is damaged");
            assert!(matches!(&why, Err(CatalogError::Corrupt(what)) if is_called(what)), "{why:?}");
        }
    }
}

/// sled writes a long message to a file of its own.
#[tokio::test]
async fn damaged_or_lost_file_of_a_long_message_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await.unwrap();
    catalog.create_draft(NewDraft { title: "t".repeat(1 << 20), ..new_draft(1) }).await.unwrap();
    catalog.close().await;
    let all = export_of(dir.path()).await;
    let is_blob = |path: &Path| path.parent().unwrap().ends_with("blobs");
    let blobs: Bytes = contents(dir.path()).into_iter().filter(|(path, _)| is_blob(path)).collect();
    assert!(!blobs.is_empty());
    for (path, bytes) in blobs {
        for change in ["flipped", "cut", "gone"] {
            let damaged = copy(dir.path());
            let file = damaged.path().join(path.strip_prefix(dir.path()).unwrap());
            let mut changed = bytes.clone();
            changed[1 << 19] ^= 1;
            match change {
                "flipped" => fs::write(file, changed).unwrap(),
                "cut" => fs::write(file, &bytes[..1 << 19]).unwrap(),
                _ => fs::remove_file(file).unwrap(),
            }
            assert!(!opens_intact_or_is_refused_unchanged(damaged.path(), &all, change).await, "{change}");
        }
    }
}

#[tokio::test]
async fn catalog_with_the_mark_of_another_is_refused_untouched() {
    let (dir, all) = filled().await;
    let path = dir.path().join("acknowledged");
    let mut mark = fs::read(&path).unwrap();
    // Another moment of creation, and less than there is.
    mark[7] ^= 1;
    mark[8..24].fill(0);
    let sum = crc32fast::hash(&mark[..24]).to_be_bytes();
    mark[24..].copy_from_slice(&sum);
    fs::write(&path, mark).unwrap();
    assert!(!opens_intact_or_is_refused_unchanged(dir.path(), &all, "mark of another catalog").await);
}

#[tokio::test]
async fn older_catalog_that_lacks_acknowledged_drafts_is_refused_untouched() {
    let (dir, all) = filled().await;
    let path = dir.path().join("acknowledged");
    let created = fs::read(&path).unwrap()[..8].to_vec();
    for (next_draft, is_opened) in [(101_u64, true), (102, false)] {
        let older = copy(dir.path());
        let mark = [&created[..], &next_draft.to_be_bytes()].concat();
        fs::write(older.path().join("acknowledged"), mark).unwrap();
        let opened =
            opens_intact_or_is_refused_unchanged(older.path(), &all, "mark of an older version").await;
        assert_eq!(opened, is_opened, "{next_draft}");
    }
}

/// An older version that was started again in between records rows, and not how many there are.
#[tokio::test]
async fn rows_that_an_older_version_recorded_are_counted_at_the_next_start() {
    let (dir, all) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    let trees = catalog.opened().await.unwrap().trees.clone();
    let row = trees.drafts.get(100_u64.to_be_bytes()).unwrap().unwrap();
    trees.drafts.insert(101_u64.to_be_bytes(), row).unwrap();
    trees.counters.insert("next_draft_id", &102_u64.to_be_bytes()).unwrap();
    drop(trees);
    catalog.close().await;
    assert_eq!(export_of(dir.path()).await.1.len(), 101);
    let census = loop {
        if let Ok(found) = verify(dir.path()) {
            break found.unwrap().census.unwrap();
        }
    };
    assert_eq!((census.media, census.drafts), (all.0.len() as u64, 101));
}

/// Like after a crash: the end of the log is cut or torn, and that part was not acknowledged.
#[tokio::test]
async fn unacknowledged_torn_tail_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 30).await;
    let acknowledged = fs::read(dir.path().join("acknowledged")).unwrap();
    let length = used(&fs::read(dir.path().join("db")).unwrap());
    let all = export_of(dir.path()).await;
    let before = copy(dir.path());
    fill(before.path(), 31, 10).await;
    // Later messages stand for ones that a crash kept from being acknowledged.
    let mut log = fs::read(before.path().join("db")).unwrap();
    log.truncate(used(&log));
    for number in 0..40 {
        let at = length + pseudorandom(number, log.len() - length);
        let torn = copy(dir.path());
        let mut bytes = log.clone();
        match number % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 0x10,
            2 => bytes[at..].fill(0),
            _ => {
                let end = bytes.len().min(at + 512);
                bytes[at..end].fill(0);
            }
        }
        fs::write(torn.path().join("db"), bytes).unwrap();
        fs::write(torn.path().join("acknowledged"), &acknowledged).unwrap();
        let verified = verify(torn.path()).unwrap().unwrap().census.unwrap();
        let catalog = open(torn.path()).await.unwrap_or_else(|error| panic!("{number} at {at}: {error}"));
        let found = export(&catalog).await;
        assert_eq!(verified.drafts, found.1.len() as u64, "{number} at {at}: sled reads the log differently");
        assert_eq!(found.1[..30], all.1[..], "{number} at {at}");
        let next = catalog.create_draft(new_draft(99)).await.unwrap();
        assert_eq!(next.id.0, found.1.len() as u64 + 1, "no id is reused or skipped");
        catalog.close().await;
    }
}

#[tokio::test]
async fn incomplete_snapshot_is_removed() {
    let (dir, all) = filled().await;
    let unfinished = dir.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&unfinished, b"half").unwrap();
    assert_eq!(export_of(dir.path()).await, all);
    assert!(!unfinished.exists());
}

/// Simulates a lost segment with one row that only the census can reveal.
#[tokio::test]
async fn rows_missing_from_log_with_gaps_are_found_by_census() {
    let (dir, _) = filled().await;
    let files = loop {
        match files::Files::open(dir.path()) {
            Err(CatalogError::InUse) => tokio::time::sleep(Duration::from_millis(2)).await,
            files => break files.unwrap().unwrap(),
        }
    };
    let pages = replay::replay(&files).unwrap().pages;
    let trees = verify::Trees { files: &files, pages: &pages };
    let found = trees.read_counters(false).unwrap();
    let counted = found.counted.unwrap();
    assert_eq!((counted.drafts, counted.last_draft), (100, 100));
    // Remove the last change to a leaf, which is a draft.
    let mut refused = 0;
    for number in 0..pages.len() {
        let mut fewer = pages.clone();
        if let codec::Page::Present(_, links) = &mut fewer[number]
            && links.pop().is_some()
        {
            let trees = verify::Trees { files: &files, pages: &fewer };
            refused += u64::from(matches!(trees.read_counters(false), Err(CatalogError::Corrupt(_))));
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn salvage_of_intact_catalog_returns_all_rows() {
    let (dir, all) = filled().await;
    let (found, report) = salvaged(dir.path());
    assert_eq!(found, all);
    assert_eq!(report, SalvageReport::default());
    let state = Salvage::read(dir.path()).unwrap().state();
    assert_eq!((state.next_draft_id, state.is_partial), (101, false));
}

#[tokio::test]
async fn removed_rows_are_not_salvaged_and_a_start_does_not_miss_them() {
    let (dir, before) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    for draft in before.1.iter().filter(|draft| draft.id.0 % 3 != 0) {
        catalog.delete_draft(draft.id, None).await.unwrap();
    }
    let now = Timestamp::now();
    for media in catalog.unreferenced_media(now, 1000).await.unwrap() {
        assert!(catalog.remove_media(media.id, now).await.unwrap());
    }
    catalog.close().await;
    // A snapshot and a log after it.
    fill(dir.path(), 101, 3).await;
    let all = export_of(dir.path()).await;
    assert!(all.0.len() < before.0.len() && all.1.len() == 33 + 3 && all.2.len() < before.2.len());
    let (found, report) = salvaged(dir.path());
    assert_eq!(found, all);
    assert_eq!(report, SalvageReport::default());
    assert_eq!(Salvage::read(dir.path()).unwrap().state().next_draft_id, 104);
}

#[tokio::test]
async fn salvage_returns_every_undamaged_row_and_writes_nothing() {
    let (dir, all) = filled().await;
    let log = fs::read(dir.path().join("db")).unwrap();
    let mut lost = 0;
    for number in 0..60 {
        let at = codec::SEGMENT_HEADER + pseudorandom(number, log.len() - codec::SEGMENT_HEADER);
        let damaged = copy(dir.path());
        let mut flipped = log.clone();
        flipped[at] ^= 4;
        fs::write(damaged.path().join("db"), flipped).unwrap();
        let before = contents(damaged.path());
        let (found, _) = salvaged(damaged.path());
        assert!(contents(damaged.path()) == before, "salvage wrote to the files");
        // One message holds at most one page of rows. All rows that are read must be right.
        assert!(found.0.iter().all(|row| all.0.contains(row)), "byte {at}");
        assert!(found.1.iter().all(|row| all.1.contains(row)), "byte {at}");
        let media: BTreeSet<MediaId> = found.0.iter().map(|row| row.id).collect();
        let is_right = |source: &(SourceId, MediaId)| all.2.contains(source) && media.contains(&source.1);
        assert!(found.2.iter().all(is_right), "byte {at}: a source of a photo that is lost, or a wrong one");
        assert!(found.0.len() + 16 >= all.0.len() && found.1.len() + 16 >= all.1.len(), "byte {at}");
        lost += all.0.len() - found.0.len() + all.1.len() - found.1.len();
        assert_eq!(Salvage::read(damaged.path()).unwrap().state().next_draft_id, 101, "byte {at}");
    }
    assert!(lost < 60 * 4, "most rows are there more than once: {lost} lost");
}

#[tokio::test]
async fn salvage_without_headers_and_snapshot_returns_all_rows() {
    let (dir, all) = filled().await;
    let path = dir.path().join("db");
    let mut log = fs::read(&path).unwrap();
    log[..codec::SEGMENT_HEADER].fill(0xFF);
    fs::write(&path, log).unwrap();
    for (path, _) in contents(dir.path()) {
        if path.file_name().unwrap() != "db" && path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let (found, report) = salvaged(dir.path());
    assert_eq!(found, all);
    assert_eq!(report.places, 1);
}

/// Keys are cut where all those of a page begin alike, and look-ups come in no order.
#[tokio::test]
async fn salvage_of_a_catalog_of_many_pages_is_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), 3000).await;
    let catalog = open(dir.path()).await.unwrap();
    for batch in 0..30 {
        let source = |id: u64| {
            let source = SourceId::from_digest(*blake3::hash(&id.to_le_bytes()).as_bytes());
            Row::Source(crate::catalog::SourceRow { source, media: MediaId(id) })
        };
        let rows = (batch * 100 + 1..=batch * 100 + 100).map(source).collect();
        catalog.restore(Restore::Rows(rows)).await.unwrap();
    }
    catalog.close().await;
    let all = export_of(dir.path()).await;
    assert_eq!(all.2.len(), 3000);
    let (found, report) = salvaged(dir.path());
    assert!(found == all, "{report:?}");
    assert_eq!(report, SalvageReport::default());
}

#[tokio::test]
async fn salvage_takes_the_latest_version_of_a_row() {
    let (dir, _) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    let trees = catalog.opened().await.unwrap().trees.clone();
    let row = trees.drafts.get(50_u64.to_be_bytes()).unwrap().unwrap();
    let row = String::from_utf8(row.to_vec()).unwrap().replacen("\"title\":\"", "\"title\":\"later ", 1);
    trees.drafts.insert(50_u64.to_be_bytes(), row.as_bytes()).unwrap();
    drop(trees);
    catalog.close().await;
    let all = export_of(dir.path()).await;
    assert!(all.1[49].title.starts_with("later "));
    assert!(salvaged(dir.path()).0 == all);
}

#[tokio::test]
async fn salvage_of_a_log_without_a_row_goes_on_after_what_was_acknowledged() {
    let (dir, _) = filled().await;
    let path = dir.path().join("db");
    fs::write(&path, vec![0; fs::read(&path).unwrap().len()]).unwrap();
    let (found, _) = salvaged(dir.path());
    assert_eq!(found, Export::default());
    assert_eq!(Salvage::read(dir.path()).unwrap().state().next_draft_id, 101);
}

#[tokio::test]
async fn salvage_tells_of_lost_counters_and_of_a_part_of_an_import() {
    let (dir, _) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    let trees = catalog.opened().await.unwrap().trees.clone();
    trees.counters.remove("next_draft_id").unwrap();
    drop(trees);
    catalog.close().await;
    assert!(salvaged(dir.path()).1.lost_counters);
    let part = tempfile::tempdir().unwrap();
    let catalog = open(part.path()).await.unwrap();
    catalog.restore(Restore::Begin { next_media_id: 1, next_draft_id: 1 }).await.unwrap();
    catalog.close().await;
    assert!(salvaged(part.path()).1.is_partial);
}

#[tokio::test]
async fn watermark_with_flipped_bit_is_rewritten() {
    let (dir, all) = filled().await;
    let path = dir.path().join("acknowledged");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    assert_eq!(export_of(dir.path()).await, all);
    assert_eq!(Acknowledged::read(dir.path()).unwrap().unwrap().next_draft(), 101);
}

/// Versions before the census wrote neither a census nor a checksum.
#[tokio::test]
async fn catalog_of_older_version_is_opened_and_counted() {
    let (dir, all) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    catalog.opened().await.unwrap().trees.counters.remove(crate::catalog::sled::rows::CENSUS).unwrap();
    catalog.close().await;
    let path = dir.path().join("acknowledged");
    let bytes = loop {
        // Retries until the database is closed.
        if verify(dir.path()).is_ok() {
            break fs::read(&path).unwrap();
        }
    };
    fs::write(&path, &bytes[..16]).unwrap();
    assert_eq!(Acknowledged::read(dir.path()).unwrap().unwrap().next_draft(), 101);
    let found = verify(dir.path()).unwrap().unwrap();
    let counted = found.counted.unwrap();
    assert_eq!((found.census, counted.media, counted.drafts), (None, all.0.len() as u64, 100));
    let catalog = open(dir.path()).await.unwrap();
    catalog.create_draft(new_draft(101)).await.unwrap();
    catalog.close().await;
    let catalog = open(dir.path()).await.unwrap();
    assert_eq!(catalog.drafts_page(None, 1000).await.unwrap().len(), 101);
    catalog.close().await;
    let census = loop {
        if let Ok(found) = verify(dir.path()) {
            break found.unwrap().census.unwrap();
        }
    };
    assert_eq!((census.media, census.drafts), (all.0.len() as u64 + 1, 101));
}

#[tokio::test]
async fn damaged_counter_allows_start_and_reuses_no_id() {
    for (name, damaged) in [("next_draft_id", 1 << 63), ("next_draft_id", 3), ("next_media_id", u64::MAX)] {
        let (dir, all) = filled().await;
        let catalog = open(dir.path()).await.unwrap();
        catalog.opened().await.unwrap().trees.counters.insert(name, &u64::to_be_bytes(damaged)).unwrap();
        catalog.close().await;
        let catalog = Arc::new(open(dir.path()).await.unwrap());
        let made = catalog.create_draft(new_draft(1000)).await.unwrap();
        assert_eq!(made.id, DraftId(101), "{name} {damaged}");
        let last = all.0.last().unwrap().id;
        assert!(made.photos.iter().any(|photo| photo.id == MediaId(last.0 + 1)), "{made:?}");
        assert!(made.photos.iter().all(|photo| photo.id.0 <= last.0 + 2), "{made:?}");
    }
}
