//! Export and import as a pair.

use std::io::Cursor;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::catalog::{
    Catalog, Change, DraftRow, EventRow, NewAttempt, NewDraft, NewPhoto, RequestHead, Restorable, Restore,
    Row, SledCatalog, SourceRow, State, Subject,
};
use crate::disk::FreeDisk;
use crate::model::{
    AttemptId, DraftId, DraftStatus, MAX_ID, Media, MediaId, MediaKey, PerceptualHash, PhotoFacts, SourceId,
    ThumbHash, Timestamp, UserId,
};

async fn catalog(dir: &std::path::Path) -> SledCatalog {
    SledCatalog::open(dir, FreeDisk::Bytes(0)).await.unwrap()
}

async fn exported(catalog: &dyn Restorable) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(Rows::of(catalog), tempfile::tempfile().unwrap(), &mut bytes).await.unwrap();
    bytes
}

/// The owner `n`; none for 0.
fn owner(id: u64) -> Option<UserId> {
    UserId::try_from(id).ok()
}

/// Facts that are not those of another `id`.
fn facts(id: u64) -> PhotoFacts {
    PhotoFacts {
        thumbhash: ThumbHash::from_bytes(&id.to_be_bytes()).unwrap(),
        sharpness: u32::MAX,
        brightness: 25_500,
        dark: 0,
        light: 10_000,
        perceptual_hash: PerceptualHash::from_bits(id),
    }
}

fn media(id: u64) -> Media {
    let key = MediaKey::of(&id.to_be_bytes());
    let facts = (id % 2 == 1).then(|| facts(id));
    Media { id: MediaId(id), key, width: 4, height: 3, size_bytes: id, owner: owner(id % 3), facts }
}

fn draft() -> impl Strategy<Value = DraftRow> {
    let price = prop_oneof![Just(None), prop::num::f64::NORMAL.prop_map(Some)];
    // 0: a row of an old export.
    let times = (0..1_u64 << 40, 0..1000_u64);
    let parts = (
        ".{0,20}",
        ".{0,20}",
        price,
        vec(1..30_u64, 0..5),
        0..3_u64,
        select(DraftStatus::ALL.to_vec()),
        times,
    );
    parts.prop_map(|(title, description, price, photos, user, status, (created, version))| DraftRow {
        id: DraftId(0),
        title,
        description,
        status,
        price_suggested: price,
        photos: photos.into_iter().map(MediaId).collect(),
        owner: owner(user),
        created: Timestamp::from_millis(created),
        updated: Timestamp::from_millis(created + version),
        version,
    })
}

/// Any rows of a catalog, dangling references among them.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let ids = vec(1..30_u64, 0..20);
    let drafts = btree_map(1..MAX_ID, draft(), 0..20);
    let sources = btree_map(any::<[u8; 32]>(), 1..40_u64, 0..20);
    (ids, drafts, sources).prop_map(|(ids, drafts, sources)| {
        let media = ids.into_iter().map(|id| Row::Media(media(id)));
        let drafts = drafts.into_iter().map(|(id, row)| Row::Draft(DraftRow { id: DraftId(id), ..row }));
        let sources = sources.into_iter().map(|(source, media)| {
            Row::Source(SourceRow { source: SourceId::from_digest(source), media: MediaId(media) })
        });
        media.chain(drafts).chain(sources).collect()
    })
}

/// Three hundred drafts with a photo each: more rows than one batch takes.
async fn filled(catalog: &dyn Restorable) {
    let rows = (1..=300).flat_map(|id| {
        let draft = DraftRow {
            id: DraftId(id),
            title: format!("draft {id}"),
            description: String::new(),
            status: DraftStatus::Draft,
            price_suggested: None,
            photos: vec![MediaId(id)],
            owner: owner(id % 2),
            created: Timestamp::from_millis(id),
            updated: Timestamp::from_millis(id),
            version: 1,
        };
        [Row::Media(media(id)), Row::Draft(draft)]
    });
    catalog.restore(Restore::Rows(rows.collect())).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn import_gives_the_same_export(rows in rows(), next in (1..MAX_ID, 1..MAX_ID)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let (first, second) = (catalog(dirs[0].path()).await, catalog(dirs[1].path()).await);
            let begin = Restore::Begin { next_media_id: next.0, next_draft_id: next.1 };
            first.restore(begin).await.unwrap();
            first.restore(Restore::Rows(rows)).await.unwrap();
            first.restore(Restore::End).await.unwrap();
            let bytes = exported(&first).await;
            assert_eq!(exported(&first).await, bytes);
            import(&second, Cursor::new(&bytes), |_, _| {}).await.unwrap();
            assert_eq!(exported(&second).await, bytes);
            import(&second, Cursor::new(&bytes), |_, _| {}).await.unwrap();
            assert_eq!(exported(&second).await, bytes, "as often as it is run");
        });
    }
}

#[tokio::test]
async fn interrupted_import_completes_when_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = catalog(&dir.path().join("source")).await;
    filled(&source).await;
    let bytes = exported(&source).await;
    let target = catalog(&dir.path().join("target")).await;
    // As an import that was killed after its first batch.
    target.restore(Restore::Begin { next_media_id: 301, next_draft_id: 301 }).await.unwrap();
    let page = target_rows(&source).await;
    target.restore(Restore::Rows(page)).await.unwrap();
    let spool = tempfile::tempfile().unwrap();
    assert!(matches!(export(Rows::of(&target), spool, Vec::new()).await, Err(BackupError::Partial)));
    let mut reported = Vec::new();
    let counts =
        import(&target, Cursor::new(&bytes), |done, total| reported.push((done, total))).await.unwrap();
    assert_eq!((counts.rows(), reported), (600, vec![(500, 600)]));
    assert_eq!(exported(&target).await, bytes);
}

async fn target_rows(source: &dyn Restorable) -> Vec<Row> {
    source.media_page(None, 100).await.unwrap().into_iter().map(Row::Media).collect()
}

#[tokio::test]
async fn export_with_a_damaged_counter_is_imported_and_ids_continue_after_the_highest() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let state = State { next_media_id: 1 << 63, next_draft_id: u64::MAX, is_partial: false };
    let mut writer = Writer::begin(&mut bytes, state).unwrap();
    writer.row(Row::Media(media(7))).unwrap();
    writer.end().unwrap();
    let target = catalog(dir.path()).await;
    import(&target, Cursor::new(&bytes), |_, _| {}).await.unwrap();
    let expected = State { next_media_id: 8, next_draft_id: 1, is_partial: false };
    assert_eq!(target.state().await.unwrap(), expected);
}

#[tokio::test]
async fn incomplete_export_is_refused_and_nothing_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let source = catalog(&dir.path().join("source")).await;
    filled(&source).await;
    let bytes = exported(&source).await;
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let target = catalog(&dir.path().join("target")).await;
    let empty = exported(&target).await;
    let refused = async |bytes: &[u8]| {
        let error = import(&target, Cursor::new(bytes), |_, _| {}).await.unwrap_err();
        assert_eq!(exported(&target).await, empty);
        match error {
            BackupError::Malformed(error) => error,
            other => panic!("{other}"),
        }
    };
    for length in [bytes.len() - 1, bytes.len() - 30, bytes.len() / 2, 150] {
        let error = refused(&bytes[..length]).await;
        assert!(matches!(error, Malformed::Cut(_)), "{length}: {error}");
    }
    let rest = |from: usize| lines[from..].join("\n") + "\n";
    assert_eq!(refused(b"").await, Malformed::Cut(0));
    assert_eq!(refused(b"{}\n").await, Malformed::Foreign);
    assert_eq!(refused(rest(1).as_bytes()).await, Malformed::Foreign);
    let version = text.replacen("\"version\":4", "\"version\":5,\"more\":true", 1);
    assert_eq!(refused(version.as_bytes()).await, Malformed::Version(5));
    let last = u64::try_from(lines.len()).unwrap();
    let changed = text.replacen("draft 77\"", "draft 78\"", 1);
    assert_eq!(refused(changed.as_bytes()).await, Malformed::Changed(last));
    let without = format!("{}\n{}", lines[..9].join("\n"), rest(10));
    assert_eq!(refused(without.as_bytes()).await, Malformed::Changed(last - 1));
    for (bad, line) in [
        (format!("{}\n{}\n{}", lines[0], lines[2], rest(1)), 3),
        (format!("{}\n{}\n{}", lines[0], lines[400], rest(1)), 3),
        (text.replacen("\"width\":4", "\"width\":4,\"new\":1", 1), 2),
        (text.replacen("\"width\":4", "\"width\": 4", 1), 2),
        (text.replacen("\"width\":4", "\"width\":-4", 1), 2),
        (format!("{}\n\u{7}\n{}", lines[0], rest(1)), 2),
        (format!("{}\n{}", lines[0], rest(0)), 2),
        (format!("{text}x"), last + 1),
    ] {
        let error = refused(bad.as_bytes()).await;
        assert!(matches!(&error, Malformed::Line { line: at, .. } if *at == line), "{line}: {error}");
    }
    let long = [lines[0].as_bytes(), b"\n", &vec![b' '; (16 << 20) + 1]].concat();
    assert!(refused(&long).await.to_string().contains("line 2 of the export is longer"));
}

fn new_photo(number: u64) -> NewPhoto {
    let key = MediaKey::of(&number.to_be_bytes());
    let source = SourceId::from_digest([u8::try_from(number).unwrap(); 32]);
    NewPhoto { key, width: 4, height: 3, size_bytes: 9, source, facts: None }
}

fn attempt(number: u8) -> NewAttempt {
    let request = RequestHead { path: "/".to_owned(), content_length: None };
    let id = AttemptId::from_digest([number; 32]);
    NewAttempt { id, request, note: String::new(), since: Timestamp::UNKNOWN }
}

/// The catalog changes after each line that is read.
#[tokio::test]
async fn export_of_a_changing_catalog_refers_to_nothing_that_it_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SledCatalog::open_with(dir.path(), FreeDisk::Bytes(0), true).await.unwrap();
    let create = async |number: u8| {
        let photos = vec![new_photo(number.into())];
        let attempt = Some(attempt(number));
        catalog.create_draft(NewDraft { photos, attempt, ..NewDraft::default() }).await.unwrap()
    };
    for number in 1..=3 {
        create(number).await;
    }
    let mut assembler = Assembler::new(tempfile::tempfile().unwrap(), Vec::new());
    let mut number = 10;
    let mut lines = Vec::new();
    stream(Rows::of(&catalog), async |line| {
        lines.push(line);
        if number > 200 {
            return Ok(());
        }
        let draft = create(number).await;
        let change = |number| {
            let (photos, attempt) = (vec![new_photo(number)], Some(attempt(number.try_into().unwrap())));
            Change::Append { photos, max: 99, attempt }
        };
        let old = DraftId(u64::from(number % 3) + 1);
        catalog.change_draft(old, None, change(u64::from(number) + 1)).await.unwrap();
        catalog.change_draft(draft.id, None, change(u64::from(number) + 2)).await.unwrap();
        number += 3;
        Ok(())
    })
    .await
    .unwrap();
    assert!(lines.len() > 20, "{}", lines.len());
    for line in &lines {
        assembler.add_bytes(line).unwrap();
    }
    assert!(assembler.add_bytes(&lines[0]).is_err(), "an attempt does not come after the media");
    let mut bytes = Vec::new();
    let mut assembler = Assembler::new(tempfile::tempfile().unwrap(), &mut bytes);
    lines.iter().try_for_each(|line| assembler.add_bytes(line)).unwrap();
    let counts = assembler.end().unwrap();
    assert_eq!(verify(Cursor::new(&bytes)).unwrap(), counts);
    // Each of the three attempts that were read first was followed by a draft.
    assert_eq!((counts.drafts, counts.attempts), (6, 3));

    let copy = tempfile::tempdir().unwrap();
    let copy = SledCatalog::open(copy.path(), FreeDisk::Bytes(0)).await.unwrap();
    import(&copy, Cursor::new(&bytes), |_, _| {}).await.unwrap();
    for id in 1..=6 {
        let draft = copy.draft(DraftId(id)).await.unwrap().unwrap();
        let now = catalog.draft(DraftId(id)).await.unwrap().unwrap();
        assert!(!draft.photos.is_empty() && now.photos.starts_with(&draft.photos), "draft {id}");
    }
    for row in copy.attempts_page(None, 99).await.unwrap() {
        let draft = copy.draft(row.attempt.draft.id).await.unwrap().unwrap();
        assert!(draft.photos.len() >= row.attempt.draft.photos.len(), "what was acknowledged is there");
    }
    for source in copy.sources_page(None, 999).await.unwrap() {
        assert!(source.media.is_some(), "source {}", source.source);
    }
    let events = copy.events_page(None, 999).await.unwrap();
    let is_known = |row: &EventRow| matches!(row.event.what.subject(), Subject::Draft(id) if id.0 <= 6);
    assert!(events.len() > 3 && events.iter().all(is_known));
    let ids = copy.state().await.unwrap();
    assert!(
        ids.next_draft_id > 7 && ids.next_media_id > 7,
        "ids that were given meanwhile stay given: {ids:?}"
    );
}

#[tokio::test]
async fn import_over_a_different_row_fails_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let source = catalog(&dir.path().join("source")).await;
    filled(&source).await;
    let target = catalog(&dir.path().join("target")).await;
    let other = Media { width: 5, ..media(123) };
    target.restore(Restore::Rows(vec![Row::Media(other)])).await.unwrap();
    let error = import(&target, Cursor::new(exported(&source).await), |_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("media 123 "), "{error}");
}
