//! Catalogs are filled by sled, damaged byte by byte, and opened.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::catalog::sled::watermark::Noted;
use crate::catalog::{Catalog, DraftRow, NewDraft, NewPhoto, Restorable, Restore, Row, SledCatalog};
use crate::disk::FreeDisk;
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, SourceId};

const SLOT: usize = codec::SLOT;

/// A number that looks like chance and is the same in every run.
fn chance(seed: u64, below: usize) -> usize {
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
        source: SourceId::new(*blake3::hash(&number.to_le_bytes()).as_bytes()),
    };
    // Every other draft shares a photo with the one before.
    NewDraft {
        title: "t".repeat(usize::try_from(number % 150).unwrap()),
        photos: vec![photo(number), photo(number / 2)],
        owner: None,
    }
}

/// Fills a catalog as a server does, and gives its drafts.
async fn fill(dir: &Path, from: u64, count: u64) -> Vec<Draft> {
    let catalog = open(dir).await.unwrap();
    let mut drafts = Vec::new();
    for number in from..from + count {
        drafts.push(catalog.create_draft(new_draft(number)).await.unwrap());
    }
    catalog.close().await;
    drafts
}

/// Fills a catalog of many segments as an import does, in batches.
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
    }
}

/// Up to where there is more than zeros.
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

/// Opens a damaged catalog: either everything in it is as it was, or it is refused and its files are as they were. Says
/// whether it was opened.
async fn opens_intact_or_is_refused_untouched(dir: &Path, expected: &Export, what: &str) -> bool {
    let before = contents(dir);
    match open(dir).await {
        Ok(catalog) => {
            assert_eq!(export(&catalog).await, *expected, "{what}: opened, and something is lost");
            catalog.close().await;
            true
        }
        Err(CatalogError::Corrupt(_)) => {
            let after = contents(dir);
            let names = |files: &Bytes| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
            assert_eq!(names(&after), names(&before), "{what}: refused, and files came or went");
            assert!(after == before, "{what}: refused, and written to");
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
            }
            Ok::<_, CatalogError>(())
        })
        .unwrap();
    (all, salvage.report().clone())
}

/// A catalog that was filled, opened again, filled further and closed: a snapshot, and a log that goes on after it.
async fn filled() -> (tempfile::TempDir, Export) {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 60).await;
    fill(dir.path(), 61, 40).await;
    let all = export_of(dir.path()).await;
    assert_eq!(all.1.len(), 100);
    (dir, all)
}

#[tokio::test]
async fn flipped_bit_anywhere_is_harmless_or_refused_untouched() {
    let (dir, all) = filled().await;
    let files = contents(dir.path());
    let mut refused = 0;
    let mut tried = 0;
    for (path, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let is_log = path.ends_with("db");
        let used = used(bytes);
        for number in 0..if is_log { 150 } else { 25 } {
            let at = chance(number, used);
            let damaged = copy(dir.path());
            let file = damaged.path().join(path.strip_prefix(dir.path()).unwrap());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (number % 8);
            fs::write(&file, flipped).unwrap();
            let what = format!("bit {} of byte {at} of {}", number % 8, file.display());
            tried += 1;
            refused += u64::from(!opens_intact_or_is_refused_untouched(damaged.path(), &all, &what).await);
        }
    }
    assert!(refused > tried / 10, "damage was looked for: {refused} of {tried}");
}

#[tokio::test]
async fn zeroed_cut_or_extended_file_is_harmless_or_refused_untouched() {
    let (dir, all) = filled().await;
    for (path, bytes) in contents(dir.path()).iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for number in 0..30 {
            let at = chance(number, bytes.len());
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
            // What is left of a watermark that was cut says nothing, and a catalog without one is taken as it is.
            let what = format!("{what} at {at} of {}", file.display());
            opens_intact_or_is_refused_untouched(damaged.path(), &all, &what).await;
        }
    }
}

/// sled would skip the rest of a segment that it cannot read, where another one follows.
#[tokio::test]
async fn flipped_bit_before_the_tail_of_a_long_log_is_harmless_or_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), 3000).await;
    let all = loop {
        // The snapshot stays as old as the catalog, so that all of the log is read again.
        match verify(dir.path()) {
            Err(CatalogError::InUse) => tokio::time::sleep(Duration::from_millis(2)).await,
            found => break found.map(|_| copy(dir.path())).unwrap(),
        }
    };
    let all = export_of(all.path()).await;
    let log = fs::read(dir.path().join("db")).unwrap();
    // Anywhere, and in the last messages of segments: after these no page is new, so that none would be missed.
    let mut places: Vec<usize> = (0..15).map(|number| chance(number, used(&log) - SLOT)).collect();
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
        refused += u64::from(!opens_intact_or_is_refused_untouched(damaged.path(), &all, &what).await);
    }
    // Lost rows would be noticed by the census too, but not where they were.
    assert!(refused > 10 && located > 10, "damage was looked for: {refused} refused, {located} located");
}

/// A catalog of several slots, some of which were used again.
#[tokio::test]
async fn lost_segment_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), 6000).await;
    let all = export_of(dir.path()).await;
    for is_reopened in [false, true] {
        let original = copy(dir.path());
        if is_reopened {
            // Without a snapshot the log is all there is.
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
                    u64::from(!opens_intact_or_is_refused_untouched(damaged.path(), &all, &what).await);
            }
        }
        assert!(refused >= slots, "{refused} of {} refused", 2 * slots);
    }
}

/// As a crash leaves it: the end of the log is cut or torn, and nothing of that was acknowledged.
#[tokio::test]
async fn torn_tail_that_was_not_acknowledged_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1, 30).await;
    let acknowledged = fs::read(dir.path().join("acknowledged")).unwrap();
    let length = used(&fs::read(dir.path().join("db")).unwrap());
    let all = export_of(dir.path()).await;
    let before = copy(dir.path());
    fill(before.path(), 31, 10).await;
    // What was written afterwards is taken for what a crash kept from being acknowledged.
    let mut log = fs::read(before.path().join("db")).unwrap();
    log.truncate(used(&log));
    for number in 0..40 {
        let at = length + chance(number, log.len() - length);
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
        let catalog = open(torn.path()).await.unwrap_or_else(|error| panic!("{number} at {at}: {error}"));
        let found = export(&catalog).await;
        assert_eq!(found.1[..30], all.1[..], "{number} at {at}");
        let next = catalog.create_draft(new_draft(99)).await.unwrap();
        assert_eq!(next.id.0, found.1.len() as u64 + 1, "no id is given twice, and none is left out");
        catalog.close().await;
    }
}

#[tokio::test]
async fn interrupted_snapshot_is_removed() {
    let (dir, all) = filled().await;
    let unfinished = dir.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&unfinished, b"half").unwrap();
    assert_eq!(export_of(dir.path()).await, all);
    assert!(!unfinished.exists());
}

/// As if a segment with one row were lost, and nothing but the census knew of it.
#[tokio::test]
async fn rows_missing_from_the_census_are_noticed_if_the_log_has_gaps() {
    let (dir, _) = filled().await;
    let files = loop {
        match files::Files::open(dir.path()) {
            Err(CatalogError::InUse) => tokio::time::sleep(Duration::from_millis(2)).await,
            files => break files.unwrap().unwrap(),
        }
    };
    let pages = replay::replay(&files).unwrap().pages;
    let trees = verify::Trees { files: &files, pages: &pages };
    let found = trees.found(false).unwrap();
    let counted = found.counted.unwrap();
    assert_eq!((counted.drafts, counted.last_draft), (100, 100));
    // A leaf loses its last change, which is a draft.
    let mut refused = 0;
    for number in 0..pages.len() {
        let mut fewer = pages.clone();
        if let codec::Page::Present(_, links) = &mut fewer[number]
            && links.pop().is_some()
        {
            let trees = verify::Trees { files: &files, pages: &fewer };
            refused += u64::from(matches!(trees.found(false), Err(CatalogError::Corrupt(_))));
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn salvage_of_an_undamaged_catalog_is_complete() {
    let (dir, all) = filled().await;
    let (found, report) = salvaged(dir.path());
    assert_eq!(found, all);
    assert_eq!(report, SalvageReport::default());
    let state = Salvage::read(dir.path()).unwrap().state();
    assert_eq!((state.next_draft_id, state.is_partial), (101, false));
}

#[tokio::test]
async fn salvage_returns_every_undamaged_row_and_writes_nothing() {
    let (dir, all) = filled().await;
    let log = fs::read(dir.path().join("db")).unwrap();
    let mut lost = 0;
    for number in 0..60 {
        let at = codec::SEGMENT_HEADER + chance(number, log.len() - codec::SEGMENT_HEADER);
        let damaged = copy(dir.path());
        let mut flipped = log.clone();
        flipped[at] ^= 4;
        fs::write(damaged.path().join("db"), flipped).unwrap();
        let before = contents(damaged.path());
        let (found, _) = salvaged(damaged.path());
        assert!(contents(damaged.path()) == before, "it wrote");
        // One message has at most one page of rows. Those that are read are right.
        assert!(found.0.iter().all(|row| all.0.contains(row)), "byte {at}");
        assert!(found.1.iter().all(|row| all.1.contains(row)), "byte {at}");
        assert!(found.0.len() + 16 >= all.0.len() && found.1.len() + 16 >= all.1.len(), "byte {at}");
        lost += all.0.len() - found.0.len() + all.1.len() - found.1.len();
        assert_eq!(Salvage::read(damaged.path()).unwrap().state().next_draft_id, 101, "byte {at}");
    }
    assert!(lost < 60 * 4, "most rows are there more than once: {lost} lost");
}

#[tokio::test]
async fn salvage_without_headers_and_snapshot_reads_the_rows() {
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

#[tokio::test]
async fn watermark_with_a_flipped_bit_is_written_again() {
    let (dir, all) = filled().await;
    let path = dir.path().join("acknowledged");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    assert_eq!(export_of(dir.path()).await, all);
    assert_eq!(Noted::read(dir.path()).unwrap().unwrap().next_draft(), 101);
}

/// Versions of before there was a census left neither it nor a checksum.
#[tokio::test]
async fn catalog_of_an_older_version_is_opened_and_counted() {
    let (dir, all) = filled().await;
    let catalog = open(dir.path()).await.unwrap();
    catalog.opened().await.unwrap().trees.counters.remove(crate::catalog::sled::rows::CENSUS).unwrap();
    catalog.close().await;
    let path = dir.path().join("acknowledged");
    let bytes = loop {
        // Opened to wait until it is closed.
        if verify(dir.path()).is_ok() {
            break fs::read(&path).unwrap();
        }
    };
    fs::write(&path, &bytes[..16]).unwrap();
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
async fn damaged_counter_does_not_prevent_a_start_and_no_id_is_used_twice() {
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
