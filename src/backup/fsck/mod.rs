//! Checks that catalog and photos agree.
//!
//! A repair loses nothing: it corrects what follows from other rows, moves damaged photos to quarantine, and removes unfinished
//! uploads that cannot go on. Problems that only an upload or an operator can solve are reported.

mod drafts;
mod finding;
mod indexes;
mod media;
mod uploads;

pub(crate) use self::finding::{Finding, Outcome, Summary};
use super::BackupError;
use super::pages::Rows;
use crate::catalog::{Restorable, Restore, State};
use crate::media::MediaStore;
use crate::model::{MAX_ID, MediaId};
use crate::partial::PartialStore;

/// What to check, and whether to repair it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks {
    /// Reads only photos of a wrong length.
    pub quick: bool,
    /// Repairs what can be repaired without loss.
    pub repair: bool,
    /// Requests may change the catalog and the stores during the check, but no media row is removed. Without a repair only.
    pub beside_requests: bool,
}

/// Checks everything, and calls `report` for each finding as soon as it is found.
///
/// Takes memory for the id of each photo, and reads every byte of the photos unless `quick` is set.
///
/// # Errors
/// The catalog or the store failed: the result is unknown.
pub(crate) async fn fsck(
    catalog: &dyn Restorable,
    store: &dyn MediaStore,
    partial: &dyn PartialStore,
    checks: Checks,
    report: impl FnMut(&Finding),
) -> Result<Summary, BackupError> {
    let rows = if checks.beside_requests { Rows::beside_requests(catalog) } else { Rows::of(catalog) };
    let mut fsck = Fsck {
        catalog,
        all: rows,
        store,
        partial,
        checks,
        report,
        summary: Summary::default(),
        rows: Vec::new(),
        lost: Vec::new(),
        last_draft: 0,
    };
    if catalog.state().await?.is_partial {
        let what = "only a part of an export was imported: run the import again";
        fsck.found(Outcome::Problem, "catalog-partial", what.to_owned());
    }
    rows.each_media(async |row| fsck.media(row).await).await?;
    rows.each_draft(async |row| fsck.draft(&row).await).await?;
    fsck.indexes().await?;
    rows.each_source(async |known| fsck.source(&known).await).await?;
    rows.each_attempt(async |_| {
        fsck.summary.rows.attempts += 1;
        Ok(())
    })
    .await?;
    rows.each_event(async |_| {
        fsck.summary.rows.events += 1;
        Ok(())
    })
    .await?;
    rows.each_upload(async |row| fsck.upload(&row).await).await?;
    fsck.counters().await?;
    fsck.files().await?;
    fsck.stray_bytes().await?;
    Ok(fsck.summary)
}

struct Fsck<'a, F> {
    catalog: &'a dyn Restorable,
    all: Rows<'a>,
    store: &'a dyn MediaStore,
    partial: &'a dyn PartialStore,
    checks: Checks,
    report: F,
    summary: Summary,
    /// The ids of all media rows, ascending.
    rows: Vec<MediaId>,
    /// The ids of media rows whose photo is gone, ascending.
    lost: Vec<MediaId>,
    last_draft: u64,
}

impl<F: FnMut(&Finding)> Fsck<'_, F> {
    fn found(&mut self, outcome: Outcome, kind: &'static str, about: String) {
        let finding = Finding { kind, about, outcome };
        self.summary.count(outcome);
        (self.report)(&finding);
    }

    /// Checks the counters: an id must never be used twice.
    async fn counters(&mut self) -> Result<(), BackupError> {
        let last_media = self.rows.last().map_or(0, |id| id.0);
        let last_draft = self.last_draft;
        let of = |state: State| [state.next_media_id, state.next_draft_id];
        let is_good = |next: u64, last: u64| next > last && next <= MAX_ID;
        let found = of(self.catalog.state().await?);
        let lasts = [last_media, last_draft];
        if found.iter().zip(lasts).all(|(next, last)| is_good(*next, last)) {
            return Ok(());
        }
        let mut now = found;
        if self.checks.repair {
            let (next_media_id, next_draft_id) = (last_media.saturating_add(1), last_draft.saturating_add(1));
            self.catalog.restore(Restore::Begin { next_media_id, next_draft_id }).await?;
            now = of(self.catalog.state().await?);
        }
        for (index, what) in ["media", "draft"].into_iter().enumerate() {
            let (next, last) = (found[index], lasts[index]);
            if is_good(next, last) {
                continue;
            }
            let outcome = if is_good(now[index], last) { Outcome::Repaired } else { Outcome::Problem };
            let (kind, why) = match next <= last {
                true => ("counter-low", format!("but {last} is taken")),
                false => ("counter-high", "which is beyond all that are given".to_owned()),
            };
            self.found(outcome, kind, format!("the next {what} would get id {next}, {why}"));
        }
        Ok(())
    }
}
