//! The objects of an upload, and which of their bytes belong to it.

use std::ops::Range;
use std::pin::pin;

use futures_util::stream::{self, Stream, TryStreamExt};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;
use object_store::path::Path;

use super::layout::Layout;
use crate::media::{Bucket, Fault};
use crate::model::UploadId;

/// The prefix of all unfinished uploads. Photos have another one.
pub(super) const UPLOADS: &str = "uploads/";

/// An object with bytes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The writer.
    pub(super) epoch: u64,
    /// Where its bytes are in the upload.
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A part of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) piece: Piece,
    /// The bytes of the piece.
    pub(super) range: Range<u64>,
}

/// Returns the prefix of the objects of an upload.
fn prefix(id: UploadId) -> String {
    format!("{UPLOADS}{id}/")
}

/// Returns the name of a piece. Names are sorted by offset.
pub(super) fn path(id: UploadId, offset: u64, epoch: u64) -> Path {
    Path::from(format!("{}{offset:020}-{epoch}", prefix(id)))
}

impl Piece {
    /// Reads the name of an object. Returns `None` if it is not that of a piece.
    pub(super) fn of(object: &ObjectMeta) -> Option<Self> {
        let (offset, epoch) = object.location.filename()?.split_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, offset: offset.parse().ok()?, length: object.size })
    }
}

/// Returns the objects of an upload, in the answers of the service.
pub(super) fn list(
    bucket: &Bucket,
    id: UploadId,
) -> impl Stream<Item = Result<Vec<ObjectMeta>, Fault>> + Send {
    stream::try_unfold(Some(None), move |token: Option<Option<String>>| async move {
        let Some(page_token) = token else { return Ok(None) };
        let options = PaginatedListOptions { page_token, ..Default::default() };
        let page = bucket.ask(bucket.client.list_paginated(Some(&prefix(id)), options)).await?;
        Ok(Some((page.result.objects, page.page_token.map(Some))))
    })
}

/// Returns the pieces with bytes from `range` that writers wrote who had the claim.
pub(super) async fn find(
    bucket: &Bucket,
    id: UploadId,
    layout: &Layout,
    range: &Range<u64>,
) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut answers = pin!(list(bucket, id));
    while let Some(objects) = answers.try_next().await? {
        let listed = objects.iter().filter_map(Piece::of);
        pieces.extend(listed.filter(|piece| {
            let is_within =
                piece.offset < range.end && piece.offset.saturating_add(piece.length) > range.start;
            is_within && layout.segment_at(piece.offset).is_some_and(|(epoch, _)| epoch == piece.epoch)
        }));
    }
    Ok(pieces)
}

/// Returns which parts of `pieces` have the bytes of `range`, in order, or `None` if some bytes are in none.
///
/// Of a piece only the bytes within its writer's segment belong to the upload.
pub(super) fn select(layout: &Layout, mut pieces: Vec<Piece>, range: Range<u64>) -> Option<Vec<Part>> {
    pieces.sort_unstable_by_key(|piece| piece.offset);
    let (mut parts, mut at) = (Vec::new(), range.start);
    for piece in pieces {
        let end = layout.segment_at(piece.offset).map_or(0, |(_, end)| end);
        let end = end.min(range.end).min(piece.offset.saturating_add(piece.length));
        if at >= end {
            continue;
        }
        if piece.offset > at {
            return None;
        }
        parts.push(Part { piece, range: at - piece.offset..end - piece.offset });
        at = end;
    }
    (at >= range.end).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(range: Range<u64>, pieces: &[(u64, u64, u64)]) -> Option<Vec<(u64, Range<u64>)>> {
        let layout: Layout = "1:0,2:100".parse().unwrap();
        let pieces = pieces.iter().map(|(epoch, offset, length)| Piece {
            epoch: *epoch,
            offset: *offset,
            length: *length,
        });
        let parts = select(&layout, pieces.collect(), range)?;
        Some(parts.into_iter().map(|part| (part.piece.offset, part.range)).collect())
    }

    #[test]
    fn parts_are_in_order_and_end_with_their_segment() {
        let pieces = [(2, 100, 50), (1, 0, 60), (1, 60, 900)];
        assert_eq!(parts(0..150, &pieces), Some(vec![(0, 0..60), (60, 0..40), (100, 0..50)]));
        assert_eq!(parts(59..61, &pieces), Some(vec![(0, 59..60), (60, 0..1)]));
        assert_eq!(parts(110..120, &pieces), Some(vec![(100, 10..20)]));
        assert_eq!(parts(7..7, &[]), Some(Vec::new()));
    }

    #[test]
    fn gap_is_found() {
        for range in [0..151, 0..1000, 149..151] {
            assert_eq!(parts(range, &[(1, 0, 100), (2, 100, 50)]), None);
        }
        assert_eq!(parts(0..100, &[(1, 0, 40), (1, 41, 60)]), None);
        assert_eq!(parts(0..10, &[]), None);
        assert_eq!(parts(50..120, &[(2, 100, 50)]), None);
    }
}
