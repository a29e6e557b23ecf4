//! Rules over several settings, which one row cannot decide by itself.

use std::net::SocketAddr;
use std::time::Duration;

use super::kind::MIN_KEY_BYTES;
use super::row::Reader;
use super::table::{self, Combined, Parsed};
use super::{Env, MediaStorage, parse, secret};
use crate::media::s3::S3Settings;
use crate::ratelimit::Quota;

/// The store of photos, before the rest of its settings is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StorageKind {
    Local,
    S3,
}

/// The upload quota, before the rate limit of uploads is known.
#[derive(Clone, Copy)]
pub(super) enum UploadQuota {
    Auto,
    Fixed(Option<Quota>),
}

/// `UPLOAD_QUOTA=auto` if the rate of uploads is limited: 2048 MiB a day.
const AUTO_UPLOAD_QUOTA: Quota = Quota { burst: 2048 << 10, window: Duration::from_secs(86_400) };

/// Returns the settings that depend on several rows, and adds the errors of rows that are invalid together.
///
/// Skips rules for a row that did not parse, because its error is recorded already. Returns `None` if a value stays undecided.
pub(super) fn combine(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Combined> {
    check_keys(parsed, reader);
    let storage = storage(parsed, reader);
    let upload_quota = match (parsed.upload_quota?, parsed.rate_limit_upload?) {
        (UploadQuota::Fixed(quota), _) => quota,
        (UploadQuota::Auto, Some(_)) => Some(AUTO_UPLOAD_QUOTA),
        (UploadQuota::Auto, None) => None,
    };
    let (media_storage, s3) = storage?;
    let listen = SocketAddr::new(parsed.host?, parsed.port?);
    let max_photos_per_draft = parsed.max_photos_per_draft?.unwrap_or(parsed.max_uploads_per_request?);
    Some(Combined { listen, media_storage, s3, upload_quota, max_photos_per_draft })
}

/// Checks that a production server, or one that requires tokens, has keys that cannot be guessed.
fn check_keys(parsed: &Parsed, reader: &mut Reader<'_>) {
    let is_prod = parsed.env == Some(Env::Prod);
    let is_too_short = |key: &str| is_prod && key.len() < MIN_KEY_BYTES;
    let needs_real_key = is_prod || parsed.auth_required == Some(true);
    let is_refused = |key: &str| is_too_short(key) || needs_real_key && secret::is_placeholder(key);
    if parsed.secret_key.as_deref().is_some_and(is_refused) {
        reader.reject(&table::SECRET_KEY);
    }
    if parsed.secret_key_previous.as_ref().is_some_and(|key| key.as_deref().is_some_and(is_too_short)) {
        reader.reject(&table::SECRET_KEY_PREVIOUS);
    }
}

/// Returns the store of photos, and the settings of a bucket, which `migrate-store` may need, too.
///
/// With `MEDIA_STORAGE=local` the settings of S3 may be invalid, because the `.env` of the old backend may contain them. Then
/// there are no settings of a bucket.
fn storage(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<(MediaStorage, Option<S3Settings>)> {
    let is_s3 = parsed.media_storage == Some(StorageKind::S3);
    let endpoint = match parsed.s3_endpoint.as_ref()? {
        None => Some(None),
        Some(url) => parse::endpoint(url).map(Some),
    };
    // One key without the other is a mistake. The server must not replace it with the keys of the environment.
    let (access_key, secret_key) = (parsed.s3_access_key.clone()?, parsed.s3_secret_key.clone()?);
    let has_key_pair = access_key.is_some() == secret_key.is_some();
    let bucket = parsed.s3_bucket.clone()?;
    if is_s3 && !parse::is_bucket(&bucket) {
        reader.reject(&table::S3_BUCKET);
    }
    if is_s3 && endpoint.is_none() {
        reader.reject(&table::S3_ENDPOINT_URL);
    }
    if is_s3 && !has_key_pair {
        reader.reject(&table::S3_SECRET_KEY);
    }
    let (region, presigned_for) = (parsed.s3_region.clone()?, parsed.s3_presigned_for?);
    let s3 = endpoint.filter(|_| has_key_pair).map(|endpoint| S3Settings {
        bucket,
        endpoint,
        region,
        keys: access_key.zip(secret_key),
        presigned_for,
    });
    match parsed.media_storage? {
        StorageKind::Local => Some((MediaStorage::Local, s3)),
        StorageKind::S3 => s3.map(|settings| (MediaStorage::S3(settings.clone()), Some(settings))),
    }
}
