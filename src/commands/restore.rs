//! Restores catalog and photos from a backup.

use std::path::Path;

use super::Verdict;
use super::backup_files::BackupFiles;
use super::progress::Progress;
use super::report::{import_rows, note, say, with_causes};
use super::save::open_photos;
use crate::backup::{self, Copied, Finding, Outcome};
use crate::catalog::Restore;
use crate::config::Settings;
use crate::model::Media;
use crate::stores::{self, Mode};

/// Restores the backup in `dir` into an empty catalog and an empty store of photos. One that a killed restore of the same backup
/// left is continued.
pub(super) async fn restore(settings: &Settings, dir: &Path) -> Result<Verdict, String> {
    let (files, export) = BackupFiles::existing(dir)?;
    // The whole export is verified before anything is created.
    let keys = backup::keys(&export).map_err(with_causes)?;
    let saved = match files.photos().is_dir() {
        true => Some(open_photos(settings, &files, Mode::Read).await?),
        false => None,
    };
    let catalog = stores::open_catalog(settings, Mode::Create).await?;
    let is_begun = catalog.state().await.map_err(with_causes)?.is_partial;
    if !is_begun && !backup::is_empty(&*catalog).await.map_err(with_causes)? {
        return Err(format!(
            "the catalog at {} is not empty: a restore needs an empty one. Move it away, or name another with DATABASE_URL",
            settings.database
        ));
    }
    let photos = stores::open_media(settings, Mode::Create).await?.store;
    if let Some(other) = backup::not_among(&*photos, &keys).await.map_err(with_causes)? {
        return Err(format!(
            "{} has photos that the backup does not have, such as {other}: a restore needs an empty place. Move them away, or \
             name another place in the settings",
            settings.media_address()
        ));
    }
    // No server starts on a catalog that is partial.
    catalog.restore(Restore::Begin { next_media_id: 1, next_draft_id: 1 }).await.map_err(with_causes)?;
    let mut problems = 0;
    if let Some(saved) = saved {
        let absent = async |row: &Media| {
            let about = format!("media {}: {} is not in the backup", row.id, row.key);
            Ok(Finding { kind: "file-missing", about, outcome: Outcome::Problem })
        };
        let mut progress = Progress::new();
        let (report, found) =
            (|copied: &Copied| progress.report(copied), |finding: &Finding| say(&finding.to_string()));
        let copied =
            backup::copy_named(&export, keys.len() as u64, &*saved, &*photos, absent, report, found).await;
        let copied = copied.map_err(|error| {
            format!("{}. What was copied stays; the same command goes on from there", with_causes(error))
        })?;
        progress.end();
        problems = copied.problems;
        note(&format!("Restored {} photos ({} bytes).", copied.copied, copied.bytes));
    } else {
        note("The backup has no photos.");
    }
    import_rows(&*catalog, &export).await?;
    Ok(if problems == 0 { Verdict::Well } else { Verdict::Problems })
}
