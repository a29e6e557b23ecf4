//! Lists what a store has in order of keys, a part at a time.

use std::collections::BinaryHeap;

use super::{ListPage, Stored};
use crate::model::MediaKey;

/// Something that a listing found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Photo(Stored),
    /// At least one rendition of the photo with this key.
    Rendition(MediaKey),
}

impl Entry {
    /// Returns the place of the entry in the order: a photo comes before its renditions.
    pub(super) fn place(&self) -> (MediaKey, bool) {
        match self {
            Self::Photo(photo) => (photo.key, false),
            Self::Rendition(key) => (*key, true),
        }
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

/// Makes pages of entries that come in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    last: Option<MediaKey>,
}

impl Pages {
    /// Begins after the key `after`.
    pub(super) fn after(after: Option<MediaKey>) -> Self {
        Self { last: after }
    }

    /// Returns the key up to which all entries are in pages.
    pub(super) fn last(&self) -> Option<MediaKey> {
        self.last
    }

    /// Leaves out what is up to `key`, as if it had been in a page.
    pub(super) fn skip_to(&mut self, key: MediaKey) {
        self.last = self.last.max(Some(key));
    }

    /// Makes a page of the next entries, which are in order. Those up to the last key are left out: they were in earlier pages.
    pub(super) fn page(&mut self, entries: impl IntoIterator<Item = Entry>, is_end: bool) -> ListPage {
        let before = self.last;
        let mut page = ListPage { is_end, ..ListPage::default() };
        for entry in entries {
            let (key, _) = entry.place();
            if Some(key) <= before {
                continue;
            }
            self.last = Some(key);
            match entry {
                Entry::Photo(photo) => page.photos.push(photo),
                Entry::Rendition(_) if page.photos.last().is_some_and(|photo| photo.key == key) => {}
                Entry::Rendition(_) if page.strays.last() == Some(&key) => {}
                Entry::Rendition(_) => page.strays.push(key),
            }
        }
        page.last = self.last;
        page
    }
}

/// Keeps the smallest of many entries that come in any order.
#[derive(Debug)]
pub(super) struct Smallest<T> {
    most: usize,
    entries: BinaryHeap<T>,
    is_cut: bool,
}

impl<T: Ord> Smallest<T> {
    /// Keeps at most so many entries.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: BinaryHeap::new(), is_cut: false }
    }

    pub(super) fn push(&mut self, entry: T) {
        if self.entries.len() < self.most {
            self.entries.push(entry);
            return;
        }
        self.is_cut = true;
        if let Some(mut greatest) = self.entries.peek_mut()
            && entry < *greatest
        {
            *greatest = entry;
        }
    }

    /// Returns the entries in ascending order, and whether they are all that came.
    pub(super) fn into_sorted(self) -> (Vec<T>, bool) {
        (self.entries.into_sorted_vec(), !self.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> MediaKey {
        MediaKey::from_digest([n; 32])
    }

    fn photo(n: u8) -> Entry {
        Entry::Photo(Stored { key: key(n), length: n.into(), modified: SystemTime::UNIX_EPOCH })
    }

    /// Reads entries in any order with memory for `most`, in pages of `size`, and starts again after `restart` pages.
    fn listed(entries: &[Entry], most: usize, size: usize, restart: usize) -> Vec<ListPage> {
        let (mut all, mut pages) = (Vec::<ListPage>::new(), Pages::after(None));
        loop {
            let mut smallest = Smallest::new(most);
            for entry in entries.iter().filter(|entry| Some(entry.place().0) > pages.last()) {
                smallest.push(*entry);
            }
            let (sorted, is_whole) = smallest.into_sorted();
            let mut parts = sorted.chunks(size).peekable();
            while let Some(part) = parts.next() {
                all.push(pages.page(part.iter().copied(), is_whole && parts.peek().is_none()));
                if all.len() == restart {
                    pages = Pages::after(pages.last());
                }
            }
            if is_whole {
                return all;
            }
        }
    }

    proptest! {
        /// Photos and renditions in any order: each photo is listed once, in order, and so is each key that has renditions only.
        #[test]
        fn entries_in_any_order_are_listed_by_key(
            has in prop::collection::btree_map(0_u8..60, 1_u8..=3, 0..50),
            seed in prop::collection::vec(any::<u16>(), 150),
            (most, size, restart) in (2_usize..40, 1_usize..12, 0_usize..9),
        ) {
            let of = |n: u8, kind: u8| match kind {
                1 => vec![photo(n)],
                2 => vec![Entry::Rendition(key(n)), Entry::Rendition(key(n))],
                _ => vec![Entry::Rendition(key(n)), photo(n)],
            };
            let mut entries: Vec<Entry> = has.iter().flat_map(|(n, kind)| of(*n, *kind)).collect();
            let mut order = seed.iter().cycle();
            entries.sort_by_cached_key(|_| *order.next().unwrap());
            let pages = listed(&entries, most, size, restart);
            let photos: Vec<MediaKey> = pages.iter().flat_map(|page| &page.photos).map(|photo| photo.key).collect();
            let with = |kinds: &[u8]| -> Vec<MediaKey> {
                has.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(n, _)| key(*n)).collect()
            };
            prop_assert_eq!(&photos, &with(&[1, 3]));
            let strays: Vec<MediaKey> = pages.iter().flat_map(|page| page.strays.clone()).collect();
            prop_assert_eq!(strays, with(&[2]));
            // Each page says truly how far the listing is.
            let mut seen = BTreeSet::new();
            for page in &pages {
                seen.extend(page.photos.iter().map(|photo| photo.key));
                let upto: BTreeSet<MediaKey> = photos.iter().copied().filter(|key| Some(*key) <= page.last).collect();
                prop_assert_eq!(&seen, &upto);
            }
        }

        #[test]
        fn smallest_entries_are_kept(numbers in prop::collection::vec(any::<u8>(), 0..60), most in 1_usize..30) {
            let mut smallest = Smallest::new(most);
            numbers.iter().for_each(|number| smallest.push(*number));
            let (kept, is_whole) = smallest.into_sorted();
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            prop_assert_eq!(is_whole, numbers.len() <= most);
            sorted.truncate(most);
            prop_assert_eq!(kept, sorted);
        }
    }

    #[test]
    fn renditions_after_a_page_that_ends_with_their_photo_are_no_strays() {
        let mut pages = Pages::after(None);
        assert_eq!(pages.page([photo(1)], false).last, Some(key(1)));
        let next =
            pages.page([Entry::Rendition(key(1)), Entry::Rendition(key(2)), Entry::Rendition(key(2))], false);
        assert_eq!((next.strays, next.last), (vec![key(2)], Some(key(2))));
        let last = pages.page([Entry::Rendition(key(2))], true);
        assert_eq!((last.strays, last.last, last.is_end), (vec![], Some(key(2)), true));
    }
}
