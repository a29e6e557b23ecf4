//! Checks media rows and their files.

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;

use super::{Finding, Fsck, Outcome};
use crate::backup::BackupError;
use crate::backup::photo::{Content, content};
use crate::catalog::{CatalogError, Restore, Row};
use crate::media::Stored;
use crate::model::{Media, MediaKey};

/// Age from which a photo without a row is none of an upload in progress, beside requests.
const IN_PROGRESS: Duration = Duration::from_secs(600);

impl<F: FnMut(&Finding)> Fsck<'_, F> {
    pub(super) async fn media(&mut self, row: Media) -> Result<(), BackupError> {
        self.summary.rows.media += 1;
        self.rows.push(row.id);
        self.key(&row).await?;
        self.photo(&row).await
    }

    /// Checks that an upload of the same photo would find this row.
    async fn key(&mut self, row: &Media) -> Result<(), BackupError> {
        let leads_to = match self.catalog.media_of_key(row.key).await {
            Ok(Some(found)) if found == *row => return Ok(()),
            // Facts of the photo may have been recorded since the row was read.
            Ok(Some(found)) if self.checks.beside_requests && found.id == row.id => return Ok(()),
            Ok(Some(found)) => format!("media {}", found.id),
            Ok(None) => "nothing".to_owned(),
            Err(CatalogError::Corrupt(_)) => "a row that is gone".to_owned(),
            Err(error) => return Err(error.into()),
        };
        let restored = match self.checks.repair {
            true => self.catalog.restore(Restore::Rows(vec![Row::Media(row.clone())])).await.is_ok(),
            false => false,
        };
        let outcome = if restored { Outcome::Repaired } else { Outcome::Problem };
        let about = format!("media {}: its key {} leads to {leads_to}", row.id, row.key);
        self.found(outcome, "key-astray", about);
        Ok(())
    }

    async fn photo(&mut self, row: &Media) -> Result<(), BackupError> {
        let length = self.store.stat(row.key).await?.map(|stored| stored.length);
        if self.checks.quick && length == Some(row.size_bytes) {
            return Ok(());
        }
        let name = format!("media {}: {}", row.id, row.key);
        let Some(content) = self.all.step(content(self.store, row.key)).await? else {
            self.lost.push(row.id);
            let about = format!("{name} has no file; upload the photo again to mend it");
            self.found(Outcome::Problem, "file-missing", about);
            return Ok(());
        };
        let Content { length, key, sides } = content;
        if key != row.key {
            self.lost.push(row.id);
            return self.torn(row.key, &name, true).await;
        }
        if length != row.size_bytes {
            let about = format!("{name} has {length} bytes, and its row says {}", row.size_bytes);
            self.found(Outcome::Problem, "row-length", about);
        }
        match sides {
            Some(sides) if sides == (row.width, row.height) => {}
            Some((width, height)) => {
                let about =
                    format!("{name} is {width} x {height}, and its row says {} x {}", row.width, row.height);
                self.found(Outcome::Problem, "row-size", about);
            }
            None => self.found(Outcome::Problem, "file-no-jpeg", format!("{name} is no JPEG")),
        }
        Ok(())
    }

    /// Reports a damaged photo. In quarantine it is not served, and an upload of the same photo restores it.
    async fn torn(&mut self, key: MediaKey, name: &str, is_referred: bool) -> Result<(), BackupError> {
        let moved = if self.checks.repair { self.store.quarantine(key).await? } else { None };
        let outcome = if moved.is_some() && !is_referred { Outcome::Repaired } else { Outcome::Problem };
        let mut about = format!("{name} does not hold the bytes that its name stands for");
        if let Some(place) = moved {
            about += &format!("; it was moved to {place}");
        }
        if is_referred {
            about += "; upload the photo again to mend it";
        }
        self.found(outcome, "file-torn", about);
        Ok(())
    }

    /// Reports files that no row refers to, and those of interrupted uploads.
    pub(super) async fn files(&mut self) -> Result<(), BackupError> {
        for key in self.store.pending().await? {
            let about = format!("{key} is of an upload that was cut off; the next start reconciles it");
            self.found(Outcome::Note, "file-pending", about);
        }
        // Those of uploads in progress have no row yet.
        let newest =
            if self.checks.beside_requests { SystemTime::now().checked_sub(IN_PROGRESS) } else { None };
        let mut pages = self.store.list();
        while let Some(page) = pages.try_next().await? {
            self.summary.files += page.len() as u64;
            let is_settled =
                |stored: &&Stored| newest.is_none_or(|newest: SystemTime| stored.modified < newest);
            let keys: Vec<MediaKey> = page.iter().filter(is_settled).map(|stored| stored.key).collect();
            for key in self.catalog.without_row(&keys).await? {
                self.summary.without_row += 1;
                let is_torn = !self.checks.quick
                    && content(self.store, key).await?.is_some_and(|content| content.key != key);
                if is_torn {
                    self.torn(key, &format!("{key}, which has no row,"), false).await?;
                } else {
                    self.found(Outcome::Note, "file-without-row", format!("{key}: no row refers to it"));
                }
            }
        }
        Ok(())
    }
}
