//! Tests of PostgreSQL's own behaviour; see `conformance` for what all catalogs have in common.

#[path = "../../../tests/cluster/mod.rs"]
mod cluster;
mod proxy;

use std::time::{Duration, Instant};

use self::cluster::Cluster;
use self::proxy::{Fault, Proxy};
use super::*;
use crate::catalog::{ChangeError, NewPhoto, Restore, conformance};

async fn open(url: &str) -> PostgresCatalog {
    PostgresCatalog::open(&url.parse().unwrap(), 8, Schema::Migrate).await.unwrap()
}

fn draft(names: &[String]) -> NewDraft {
    let photo = |name: &String| {
        let key = MediaKey::of(name.as_bytes());
        NewPhoto { key, width: 4, height: 3, size_bytes: 2, source: SourceId::from_digest(*key.as_bytes()) }
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
    // No transaction was aborted by a deadlock. The database updates this counter when a connection ends.
    drop(instances);
    let client = cluster.client(&url).await;
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
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
