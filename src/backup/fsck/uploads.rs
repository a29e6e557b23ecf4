//! Checks that the acknowledged bytes of unfinished uploads exist.

use super::{Finding, Fsck, Outcome};
use crate::backup::BackupError;
use crate::catalog::{UploadRow, UploadState};
use crate::model::UploadId;
use crate::partial::PartialError;

/// Uploads whose bytes are looked up together.
const PAGE: usize = 500;

impl<F: FnMut(&Finding)> Fsck<'_, F> {
    /// Checks that the store can return all acknowledged bytes. It says so without reading them.
    ///
    /// A repair removes an upload that cannot go on. Its client then gets 404, and begins again.
    pub(super) async fn upload(&mut self, row: &UploadRow) -> Result<(), BackupError> {
        self.summary.uploads += 1;
        if row.state != UploadState::Receiving {
            return Ok(());
        }
        match self.partial.read(row.id, &row.layout, 0..row.offset).await {
            Ok(_) => return Ok(()),
            Err(PartialError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
        // Its client may have finished or removed it since the row was read.
        if self.checks.beside_requests && self.catalog.upload(row.id).await?.as_ref() != Some(row) {
            return Ok(());
        }
        let mut outcome = Outcome::Problem;
        if self.checks.repair {
            self.catalog.remove_upload(row.id, None).await?;
            self.partial.remove(row.id, row.writer).await?;
            outcome = Outcome::Repaired;
        }
        let about = format!("upload {}: of its {} acknowledged bytes some are missing", row.id, row.offset);
        self.found(outcome, "upload-bytes-lost", about);
        Ok(())
    }

    /// Reports bytes that no unfinished upload has.
    pub(super) async fn stray_bytes(&mut self) -> Result<(), BackupError> {
        let mut after: Option<UploadId> = None;
        loop {
            let page = self.partial.page(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().copied();
            for id in page {
                let row = self.catalog.upload(id).await?;
                if row.is_none_or(|row| row.state != UploadState::Receiving) {
                    let about =
                        format!("upload {id}: it has bytes and is not unfinished; a server removes them");
                    self.found(Outcome::Note, "upload-bytes-stray", about);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
