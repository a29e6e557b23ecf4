//! Examines settings, disks, clock, open files, database and bucket, and says what to do.
//!
//! Nothing that is there changes. A bucket gets an object, which is removed again, because only that shows the rights of the keys.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use nix::sys::statvfs::statvfs;

use super::Verdict;
use super::catalog_source::{CatalogSource, checked};
use super::report::{say, with_causes};
use crate::auth::Provider;
use crate::config::{Env, MediaStorage, Settings};
use crate::control::{Level, Remark, Request, examine, remark};
use crate::disk;
use crate::media::{Integrity, MediaError, MediaStore};
use crate::stores::{self, Mode};

/// By how much the clock of the disk may differ from that of this machine.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

pub(super) async fn doctor(settings: &Settings) -> Result<Verdict, String> {
    let mut remarks = Remarks::default();
    remarks.add(&secret_key(settings));
    remarks.add_all(background(settings));
    for (part, dir) in places(settings) {
        remarks.add_all(place(settings, part, dir));
    }
    if let Some(remark) = provider(settings).await {
        remarks.add(&remark);
    }
    stores(settings, &mut remarks).await;
    Ok(if remarks.problems == 0 { Verdict::Well } else { Verdict::Problems })
}

/// Prints remarks, and counts the problems among them.
#[derive(Default)]
struct Remarks {
    problems: u64,
}

impl Remarks {
    fn add(&mut self, remark: &Remark) {
        self.problems += u64::from(remark.level == Level::Problem);
        say(&remark.to_string());
    }

    fn add_all(&mut self, remarks: impl IntoIterator<Item = Remark>) {
        remarks.into_iter().for_each(|remark| self.add(&remark));
    }
}

fn secret_key(settings: &Settings) -> Remark {
    // ENV=prod refuses such a key before.
    match settings.has_public_secret_key() {
        true => {
            let what = "SECRET_KEY is the default or a placeholder, so that anyone can sign tokens: set 32 random bytes, as from \
                        openssl rand -hex 32, and ENV=prod";
            remark(Level::Advice, "settings", what)
        }
        false if settings.env != Env::Prod => remark(
            Level::Advice,
            "settings",
            "set ENV=prod, which refuses weak secrets and writes the log as JSON",
        ),
        false => remark(Level::Ok, "settings", "they are valid, and SECRET_KEY is none that is public"),
    }
}

fn background(settings: &Settings) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if settings.read_only {
        let what = "READ_ONLY=true refuses uploads: set it to false once the photos are moved";
        remarks.push(remark(Level::Advice, "settings", what));
    }
    if !settings.jobs_enabled {
        let what = "JOBS_ENABLED=false: one instance must have true, or photos and drafts are never removed";
        remarks.push(remark(Level::Advice, "settings", what));
    }
    remarks
}

/// Reads the keys of the identity provider, if there is one.
async fn provider(settings: &Settings) -> Option<Remark> {
    let provider = settings.provider.as_ref()?;
    let counted = match Provider::new(provider) {
        Ok(provider) => provider.count_keys().await.map_err(with_causes),
        Err(error) => Err(with_causes(error)),
    };
    Some(match counted {
        Ok(keys) => {
            let what =
                format!("it has {keys} usable keys, and its tokens must name the issuer {}", provider.issuer);
            remark(Level::Ok, "provider", &what)
        }
        Err(error) => {
            let what = format!(
                "its keys cannot be had, so that its tokens get 503 or stay with older keys: {error}. Check JWKS_URL or \
                 JWKS_FILE, and the way there"
            );
            remark(Level::Problem, "provider", &what)
        }
    })
}

/// The directories that the server writes, each with what it is for.
fn places(settings: &Settings) -> Vec<(&'static str, &Path)> {
    let catalog = settings.database.directory().map(|dir| ("catalog", dir));
    let photos = if settings.media_storage == MediaStorage::Local { "photos" } else { "scratch" };
    catalog.into_iter().chain([(photos, settings.media_root.as_path())]).collect()
}

fn place(settings: &Settings, part: &'static str, dir: &Path) -> Vec<Remark> {
    let shown = dir.display();
    if !dir.is_dir() {
        let what = format!(
            "{shown} does not exist: the first start creates it, or check the settings and the working directory"
        );
        return vec![remark(Level::Advice, part, &what)];
    }
    vec![space(settings, part, dir), rights(part, dir), clock(part, dir)]
}

fn space(settings: &Settings, part: &'static str, dir: &Path) -> Remark {
    let shown = dir.display();
    let free = statvfs(dir)
        .map_or(0, |volume| (volume.blocks_available().saturating_mul(volume.fragment_size())) >> 20);
    match settings.min_free_disk.check(dir) {
        Ok(()) => remark(Level::Ok, part, &format!("{shown} has {free} MiB free")),
        Err(error) if disk::is_out_of_inodes(&error) => {
            let what = format!(
                "{shown} has no inodes left, and uploads get 507: remove files, or use a volume with more inodes"
            );
            remark(Level::Problem, part, &what)
        }
        Err(error) if disk::is_full(&error) => {
            let what = format!(
                "{shown} has {free} MiB free, below the floor, and uploads get 507: make room, or lower MIN_FREE_DISK_MB"
            );
            remark(Level::Problem, part, &what)
        }
        Err(error) => remark(Level::Problem, part, &format!("the volume of {shown} cannot be read: {error}")),
    }
}

fn rights(part: &'static str, dir: &Path) -> Remark {
    let shown = dir.display();
    match disk::check_writable(dir) {
        Ok(()) => remark(Level::Ok, part, &format!("{shown} can be written by this user")),
        Err(error) => {
            let what = format!(
                "{shown} cannot be written by this user: {error}. Run the command as the server's user, or change the owner"
            );
            remark(Level::Problem, part, &what)
        }
    }
}

/// Compares the clock of this machine with that of the disk, which a server across the network may have, and with the newest file.
/// Photos without a draft are removed by their age.
fn clock(part: &'static str, dir: &Path) -> Remark {
    let times = || {
        let before = SystemTime::now();
        let disk = tempfile::tempfile_in(dir)?.metadata()?.modified()?;
        let newest = fs::read_dir(dir)?
            .flatten()
            .take(1000)
            .filter_map(|entry| entry.metadata().ok()?.modified().ok());
        Ok::<_, std::io::Error>((before, disk, newest.max()))
    };
    let apart = |one: SystemTime, other: SystemTime| {
        one.duration_since(other).unwrap_or_else(|error| error.duration())
    };
    let shown = dir.display();
    match times() {
        Err(error) => remark(Level::Advice, "clock", &format!("{shown} does not show its time: {error}")),
        Ok((now, disk, _)) if apart(now, disk) > CLOCK_TOLERANCE => {
            let seconds = apart(now, disk).as_secs();
            let what = format!(
                "the clock of {shown} ({part}) and that of this machine are {seconds} s apart: synchronise both (NTP)"
            );
            remark(Level::Problem, "clock", &what)
        }
        Ok((now, _, Some(newest))) if newest > now + CLOCK_TOLERANCE => {
            let seconds = apart(newest, now).as_secs();
            let what = format!(
                "a file in {shown} is {seconds} s in the future: the clock was wrong, or is; synchronise it (NTP)"
            );
            remark(Level::Problem, "clock", &what)
        }
        Ok(_) => remark(
            Level::Ok,
            "clock",
            &format!("that of {shown} agrees with this machine, and no file in it is in the future"),
        ),
    }
}

async fn stores(settings: &Settings, remarks: &mut Remarks) {
    match CatalogSource::ask(settings, Request::Examine).await {
        Ok(Some(server)) => {
            remarks.add(&remark(Level::Ok, "server", "it runs, and says what follows"));
            match checked(server).await {
                Ok(summary) => remarks.problems += summary.problems,
                Err(error) => remarks.add(&remark(Level::Problem, "server", &error)),
            }
        }
        Ok(None) => alone(settings, remarks).await,
        Err(error) => remarks.add(&remark(Level::Problem, "server", &error)),
    }
    if let MediaStorage::Bucket(_) = &settings.media_storage {
        let (level, about) = match bucket_rights(settings).await {
            Ok(()) => (Level::Ok, "an object can be written, read, listed and deleted".to_owned()),
            Err(about) => (Level::Problem, about),
        };
        remarks.add(&remark(level, "bucket", &about));
    }
}

/// Opens what no server has open.
async fn alone(settings: &Settings, remarks: &mut Remarks) {
    let is_new = settings.database.directory().is_some_and(|dir| !dir.is_dir())
        || (settings.media_storage == MediaStorage::Local && !settings.media_root.is_dir());
    if is_new {
        return;
    }
    match stores::open(settings, Mode::Existing).await {
        Ok(stores) => {
            remarks.add_all(examine(&*stores.catalog, &*stores.media.store, settings.max_connections).await);
        }
        Err(error) => remarks.add(&remark(Level::Problem, "stores", &error.to_string())),
    }
}

/// Uses each right that the server needs, with an object that is no photo. The reason of a failure is a sentence.
async fn bucket_rights(settings: &Settings) -> Result<(), String> {
    let failed = |right: &'static str| {
        move |error: MediaError| {
            format!(
                "{right} fails: {}. Give the keys the rights to list, get, put and delete",
                with_causes(error)
            )
        }
    };
    let store = stores::open_media(settings, Mode::Read).await?.store;
    let store: &dyn MediaStore = &*store;
    let staging = store.begin();
    let probe =
        Bytes::from(format!("written and removed by vintedbot-ingest doctor, {}", uuid::Uuid::now_v7()));
    let key = staging.stage(probe).await.map_err(failed("keeping a photo before it is sent"))?;
    staging.publish().await.map_err(failed("put"))?.commit().await;
    let read = store.verify(key).await.map_err(failed("get"));
    let listed = store.list().try_next().await.map_err(failed("list"));
    store.remove(&[key]).await.map_err(failed("delete"))?;
    listed?;
    match read? {
        Integrity::Whole => Ok(()),
        Integrity::Damaged | Integrity::Missing => {
            Err("an object that was just written is not read back: is another bucket behind the same name?"
                .to_owned())
        }
    }
}
