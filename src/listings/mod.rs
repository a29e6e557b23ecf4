//! The life of a draft after its upload: it is read, listed, changed and removed by its owner.
//!
//! This room knows no HTTP and no files. It decides who may see a draft; the catalog decides what a change means and makes it
//! in one transaction. A caller who may not see a draft gets the same answer as for one that does not exist.

pub(crate) mod fields;

use std::sync::Arc;

use tracing::Instrument;

use crate::catalog::{Catalog, CatalogError, Change, ChangeError, Claim, DraftFilter, NewDraft};
use crate::model::{Caller, Draft, DraftId, DraftStatus, UserId};
use crate::recent_check::RecentCheck;

/// Reads and changes drafts for their owners.
pub(crate) struct Listings {
    catalog: Arc<dyn Catalog>,
    auth_required: bool,
    checked: RecentCheck,
}

/// Some drafts of a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// The drafts, newest first.
    pub drafts: Vec<Draft>,
    /// The draft after which the next page begins, or `None` for the last page.
    pub next: Option<DraftId>,
}

/// A draft that the caller may read and change. Only [`Listings::find`] creates one, so a change cannot skip that check.
#[derive(Debug)]
pub(crate) struct FoundDraft(Draft);

impl FoundDraft {
    /// The draft as it was found.
    pub(crate) fn draft(&self) -> &Draft {
        &self.0
    }
}

impl From<FoundDraft> for Draft {
    fn from(FoundDraft(draft): FoundDraft) -> Self {
        draft
    }
}

/// Returns whether `user` may read and change what belongs to `owner`. What has no owner is public, or hidden with
/// `auth_required`.
pub(crate) fn may_see(user: Option<UserId>, owner: Option<UserId>, auth_required: bool) -> bool {
    match owner {
        Some(owner) => user == Some(owner),
        None => !auth_required,
    }
}

impl Listings {
    /// Reads and changes the drafts in `catalog`. With `auth_required`, drafts without an owner are hidden.
    pub(crate) fn new(catalog: Arc<dyn Catalog>, auth_required: bool) -> Self {
        Self { catalog, auth_required, checked: RecentCheck::default() }
    }

    /// Returns a draft that `caller` may read and change: an administrator may, whoever owns it.
    ///
    /// # Errors
    /// The draft does not exist or belongs to another user, or the catalog failed.
    pub(crate) async fn find(&self, caller: Caller, id: DraftId) -> Result<FoundDraft, ChangeError> {
        let may_see =
            |draft: &Draft| caller.is_admin || may_see(caller.user, draft.owner, self.auth_required);
        let draft = self.catalog.draft(id).await?.filter(may_see);
        draft.map(FoundDraft).ok_or(ChangeError::NotFound)
    }

    /// Returns at most `limit` drafts of `user` before the draft `before`. Without a user: drafts without an owner. Drafts that
    /// are created later are not on the pages that follow.
    ///
    /// # Errors
    /// The catalog failed.
    pub(crate) async fn page(
        &self,
        user: Option<UserId>,
        status: Option<DraftStatus>,
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Page, CatalogError> {
        let filter = DraftFilter { owner: user, status };
        let mut drafts = self.catalog.drafts_of(filter, before, limit + 1).await?;
        let has_more = drafts.len() > limit;
        drafts.truncate(limit);
        let next = if has_more { drafts.last().map(|draft| draft.id) } else { None };
        Ok(Page { drafts, next })
    }

    /// Creates a draft. Holds `claim` until the draft is durable, even if the client disconnects, so that a retry with the
    /// same key gets 409 until then.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) async fn create(
        self: &Arc<Self>,
        new: NewDraft,
        claim: Option<Box<dyn Claim>>,
    ) -> Result<Draft, ChangeError> {
        let listings = Arc::clone(self);
        let creating = async move {
            let _claim = claim;
            listings.check().await?;
            listings.catalog.create_draft(new).await
        };
        let created = tokio::spawn(creating.in_current_span()).await;
        created.map_err(|panicked| CatalogError::Unavailable(panicked.into()))?
    }

    /// Changes a draft, if it still has `version` or none is given.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) async fn change(
        &self,
        draft: &FoundDraft,
        version: Option<u64>,
        change: Change,
    ) -> Result<Draft, ChangeError> {
        self.check().await?;
        self.catalog.change_draft(draft.0.id, version, change).await
    }

    /// Checks that the catalog has room. What clients write must not fill its disk.
    async fn check(&self) -> Result<(), CatalogError> {
        self.checked.run(self.catalog.check()).await
    }

    /// Removes a draft, if it still has `version` or none is given. A full disk does not prevent that.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) async fn delete(&self, draft: &FoundDraft, version: Option<u64>) -> Result<(), ChangeError> {
        self.catalog.delete_draft(draft.0.id, version).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::catalog::{Begun, NewAttempt, RequestHead, SledCatalog};
    use crate::disk::FreeDisk;
    use crate::model::{AttemptId, Timestamp};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn attempt_of_a_disconnected_caller_is_in_progress_until_it_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let catalog: Arc<dyn Catalog> =
            Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
        let listings = Arc::new(Listings::new(Arc::clone(&catalog), false));
        for number in 0..20 {
            let (id, since) = (AttemptId::new(None, &format!("key {number}")), Timestamp::UNKNOWN);
            let Begun::Claimed(claim) = catalog.begin_attempt(id, since).await.unwrap() else {
                panic!("the key is new")
            };
            let request = RequestHead { path: "/".into(), content_length: None };
            let attempt = NewAttempt { id, request, note: String::new(), since };
            let new = NewDraft { attempt: Some(attempt), ..NewDraft::default() };
            // Polled once and dropped, as by a caller that disconnects. It may be recorded already.
            drop(listings.create(new, Some(claim)).now_or_never());
            loop {
                match catalog.begin_attempt(id, since).await.unwrap() {
                    Begun::InWork => tokio::task::yield_now().await,
                    Begun::Done(attempt) => break assert_eq!(attempt.draft.id, DraftId(number + 1)),
                    Begun::Claimed(_) => panic!("attempt {number} was given up"),
                }
            }
        }
    }
}
