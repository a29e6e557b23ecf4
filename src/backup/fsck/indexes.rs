//! Checks that lists of drafts and references to photos agree with the drafts.

use super::{Finding, Fsck, Outcome};
use crate::backup::BackupError;
use crate::catalog::IndexFault;

/// How often faults that are found beside requests are looked for again.
const AGAIN: usize = 2;

impl<F: FnMut(&Finding)> Fsck<'_, F> {
    /// A repair derives from the drafts again what does not agree with them.
    pub(super) async fn indexes(&mut self) -> Result<(), BackupError> {
        let outcome = if self.checks.repair { Outcome::Repaired } else { Outcome::Problem };
        let mut faults = self.catalog.check_indexes(self.checks.repair).await?;
        if self.checks.beside_requests {
            // A change between the readings of a draft and of an index looks like a fault. It does not last.
            for _ in 0..AGAIN {
                if faults.is_empty() {
                    break;
                }
                let again = self.catalog.check_indexes(false).await?;
                faults.retain(|fault| again.contains(fault));
            }
        }
        for fault in faults {
            let (kind, about) = describe(fault);
            self.found(outcome, kind, about);
        }
        Ok(())
    }
}

fn describe(fault: IndexFault) -> (&'static str, String) {
    match fault {
        IndexFault::Unlisted(draft) => {
            ("draft-unlisted", format!("draft {draft}: the list of its owner does not have it"))
        }
        IndexFault::Unindexed(draft, media) => (
            "draft-unindexed",
            format!("draft {draft}: the drafts with its photo media {media} do not have it"),
        ),
        IndexFault::Undercounted(media) => {
            let about = "more drafts have it than are counted, so that it could be removed too early";
            ("media-undercounted", format!("media {media}: {about}"))
        }
        IndexFault::Overcounted(media) => {
            let about = "fewer drafts have it than are counted, so that it would never be removed";
            ("media-overcounted", format!("media {media}: {about}"))
        }
        IndexFault::StaleList(draft) => {
            let about = "the list of an owner has it, and it is not that owner's or not in that state";
            ("index-stale", format!("draft {draft}: {about}"))
        }
        IndexFault::StaleReference(draft, media) => (
            "index-stale",
            format!("draft {draft}: the drafts with media {media} have it, and it has no such photo"),
        ),
        IndexFault::StaleUnreferenced(media) => (
            "index-stale",
            format!("media {media}: the photos without a draft have it, and it is no such photo"),
        ),
    }
}
