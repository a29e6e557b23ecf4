//! The services that keep buckets, each with the settings that reach it. A service is one function, and one line of
//! [`buckets`].

use std::collections::BTreeMap;

use super::parse;
use super::row::Reader;
use super::storage::StorageKind;
use super::table::{self, Parsed};
use crate::media::BucketSettings;
use crate::media::s3::{self, S3Keys, S3Settings};

/// For each service the bucket that its settings name, or a sentence that says what is wrong with them.
pub(super) type Buckets = BTreeMap<&'static str, Result<BucketSettings, &'static str>>;

/// Returns how each service is reached. `migrate-store` may ask for any of them.
///
/// Settings of a service that `MEDIA_STORAGE` does not name may be invalid, because the `.env` of the old backend may contain
/// them. Then no bucket of the service can be reached. Returns `None` if a row did not parse.
pub(super) fn buckets(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Buckets> {
    Some(BTreeMap::from([(s3::SERVICE, s3(parsed, reader)?)]))
}

fn s3(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Result<BucketSettings, &'static str>> {
    let is_used = parsed.media_storage == Some(StorageKind::Bucket(s3::SERVICE));
    let endpoint = match parsed.s3_endpoint.as_ref()? {
        None => Some(None),
        Some(url) => parse::endpoint(url).map(Some),
    };
    // One key without the other is a mistake. The server must not replace it with the keys of the environment.
    let (access_key, secret_key) = (parsed.s3_access_key.clone()?, parsed.s3_secret_key.clone()?);
    let has_key_pair = access_key.is_some() == secret_key.is_some();
    let bucket = parsed.s3_bucket.clone()?;
    if is_used && !parse::is_bucket(&bucket) {
        reader.reject(&table::S3_BUCKET);
    }
    if is_used && endpoint.is_none() {
        reader.reject(&table::S3_ENDPOINT_URL);
    }
    if is_used && !has_key_pair {
        reader.reject(&table::S3_SECRET_KEY);
    }
    let (region, presigned_for) = (parsed.s3_region.clone()?, parsed.s3_presigned_for?);
    let why = "a bucket is reached as the settings of S3 say: S3_ENDPOINT_URL is an http(s) URL or none, and \
               S3_ACCESS_KEY and S3_SECRET_KEY are both there or neither";
    let keys = access_key.zip(secret_key).map(|(access, secret)| S3Keys::new(access, secret));
    let settings = |endpoint| S3Settings { bucket, endpoint, region, keys, presigned_for };
    Some(endpoint.filter(|_| has_key_pair).map(settings).map(BucketSettings::S3).ok_or(why))
}
