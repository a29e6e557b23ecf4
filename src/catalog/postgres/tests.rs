//! Tests of PostgreSQL's own behaviour; see `conformance` for what all catalogs have in common.

#[path = "../../../tests/cluster/mod.rs"]
mod cluster;
mod proxy;

use std::time::{Duration, Instant};

use refinery::Target;
use tokio_postgres::SimpleQueryMessage;

use self::cluster::Cluster;
use self::proxy::{Fault, Proxy};
use super::*;
use crate::catalog::{Fields, Holder, NewAttempt, NewPhoto, RequestHead, Restore, TaskLeases, conformance};

async fn open(url: &str) -> PostgresCatalog {
    PostgresCatalog::open(&url.parse().unwrap(), 8, Schema::Migrate).await.unwrap()
}

fn draft(names: &[String]) -> NewDraft {
    let photo = |name: &String| {
        let key = MediaKey::of(name.as_bytes());
        NewPhoto {
            key,
            width: 4,
            height: 3,
            size_bytes: 2,
            source: SourceId::from_digest(*key.as_bytes()),
            facts: None,
        }
    };
    NewDraft { title: "test".into(), photos: names.iter().map(photo).collect(), ..NewDraft::default() }
}

fn named(name: &str) -> NewDraft {
    draft(&[name.to_owned()])
}

#[tokio::test]
async fn postgres_passes_catalog_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    conformance::run(Arc::new(open(&cluster.database().await).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_listings_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = Arc::new(open(&url).await);
    conformance::listings::run(Arc::clone(&catalog) as Arc<dyn Catalog>).await;
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
    drop(catalog);
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_uploads_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = Arc::new(open(&url).await);
    conformance::uploads::run(Arc::clone(&catalog) as Arc<dyn Catalog>).await;
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
    drop(catalog);
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_attempts_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    conformance::attempts::run(Arc::new(open(&url).await)).await;
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_outbox_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    conformance::outbox::run(Arc::new(open(&url).await.recording_events(true))).await;
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_identities_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    conformance::identities::run(Arc::new(open(&url).await), Arc::new(open(&url).await)).await;
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_leases_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    conformance::leases::run(Arc::new(open(&url).await), Arc::new(open(&url).await)).await;
    assert_no_deadlock(cluster, &url).await;
}

#[tokio::test]
async fn photos_that_are_marked_wrongly_are_found_and_repaired() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    let kept = catalog.create_draft(draft(&["a".to_owned(), "b".to_owned()])).await.unwrap();
    let gone = catalog.create_draft(named("c")).await.unwrap();
    catalog.delete_draft(gone.id, None).await.unwrap();
    let client = cluster.client(&url).await;
    let swap = "UPDATE media SET unreferenced_since = CASE WHEN unreferenced_since IS NULL THEN now() END WHERE id <> 2";
    client.batch_execute(swap).await.unwrap();
    let faults = [IndexFault::Undercounted(MediaId(1)), IndexFault::Overcounted(MediaId(3))];
    for repair in [false, true] {
        assert_eq!(catalog.check_indexes(repair).await.unwrap(), faults);
    }
    assert_eq!(catalog.check_indexes(false).await.unwrap(), []);
    let soon = Timestamp::from_millis(Timestamp::now().millis() + 60_000);
    assert_eq!(catalog.unreferenced_media(soon, 9).await.unwrap(), gone.photos);
    assert!(!catalog.remove_media(kept.photos[0].id, soon).await.unwrap());
}

/// Fails if the database aborted a transaction because of a deadlock. It updates this counter when a connection ends.
async fn assert_no_deadlock(cluster: &Cluster, url: &str) {
    let client = cluster.client(url).await;
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn postgres_passes_restore_conformance_suite() {
    let Some(cluster) = Cluster::shared() else { return };
    conformance::restorable::run(&open(&cluster.database().await).await).await;
}

#[tokio::test]
async fn concurrent_instances_share_rows_without_deadlock() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let starting: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { open(&url).await }
            })
        })
        .collect();
    let mut instances = Vec::new();
    for instance in starting {
        instances.push(Arc::new(instance.await.unwrap()));
    }
    let names: Vec<String> = (0..12).map(|name| format!("shared {name}")).collect();
    let uploads: Vec<_> = (0..80)
        .map(|n| {
            let instance = Arc::clone(&instances[n % 4]);
            let mut names = names.clone();
            names.rotate_left(n % 12);
            if n % 2 == 0 {
                names.reverse();
            }
            tokio::spawn(async move { instance.create_draft(draft(&names)).await.unwrap() })
        })
        .collect();
    let mut ids = HashSet::new();
    for upload in uploads {
        let made = upload.await.unwrap();
        ids.insert(made.id);
        assert_eq!(instances[0].draft(made.id).await.unwrap(), Some(made));
    }
    assert_eq!(ids.len(), 80);
    assert_eq!(instances[0].media_page(None, 100).await.unwrap().len(), 12);
    drop(instances);
    assert_no_deadlock(cluster, &url).await;
}

/// Rows as the version with the first schema wrote them.
const FIRST_ROWS: &str = r#"
    INSERT INTO "user" (id) VALUES (7);
    INSERT INTO media (id, key, width, height, size_bytes, user_id, created)
        SELECT id, sha256(id::text::bytea), 4, 3, 2, 7, '2025-01-02 03:04:05.678901Z' FROM generate_series(1, 3) AS id;
    INSERT INTO draft (id, title, description, status, user_id, created)
        VALUES (1, 'old', '', 'draft', 7, '2025-01-02 03:04:05.678901Z'), (2, 'of nobody', '', 'draft', NULL, now());
    INSERT INTO draft_photo VALUES (1, 0, 1), (1, 1, 2), (2, 0, 2);
    SELECT setval('media_id_seq', 3), setval('draft_id_seq', 2);"#;

#[tokio::test]
async fn catalog_of_the_first_schema_is_migrated_without_loss() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let mut client = cluster.client(&url).await;
    let first = migrate::embedded::migrations::runner().set_target(Target::Version(1));
    first.run_async(&mut client).await.unwrap();
    client.batch_execute(FIRST_ROWS).await.unwrap();
    let before = Timestamp::now();
    let catalog = open(&url).await;
    let old = catalog.draft(DraftId(1)).await.unwrap().unwrap();
    assert_eq!(old.created, Timestamp::from_millis(1_735_787_045_678));
    assert!(old.updated >= before && old.updated <= Timestamp::now(), "{}", old.updated);
    assert_eq!((old.version, old.status, old.photos.len()), (1, DraftStatus::Draft, 2));
    let seven = DraftFilter { owner: UserId::try_from(7).ok(), status: Some(DraftStatus::Draft) };
    assert_eq!(catalog.drafts_of(seven, None, 9).await.unwrap(), [old]);
    assert_eq!(catalog.drafts_with(MediaId(2), None, 9).await.unwrap(), [DraftId(1), DraftId(2)]);
    let media = catalog.unreferenced_media(Timestamp::now(), 9).await.unwrap();
    assert_eq!(media.iter().map(|media| media.id.0).collect::<Vec<_>>(), [3]);
    assert!(catalog.unreferenced_media(before.minus(Duration::from_secs(1)), 9).await.unwrap().is_empty());
    let made = catalog.create_draft(named("new")).await.unwrap();
    assert_eq!((made.id, made.photos[0].id), (DraftId(3), MediaId(4)));
}

/// Whatever landed before: a table of the last version is created beside the rows of each.
#[tokio::test]
async fn catalogs_of_all_schemas_are_migrated_and_lease_tasks() {
    let Some(cluster) = Cluster::shared() else { return };
    let migrations = migrate::embedded::migrations::runner();
    let last = migrations.get_migrations().iter().map(refinery::Migration::version).max().unwrap();
    for version in 1..=last {
        let url = cluster.database().await;
        let mut client = cluster.client(&url).await;
        let earlier = migrate::embedded::migrations::runner().set_target(Target::Version(version));
        earlier.run_async(&mut client).await.unwrap();
        client.batch_execute(FIRST_ROWS).await.unwrap();
        let catalog = open(&url).await;
        let rows = catalog.media_by_key(None, None, 9).await.unwrap();
        assert!(rows.len() == 3 && rows.is_sorted_by_key(|row| row.key), "{version}: {rows:?}");
        assert_eq!(catalog.task_lease("task").await.unwrap(), None);
        let lease = catalog.take_lease(Holder::new("task", 1), Duration::from_secs(60)).await.unwrap();
        assert_eq!(lease.as_deref(), Some(""), "{version}");
    }
}

/// Enough rows that reading a whole table costs far more than an index: 20,000 drafts of 200 users, a photo of its own for each,
/// one that a tenth of the drafts have, 2,000 that no draft has, and 20,000 uploads, of which a tenth have a photo.
const MANY_ROWS: &str = r#"
    INSERT INTO "user" (id) SELECT generate_series(1, 20000);
    INSERT INTO media (id, key, width, height, size_bytes, user_id, unreferenced_since)
        SELECT id, sha256(id::text::bytea), 4, 3, 2, 1 + id % 200,
            CASE WHEN id > 20000 THEN now() - id * interval '1 minute' END FROM generate_series(1, 22000) AS id;
    INSERT INTO draft (id, title, description, status, user_id)
        SELECT id, '', '', (ARRAY['draft', 'ready', 'published', 'archived'])[1 + id / 1000 % 4], nullif(id % 200, 0)
        FROM generate_series(1, 20000) AS id;
    INSERT INTO draft_photo SELECT id, 0, id FROM generate_series(1, 20000) AS id;
    INSERT INTO draft_photo SELECT id, 1, 1 FROM generate_series(2, 20000, 10) AS id;
    INSERT INTO source SELECT sha256(('source ' || id)::bytea), id FROM generate_series(1, 22000) AS id;
    INSERT INTO upload (id, request, acknowledged, writer, layout, state, media_id, created, expires)
        SELECT decode(md5(id::text), 'hex'), '{}', 0, 0, '', '"receiving"', CASE WHEN id % 10 = 0 THEN id END, now(),
            now() + id * interval '1 minute' FROM generate_series(1, 20000) AS id;
    SELECT setval('media_id_seq', 22000), setval('draft_id_seq', 20000);"#;

/// Calls every method of the catalog.
async fn call_all(catalog: &PostgresCatalog, round: u64) {
    let key = MediaKey::from_digest([5; 32]);
    let user = UserId::try_from(3).unwrap();
    let names = [format!("photo {round}"), "shared".to_owned()];
    let made = catalog.create_draft(NewDraft { owner: Some(user), ..draft(&names) }).await.unwrap();
    let photos = draft(&[format!("appended {round}")]).photos;
    for change in [
        Change::Append { photos, max: 9, attempt: None },
        Change::Reorder(vec![2, 1, 0]),
        Change::RemovePhoto(0),
        Change::Fields(Fields { title: Some(round.to_string()), ..Fields::default() }),
    ] {
        catalog.change_draft(made.id, None, change).await.unwrap();
    }
    let removed = catalog.unreferenced_media(Timestamp::now(), 1000).await.unwrap().pop().unwrap();
    assert!(catalog.remove_media(removed.id, Timestamp::now()).await.unwrap());
    for status in [None, Some(DraftStatus::Published)] {
        for owner in [None, Some(user)] {
            let filter = DraftFilter { owner, status };
            assert_eq!(catalog.drafts_of(filter, Some(DraftId(10_000)), 10).await.unwrap().len(), 10);
        }
    }
    assert_eq!(catalog.drafts_with(MediaId(1), Some(DraftId(9)), 100).await.unwrap().len(), 100);
    catalog.draft(DraftId(77)).await.unwrap().unwrap();
    catalog.delete_draft(made.id, None).await.unwrap();
    let known = catalog.sources_page(Some(SourceId::from_digest([9; 32])), 100).await.unwrap().remove(0);
    catalog.media_of_source(known.source).await.unwrap().unwrap();
    catalog.forget_source(known.source, known.media_id).await.unwrap();
    catalog.media_of_key(key).await.unwrap();
    catalog.without_row(&[key]).await.unwrap();
    catalog.media_page(Some(MediaId(9_000)), 100).await.unwrap();
    catalog.media_by_key(Some(key), Some(MediaKey::from_digest([6; 32])), 100).await.unwrap();
    catalog.drafts_page(Some(DraftId(9_000)), 100).await.unwrap();
    catalog.created().await.unwrap();
    catalog.check().await.unwrap();
    catalog.lock_keys(&[key]).await.unwrap();
    call_uploads(catalog, user, round).await;
}

async fn call_uploads(catalog: &PostgresCatalog, user: UserId, round: u64) {
    let now = Timestamp::now();
    let row = UploadRow::new(UploadId::random(), Some(user), "{}".into(), now, now);
    catalog.create_upload(row.clone()).await.unwrap();
    let photo = draft(&[format!("uploaded {round}")]).photos.remove(0);
    for change in [
        UploadChange::Advance { offset: 1, length: None, expires: now },
        UploadChange::Finish { length: 1, photo },
    ] {
        catalog.change_upload(row.id, row.writer, change).await.unwrap().unwrap();
    }
    catalog.media(MediaId(77)).await.unwrap().unwrap();
    assert_eq!(catalog.expired_uploads(Timestamp::now(), 9).await.unwrap(), [row.id]);
    catalog.uploads_page(Some(row.id), 9).await.unwrap();
    let new = NewDraft { uploads: vec![row.id], owner: Some(user), ..NewDraft::default() };
    catalog.create_draft(new).await.unwrap();
    assert!(catalog.remove_upload(row.id, None).await.unwrap());
    let photo = draft(&[format!("whole {round}")]).photos.remove(0);
    catalog.record_upload(row.clone(), photo).await.unwrap().unwrap();
    assert!(catalog.remove_upload(row.id, Some(Timestamp::now())).await.unwrap());
}

#[tokio::test]
async fn every_query_of_a_request_uses_an_index() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    // One connection for statements, so that it has prepared all of them.
    let catalog = PostgresCatalog::open(&url.parse().unwrap(), 2, Schema::Migrate).await.unwrap();
    // A connection reports its scans when it ends.
    let filling = cluster.client(&url).await;
    filling.batch_execute(MANY_ROWS).await.unwrap();
    filling.batch_execute("ANALYZE").await.unwrap();
    drop(filling);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let own = cluster.client(&url).await;
    own.batch_execute("SELECT pg_stat_reset()").await.unwrap();
    // The first executions have plans for their parameters, and later ones may have one for any.
    for round in 0..12 {
        call_all(&catalog, round).await;
    }
    let client = catalog.connections.work().await.unwrap();
    client.batch_execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
    let prepared = "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements";
    let prepared = client.query(prepared, &[]).await.unwrap();
    assert!(prepared.len() > 30, "{}", prepared.len());
    for row in prepared {
        let (name, statement, count): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
        let nulls = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
        let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
        let plan = client.simple_query(&format!("EXPLAIN EXECUTE {name} {arguments}")).await.unwrap();
        let plan: Vec<&str> = plan
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .collect();
        let reads_all = |line: &&&str| line.contains("Seq Scan") && !line.contains("on catalog_state");
        let found = plan.iter().find(reads_all);
        assert_eq!(found, None, "{statement}\n{}", plan.join("\n"));
    }
    drop((client, catalog));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let scans =
        "SELECT relname::text FROM pg_stat_user_tables WHERE seq_scan > 0 AND relname <> 'catalog_state'";
    let scanned: Vec<String> = own.query(scans, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(scanned, [] as [&str; 0], "read as a whole");
}

#[tokio::test]
async fn change_whose_caller_gives_up_leaves_no_transaction_open() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    // One connection for statements, which the next call uses again.
    let catalog = PostgresCatalog::open(&url.parse().unwrap(), 2, Schema::Migrate).await.unwrap();
    let made = catalog.create_draft(named("first")).await.unwrap();
    // Its statements are prepared from now on.
    let title = Fields { title: Some("changed".into()), ..Fields::default() };
    let made = catalog.change_draft(made.id, None, Change::Fields(title)).await.unwrap();
    let other = cluster.client(&url).await;
    other.batch_execute("BEGIN; LOCK TABLE media").await.unwrap();
    let change = Change::Append { photos: named("second").photos, max: 9, attempt: None };
    let change = catalog.change_draft(made.id, None, change);
    assert!(tokio::time::timeout(Duration::from_millis(300), change).await.is_err());
    other.batch_execute("ROLLBACK").await.unwrap();
    let unused = [MediaKey::of(b"second")];
    assert_eq!(catalog.without_row(&unused).await.unwrap(), unused);
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    assert_eq!(other.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(catalog.draft(made.id).await.unwrap(), Some(made));
}

#[tokio::test]
async fn lock_excludes_other_instances_until_a_lost_commit_has_ended() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let (one, two) = (open(&url).await, Arc::new(open(&url).await));
    let keys = [MediaKey::of(b"a"), MediaKey::of(b"b")];
    let lock = one.lock_keys(&keys).await.unwrap();
    one.create_draft(named("a")).await.unwrap();
    drop(two.lock_keys(&[MediaKey::of(b"c")]).await.unwrap());
    let waiting = tokio::spawn({
        let two = Arc::clone(&two);
        async move { two.lock_keys(&[MediaKey::of(b"a")]).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    drop(lock);
    drop(waiting.await.unwrap().unwrap());
    // A connection was lost during COMMIT, and the database has not noticed yet.
    let lost = cluster.client(&url).await;
    let names = rows::locks(keys, rows::Half::Record);
    lost.batch_execute("BEGIN").await.unwrap();
    let shared = "SELECT pg_advisory_xact_lock_shared(name) FROM unnest($1::bigint[]) AS name";
    lost.execute(shared, &[&names]).await.unwrap();
    let waiting = tokio::spawn(async move { two.lock_keys(&keys).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    lost.batch_execute("COMMIT").await.unwrap();
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn connection_lost_during_commit_is_indeterminate_and_before_is_not() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let direct = open(&url).await;
    let proxy = Proxy::start(cluster.port()).await;
    let catalog = open(&url.replace(&format!(":{}", cluster.port()), &format!(":{}", proxy.port))).await;
    let key = |name: &str| [MediaKey::of(name.as_bytes())];
    catalog.create_draft(named("before")).await.unwrap();
    for (name, fault, is_recorded) in [
        ("answer lost", Fault::CutAfter("COMMIT\0"), true),
        ("commit lost", Fault::CutBefore("COMMIT\0"), false),
        ("answer never comes", Fault::StallAfter("COMMIT\0"), true),
    ] {
        proxy.set_fault(fault);
        let error = catalog.create_draft(named(name)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Catalog(CatalogError::Indeterminate(_))), "{name}: {error:?}");
        proxy.set_fault(Fault::Through);
        let _lock = catalog.lock_keys(&key(name)).await.unwrap();
        let without = catalog.without_row(&key(name)).await.unwrap();
        assert_eq!(without.is_empty(), is_recorded, "{name}");
    }
    proxy.set_fault(Fault::CutBefore("INSERT"));
    // Statements are prepared once per connection: this connection may be new.
    let error = catalog.create_draft(named("cut")).await;
    proxy.set_fault(Fault::CutBefore("BEGIN ISOLATION"));
    let error = match error {
        Err(error) => error,
        Ok(_) => catalog.create_draft(named("cut")).await.unwrap_err(),
    };
    assert!(matches!(error, ChangeError::Catalog(CatalogError::Unavailable(_))), "{error:?}");
    proxy.set_fault(Fault::Through);
    catalog.create_draft(named("after")).await.unwrap();
    assert_eq!(direct.without_row(&key("after")).await.unwrap(), []);
}

#[tokio::test]
async fn stalled_database_is_unavailable_within_seconds_and_recovers() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let proxy = Proxy::start(cluster.port()).await;
    let catalog = open(&url.replace(&format!(":{}", cluster.port()), &format!(":{}", proxy.port))).await;
    catalog.check().await.unwrap();
    proxy.set_fault(Fault::Stall);
    let asked = Instant::now();
    let (check, lock) = (catalog.check(), catalog.lock_keys(&[]));
    let (check, lock, record) =
        futures_util::future::join3(check, lock, catalog.create_draft(named("x"))).await;
    assert!(matches!(check, Err(CatalogError::Unavailable(_))));
    assert!(matches!(lock, Err(CatalogError::Unavailable(_))));
    assert!(matches!(record, Err(ChangeError::Catalog(CatalogError::Unavailable(_)))));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    proxy.set_fault(Fault::Through);
    catalog.check().await.unwrap();
    catalog.create_draft(named("x")).await.unwrap();
}

#[tokio::test]
async fn full_disk_is_reported_and_conflict_is_retried() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    let client = cluster.client(&url).await;
    let raise = |code: &str, condition: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF {condition} THEN RAISE EXCEPTION 'expected by the test' USING ERRCODE = '{code}'; END IF; RETURN new;
             END $$"
        )
    };
    client.batch_execute(&raise("53100", "true")).await.unwrap();
    let trigger =
        "CREATE SEQUENCE tries; CREATE TRIGGER fails BEFORE INSERT ON draft EXECUTE FUNCTION fails()";
    client.batch_execute(trigger).await.unwrap();
    let full = catalog.create_draft(named("full")).await;
    assert!(matches!(full, Err(ChangeError::Catalog(CatalogError::Full(_)))), "{full:?}");
    assert_eq!(catalog.without_row(&[MediaKey::of(b"full")]).await.unwrap().len(), 1, "no row remains");
    for code in ["40001", "40P01"] {
        client.batch_execute(&raise(code, "nextval('tries') % 3 > 0")).await.unwrap();
        catalog.create_draft(named(code)).await.unwrap();
    }
    client.batch_execute(&raise("40001", "true")).await.unwrap();
    let never = catalog.create_draft(named("never")).await;
    assert!(matches!(never, Err(ChangeError::Catalog(CatalogError::Unavailable(_)))), "{never:?}");
    assert_eq!(catalog.drafts_page(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn partial_or_read_only_catalog_fails_check() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let catalog = open(&url).await;
    catalog.restore(Restore::Begin { next_media_id: 1, next_draft_id: 1 }).await.unwrap();
    assert!(matches!(catalog.check().await, Err(CatalogError::Unavailable(_))));
    catalog.restore(Restore::End).await.unwrap();
    catalog.check().await.unwrap();
    let options = "?options=-c%20default_transaction_read_only%3Don";
    let reading = open(&format!("{url}{options}")).await;
    assert!(matches!(reading.check().await, Err(CatalogError::Unavailable(_))));
    assert_eq!(reading.state().await.unwrap(), catalog.state().await.unwrap());
}

#[tokio::test]
async fn wrong_database_foreign_tables_and_missing_tables_are_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let refused = async |url: &str, schema| {
        let refused = PostgresCatalog::open(&url.parse().unwrap(), 4, schema).await;
        refused.err().map(|error| failure_text(&error)).unwrap()
    };
    let text = refused(&format!("{url}9"), Schema::Migrate).await;
    assert!(text.contains("does not exist") && !text.contains("secret"), "{text}");
    assert!(refused(&url, Schema::Expect).await.contains("contains no catalog"));
    cluster.client(&url).await.batch_execute("CREATE TABLE media (id int)").await.unwrap();
    let text = refused(&url, Schema::Migrate).await;
    assert!(text.contains("belong to another program"), "{text}");
    // Nothing listens there, which may change.
    let down =
        PostgresCatalog::open(&"postgres://app@127.0.0.1:1/d".parse().unwrap(), 4, Schema::Migrate).await;
    assert!(matches!(down.unwrap().check().await, Err(CatalogError::Unavailable(_))));
}

fn failure_text(error: &CatalogError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

const CERTIFICATES: &str = "
    set -e
    key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    for ca in ca other; do
        openssl req -x509 $key -keyout $ca.key -out $ca.crt -days 2 -subj /CN=$ca
    done
    openssl req $key -keyout data/server.key -out server.csr -subj /CN=db -addext subjectAltName=DNS:localhost
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy \\
        -out data/server.crt";

/// The client of the request left while the claim was made, so that nobody releases it.
#[tokio::test]
async fn claim_that_no_request_holds_is_free_for_its_instance_and_soon_for_others() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let [own, other] = [open(&url).await, open(&url).await];
    let id = |key: &str| AttemptId::new(None, key);
    let Begun::Claimed(_claim) = own.begin_attempt(id("held"), Timestamp::UNKNOWN).await.unwrap() else {
        panic!("the key is new")
    };
    let client = cluster.client(&url).await;
    let leak = "INSERT INTO attempt_claim (id, holder, renewed)
        SELECT $1, holder, now() - make_interval(secs => $2) FROM attempt_claim WHERE id = $3";
    let held = id("held").as_bytes().to_vec();
    for (key, age) in [("young", 0.0), ("old", 30.0)] {
        client.execute(leak, &[&id(key).as_bytes().to_vec(), &age, &held]).await.unwrap();
    }
    own.claims.renew().await;
    for (catalog, key, is_free) in [
        (&own, "held", false),
        (&other, "held", false),
        (&other, "young", false),
        (&other, "old", true),
        (&own, "young", true),
    ] {
        let begun = catalog.begin_attempt(id(key), Timestamp::UNKNOWN).await.unwrap();
        assert_eq!(matches!(begun, Begun::Claimed(_)), is_free, "{key}");
    }
    // An answered request gives its claim back a moment later, and an instance that was killed never does.
    let request = RequestHead { path: "/upload".into(), content_length: None };
    let attempt = NewAttempt { id: id("held"), request, note: String::new(), since: Timestamp::UNKNOWN };
    let made = own.create_draft(NewDraft { attempt: Some(attempt), ..named("held") }).await.unwrap();
    let begun = other.begin_attempt(id("held"), Timestamp::UNKNOWN).await.unwrap();
    assert!(matches!(begun, Begun::Done(done) if done.draft == made));
}

#[tokio::test]
async fn tls_verifies_what_sslmode_demands() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.database().await;
    let plain = open(&format!("{url}?sslmode=prefer")).await;
    let is_tls = async |catalog: &PostgresCatalog| -> Result<bool, CatalogError> {
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(catalog.connections.read(sql, &[]).await?[0].get(0))
    };
    assert!(!is_tls(&plain).await.unwrap());
    let refused = open(&format!("{url}?sslmode=require")).await;
    assert!(is_tls(&refused).await.is_err(), "the server has no TLS yet");
    let made = cluster.program("/bin/sh").args(["-c", CERTIFICATES]).output();
    if !made.as_ref().is_ok_and(|made| made.status.success()) {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: no openssl for certificates: {made:?}\n"),
        );
        return;
    }
    let client = cluster.client("postgres").await;
    client.execute("ALTER SYSTEM SET ssl = on", &[]).await.unwrap();
    client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    let begun = Instant::now();
    while !is_tls(&open(&url).await).await.unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(10), "TLS was not turned on in time");
    }
    let by_name = url.replace("127.0.0.1", "localhost");
    let root = |name: &str| format!("sslrootcert={}", cluster.dir().join(name).display());
    for (url, options, expected) in [
        (&url, "sslmode=disable".to_owned(), Some(false)),
        (&url, "sslmode=require".to_owned(), Some(true)),
        (&url, format!("sslmode=require&{}", root("ca.crt")), Some(true)),
        (&url, format!("sslmode=require&{}", root("other.crt")), None),
        (&url, format!("sslmode=verify-ca&{}", root("ca.crt")), Some(true)),
        (&url, format!("sslmode=verify-ca&{}", root("other.crt")), None),
        (&url, format!("sslmode=verify-full&{}", root("ca.crt")), None),
        (&by_name, format!("sslmode=verify-full&{}", root("ca.crt")), Some(true)),
        (&by_name, format!("sslmode=verify-full&{}", root("other.crt")), None),
    ] {
        let catalog = open(&format!("{url}?{options}")).await;
        assert_eq!(is_tls(&catalog).await.ok(), expected, "{url} {options}");
    }
    let no_root = format!("{url}?sslmode=verify-ca&{}", root("none.crt"));
    assert!(PostgresCatalog::open(&no_root.parse().unwrap(), 4, Schema::Expect).await.is_err());
}
