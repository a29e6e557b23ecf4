//! Indexes that are sets of draft ids. A row has a block of 4096 ids.
//!
//! sled keeps about 250 bytes in memory for each page of 8 to 16 rows, cached or not. For a million drafts with two photos a row
//! for each id was 110 MB, and blocks are 4 MB.

use std::ops::Bound;

use sled::{IVec, Tree};

use crate::catalog::CatalogError;
use crate::model::DraftId;

/// Number of ids in a block.
const BLOCK: u64 = BLOCK_IDS as u64;
const BLOCK_IDS: u16 = 4096;
const BITMAP_BYTES: usize = 512;
/// With fewer ids, a block is a list of their offsets, two bytes each.
const LIST_MAX: usize = BITMAP_BYTES / 2 - 1;

/// The ids in a block, a bit for each.
///
/// As stored it is a list of ascending offsets, or from 256 ids a bitmap. So a row has at most 512 bytes, and the length tells
/// which of both it is.
struct Block([u64; BITMAP_BYTES / 8]);

impl Block {
    fn read(value: &[u8]) -> Result<Self, CatalogError> {
        let mut block = Self([0; BITMAP_BYTES / 8]);
        if value.len() == BITMAP_BYTES {
            for (word, bytes) in block.0.iter_mut().zip(value.as_chunks::<8>().0) {
                *word = u64::from_be_bytes(*bytes);
            }
            return Ok(block);
        }
        let (offsets, rest) = value.as_chunks::<2>();
        let mut is_list = rest.is_empty();
        for offset in offsets.iter().map(|offset| u64::from(u16::from_be_bytes(*offset))) {
            is_list &= offset < BLOCK && !block.has(offset);
            block.set(offset, true);
        }
        is_list
            .then_some(block)
            .ok_or_else(|| CatalogError::Corrupt("a block of draft ids cannot be read".into()))
    }

    /// Returns the value of the row, or `None` if there is no id.
    fn value(&self) -> Option<Vec<u8>> {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        match count as usize {
            0 => None,
            1..=LIST_MAX => Some(self.offsets().flat_map(u16::to_be_bytes).collect()),
            _ => Some(self.0.iter().flat_map(|word| word.to_be_bytes()).collect()),
        }
    }

    /// Adds or removes an id of the block, or its offset.
    fn set(&mut self, id: u64, is_member: bool) {
        let (word, bit) = Self::place(id);
        let word = &mut self.0[word];
        *word = if is_member { *word | bit } else { *word & !bit };
    }

    fn has(&self, id: u64) -> bool {
        let (word, bit) = Self::place(id);
        self.0[word] & bit != 0
    }

    fn place(id: u64) -> (usize, u64) {
        ((id % BLOCK / 64) as usize, 1 << (id % 64))
    }

    fn offsets(&self) -> impl DoubleEndedIterator<Item = u16> {
        (0..BLOCK_IDS).filter(|offset| self.has((*offset).into()))
    }
}

/// Returns the key of the row that has `id` if `set` has it.
pub(super) fn block_key(set: &[u8], id: DraftId) -> Vec<u8> {
    [set, &(id.0 / BLOCK).to_be_bytes()].concat()
}

/// Returns the value of the row of [`block_key`] with `id` in the set or not. `None` is no row.
pub(super) fn changed(
    value: Option<&[u8]>,
    id: DraftId,
    is_member: bool,
) -> Result<Option<Vec<u8>>, CatalogError> {
    let mut block = Block::read(value.unwrap_or_default())?;
    block.set(id.0, is_member);
    Ok(block.value())
}

/// A tree of sets. All sets of a tree have names of one length.
#[derive(Debug, Clone)]
pub(super) struct IdSets(pub(super) Tree);

impl IdSets {
    /// Returns true if `set` has `id`.
    pub(super) fn contains(&self, set: &[u8], id: DraftId) -> Result<bool, CatalogError> {
        let value = self.0.get(block_key(set, id))?;
        Ok(value.map(|value| Block::read(&value)).transpose()?.is_some_and(|block| block.has(id.0)))
    }

    /// Adds or removes `id` outside a transaction, while nothing else changes the set.
    pub(super) fn put(&self, set: &[u8], id: DraftId, is_member: bool) -> Result<(), CatalogError> {
        let key = block_key(set, id);
        match changed(self.0.get(&key)?.as_deref(), id, is_member)? {
            Some(value) => self.0.insert(key, value)?,
            None => self.0.remove(key)?,
        };
        Ok(())
    }

    /// Adds `ids`, which ascend, as [`put`](Self::put) does. Writes each row once.
    pub(super) fn add_all(&self, set: &[u8], ids: &[DraftId]) -> Result<(), CatalogError> {
        for ids in ids.chunk_by(|id, next| id.0 / BLOCK == next.0 / BLOCK) {
            let key = block_key(set, ids[0]);
            let mut block = Block::read(&self.0.get(&key)?.unwrap_or_default())?;
            ids.iter().for_each(|id| block.set(id.0, true));
            self.0.insert(key, block.value().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Returns ids of `set` below `before` in descending order.
    pub(super) fn before(
        &self,
        set: &[u8],
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        let before = before.unwrap_or(DraftId(u64::MAX));
        let rows = self.0.range(block_key(set, DraftId(0))..=block_key(set, before));
        let ids = rows.rev().map(|row| ids_of(&row?));
        collect(ids.map(|ids| ids.map(|ids| ids.into_iter().rev().filter(|id| *id < before))), limit)
    }

    /// Returns ids of `set` above `after` in ascending order.
    pub(super) fn after(
        &self,
        set: &[u8],
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        let after = after.unwrap_or(DraftId(0));
        let last = Bound::Included(block_key(set, DraftId(u64::MAX)));
        let rows = self.0.range((Bound::Included(block_key(set, after)), last));
        let ids = rows.map(|row| ids_of(&row?));
        collect(ids.map(|ids| ids.map(|ids| ids.into_iter().filter(|id| *id > after))), limit)
    }

    /// Returns the number of ids in all sets.
    pub(super) fn count(&self) -> Result<u64, CatalogError> {
        let mut count = 0;
        self.for_each(|_, _| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Calls `work` with the name and an id of each set.
    pub(super) fn for_each(
        &self,
        mut work: impl FnMut(&[u8], DraftId) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        for row in self.0.iter() {
            let row = row?;
            let set = &row.0[..row.0.len().saturating_sub(8)];
            ids_of(&row)?.into_iter().try_for_each(|id| work(set, id))?;
        }
        Ok(())
    }
}

/// Returns the ids in a row in ascending order.
fn ids_of((key, value): &(IVec, IVec)) -> Result<Vec<DraftId>, CatalogError> {
    let block = key.last_chunk().map(|block| u64::from_be_bytes(*block));
    let block = block.ok_or_else(|| CatalogError::Corrupt("a block of draft ids has no number".into()))?;
    let first = block.saturating_mul(BLOCK);
    Ok(Block::read(value)?.offsets().map(|offset| DraftId(first.saturating_add(offset.into()))).collect())
}

/// Collects `limit` ids of rows, and reads no further row.
fn collect<I: Iterator<Item = DraftId>>(
    rows: impl Iterator<Item = Result<I, CatalogError>>,
    limit: usize,
) -> Result<Vec<DraftId>, CatalogError> {
    let mut ids = Vec::new();
    for row in rows {
        ids.extend(row?.take(limit - ids.len()));
        if ids.len() == limit {
            break;
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SETS: [&[u8]; 2] = [b"set 1", b"set 2"];

    fn sets() -> IdSets {
        let db = sled::Config::new().temporary(true).open().unwrap();
        IdSets(db.open_tree("sets").unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Sparse and dense blocks, and the sizes at which a list becomes a bitmap.
        #[test]
        fn sets_answer_like_a_sorted_set(
            changes in proptest::collection::vec((0_u64..3 * BLOCK, 0..2_usize, prop::bool::weighted(0.7)), 1..60),
            dense in (0_u64..2 * BLOCK, 0..300_u64),
            at in 0..3 * BLOCK,
            limit in 1..400_usize,
        ) {
            let sets = sets();
            let mut model = [BTreeSet::new(), BTreeSet::new()];
            let dense: Vec<_> = (dense.0..dense.0 + dense.1).map(DraftId).collect();
            sets.add_all(SETS[0], &dense).unwrap();
            model[0].extend(dense);
            for (id, set, is_member) in changes {
                sets.put(SETS[set], DraftId(id), is_member).unwrap();
                if is_member { model[set].insert(DraftId(id)); } else { model[set].remove(&DraftId(id)); }
            }
            let at = DraftId(at);
            for (set, model) in SETS.into_iter().zip(&model) {
                prop_assert_eq!(sets.contains(set, at).unwrap(), model.contains(&at));
                let before: Vec<_> = model.range(..at).rev().take(limit).copied().collect();
                prop_assert_eq!(sets.before(set, Some(at), limit).unwrap(), before);
                let after: Vec<_> = model.range((Bound::Excluded(at), Bound::Unbounded)).take(limit).copied().collect();
                prop_assert_eq!(sets.after(set, Some(at), limit).unwrap(), after);
                let newest: Vec<_> = model.iter().rev().take(limit).copied().collect();
                prop_assert_eq!(sets.before(set, None, limit).unwrap(), newest);
            }
            let mut all = Vec::new();
            sets.for_each(|set, id| { all.push((set.to_vec(), id)); Ok(()) }).unwrap();
            let expected = SETS.iter().zip(&model).flat_map(|(set, ids)| ids.iter().map(|id| (set.to_vec(), *id)));
            prop_assert_eq!(all, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_are_short_and_vanish_with_their_last_id() {
        let sets = sets();
        for (id, count) in (0..BLOCK).zip(1..) {
            sets.put(SETS[0], DraftId(id), true).unwrap();
            let value = sets.0.get(block_key(SETS[0], DraftId(id))).unwrap().unwrap();
            assert_eq!(value.len(), BITMAP_BYTES.min(2 * count));
        }
        assert_eq!(sets.0.len(), 1);
        for id in 0..BLOCK {
            sets.put(SETS[0], DraftId(id), false).unwrap();
        }
        assert!(sets.0.is_empty());
    }

    #[test]
    fn damaged_blocks_are_corrupt() {
        for value in [&[0][..], &[0, 1, 0, 1], &[0x10, 0], &[0; 511]] {
            assert!(matches!(Block::read(value), Err(CatalogError::Corrupt(_))), "{value:?}");
        }
    }
}
