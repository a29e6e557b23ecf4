//! Rules over several settings, which one row cannot decide by itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::Uri;

use super::buckets::buckets;
use super::kind::{MIN_KEY_BYTES, UploadQuota};
use super::provider::{KeySource, ProviderSettings};
use super::row::Reader;
use super::storage::{MediaStorage, StorageKind};
use super::table::{self, Combined, Parsed};
use super::webhook::WebhookSettings;
use super::{Env, secret};
use crate::ratelimit::Quota;
use crate::telemetry::spans::Collector;

/// `UPLOAD_QUOTA=auto` if the rate of uploads is limited: 2048 MiB a day.
const AUTO_UPLOAD_QUOTA: Quota = Quota { burst: 2048 << 10, window: Duration::from_secs(86_400) };

/// Returns the settings that depend on several rows, and adds the errors of rows that are invalid together.
///
/// Skips rules for a row that did not parse, because its error is recorded already. Returns `None` if a value stays undecided.
pub(super) fn combine(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Combined> {
    check_keys(parsed, reader);
    let buckets = buckets(parsed, reader);
    let provider = provider(parsed, reader);
    let upload_quota = match (parsed.upload_quota?, parsed.rate_limit_upload?) {
        (UploadQuota::Fixed(quota), _) => quota,
        (UploadQuota::Auto, Some(_)) => Some(AUTO_UPLOAD_QUOTA),
        (UploadQuota::Auto, None) => None,
    };
    let (buckets, provider) = (buckets?, provider?);
    let media_storage = match parsed.media_storage? {
        StorageKind::Local => MediaStorage::Local,
        StorageKind::Bucket(service) => MediaStorage::Bucket(buckets.get(service)?.clone().ok()?),
    };
    let listen = SocketAddr::new(parsed.host?, parsed.port?);
    let max_photos_per_draft = parsed.max_photos_per_draft?.unwrap_or(parsed.max_uploads_per_request?);
    let upload_page = parsed.upload_page?.unwrap_or(parsed.env? == Env::Dev);
    let webhook = match (parsed.webhook_url.clone()?, parsed.webhook_secret.clone()?) {
        (None, _) => None,
        (Some(url), Some(secret)) => Some(WebhookSettings { url, secret }),
        // The receiver could not tell whether an event is this server's.
        (Some(_), None) => {
            reader.reject(&table::WEBHOOK_SECRET);
            return None;
        }
    };
    let collector = collector(parsed, reader)?;
    Some(Combined {
        trace_share: if collector.is_some() { parsed.trace_share? } else { 0.0 },
        collector,
        listen,
        media_storage,
        buckets,
        upload_quota,
        max_photos_per_draft,
        upload_page,
        webhook,
        provider,
    })
}

/// Returns the collector of spans, if there is one. Returns `None` if a value is wrong.
fn collector(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Option<Collector>> {
    let (headers, service) = (parsed.collector_headers.clone()?, parsed.service_name.clone()?);
    let Some(endpoint) = parsed.collector_endpoint.clone()? else { return Some(None) };
    if !cfg!(feature = "otlp") {
        reader.reject(&table::OTEL_EXPORTER_OTLP_ENDPOINT);
        return None;
    }
    Some(Some(Collector { endpoint, headers, service }))
}

/// Checks that a server has keys that cannot be guessed if it is in production, requires tokens, or takes those of a provider, whose users'
/// numbers are easily guessed.
fn check_keys(parsed: &Parsed, reader: &mut Reader<'_>) {
    let is_prod = parsed.env == Some(Env::Prod);
    let is_too_short = |key: &str| is_prod && key.len() < MIN_KEY_BYTES;
    let has_provider = matches!(parsed.jwks_url, Some(Some(_))) || matches!(parsed.jwks_file, Some(Some(_)));
    let needs_real_key = is_prod || has_provider || parsed.auth_required == Some(true);
    let is_refused = |key: &str| is_too_short(key) || needs_real_key && secret::is_placeholder(key);
    if parsed.secret_key.as_deref().is_some_and(is_refused) {
        reader.reject(&table::SECRET_KEY);
    }
    if parsed.secret_key_previous.as_ref().is_some_and(|key| key.as_deref().is_some_and(is_too_short)) {
        reader.reject(&table::SECRET_KEY_PREVIOUS);
    }
}

/// Returns the provider, if its keys are named. `None`: a row of it is not valid, alone or with others.
fn provider(parsed: &Parsed, reader: &mut Reader<'_>) -> Option<Option<ProviderSettings>> {
    let keys = match (parsed.jwks_url.clone()?, parsed.jwks_file.clone()?) {
        (None, None) => return Some(None),
        (Some(_), Some(_)) => {
            reader.reject(&table::JWKS_FILE);
            return None;
        }
        (Some(url), None) => {
            // Who can change the keys on their way can sign tokens.
            if url.scheme_str() != Some("https") && !(parsed.env? == Env::Dev && is_loopback(&url)) {
                reader.reject(&table::JWKS_URL);
                return None;
            }
            KeySource::Url(url)
        }
        (None, Some(path)) => KeySource::File(path),
    };
    let (issuer, audience) = (parsed.jwt_issuer.clone()?, parsed.jwt_audience.clone()?);
    if issuer.is_none() {
        reader.reject(&table::JWT_ISSUER);
    }
    if audience.is_none() {
        reader.reject(&table::JWT_AUDIENCE);
    }
    Some(Some(ProviderSettings { keys, issuer: issuer?, audience: audience? }))
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
