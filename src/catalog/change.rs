//! Changes of a draft: what they mean, for every catalog.

use super::{CatalogError, DraftRow, NewAttempt, NewPhoto};
use crate::model::{DraftStatus, MediaId, Timestamp};

/// A change of one draft.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Replaces fields.
    Fields(Fields),
    /// Adds photos after the last one.
    Append {
        /// The photos, in order.
        photos: Vec<NewPhoto>,
        /// The most photos that a draft may have afterwards.
        max: usize,
        /// The attempt that succeeds with the change, if the client may repeat it.
        attempt: Option<NewAttempt>,
    },
    /// Removes the photo at this index. The later ones move up.
    RemovePhoto(usize),
    /// Sorts the photos: the photo at each of these indices comes next.
    Reorder(Vec<usize>),
}

/// New values of fields; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// The title.
    pub title: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The price, or `Some(None)` for no price.
    pub price_suggested: Option<Option<f64>>,
    /// The state.
    pub status: Option<DraftStatus>,
}

/// Why a draft was not created, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No draft has this id.
    #[error("the draft does not exist")]
    NotFound,
    /// The draft does not have the version that the caller expects.
    #[error("the draft was changed by another request")]
    VersionMismatch,
    /// No photo has this index.
    #[error("the draft has {count} photos, so that no photo has the index {index}")]
    NoSuchPhoto {
        /// The index.
        index: usize,
        /// The number of photos.
        count: usize,
    },
    /// The new order does not name each photo once.
    #[error("an order names each index from 0 to the last of {count} photos once")]
    NotAPermutation {
        /// The number of photos.
        count: usize,
    },
    /// The draft would have too many photos.
    #[error("a draft has at most {max} photos, and this one would have {count}")]
    TooManyPhotos {
        /// The most photos.
        max: usize,
        /// The number of photos with the new ones.
        count: usize,
    },
    /// An upload does not exist, has another owner, is not finished, or its photo is in a draft already.
    #[error("the upload at index {index} has no photo for this draft")]
    UnusableUpload {
        /// Its place among the uploads.
        index: usize,
    },
    /// Another request continues the upload whose photo was to be recorded.
    #[error("another request continues the upload")]
    Superseded,
    /// Another request with the same attempt was recorded first.
    #[error("another request with the same key was recorded first")]
    Repeated,
    /// The catalog failed. The draft is unchanged, unless the error is [`CatalogError::Indeterminate`].
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Change {
    /// Returns the photos that the change adds.
    pub fn appended(&self) -> &[NewPhoto] {
        match self {
            Self::Append { photos, .. } => photos,
            Self::Fields(_) | Self::RemovePhoto(_) | Self::Reorder(_) => &[],
        }
    }

    /// Returns the attempt that succeeds with the change, if any.
    pub fn attempt(&self) -> Option<&NewAttempt> {
        match self {
            Self::Append { attempt, .. } => attempt.as_ref(),
            Self::Fields(_) | Self::RemovePhoto(_) | Self::Reorder(_) => None,
        }
    }

    /// Returns `row` after the change at time `now`, or an equal row if nothing changes. `appended` are the media rows of
    /// [`appended`](Self::appended).
    ///
    /// # Errors
    /// The draft does not have `version`, or the change does not fit the draft.
    pub(super) fn apply(
        &self,
        row: &DraftRow,
        version: Option<u64>,
        appended: &[MediaId],
        now: Timestamp,
    ) -> Result<DraftRow, ChangeError> {
        row.check_version(version)?;
        let mut changed = row.clone();
        let count = row.photos.len();
        match self {
            Self::Fields(Fields { title, description, price_suggested, status }) => {
                changed.title = title.clone().unwrap_or(changed.title);
                changed.description = description.clone().unwrap_or(changed.description);
                changed.price_suggested = price_suggested.unwrap_or(changed.price_suggested);
                changed.status = status.unwrap_or(changed.status);
            }
            Self::Append { photos: _, max, attempt: _ } => {
                let count = count + appended.len();
                if count > *max {
                    return Err(ChangeError::TooManyPhotos { max: *max, count });
                }
                changed.photos.extend(appended);
            }
            Self::RemovePhoto(index) if *index < count => drop(changed.photos.remove(*index)),
            Self::RemovePhoto(index) => return Err(ChangeError::NoSuchPhoto { index: *index, count }),
            Self::Reorder(order) => {
                changed.photos =
                    permuted(&row.photos, order).ok_or(ChangeError::NotAPermutation { count })?;
            }
        }
        if changed != *row {
            changed.version += 1;
            // A clock that was set back must not make a change look older than the draft.
            changed.updated = now.max(row.updated);
        }
        Ok(changed)
    }
}

impl DraftRow {
    /// Checks that the draft has the version that the caller expects, if any.
    pub(super) fn check_version(&self, version: Option<u64>) -> Result<(), ChangeError> {
        let is_expected = version.is_none_or(|version| version == self.version);
        if is_expected { Ok(()) } else { Err(ChangeError::VersionMismatch) }
    }
}

/// Returns `items` in the given order, or `None` if it is not a permutation of their indices.
fn permuted<T: Copy>(items: &[T], order: &[usize]) -> Option<Vec<T>> {
    let mut is_used = vec![false; items.len()];
    if order.len() != items.len() {
        return None;
    }
    let take = |index: &usize| {
        let is_used = is_used.get_mut(*index)?;
        (!std::mem::replace(is_used, true)).then(|| items[*index])
    };
    order.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DraftId;
    use proptest::prelude::*;

    fn row(photos: &[u64]) -> DraftRow {
        DraftRow {
            id: DraftId(1),
            title: String::new(),
            description: String::new(),
            status: DraftStatus::Draft,
            price_suggested: None,
            photos: photos.iter().copied().map(MediaId).collect(),
            owner: None,
            created: Timestamp::from_millis(5),
            updated: Timestamp::from_millis(5),
            version: 3,
        }
    }

    #[test]
    fn change_of_nothing_keeps_version_and_time() {
        let row = row(&[1, 2]);
        let later = Timestamp::from_millis(9);
        for change in [Change::Fields(Fields::default()), Change::Reorder(vec![0, 1])] {
            assert_eq!(change.apply(&row, Some(3), &[], later).unwrap(), row);
        }
        let swapped = Change::Reorder(vec![1, 0]).apply(&row, None, &[], later).unwrap();
        assert_eq!((swapped.version, swapped.updated), (4, later));
        let earlier = Timestamp::from_millis(1);
        assert_eq!(Change::RemovePhoto(0).apply(&row, None, &[], earlier).unwrap().updated, row.updated);
    }

    proptest! {
        #[test]
        fn order_is_applied_only_if_it_is_a_permutation(order in proptest::collection::vec(0usize..5, 0..6)) {
            let row = row(&[10, 11, 12, 13]);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let changed = Change::Reorder(order.clone()).apply(&row, None, &[], row.updated);
            if sorted == [0, 1, 2, 3] {
                let photos: Vec<MediaId> = order.iter().map(|index| row.photos[*index]).collect();
                prop_assert_eq!(changed.unwrap().photos, photos);
            } else {
                let is_refused = matches!(changed, Err(ChangeError::NotAPermutation { count: 4 }));
                prop_assert!(is_refused);
            }
        }
    }
}
