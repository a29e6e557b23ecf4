//! Parsers of single values. They return `None` for a value that is not accepted; the row or its kind describes which are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::CorsOrigins;
use crate::fetch::AllowedOrigins;
use crate::imaging::RenditionSizes;
use crate::ratelimit::Quota;

pub(super) fn from_str<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

pub(super) fn within<T: FromStr + PartialOrd>(value: &str, range: &RangeInclusive<T>) -> Option<T> {
    from_str(value).filter(|n| range.contains(n))
}

/// Parses a JSON array of strings, or a comma-separated list.
pub(super) fn list(value: &str) -> Option<Vec<String>> {
    if value.starts_with('[') {
        return serde_json::from_str(value).ok();
    }
    Some(value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

pub(super) fn non_empty_list(value: &str) -> Option<Vec<String>> {
    list(value).filter(|items| !items.is_empty() && items.iter().all(|item| !item.is_empty()))
}

/// Parses the sides of renditions: a JSON array of numbers, or a comma-separated list.
pub(super) fn rendition_sizes(value: &str) -> Option<RenditionSizes> {
    let sides: Vec<u32> = match value.starts_with('[') {
        true => serde_json::from_str(value).ok()?,
        false => list(value)?.iter().map(|side| from_str(side)).collect::<Option<_>>()?,
    };
    RenditionSizes::new(sides)
}

pub(super) fn allowed_origins(value: &str) -> Option<AllowedOrigins> {
    AllowedOrigins::parse(&non_empty_list(value)?)
}

pub(super) fn cors_origins(value: &str) -> Option<CorsOrigins> {
    let origins = list(value)?;
    if origins.iter().any(|origin| origin == "*") {
        return Some(CorsOrigins::Any);
    }
    origins.iter().all(|origin| is_origin(origin)).then_some(CorsOrigins::Exact(origins))
}

/// Returns whether a text is a scheme, a host and an optional port, and nothing else (RFC 6454 section 6.1).
fn is_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<hyper::Uri>() else {
        return false;
    };
    uri.scheme().is_some()
        && uri.authority().is_some()
        && !origin.ends_with('/')
        && uri.path() == "/"
        && uri.query().is_none()
}

/// Parses a path outside the API, or an http(s) URL, and removes its trailing slash.
pub(super) fn base_url(value: &str) -> Option<String> {
    let known = value.starts_with('/') || value.starts_with("http://") || value.starts_with("https://");
    let sane = !value.contains(['?', '#', '{', '}']) && value.parse::<hyper::Uri>().is_ok();
    let hides_api = ["/api", "/metrics"].iter().any(|own| value.starts_with(own));
    (known && sane && !hides_api).then(|| value.trim_end_matches('/').to_owned())
}

/// Parses an http(s) URL of a service, and removes its trailing slash.
pub(super) fn endpoint(value: &str) -> Option<String> {
    let uri = value.parse::<hyper::Uri>().ok()?;
    let known =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    (known && uri.query().is_none() && !value.contains('@')).then(|| value.trim_end_matches('/').to_owned())
}

pub(super) fn redis_url(value: &str) -> Option<String> {
    let known = value.starts_with("redis://") || value.starts_with("rediss://");
    (known && redis::Client::open(value).is_ok()).then(|| value.to_owned())
}

/// Returns whether a bucket may have this name, which must need no escaping in a URL.
pub(super) fn is_bucket(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (3..=255).contains(&value.len()) && value.chars().all(is_plain)
}

/// Parses `N/unit`, also in the spellings of the old backend: `10/minute`, `10 per minute`, `10/5minutes`. `off` means no
/// limit. `burst` parses the lower-case text before the period.
pub(super) fn quota(value: &str, burst: impl Fn(&str) -> Option<u32>) -> Option<Option<Quota>> {
    if value.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    let value = value.to_ascii_lowercase();
    let (count, window) = value.split_once('/').or_else(|| value.split_once(" per "))?;
    let window = window.trim();
    let digits = window.len() - window.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let multiple: u64 = if digits == 0 { 1 } else { within(&window[..digits], &(1..=1000))? };
    let unit = match window[digits..].trim().trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    let burst = burst(count.trim())?;
    Some(Some(Quota { burst, window: Duration::from_secs(unit * multiple) }))
}

/// Parses CIDRs. An address without a prefix length is a network of one.
pub(super) fn networks(value: &str) -> Option<Vec<IpNet>> {
    let network = |item: &String| {
        item.parse::<IpNet>().ok().or_else(|| item.parse::<std::net::IpAddr>().ok().map(IpNet::from))
    };
    list(value)?.iter().map(network).collect()
}

pub(super) fn log_filter(value: &str) -> Option<String> {
    EnvFilter::try_new(value).is_ok().then(|| value.to_owned())
}

/// Parses an absolute URL of HTTP without credentials.
pub(super) fn webhook_url(value: &str) -> Option<hyper::Uri> {
    let url: hyper::Uri = value.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let is_plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_http && is_plain).then_some(url)
}

/// Parses headers as `name=value,name=value`, with percent-encoded values (W3C Baggage, which OTLP follows).
pub(super) fn headers(value: &str) -> Option<Vec<(String, String)>> {
    let header = |item: &str| {
        let (name, value) = item.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
        let is_valid = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(&*decoded).is_ok();
        is_valid.then(|| (name.to_owned(), value.to_owned()))
    };
    value.split(',').filter(|item| !item.trim().is_empty()).map(header).collect()
}

/// Parses a share of all, 0 to 1.
pub(super) fn share(value: &str) -> Option<f64> {
    value.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// Parses a secret. What follows `whsec_` is base64.
pub(super) fn webhook_secret(value: &str) -> Option<String> {
    let encoded = value.strip_prefix("whsec_");
    encoded
        .is_none_or(|encoded| !encoded.is_empty() && STANDARD.decode(encoded).is_ok())
        .then(|| value.to_owned())
}
