//! Limits what one client may add to the store, in KiB of new photos as stored.
//!
//! A photo is charged before it is staged, and the charge is refunded unless the upload commits. So uploads that run side by
//! side never keep more than the quota together. A photo that has a media row costs nothing, so that a retry passes while the
//! quota is spent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Ingest, IngestError};
use crate::blocking::blocking;
use crate::catalog::CatalogError;
use crate::model::{ClientKey, MediaKey};
use crate::ratelimit::RateLimiter;

/// Bytes of one unit of the quota.
const UNIT_BYTES: u64 = 1024;

/// What a client paid for one photo. Dropping it refunds the units, unless they are [kept](Self::keep).
pub(super) struct Charge {
    quota: Arc<dyn RateLimiter>,
    client: ClientKey,
    units: u32,
}

impl Charge {
    /// Makes the charge final.
    pub(super) fn keep(mut self) {
        self.units = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.units > 0 {
            Arc::clone(&self.quota).give_back(self.client, self.units);
        }
    }
}

impl Ingest {
    /// Charges `client` for a photo with these stored bytes. Returns `None` if there is no quota, or if the photo has a row.
    ///
    /// # Errors
    /// The quota has no room for the photo, or the catalog failed.
    pub(super) async fn charge(
        &self,
        client: ClientKey,
        jpeg: &Bytes,
    ) -> Result<Option<Charge>, IngestError> {
        let Some(quota) = &self.quota else { return Ok(None) };
        let hashed = jpeg.clone();
        let key = blocking(move || Ok::<_, IngestError>(MediaKey::of(&hashed))).await?;
        if self.publisher.catalog().without_row(&[key]).await?.is_empty() {
            return Ok(None);
        }
        let units = u32::try_from((jpeg.len() as u64).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let decision = quota.take(client, units).await;
        if decision.allowed {
            return Ok(Some(Charge { quota: Arc::clone(quota), client, units }));
        }
        let (retry_after, max_kib) = (decision.retry_after, quota.quota().burst);
        Err(match units > max_kib {
            true => IngestError::LargerThanQuota { retry_after, max_kib },
            false => IngestError::QuotaSpent { retry_after },
        })
    }

    /// Returns the charges of photos that still have no row, and refunds the others: another upload of the same photo, or
    /// another photo of this upload with the same output, paid for these. The caller holds the locks on the keys.
    pub(super) async fn charges_of_new_photos(
        &self,
        charges: Vec<(MediaKey, Charge)>,
    ) -> Result<Vec<Charge>, CatalogError> {
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        // If a key occurs twice, only the last charge is kept; dropping the others refunds them.
        let mut by_key: BTreeMap<MediaKey, Charge> = charges.into_iter().collect();
        let keys: Vec<MediaKey> = by_key.keys().copied().collect();
        let new = self.publisher.catalog().without_row(&keys).await?;
        Ok(new.iter().filter_map(|key| by_key.remove(key)).collect())
    }
}
