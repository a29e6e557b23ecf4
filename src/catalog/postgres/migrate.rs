//! Creates and updates the tables by numbered migrations, each in a transaction, one process at a time.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Config};
use tokio_util::task::AbortOnDropHandle;

use super::failure::silent;
use super::tls::Tls;
use crate::catalog::CatalogError;

pub(super) mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "made by a macro")]
    refinery::embed_migrations!("src/catalog/postgres/migrations");
}

/// What to do with a database that lacks tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Create missing tables, and migrate older ones.
    Migrate,
    /// Fail: a mistaken URL must not look like an empty catalog.
    Expect,
}

/// Advisory lock held during migrations, so that several instances can start at the same time. The number is arbitrary.
const LOCK: i64 = 0x7669_6e74_6564;
/// Time limit for all migrations, own or of another instance. They may have to read every row.
const LONGEST: Duration = Duration::from_secs(600);

/// Creates or updates the tables, or checks that they exist, as `schema` says.
pub(super) async fn prepare(config: &Config, tls: Tls, schema: Schema) -> Result<(), CatalogError> {
    let (mut client, connection) = config.connect(tls).await?;
    // The lock ends with the connection, and the connection with this function, even if it is cancelled.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    match schema {
        Schema::Migrate => timeout(LONGEST, migrate(&mut client)).await.map_err(|_| silent())?,
        Schema::Expect => {
            let sql = "SELECT to_regclass('catalog_state') IS NOT NULL";
            let is_there: bool = client.query_one(sql, &[]).await?.try_get(0)?;
            if is_there {
                Ok(())
            } else {
                Err(CatalogError::Corrupt("this database contains no catalog".into()))
            }
        }
    }
}

async fn migrate(client: &mut Client) -> Result<(), CatalogError> {
    if is_up_to_date(client).await? {
        return Ok(());
    }
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let report = embedded::migrations::runner().run_async(client).await.map_err(failed)?;
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "database migrated");
    }
    Ok(())
}

/// Returns true if no migration is missing. Checked first, so that a read-only replica and a user who may not create
/// tables work.
async fn is_up_to_date(client: &Client) -> Result<bool, CatalogError> {
    let is_there = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await?;
    if !is_there.try_get(0)? {
        return Ok(false);
    }
    let last = client.query_one("SELECT max(version)::bigint FROM refinery_schema_history", &[]).await?;
    let last: Option<i64> = last.try_get(0)?;
    let expected =
        embedded::migrations::runner().get_migrations().iter().map(|one| i64::from(one.version())).max();
    Ok(last == expected)
}

/// Returns true if a migration failed because of existing tables, not because the database failed.
fn is_foreign(cause: &(dyn std::error::Error + 'static)) -> bool {
    let code = cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| code.code().starts_with("42"))
}

fn failed(error: refinery::Error) -> CatalogError {
    use refinery::error::Kind;
    match error.kind() {
        Kind::Connection(_, cause) if !is_foreign(&**cause) => CatalogError::Unavailable(error.into()),
        // The tables belong to another program or to a later version of this one.
        _ => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            CatalogError::Corrupt(format!(
                "its tables belong to another program or a later version: {error}{cause}"
            ))
        }
    }
}
