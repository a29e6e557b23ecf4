//! Settings: one table that names every variable, its default and what it accepts.
//!
//! The table feeds the parser, `--help` and `check-config`, so the three cannot drift apart. All errors of a start are
//! reported together. Nothing outside this room reads the environment.

mod parse;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::ratelimit::Quota;

/// One row of the settings table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Value in force when the variable is unset or empty.
    pub default: &'static str,
    /// What the parser accepts, for error messages.
    pub accepts: &'static str,
    /// What the setting does, for `--help`.
    pub meaning: &'static str,
}

const fn row(name: &'static str, default: &'static str, accepts: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, accepts, meaning }
}

const NONE: &str = "";
const BOOL: &str = "true or false";

/// Every setting, in the order in which `--help` shows them.
pub const SETTINGS: &[Setting] = &[
    row("ENV", "dev", "dev or prod", "prod refuses the default SECRET_KEY and logs JSON"),
    row("HOST", "127.0.0.1", "an IP address", "listening address"),
    row("PORT", "8000", "0..65535", "listening port; 0 takes a free one, the log says which"),
    row("DATABASE_URL", "sled:data/db", "sled:PATH", "where drafts and media rows live"),
    row("REDIS_URL", NONE, "nothing: shared rate limits are not built yet", "Redis for shared rate limits"),
    row("SECRET_KEY", "dev-secret", "text, not the default when ENV=prod", "HS256 key of the bearer tokens"),
    row("AUTH_REQUIRED", "false", "false: bearer tokens are not built yet", "true: no token, 401"),
    row("CORS_ORIGINS", r#"["*"]"#, "a list of origins such as https://app.example, or *", "origins a browser may call from"),
    row("MEDIA_STORAGE", "local", "local: s3 is not built yet", "where photos are kept"),
    row("MEDIA_ROOT", "data/uploads", "a directory", "directory of the photos, created at start"),
    row("MEDIA_BASE_URL", "/media", "a path or an http(s) URL", "prefix of media.url"),
    row("S3_BUCKET", NONE, "nothing: s3 is not built yet", "bucket"),
    row("S3_ENDPOINT_URL", NONE, "nothing: s3 is not built yet", "endpoint of an S3-compatible service"),
    row("S3_REGION", NONE, "nothing: s3 is not built yet", "region"),
    row("S3_ACCESS_KEY", NONE, "nothing: s3 is not built yet", "access key"),
    row("S3_SECRET_KEY", NONE, "nothing: s3 is not built yet", "secret key"),
    row("MAX_UPLOADS_PER_REQUEST", "20", "1..1000", "photos in one request"),
    row("MAX_FILE_SIZE_MB", "15", "1..1024", "largest photo, in MiB"),
    row("ALLOWED_MIME_PREFIXES", r#"["image/"]"#, "a list such as image/jpeg,image/png", "prefixes of sniffed types that are let in"),
    row("JPEG_QUALITY", "80", "1..95", "quality of the stored JPEG"),
    row("MAX_DIM_PX", "1600", "1..16384", "longer side of the stored JPEG; never enlarges"),
    row("STRIP_GPS", "true", "true: keeping EXIF is not built yet", "no metadata at all in the stored JPEG"),
    row("MAX_PIXELS", "120000000", "1..1000000000", "declared width x height of one input"),
    row("JOBS_ENABLED", "true", BOOL, "background jobs (none exist yet)"),
    row("RATE_LIMIT_GLOBAL", "60/minute", "N/second, N/minute, N/hour, N/day or off", "requests per client"),
    row("RATE_LIMIT_UPLOAD", "10/minute", "N/second, N/minute, N/hour, N/day or off", "uploads per client"),
    row("TRUSTED_PROXIES", "[]", "a list of CIDRs such as 10.0.0.0/8", "proxies whose X-Forwarded-For/Forwarded is believed"),
    row("WORKERS", "0", "0..256", "threads of the image pool; 0 takes the number of cores"),
    row("MEMORY_BUDGET_MB", "256", "16..1048576", "MiB that uploads in flight and images in work may hold together"),
    row("POOL_QUEUE", "256", "1..65536", "photos that may wait for an image worker"),
    row("POOL_WAIT_SECONDS", "15", "0..600", "how long a photo waits for a place in a full queue before 503"),
    row("IMAGE_TIMEOUT_SECONDS", "20", "1..600", "longest time one photo may keep an image worker, checked between steps"),
    row("MAX_CONNECTIONS", "16384", "1..1000000", "open connections; more wait in the listen queue"),
    row("HEADER_TIMEOUT_SECONDS", "15", "1..600", "time for a complete request head, and for an idle connection"),
    row("BODY_IDLE_TIMEOUT_SECONDS", "30", "1..600", "longest silence inside a request body before 408"),
    row("SHUTDOWN_TIMEOUT_SECONDS", "30", "1..600", "how long open requests may finish after SIGTERM"),
    row("MIN_FREE_DISK_MB", "64", "0..1048576", "uploads get 507 below this free space (at most 1/16 of the volume)"),
    row("LOG_LEVEL", "info", "a filter such as info or vintedbot_ingest=debug", "what is logged"),
];

/// Development or production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Env {
    /// Readable logs; the default secret is tolerated.
    Dev,
    /// JSON logs; the default secret is refused.
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

/// All settings, parsed and checked.
#[derive(Clone)]
#[allow(missing_docs, reason = "each field is documented by the row of its name in SETTINGS")]
pub struct Settings {
    pub env: Env,
    pub listen: SocketAddr,
    pub catalog_path: PathBuf,
    pub cors_origins: CorsOrigins,
    pub media_root: PathBuf,
    pub media_base_url: String,
    pub max_uploads_per_request: usize,
    pub max_file_bytes: u64,
    pub allowed_mime_prefixes: Vec<String>,
    pub jpeg_quality: u8,
    pub max_dim_px: u32,
    pub max_pixels: u64,
    pub rate_limit_global: Option<Quota>,
    pub rate_limit_upload: Option<Quota>,
    pub trusted_proxies: Vec<IpNet>,
    pub workers: usize,
    pub memory_budget_bytes: u64,
    pub pool_queue: usize,
    pub pool_wait: Duration,
    pub image_timeout: Duration,
    pub max_connections: usize,
    pub header_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub min_free_disk_bytes: u64,
    pub log_level: String,
}

impl Settings {
    /// The largest request body that can possibly be accepted: every photo at its cap, plus [`FORM_OVERHEAD_BYTES`].
    pub fn max_body_bytes(&self) -> u64 {
        self.max_file_bytes * self.max_uploads_per_request as u64 + FORM_OVERHEAD_BYTES
    }
}

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

/// Where raw values come from: the process environment over an optional `.env` file, or a map in tests.
#[derive(Debug, Clone, Default)]
pub struct Source(HashMap<String, String>);

impl Source {
    /// The process environment; variables that it lacks are taken from the `.env` file at `dotenv`, if there is one.
    ///
    /// # Errors
    /// The `.env` file exists but cannot be read or parsed.
    pub fn from_process(dotenv: &Path) -> Result<Self, dotenvy::Error> {
        let mut values = HashMap::new();
        if dotenv.exists() {
            for pair in dotenvy::from_path_iter(dotenv)? {
                let (name, value) = pair?;
                values.insert(name, value);
            }
        }
        for setting in SETTINGS {
            if let Some(value) = std::env::var_os(setting.name) {
                values.insert(setting.name.to_owned(), value.to_string_lossy().into_owned());
            }
        }
        Ok(Self(values))
    }

    /// Exactly these values; everything else keeps its default.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

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
        read.value("SECRET_KEY", |v| (env == Env::Dev || v != "dev-secret").then_some(()));
        for not_built in ["REDIS_URL", "S3_BUCKET", "S3_ENDPOINT_URL", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY"] {
            read.value(not_built, |v| v.is_empty().then_some(()));
        }
        read.value("AUTH_REQUIRED", |v| (parse::boolean(v) == Some(false)).then_some(()));
        read.value("MEDIA_STORAGE", |v| (v == "local").then_some(()));
        read.value("STRIP_GPS", |v| (parse::boolean(v) == Some(true)).then_some(()));
        read.value("JOBS_ENABLED", parse::boolean);
        let mib = 1024 * 1024;
        let settings = Self {
            env,
            listen: SocketAddr::new(host, port),
            catalog_path: read.value("DATABASE_URL", parse::sled_path),
            cors_origins: read.value("CORS_ORIGINS", parse::cors_origins),
            media_root: read.value("MEDIA_ROOT", |v| Some(PathBuf::from(v))),
            media_base_url: read.value("MEDIA_BASE_URL", parse::base_url),
            max_uploads_per_request: read.value("MAX_UPLOADS_PER_REQUEST", |v| parse::within(v, 1..=1000)),
            max_file_bytes: read.value("MAX_FILE_SIZE_MB", |v| parse::within(v, 1..=1024u64)) * mib,
            allowed_mime_prefixes: read.value("ALLOWED_MIME_PREFIXES", parse::non_empty_list),
            jpeg_quality: read.value("JPEG_QUALITY", |v| parse::within(v, 1..=95)),
            max_dim_px: read.value("MAX_DIM_PX", |v| parse::within(v, 1..=16_384)),
            max_pixels: read.value("MAX_PIXELS", |v| parse::within(v, 1..=1_000_000_000)),
            rate_limit_global: read.value("RATE_LIMIT_GLOBAL", parse::quota),
            rate_limit_upload: read.value("RATE_LIMIT_UPLOAD", parse::quota),
            trusted_proxies: read.value("TRUSTED_PROXIES", parse::networks),
            workers: match read.value("WORKERS", |v| parse::within(v, 0..=256)) {
                0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                n => n,
            },
            memory_budget_bytes: read.value("MEMORY_BUDGET_MB", |v| parse::within(v, 16..=1_048_576u64)) * mib,
            pool_queue: read.value("POOL_QUEUE", |v| parse::within(v, 1..=65_536)),
            pool_wait: read.value("POOL_WAIT_SECONDS", |v| parse::seconds(v, 0..=600)),
            image_timeout: read.value("IMAGE_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            max_connections: read.value("MAX_CONNECTIONS", |v| parse::within(v, 1..=1_000_000)),
            header_timeout: read.value("HEADER_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            body_idle_timeout: read.value("BODY_IDLE_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            shutdown_timeout: read.value("SHUTDOWN_TIMEOUT_SECONDS", |v| parse::seconds(v, 1..=600)),
            min_free_disk_bytes: read.value("MIN_FREE_DISK_MB", |v| parse::within(v, 0..=1_048_576u64)) * mib,
            log_level: read.value("LOG_LEVEL", parse::log_filter),
        };
        if read.errors.is_empty() { Ok(settings) } else { Err(SettingsError(read.errors)) }
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
        #[expect(clippy::expect_used, reason = "names are literals of this file; the test of defaults reads them all")]
        let setting = SETTINGS.iter().find(|s| s.name == name).expect("setting is in the table");
        let raw = self.source.0.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
        if let Some(value) = parse(raw.unwrap_or(setting.default)) {
            return value;
        }
        let value = raw.unwrap_or(setting.default);
        // A secret that is refused must not reach a log; only its default may, which is no secret.
        let value = if name.contains("SECRET") && value != setting.default { "…" } else { value };
        self.errors.push(SettingError { name, value: value.to_owned(), accepts: setting.accepts });
        let stand_in = if name == "SECRET_KEY" { "stand-in" } else { setting.default };
        #[expect(clippy::expect_used, reason = "the test of defaults parses every default")]
        parse(stand_in).expect("the default of a setting parses")
    }
}

#[cfg(test)]
mod tests;
