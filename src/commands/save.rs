//! Saves catalog and photos, while the server runs or not.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use super::Verdict;
use super::backup_files::BackupFiles;
use super::catalog_source::CatalogSource;
use super::progress::Progress;
use super::report::{note, say, with_causes};
use crate::backup::{self, Copied, Finding, Outcome};
use crate::config::{MediaStorage, Settings};
use crate::control::Request;
use crate::media::MediaStore;
use crate::model::Media;
use crate::stores::{self, Mode};

/// How much the process gives way to the server (`nice`): on a core that both want it gets a tenth. At 19 it came to a stand on a busy machine.
const NICE: i32 = 10;

/// Makes or continues the backup in `dir`.
pub(super) async fn backup(
    settings: &Settings,
    dir: &Path,
    catalog_only: bool,
    prune: bool,
) -> Result<Verdict, String> {
    let _as_it_was = rustix::process::nice(NICE);
    let files = BackupFiles::create(dir)?;
    let source = CatalogSource::open(settings, Request::Backup).await?;
    let (part, spool) = files.begin()?;
    let (counts, source) = source.export(spool, BufWriter::new(part.as_file())).await?;
    if catalog_only {
        backup::keys(part.as_file()).map_err(with_causes)?;
        files.keep(part)?;
        note(&format!("Saved {counts}. Photos are not in this backup."));
        return Ok(Verdict::Well);
    }
    let photos = stores::open_media(settings, Mode::Read).await?.store;
    let target = open_photos(settings, &files, Mode::Create).await?;
    let absent = async |row: &Media| {
        let Media { id, key, .. } = row;
        Ok(match source.has_media(*id).await? {
            true => Finding {
                kind: "file-missing",
                about: format!("media {id}: {key} has no file; it is not in the backup"),
                outcome: Outcome::Problem,
            },
            false => Finding {
                kind: "photo-removed",
                about: format!("media {id}: {key} was removed during the backup"),
                outcome: Outcome::Note,
            },
        })
    };
    let mut progress = Progress::new();
    let (report, found) =
        (|copied: &Copied| progress.report(copied), |finding: &Finding| say(&finding.to_string()));
    let copied =
        backup::copy_named(part.as_file(), counts.media, &*photos, &*target, absent, report, found).await;
    let Copied { seen, copied, bytes, problems, .. } = copied.map_err(|error| {
        format!("{}. The backup is the former one; the same command goes on from there", with_causes(error))
    })?;
    progress.end();
    // The server may remove photos again.
    drop(source);
    files.keep(part)?;
    note(&format!(
        "Saved {counts}. Of {seen} photos {copied} were new ({bytes} bytes): {problems} problems."
    ));
    if prune {
        note(&format!("Removed {} photos from the backup.", remove_unnamed(&files, &*target).await?));
    }
    Ok(if problems == 0 { Verdict::Well } else { Verdict::Problems })
}

/// Opens the photos of a backup.
pub(super) async fn open_photos(
    settings: &Settings,
    files: &BackupFiles<'_>,
    mode: Mode,
) -> Result<Arc<dyn MediaStore>, String> {
    let local =
        Settings { media_storage: MediaStorage::Local, media_root: files.photos(), ..settings.clone() };
    Ok(stores::open_media(&local, mode).await?.store)
}

/// Removes the photos that neither the current nor the former export names.
async fn remove_unnamed(files: &BackupFiles<'_>, photos: &dyn MediaStore) -> Result<u64, String> {
    let (_, current) = BackupFiles::existing(files.dir())?;
    let mut keys = backup::keys(&current).map_err(with_causes)?;
    if let Some(former) = files.former()? {
        keys.extend(backup::keys(&former).map_err(with_causes)?);
        keys.sort_unstable();
    }
    backup::remove_others(photos, &keys).await.map_err(with_causes)
}
