//! Shows what is known of a photo.

use super::Verdict;
use super::report::{say, with_causes};
use crate::catalog::Restorable;
use crate::config::Settings;
use crate::media::{Integrity, MediaStore};
use crate::model::{Draft, DraftId, Media, MediaKey, UserId};
use crate::stores::{self, Mode};

/// Drafts that are read in one page.
const PAGE: usize = 100;

pub(super) async fn find(settings: &Settings, key: MediaKey) -> Result<Verdict, String> {
    let catalog = stores::open_catalog(settings, Mode::Existing).await?;
    let store = stores::open_media(settings, Mode::Read).await?.store;
    let row = catalog.media_of_key(key).await.map_err(with_causes)?;
    if let Some(row) = &row {
        let Media { id, key: _, width, height, size_bytes, owner, facts: _ } = row;
        say(&format!("media {id}: {width} x {height}, {size_bytes} bytes, first sent by {}", name(*owner)));
        show_drafts(&*catalog, row).await?;
    }
    show_file(&*store, key, row.is_some()).await
}

fn name(user: Option<UserId>) -> String {
    user.map_or_else(|| "nobody".to_owned(), |user| format!("user {user}"))
}

async fn show_drafts(catalog: &dyn Restorable, row: &Media) -> Result<(), String> {
    let mut after: Option<DraftId> = None;
    loop {
        let page = catalog.drafts_with(row.id, after, PAGE).await.map_err(with_causes)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(*last);
        for id in page {
            // A draft may have been deleted since the page was read.
            let Some(draft) = catalog.draft(id).await.map_err(with_causes)? else { continue };
            let Draft { status, owner, photos, .. } = draft;
            let places = photos.iter().enumerate().filter(|(_, photo)| photo.id == row.id);
            let places: Vec<String> = places.map(|(place, _)| place.to_string()).collect();
            let (status, owner, places) = (status.name(), name(owner), places.join(", "));
            say(&format!("draft {id}: {status}, of {owner}, has it as photo {places}"));
        }
    }
}

async fn show_file(store: &dyn MediaStore, key: MediaKey, has_row: bool) -> Result<Verdict, String> {
    let length = store.length(key).await.map_err(with_causes)?.unwrap_or_default();
    let integrity = store.verify(key).await.map_err(with_causes)?;
    let line = match (integrity, has_row) {
        (Integrity::Missing, false) => return Err(format!("no row and no file has the hash {key}")),
        (Integrity::Missing, true) => {
            "file-missing there is no file; upload the photo again to mend it".to_owned()
        }
        (Integrity::Damaged, _) => format!("file-torn {length} bytes, which do not have this hash"),
        (Integrity::Whole, true) => format!("file {length} bytes, intact"),
        (Integrity::Whole, false) => format!("file-without-row {length} bytes, intact; no row refers to it"),
    };
    say(&line);
    Ok(if integrity == Integrity::Whole { Verdict::Well } else { Verdict::Problems })
}
