//! What a client is charged for bytes that are kept.

use std::sync::Arc;

use super::{ResumableUploads, UploadError};
use crate::model::Caller;

impl ResumableUploads {
    /// Charges a client for bytes that are to be kept.
    pub(super) async fn charge(&self, caller: Caller, bytes: u64) -> Result<(), UploadError> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let decision = quota.take(caller.client, units(bytes)).await;
        if decision.allowed {
            Ok(())
        } else {
            Err(UploadError::QuotaSpent { retry_after: decision.retry_after })
        }
    }

    /// Refunds a client for bytes that are not kept any more.
    pub(super) fn refund(&self, caller: Caller, bytes: u64) {
        if let Some(quota) = &self.quota
            && bytes > 0
        {
            Arc::clone(quota).give_back(caller.client, units(bytes));
        }
    }
}

/// Returns the units of the quota for this number of bytes.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
