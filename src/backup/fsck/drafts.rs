//! Checks drafts and sources, and the media rows that they refer to.

use super::{Finding, Fsck, Outcome};
use crate::backup::BackupError;
use crate::catalog::{DraftRow, KnownSource};
use crate::model::MediaId;

impl<F: FnMut(&Finding)> Fsck<'_, F> {
    pub(super) async fn draft(&mut self, row: &DraftRow) -> Result<(), BackupError> {
        self.summary.rows.drafts += 1;
        self.last_draft = row.id.0;
        for (index, photo) in row.photos.iter().enumerate() {
            let holds = |ids: &[MediaId]| ids.binary_search(photo).is_ok();
            let what = match (holds(&self.rows), holds(&self.lost)) {
                // The media rows were read before the draft.
                (false, _) if self.checks.beside_requests && self.catalog.media(*photo).await?.is_some() => {
                    continue;
                }
                (false, _) => "which has no row",
                (true, true) => "whose file is lost",
                (true, false) => continue,
            };
            let about = format!("draft {}: its photo {index} is media {photo}, {what}", row.id);
            self.found(Outcome::Problem, "draft-photo-lost", about);
        }
        Ok(())
    }

    /// Checks a source. A repair may forget it: the photo is then encoded once more.
    pub(super) async fn source(&mut self, known: &KnownSource) -> Result<(), BackupError> {
        self.summary.rows.sources += 1;
        if known.media.is_some() {
            return Ok(());
        }
        let mut outcome = Outcome::Problem;
        if self.checks.repair {
            self.catalog.forget_source(known.source, known.media_id).await?;
            outcome = Outcome::Repaired;
        }
        let about =
            format!("source {}: it refers to media {}, which has no row", known.source, known.media_id);
        self.found(outcome, "source-dangling", about);
        Ok(())
    }
}
