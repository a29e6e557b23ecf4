//! The table of settings: the one place that names them, with their defaults and what they accept.

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

const fn row(
    name: &'static str,
    default: &'static str,
    accepts: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, default, accepts, meaning }
}

const NONE: &str = "";
const BOOL: &str = "true or false";
const SECRET: &str = "text; where ENV=prod or AUTH_REQUIRED=true not the default nor a placeholder such as changeme, and where ENV=prod 32 bytes or more, which `head -c 32 /dev/urandom | base64` makes";
const PREVIOUS_SECRET: &str = "text, not the default of SECRET_KEY nor a placeholder such as changeme, and where ENV=prod 32 bytes or more; or nothing";

/// Every setting, in the order in which `--help` shows them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row("ENV", "dev", "dev or prod", "prod wants a SECRET_KEY of 32 bytes or more, and logs JSON"),
    row("HOST", "127.0.0.1", "an IP address", "listening address"),
    row("PORT", "8000", "0..65535", "listening port; 0 takes a free one, the log says which"),
    row("DATABASE_URL", "sled:data/db", "sled:PATH, or postgres://USER:PASSWORD@HOST:PORT/DATABASE with sslmode disable, prefer, require, verify-ca or verify-full, and sslrootcert", "where drafts and media rows live: embedded, or on a PostgreSQL that several instances share"),
    row("DATABASE_CONNECTIONS", "16", "2..1000", "most connections of this instance to PostgreSQL"),
    row("REDIS_URL", NONE, "a redis:// or rediss:// URL", "Redis through which several instances share rate limits; while it does not answer each counts by itself"),
    row("SECRET_KEY", "dev-secret", SECRET, "HS256 key of the bearer tokens"),
    row("SECRET_KEY_PREVIOUS", NONE, PREVIOUS_SECRET, "key whose tokens are still accepted after SECRET_KEY was changed"),
    row("AUTH_REQUIRED", "false", "true or false", "true: no token, 401; drafts without an owner are not shown"),
    row("CORS_ORIGINS", r#"["*"]"#, "a list of origins such as https://app.example, or *", "origins a browser may call from"),
    row("MEDIA_STORAGE", "local", "local or s3", "where photos are kept"),
    row("MEDIA_ROOT", "data/uploads", "a directory", "directory of the photos, created at start; with s3 only of files in passing"),
    row("MEDIA_BASE_URL", "/media", "a path outside /api and /metrics, or an http(s) URL", "prefix of media.url"),
    row("S3_BUCKET", NONE, "the name of a bucket, which MEDIA_STORAGE=s3 needs", "bucket of the photos: media/<sha256>.jpg"),
    row("S3_ENDPOINT_URL", NONE, "an http(s) URL", "an S3-compatible service, addressed path-style; none is Amazon's"),
    row("S3_REGION", NONE, "text", "region; none is AWS_REGION of the environment, or us-east-1"),
    row("S3_ACCESS_KEY", NONE, "text", "access key; without keys those of the environment are taken (AWS_ACCESS_KEY_ID, a role)"),
    row("S3_SECRET_KEY", NONE, "text, together with S3_ACCESS_KEY or not at all", "secret key"),
    row("S3_PRESIGN_SECONDS", "0", "0..604800", "GET /media redirects to a link into the bucket that works so long; 0: the photo comes through this server"),
    row("MAX_UPLOADS_PER_REQUEST", "20", "1..1000", "photos in one request"),
    row("MAX_FILE_SIZE_MB", "15", "1..1024", "largest photo, in MiB"),
    row("ALLOWED_MIME_PREFIXES", r#"["image/"]"#, "a list such as image/jpeg,image/png", "prefixes of sniffed types that are let in"),
    row("JPEG_QUALITY", "80", "1..95", "quality of the stored JPEG"),
    row("MAX_DIM_PX", "1600", "1..16384", "longer side of the stored JPEG; never enlarges"),
    row("STRIP_GPS", "true", BOOL, "true: no metadata at all in the stored JPEG; false: camera, exposure, dates and place are kept"),
    row("MAX_PIXELS", "120000000", "1..1000000000", "declared width x height of one input"),
    row("READ_ONLY", "false", BOOL, "true: uploads get 503 and nothing is removed; reads go on, as while photos are moved"),
    row("JOBS_ENABLED", "true", BOOL, "background jobs: photos that nothing refers to are removed, stored photos are verified"),
    row("MEDIA_GRACE_HOURS", "24", "1..8760", "how long a photo stays in the store to which nothing refers"),
    row("SCRUB_HOURS", "720", "0..87600", "in so many hours each stored photo is read once and verified against its name; 0: never"),
    row("RATE_LIMIT_GLOBAL", "60/minute", "N/second, N/minute, N/hour, N/day or off", "requests per client"),
    row("RATE_LIMIT_UPLOAD", "10/minute", "N/second, N/minute, N/hour, N/day or off", "uploads per client"),
    row("UPLOAD_QUOTA", "auto", "auto, NMB/second, NMB/minute, NMB/hour, NMB/day or off", "MiB of new photos, as stored, that one client may add; auto is 2048MB/day, and off where RATE_LIMIT_UPLOAD is off"),
    row("TRUSTED_PROXIES", "[]", "a list of CIDRs such as 10.0.0.0/8", "proxies whose X-Forwarded-For/Forwarded is believed"),
    row("WORKERS", "0", "0..256", "threads of the image pool; 0 takes the number of cores"),
    row("MEMORY_BUDGET_MB", "256", "16..1048576", "MiB that uploads in flight and images in work may hold together"),
    row("MAX_UPLOADS", "4096", "1..1000000", "uploads in flight before each client is held to its share of them"),
    row("POOL_QUEUE", "4096", "1..65536", "photos that may wait for an image worker; beyond it the client with most of them gets 503"),
    row("POOL_WAIT_SECONDS", "30", "1..600", "how long a photo waits for an image worker, or for memory, before 503"),
    row("IMAGE_TIMEOUT_SECONDS", "20", "1..600", "longest time one photo may keep an image worker, waiting for memory not counted"),
    row("IMAGE_PROCESSOR_SECONDS", "5", "1..600", "most processor time that one photo may take, checked while it is read and decoded"),
    row("MAX_CONNECTIONS", "16384", "1..1000000", "open connections, which clients share; beyond it idle ones are closed to make room. Lowered at start so that a quarter of the open-files limit is left for photos"),
    row("HEADER_TIMEOUT_SECONDS", "15", "1..600", "time for a complete request head, and for an idle connection"),
    row("BODY_IDLE_TIMEOUT_SECONDS", "30", "1..600", "longest silence inside a request body before 408, and longest time an answer may stay unread"),
    row("BODY_MIN_RATE", "1024", "0..1000000000", "bytes a second that a body must move on average, in either direction; who falls behind by BODY_IDLE_TIMEOUT_SECONDS is cut (408); 0 is no rate"),
    row("SHUTDOWN_TIMEOUT_SECONDS", "30", "1..600", "how long open requests may finish after SIGTERM"),
    row("MIN_FREE_DISK_MB", "auto", "auto or 0..1048576", "uploads get 507 below this free space; auto is 64 MiB, or 1/16 of a small volume"),
    row("LOG_LEVEL", "info", "a filter such as info or vintedbot_ingest=debug", "what is logged"),
];
