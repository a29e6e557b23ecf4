//! Judges a photo by its first bytes while the rest still arrives.

use futures_util::TryStreamExt;

use super::{ResumableUploads, UploadError};
use crate::catalog::UploadRow;
use crate::ingest::Ingest;
use crate::ingest::sniff::HEAD_BYTES;

/// The first bytes of an upload, until they are judged.
pub(super) struct HeadCheck(Option<Vec<u8>>);

impl HeadCheck {
    /// Takes the next bytes.
    pub(super) fn take(&mut self, chunk: &[u8], ingest: &Ingest) -> Result<(), UploadError> {
        let Some(head) = &mut self.0 else { return Ok(()) };
        head.extend_from_slice(&chunk[..chunk.len().min(HEAD_BYTES - head.len())]);
        if head.len() < HEAD_BYTES {
            return Ok(());
        }
        let judged = ingest.judge_head(head).map_err(UploadError::RefusedHead);
        self.0 = None;
        judged
    }
}

impl ResumableUploads {
    /// Returns the check for a request that continues `row`.
    pub(super) async fn head_check(&self, row: &UploadRow) -> Result<HeadCheck, UploadError> {
        if row.offset >= HEAD_BYTES as u64 {
            return Ok(HeadCheck(None));
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        if row.offset > 0 {
            let mut bytes = self.partial.read(row.id, &row.layout, 0..row.offset).await?;
            while let Some(piece) = bytes.try_next().await? {
                head.extend_from_slice(&piece);
            }
        }
        Ok(HeadCheck(Some(head)))
    }
}
