//! Compares rows and photos of a range of keys, both in order.

use crate::media::Stored;
use crate::model::Media;

/// What rows and photos do not have in common.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Rows without a photo, or with one of another length.
    pub missing: Vec<Media>,
    /// Photos without a row.
    pub unknown: Vec<Stored>,
    /// Number of photos with a row.
    pub known: u64,
}

/// Takes the photos of `photos` that belong to the range of `rows`, which ends with the last row, or with the last photo if
/// `is_last`; and compares them. Both are in ascending order of keys.
pub(super) fn compare(rows: Vec<Media>, photos: &mut &[Stored], is_last: bool) -> Differences {
    let range = match rows.last() {
        Some(row) if !is_last => photos.partition_point(|photo| photo.key <= row.key),
        _ => photos.len(),
    };
    let (now, later) = photos.split_at(range);
    *photos = later;
    let (mut differences, mut photos) = (Differences::default(), now.iter().peekable());
    for row in rows {
        while let Some(photo) = photos.next_if(|photo| photo.key < row.key) {
            differences.unknown.push(*photo);
        }
        match photos.next_if(|photo| photo.key == row.key) {
            Some(photo) => {
                differences.known += 1;
                if photo.length != row.size_bytes {
                    differences.missing.push(row);
                }
            }
            None => differences.missing.push(row),
        }
    }
    differences.unknown.extend(photos);
    differences
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{MediaId, MediaKey};

    fn key(n: u8) -> MediaKey {
        MediaKey::from_digest([n; 32])
    }

    proptest! {
        /// Rows and photos of any keys and lengths, in pages of any sizes: exactly the differences are found.
        #[test]
        fn differences_are_found_whatever_the_pages(
            rows in prop::collection::btree_map(any::<u8>(), 1_u64..4, 0..60),
            photos in prop::collection::btree_map(any::<u8>(), 1_u64..4, 0..60),
            (row_page, photo_page) in (1_usize..20, 1_usize..20),
        ) {
            let (mut missing, mut unknown, mut known) = (Vec::new(), Vec::new(), 0);
            let stored: Vec<Stored> = photos
                .iter()
                .map(|(n, length)| Stored { key: key(*n), length: *length, modified: SystemTime::UNIX_EPOCH })
                .collect();
            let table: Vec<Media> = rows
                .iter()
                .map(|(n, size_bytes)| Media {
                    id: MediaId(u64::from(*n)), key: key(*n), width: 1, height: 1, size_bytes: *size_bytes, owner: None,
                    facts: None,
                })
                .collect();
            let mut pages: Vec<&[Stored]> = stored.chunks(photo_page).collect();
            pages.push(&[]);
            let mut after = None;
            for (at, page) in pages.iter().enumerate() {
                let is_end = at + 1 == pages.len();
                let upto = page.last().map(|photo| photo.key);
                let mut left = *page;
                loop {
                    let range = table.iter().filter(|row| Some(row.key) > after && (is_end || Some(row.key) <= upto));
                    let part: Vec<Media> = range.take(row_page).cloned().collect();
                    let is_last = part.len() < row_page;
                    after = part.last().map_or(after, |row| Some(row.key));
                    let found = compare(part, &mut left, is_last);
                    missing.extend(found.missing.iter().map(|row| row.key));
                    unknown.extend(found.unknown.iter().map(|photo| photo.key));
                    known += found.known;
                    if is_last {
                        break;
                    }
                }
                prop_assert!(left.is_empty());
                after = upto.max(after);
            }
            let lengths: BTreeMap<u8, u64> = photos.clone();
            let expected: Vec<MediaKey> =
                rows.iter().filter(|(n, length)| lengths.get(n) != Some(length)).map(|(n, _)| key(*n)).collect();
            prop_assert_eq!(missing, expected);
            let expected: Vec<MediaKey> = photos.keys().filter(|n| !rows.contains_key(n)).map(|n| key(*n)).collect();
            prop_assert_eq!(unknown, expected);
            let both: BTreeSet<&u8> = photos.keys().filter(|n| rows.contains_key(n)).collect();
            prop_assert_eq!(known, both.len() as u64);
        }
    }
}
