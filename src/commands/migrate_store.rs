//! Copies a catalog into another catalog, or photos into another store of photos.
//!
//! The source does not change. After an interruption the same command continues.

use std::fs::File;
use std::io::{self, BufWriter, Seek};

use super::progress::Progress;
use super::report::{import_rows, note, say, with_causes};
use super::{Verdict, files};
use crate::backup::{self, Copied, Finding, Rows};
use crate::config::{Database, MediaStorage, Settings, StoreAddress};
use crate::stores::{self, Mode};

pub(super) async fn migrate_store(
    settings: &Settings,
    from: Option<&StoreAddress>,
    to: Option<&StoreAddress>,
) -> Result<Verdict, String> {
    // An end that is not named is where the settings have a store of the same kind as the other end.
    let counterpart = |named: Option<&StoreAddress>| match named {
        Some(StoreAddress::Catalog(_)) | None => settings.catalog_address(),
        Some(StoreAddress::Directory(_) | StoreAddress::Bucket { .. }) => settings.media_address(),
    };
    let source = from.cloned().unwrap_or_else(|| counterpart(to));
    let target = to.cloned().unwrap_or_else(|| counterpart(from));
    if source == target {
        return Err(format!("source and target are the same: {source}"));
    }
    match (&source, &target) {
        (StoreAddress::Catalog(from), StoreAddress::Catalog(to)) => {
            let at = |database: &Database| Settings { database: database.clone(), ..settings.clone() };
            catalog(&at(from), &at(to)).await
        }
        (StoreAddress::Catalog(_), _) | (_, StoreAddress::Catalog(_)) => {
            Err(format!("a catalog moves to a catalog, and photos to photos: not {source} to {target}"))
        }
        _ => photos(settings, &source, &target).await,
    }
}

async fn catalog(from: &Settings, to: &Settings) -> Result<Verdict, String> {
    let source = stores::open_catalog(from, Mode::Existing).await?;
    let spool = files::spool([&from.database, &to.database]);
    let cannot = |error: io::Error| format!("{} cannot be used for a passing copy: {error}", spool.display());
    let mut file = files::nameless(&spool).map_err(cannot)?;
    let order = files::nameless(&spool).map_err(cannot)?;
    let out = BufWriter::new(&file);
    let counts = backup::export(Rows::of(&*source), order, out).await.map_err(with_causes)?;
    note(&format!("Read {counts} from {}.", from.database));
    file.rewind().map_err(cannot)?;
    let target = stores::open_catalog(to, Mode::Create).await?;
    import_rows(&*target, &file).await?;
    let expected = hash(&mut file).map_err(cannot)?;
    let mut hasher = blake3::Hasher::new();
    let order = files::nameless(&spool).map_err(cannot)?;
    let kept = backup::export(Rows::of(&*target), order, &mut hasher).await.map_err(with_causes)?;
    if hasher.finalize() != expected {
        let (from, to) = (&from.database, &to.database);
        say(&format!("catalog-differs {to} holds {kept} and its own next ids, {from} holds {counts}"));
        return Ok(Verdict::Problems);
    }
    note("Both catalogs are equal.");
    Ok(Verdict::Well)
}

fn hash(file: &mut File) -> io::Result<blake3::Hash> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}

async fn photos(settings: &Settings, from: &StoreAddress, to: &StoreAddress) -> Result<Verdict, String> {
    let source = stores::open_media(&with_photos_at(settings, from)?, Mode::Read).await?.store;
    let target = stores::open_media(&with_photos_at(settings, to)?, Mode::Create).await?.store;
    let mut progress = Progress::new();
    let report = |copied: &Copied| progress.report(copied);
    let found = |finding: &Finding| say(&finding.to_string());
    let copied = backup::copy(&*source, &*target, report, found).await.map_err(|error| {
        format!("{}. What was copied stays; the same command goes on from there", with_causes(error))
    })?;
    progress.end();
    let Copied { seen, copied, bytes, problems, .. } = copied;
    note(&format!(
        "Looked at {seen} photos of {from}, copied {copied} ({bytes} bytes) to {to}: {problems} problems."
    ));
    Ok(if problems == 0 { Verdict::Well } else { Verdict::Problems })
}

/// Returns the settings with the photos at `address`.
fn with_photos_at(settings: &Settings, address: &StoreAddress) -> Result<Settings, String> {
    let (media_storage, media_root) = match address {
        StoreAddress::Directory(root) => (MediaStorage::Local, root.clone()),
        StoreAddress::Bucket { service, name } => {
            // The scratch directory is not the media root, which may be the source, or may not exist.
            (MediaStorage::Bucket(settings.bucket(service, name)?), std::env::temp_dir())
        }
        StoreAddress::Catalog(_) => return Err(format!("{address} holds no photos")),
    };
    Ok(Settings { media_storage, media_root, ..settings.clone() })
}
