//! Makes a new catalog in the place of a damaged one, which is kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use super::Verdict;
use super::files::{self, Input};
use super::report::{check, import_rows, note, with_causes};
use crate::backup::{self, BackupError, Checks};
use crate::catalog::{CatalogError, Restorable, Restore, SledCatalog};
use crate::config::Settings;
use crate::disk;
use crate::error_chain::error_chain;
use crate::stores::{self, Mode, OpenError};

/// The catalog at the path of the new one.
enum Present {
    /// There is none.
    Nothing,
    /// It is empty, or an interrupted rebuild left it: nothing can be lost.
    Begun(Box<SledCatalog>),
    Works,
    Damaged(String),
    /// It does not open. The disk or its permissions may be the reason.
    Unclear(String),
}

pub(super) async fn rebuild(settings: &Settings, from: &str, force: bool) -> Result<Verdict, String> {
    let Some(path) = settings.database.directory() else {
        return Err(format!(
            "rebuild is for the embedded catalog. To restore the one at {}, recover its database from a backup, or \
             name an empty one with DATABASE_URL, and import the export",
            settings.database
        ));
    };
    let input = Input::open(from, files::parent(path))?;
    // The export is verified before a file is moved.
    backup::verify(&input.file).map_err(with_causes)?;
    let shown = path.display();
    let mut begun = None;
    let reason = match look(settings, path).await? {
        Present::Nothing => None,
        Present::Begun(catalog) => {
            begun = Some(*catalog);
            None
        }
        Present::Damaged(why) => Some(why),
        Present::Works if force => Some("it works, but --force was given".to_owned()),
        Present::Unclear(why) if force => Some(why),
        Present::Works => {
            return Err(format!(
                "the catalog at {shown} opens, and every row can be read: there is nothing to rebuild. \
                 fsck checks more; --force puts this catalog aside anyway"
            ));
        }
        Present::Unclear(why) => {
            return Err(format!(
                "the catalog at {shown} cannot be opened, but does not look damaged: {why}. Mend that first; \
                 --force puts this catalog aside anyway"
            ));
        }
    };
    let mut noted = None;
    if let Some(why) = reason {
        noted = SledCatalog::acknowledged_next_draft(path);
        let aside = put_aside(path, SystemTime::now())
            .map_err(|error| format!("the catalog at {shown} cannot be put aside: {error}"))?;
        note(&format!("The old catalog ({why}) is kept at {}.", aside.display()));
    }
    let catalog = match begun {
        Some(catalog) => catalog,
        None => stores::open_sled(settings, path).await?,
    };
    // Ids of drafts that were made after the export are not used again: an app may remember them.
    if let Some(next_draft_id) = noted {
        skip_ids(&catalog, 1, next_draft_id).await?;
    }
    import_rows(&catalog, &input.file).await?;
    // Missing photos are reported. They do not make the rebuild fail.
    let media = stores::open_media(settings, Mode::Create).await?;
    let found =
        check(&catalog, &media, Checks { quick: true, repair: false, beside_requests: false }).await?;
    if found.without_row > 0 {
        let count = found.without_row;
        note(&format!(
            "{count} photos have no row: drafts made after the export may have had them. They are kept."
        ));
    }
    let next_media_id = catalog.state().await.map_err(with_causes)?.next_media_id;
    skip_ids(&catalog, next_media_id.saturating_add(found.without_row), 1).await?;
    catalog.restore(Restore::End).await.map_err(with_causes)?;
    Ok(Verdict::Well)
}

async fn skip_ids(catalog: &dyn Restorable, next_media_id: u64, next_draft_id: u64) -> Result<(), String> {
    catalog.restore(Restore::Begin { next_media_id, next_draft_id }).await.map_err(with_causes)
}

async fn look(settings: &Settings, path: &Path) -> Result<Present, String> {
    // Any file in the directory counts as the remains of a catalog.
    let is_there = fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
    if !is_there && !path.is_file() {
        return Ok(Present::Nothing);
    }
    let catalog = match stores::open_sled(settings, path).await {
        Ok(catalog) => catalog,
        Err(OpenError::Damaged { what, .. }) => return Ok(Present::Damaged(what)),
        Err(OpenError::Catalog { source, .. }) => return Ok(Present::Unclear(error_chain(&source))),
        Err(error) => return Err(error.into()),
    };
    let present = match is_needed(&catalog).await {
        Ok(true) => Present::Works,
        Ok(false) => return Ok(Present::Begun(Box::new(catalog))),
        Err(error @ BackupError::Catalog(CatalogError::Corrupt(_))) => Present::Damaged(with_causes(error)),
        Err(error) => Present::Unclear(with_causes(error)),
    };
    catalog.close().await;
    Ok(present)
}

/// Returns whether the catalog has rows that the import would not restore.
async fn is_needed(catalog: &SledCatalog) -> Result<bool, BackupError> {
    backup::read_all(catalog).await?;
    Ok(!catalog.state().await?.is_partial && !backup::is_empty(catalog).await?)
}

/// Renames the directory durably, and returns its new path.
fn put_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let mut name = OsString::from(path);
    name.push(format!(".broken-{}", stamp(now)));
    // Another catalog may have been put aside in the same second.
    while fs::symlink_metadata(&name).is_ok() {
        name.push("-again");
    }
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    disk::sync_dir(files::parent(path))?;
    Ok(aside)
}

/// UTC, as in 20261123T221848Z: RFC 3339 without punctuation, which some file systems do not allow in names.
fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn stamp_is_the_date_in_utc() {
        for (seconds, expected) in
            [(0, "19700101T000000Z"), (951_782_400, "20000229T000000Z"), (1_795_472_328, "20261123T221848Z")]
        {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
