//! Exports the readable rows of a damaged catalog.

use super::Verdict;
use super::files::Output;
use super::report::{note, with_causes};
use crate::backup::Writer;
use crate::catalog::{CatalogError, Row, SledCatalog};
use crate::config::Settings;
use crate::stores::OpenError;

/// Most lines about lost rows of one kind. Further ones are counted.
const LINES: usize = 100;

pub(super) fn salvage(settings: &Settings, output: &str) -> Result<Verdict, String> {
    let Some(path) = settings.database.directory() else {
        return Err(format!(
            "--salvage is for the embedded catalog. To restore the one at {}, recover its database from a backup",
            settings.database
        ));
    };
    let mut salvage = SledCatalog::salvage(path).map_err(|error| match error {
        CatalogError::InUse => OpenError::InUse(path.to_owned()).into(),
        error => format!("the catalog at {} cannot be salvaged: {}", path.display(), with_causes(error)),
    })?;
    let state = salvage.state();
    let mut output = Output::create(output)?;
    let mut writer = Writer::begin(output.writer(), state).map_err(with_causes)?;
    let (mut media, mut drafts) = (Seen::default(), Seen::default());
    let mut lost_photos = Vec::new();
    let written = salvage.rows(|row| {
        match &row {
            Row::Media(row) => media.see(row.id.0),
            Row::Draft(row) => {
                drafts.see(row.id.0);
                let lost = row.photos.iter().enumerate().filter(|(_, photo)| !media.has(photo.0));
                lost_photos.extend(lost.map(|(index, photo)| {
                    format!(
                        "draft-photo-lost draft {}: its photo {index} is media {photo}, which cannot be read",
                        row.id
                    )
                }));
            }
            Row::Source(_) | Row::Attempt(_) | Row::Event(_) | Row::Identity(_) => {}
        }
        writer.row(row)
    });
    written.map_err(with_causes)?;
    let counts = writer.end().map_err(with_causes)?;
    output.keep()?;
    let lost_media = media.missing_below(state.next_media_id);
    let lost_drafts = drafts.missing_below(state.next_draft_id);
    for line in lost_photos.iter().take(LINES) {
        note(line);
    }
    for (kind, what, ranges) in [("media-lost", "media", &lost_media), ("draft-lost", "draft", &lost_drafts)]
    {
        for (first, last) in ranges.iter().take(LINES) {
            let ids = if first == last { format!("{first}") } else { format!("{first} to {last}") };
            note(&format!("{kind} {what} {ids}: not found, though the id was given"));
        }
    }
    let count = |ranges: &[(u64, u64)]| ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>();
    let (lost_media, lost_drafts) = (count(&lost_media), count(&lost_drafts));
    let report = salvage.report();
    note(&format!(
        "Salvaged {counts}. Not found: {lost_media} photos, {lost_drafts} drafts, and {} photos of drafts that were. \
         {} places of the files ({} bytes) and {} rows cannot be read.",
        lost_photos.len(),
        report.places,
        report.bytes,
        report.unknown
    ));
    if report.lost_counters {
        note("The next ids were lost: they follow the highest that was found.");
    }
    if report.is_partial {
        note("An import into this catalog had not ended: its export has more than this.");
    }
    let lost = lost_media + lost_drafts + report.places + report.unknown + lost_photos.len() as u64;
    let is_whole = lost == 0 && !report.lost_counters && !report.is_partial;
    Ok(if is_whole { Verdict::Well } else { Verdict::Problems })
}

/// Ids that were seen, ascending, as ranges.
#[derive(Default)]
struct Seen(Vec<(u64, u64)>);

impl Seen {
    fn see(&mut self, id: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => self.0.push((id, id)),
        }
    }

    fn has(&self, id: u64) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= id);
        at.checked_sub(1).is_some_and(|at| self.0[at].1 >= id)
    }

    /// Returns the missing ranges below `next`, from 1.
    fn missing_below(&self, next: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut expected = 1;
        for (first, last) in &self.0 {
            if expected < *first {
                missing.push((expected, first - 1));
            }
            expected = last + 1;
        }
        if expected < next {
            missing.push((expected, next - 1));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_ids_are_ranges() {
        let mut seen = Seen::default();
        [2, 3, 4, 7].into_iter().for_each(|id| seen.see(id));
        assert_eq!(seen.missing_below(10), [(1, 1), (5, 6), (8, 9)]);
        assert_eq!((1..=8).filter(|id| seen.has(*id)).collect::<Vec<_>>(), [2, 3, 4, 7]);
        assert_eq!(Seen::default().missing_below(1), []);
    }
}
