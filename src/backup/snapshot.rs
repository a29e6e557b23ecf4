//! Reads a catalog that may change meanwhile, so that what was read can be restored.
//!
//! Rows are read after the rows that refer to them: attempts, drafts, events, sources, identities, then media. So no row refers to a media
//! row that was recorded after the media were read, and no attempt says that a change is done that its draft does not show. The
//! result has every draft that existed at the beginning and was not deleted, each as one transaction left it.

use super::BackupError;
use super::format::{Header, Line};
use super::pages::Rows;
use crate::catalog::{Event, EventRow, SourceRow, Subject};
use crate::model::DraftId;

/// Calls `visit` for each line: attempts, drafts, events, sources, identities, the header, then media.
///
/// While the catalog changes, its user keeps media rows from being removed, or ends before the grace time of a photo does.
///
/// # Errors
/// The catalog is partial or failed, or `visit` failed.
pub(super) async fn snapshot(
    rows: Rows<'_>,
    mut visit: impl AsyncFnMut(Line) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let catalog = rows.catalog;
    if catalog.state().await?.is_partial {
        return Err(BackupError::Partial);
    }
    rows.each_attempt(async |row| visit(Line::Attempt(row)).await).await?;
    // Drafts from here on are left out, and their events too.
    let end = DraftId(catalog.state().await?.next_draft_id);
    rows.each_draft(async |row| if row.id < end { visit(Line::Draft(row)).await } else { Ok(()) }).await?;
    rows.each_event(async |row| if is_before(&row, end) { visit(Line::Event(row)).await } else { Ok(()) })
        .await?;
    rows.each_source(async |known| {
        visit(Line::Source(SourceRow { source: known.source, media: known.media_id })).await
    })
    .await?;
    rows.each_identity(async |row| visit(Line::Identity(row)).await).await?;
    // The next ids of this moment: no id that was given meanwhile is given again after a restore.
    let state = catalog.state().await?;
    visit(Line::Export(Header::of(state))).await?;
    rows.each_media(
        async |row| {
            if row.id.0 < state.next_media_id { visit(Line::Media(row)).await } else { Ok(()) }
        },
    )
    .await
}

fn is_before(row: &EventRow, end: DraftId) -> bool {
    let EventRow { event: Event { what, .. }, .. } = row;
    match what.subject() {
        Subject::Draft(id) => id < end,
        Subject::Photo(_) => true,
    }
}
