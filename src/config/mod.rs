//! Settings: one table that names every variable, its default and what it accepts.
//!
//! The table feeds the parser, `--help` and `check-config`, so the three cannot drift apart. All errors of a start are
//! reported together. Nothing outside this room reads the environment.

mod dotenv;
mod near;
mod parse;
mod place;
mod secret;
mod source;
mod table;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use self::place::Place;
pub use self::source::{NearMiss, Source};
pub use self::table::{SETTINGS, Setting};

use crate::catalog::PostgresUrl;
use crate::disk::FreeDisk;
use crate::media::s3::S3Settings;
use crate::ratelimit::Quota;

/// Development or production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Env {
    /// Readable logs; the default secret is tolerated unless tokens are required.
    Dev,
    /// JSON logs; secrets have 32 bytes or more.
    Prod,
}

/// The origins that a browser may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// `*`: any origin, without credentials.
    Any,
    /// Exactly these origins, with credentials.
    Exact(Vec<String>),
}

/// Where drafts and media rows live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// Embedded, in this directory.
    Sled(PathBuf),
    /// On a server that instances share.
    Postgres(Box<PostgresUrl>),
}

/// Without user and password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(path) => fmt::Display::fmt(&path.display(), f),
            Self::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}

/// Where photos are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaStorage {
    /// In a directory, `MEDIA_ROOT`.
    Local,
    /// In a bucket.
    S3(S3Settings),
}

impl MediaStorage {
    /// The name by which the setting knows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3(_) => "s3",
        }
    }
}

/// All settings, parsed and checked.
#[derive(Clone)]
#[allow(missing_docs, reason = "each field is documented by the row of its name in SETTINGS")]
pub struct Settings {
    pub env: Env,
    pub listen: SocketAddr,
    pub database: Database,
    pub database_connections: usize,
    pub secret_key: String,
    pub secret_key_previous: Option<String>,
    pub auth_required: bool,
    pub cors_origins: CorsOrigins,
    pub media_root: PathBuf,
    pub media_storage: MediaStorage,
    /// What the settings of S3 say, also where photos are kept elsewhere; `None` if they are of no use. The bucket may have no name.
    pub s3: Option<S3Settings>,
    pub media_base_url: String,
    pub max_uploads_per_request: usize,
    pub max_file_bytes: u64,
    pub allowed_mime_prefixes: Vec<String>,
    pub jpeg_quality: u8,
    pub max_dim_px: u32,
    pub strip_gps: bool,
    pub max_pixels: u64,
    pub read_only: bool,
    pub jobs_enabled: bool,
    pub media_grace: Duration,
    pub scrub_hours: u64,
    pub rate_limit_global: Option<Quota>,
    pub rate_limit_upload: Option<Quota>,
    /// In KiB.
    pub upload_quota: Option<Quota>,
    pub redis_url: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub workers: usize,
    pub memory_budget_bytes: u64,
    pub max_uploads: usize,
    pub pool_queue: usize,
    pub pool_wait: Duration,
    pub image_timeout: Duration,
    pub image_processor_time: Duration,
    pub max_connections: usize,
    pub header_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub body_min_rate: u64,
    pub shutdown_timeout: Duration,
    pub min_free_disk: FreeDisk,
    pub log_level: String,
}

impl Settings {
    /// Returns whether everybody knows the key that signs tokens: it is the default, or a placeholder.
    pub fn has_public_secret_key(&self) -> bool {
        secret::is_placeholder(&self.secret_key)
    }

    /// The largest request body that can possibly be accepted: every photo at its cap, plus [`FORM_OVERHEAD_BYTES`].
    pub fn max_body_bytes(&self) -> u64 {
        self.max_file_bytes * self.max_uploads_per_request as u64 + FORM_OVERHEAD_BYTES
    }
}

/// `UPLOAD_QUOTA=auto`, where uploads are limited at all.
const AUTO_UPLOAD_QUOTA: &str = "2048MB/day";
/// Least length of a key where `ENV=prod`: that of the hash under HS256 (RFC 7518 section 3.2).
const MIN_SECRET_KEY_BYTES: usize = 32;

/// Room for part headers, the title and foreign fields beside the photos.
pub const FORM_OVERHEAD_BYTES: u64 = 1 << 20;

/// One setting that did not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    name: &'static str,
    value: String,
    accepts: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} is not valid: accepted is {}", self.name, self.value, self.accepts)
    }
}

/// All settings that did not parse, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<SettingError>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Parses every setting.
    ///
    /// # Errors
    /// All values that do not parse, not only the first.
    pub fn load(source: &Source) -> Result<Self, SettingsError> {
        let mut read = Reader { source, errors: Vec::new() };
        let env = read.value("ENV", parse::env);
        let host: IpAddr = read.value("HOST", parse::from_str);
        let port: u16 = read.value("PORT", parse::from_str);
        let auth_required = read.value("AUTH_REQUIRED", parse::boolean);
        let is_long_enough = |key: &str| env == Env::Dev || key.len() >= MIN_SECRET_KEY_BYTES;
        let needs_real_key = env == Env::Prod || auth_required;
        let secret_key = read.secret("SECRET_KEY", |key| {
            is_long_enough(key) && !(needs_real_key && secret::is_placeholder(key))
        });
        // A previous key may be left out, so there is never a reason for one that everybody knows.
        let secret_key_previous = read.secret("SECRET_KEY_PREVIOUS", |key| {
            key.is_empty() || is_long_enough(key) && !secret::is_placeholder(key)
        });
        let mib = 1024 * 1024;
        let (media_storage, s3) = storage(&mut read);
        let rate_limit_upload = read.value("RATE_LIMIT_UPLOAD", parse::quota);
        let upload_quota = |value: &str| match (value, rate_limit_upload) {
            ("auto", None) => Some(None),
            ("auto", Some(_)) => parse::upload_quota(AUTO_UPLOAD_QUOTA),
            _ => parse::upload_quota(value),
        };
        let settings = Self {
            env,
            listen: SocketAddr::new(host, port),
            database: read.value("DATABASE_URL", parse::database),
            database_connections: read.value("DATABASE_CONNECTIONS", |v| parse::within(v, 2..=1000)),
            secret_key,
            secret_key_previous: Some(secret_key_previous).filter(|key| !key.is_empty()),
            auth_required,
            cors_origins: read.value("CORS_ORIGINS", parse::cors_origins),
            media_root: read.value("MEDIA_ROOT", |v| Some(PathBuf::from(v))),
            media_storage,
            s3,
            media_base_url: read.value("MEDIA_BASE_URL", parse::base_url),
            max_uploads_per_request: read.value("MAX_UPLOADS_PER_REQUEST", |v| parse::within(v, 1..=1000)),
            max_file_bytes: read.value("MAX_FILE_SIZE_MB", |v| parse::within(v, 1..=1024u64)) * mib,
            allowed_mime_prefixes: read.value("ALLOWED_MIME_PREFIXES", parse::non_empty_list),
            jpeg_quality: read.value("JPEG_QUALITY", |v| parse::within(v, 1..=95)),
            max_dim_px: read.value("MAX_DIM_PX", |v| parse::within(v, 1..=16_384)),
            strip_gps: read.value("STRIP_GPS", parse::boolean),
            max_pixels: read.value("MAX_PIXELS", |v| parse::within(v, 1..=1_000_000_000)),
            read_only: read.value("READ_ONLY", parse::boolean),
            jobs_enabled: read.value("JOBS_ENABLED", parse::boolean),
            scrub_hours: read.value("SCRUB_HOURS", |v| parse::within(v, 0..=87_600)),
            media_grace: read.value("MEDIA_GRACE_HOURS", |v| parse::hours(v, 1..=8760)),
            rate_limit_global: read.value("RATE_LIMIT_GLOBAL", parse::quota),
            rate_limit_upload,
            upload_quota: read.value("UPLOAD_QUOTA", upload_quota),
            redis_url: read.value("REDIS_URL", parse::redis_url),
            trusted_proxies: read.value("TRUSTED_PROXIES", parse::networks),
            workers: match read.value("WORKERS", |v| parse::within(v, 0..=256)) {
                0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                n => n,
            },
            memory_budget_bytes: read.value("MEMORY_BUDGET_MB", |v| parse::within(v, 16..=1_048_576u64))
                * mib,
            max_uploads: read.value("MAX_UPLOADS", |v| parse::within(v, 1..=1_000_000)),
            pool_queue: read.value("POOL_QUEUE", |v| parse::within(v, 1..=65_536)),
            pool_wait: read.value("POOL_WAIT_SECONDS", |v| parse::seconds(v, 1..=600)),
            image_timeout: read.value("IMAGE_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            image_processor_time: read.value("IMAGE_PROCESSOR_SECONDS", |v| parse::seconds(v, 1..=600)),
            max_connections: read.value("MAX_CONNECTIONS", |v| parse::within(v, 1..=1_000_000)),
            header_timeout: read.value("HEADER_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            body_idle_timeout: read.value("BODY_IDLE_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            body_min_rate: read.value("BODY_MIN_RATE", |v| parse::within(v, 0..=1_000_000_000)),
            shutdown_timeout: read.value("SHUTDOWN_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            min_free_disk: read.value("MIN_FREE_DISK_MB", parse::free_disk),
            log_level: read.value("LOG_LEVEL", parse::log_filter),
        };
        if read.errors.is_empty() { Ok(settings) } else { Err(SettingsError(read.errors)) }
    }
}

/// Where photos are kept, and the account that a move may name a bucket of.
fn storage(read: &mut Reader<'_>) -> (MediaStorage, Option<S3Settings>) {
    let is_s3 = read.value("MEDIA_STORAGE", |v| matches!(v, "local" | "s3").then_some(v == "s3"));
    // Of no effect with MEDIA_STORAGE=local, as in the old backend: its file may well name them.
    let text = |v: &str| (!v.is_empty()).then(|| v.to_owned());
    let bucket = read.value("S3_BUCKET", |v| (!is_s3 || parse::is_bucket(v)).then(|| v.to_owned()));
    let endpoint = read.value("S3_ENDPOINT_URL", |v| match v {
        "" => Some(Ok(None)),
        _ if is_s3 => parse::endpoint(v).map(Some).map(Ok),
        _ => Some(parse::endpoint(v).map(Some).ok_or(())),
    });
    let region = read.value("S3_REGION", |v| Some(text(v)));
    let access = read.value("S3_ACCESS_KEY", |v| Some(text(v)));
    // One of the two is a mistake, and must not turn into the keys of the environment.
    let secret =
        read.value("S3_SECRET_KEY", |v| (!is_s3 || access.is_some() != v.is_empty()).then(|| text(v)));
    let presigned_for = read.value("S3_PRESIGN_SECONDS", |v| parse::seconds(v, 0..=604_800));
    // Half a pair of keys must not turn into the keys of the environment here, either.
    let is_useful = access.is_some() == secret.is_some();
    let account = endpoint.ok().filter(|_| is_useful).map(|endpoint| S3Settings {
        bucket,
        endpoint,
        region,
        keys: access.zip(secret),
        presigned_for,
    });
    match account {
        Some(settings) if is_s3 => (MediaStorage::S3(settings.clone()), Some(settings)),
        // Where a bucket is asked for, what made no sense was noted as an error.
        account => (MediaStorage::Local, account),
    }
}

struct Reader<'s> {
    source: &'s Source,
    errors: Vec<SettingError>,
}

impl Reader<'_> {
    /// The parsed value of `name`. A value that does not parse is noted, and the default stands in for it so that
    /// the remaining settings are checked too.
    fn value<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> T {
        let setting = row(name);
        if let Some(value) = parse(self.source.get(name).unwrap_or(setting.default)) {
            return value;
        }
        self.refuse(setting);
        // Some defaults are refused in the light of other settings.
        let stand_in = parse(setting.default).or_else(|| parse("stand-in")).or_else(|| parse(""));
        #[expect(clippy::expect_used, reason = "the tests of settings refuse each of those")]
        stand_in.expect("the default of a setting parses, or a stand-in does")
    }

    /// The text of a secret. One that is not accepted is noted.
    fn secret(&mut self, name: &'static str, is_accepted: impl Fn(&str) -> bool) -> String {
        let setting = row(name);
        let key = self.source.get(name).unwrap_or(setting.default);
        if !is_accepted(key) {
            self.refuse(setting);
        }
        key.to_owned()
    }

    /// Notes that the value of a setting is not valid.
    fn refuse(&mut self, setting: &Setting) {
        let value = match self.source.get(setting.name) {
            Some(raw) => showable(setting.name, raw),
            None => setting.default.to_owned(),
        };
        self.errors.push(SettingError { name: setting.name, value, accepts: setting.accepts });
    }
}

/// The row of a setting that this file reads.
fn row(name: &'static str) -> &'static Setting {
    #[expect(
        clippy::expect_used,
        reason = "names are literals of this file; the test of defaults reads them all"
    )]
    SETTINGS.iter().find(|setting| setting.name == name).expect("setting is in the table")
}

/// A value as a log may show it: a secret not at all, of a URL only what cannot be a password.
fn showable(name: &str, value: &str) -> String {
    if name.contains("KEY") || name.contains("SECRET") {
        return "…".to_owned();
    }
    let holds_password = name == "DATABASE_URL" || name == "REDIS_URL";
    let scheme = value.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    match value.rsplit_once('@') {
        // A password may also stand among the parameters.
        Some((_, host)) if holds_password || !scheme.is_empty() => {
            format!("{scheme}…@{}", host.split('?').next().unwrap_or_default())
        }
        _ if holds_password => format!("{scheme}…"),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
