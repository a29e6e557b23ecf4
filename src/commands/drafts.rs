//! Removes single drafts.

use super::Verdict;
use super::report::{refuse_if_read_only, say, with_causes};
use crate::catalog::ChangeError;
use crate::config::Settings;
use crate::model::DraftId;
use crate::stores::{self, Mode};

/// Removes a draft of any owner. Its photos are left to the server, which removes them after the grace time.
pub(super) async fn delete(settings: &Settings, id: DraftId) -> Result<Verdict, String> {
    refuse_if_read_only(settings)?;
    let catalog = stores::open_catalog(settings, Mode::Existing).await?;
    match catalog.delete_draft(id, None).await {
        Ok(()) => {
            say(&format!(
                "Deleted draft {id}. A photo that no other draft has is removed after MEDIA_GRACE_HOURS."
            ));
            Ok(Verdict::Well)
        }
        Err(ChangeError::NotFound) => Err(format!("there is no draft {id}")),
        Err(error) => Err(with_causes(error)),
    }
}
