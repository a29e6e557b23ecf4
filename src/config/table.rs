//! The table of settings. A row holds the field, name, default, kind and help of one setting.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;

use super::kind::{
    Bool, FreeMebibytes, Hours, Kind, MebibyteRate, Mebibytes, Number, OneOf, Optional, ParsedBy,
    PreviousSigningKey, Rate, Seconds, SigningKey, Text, Threads, UploadQuota,
};
use super::provider::ProviderSettings;
use super::row::{Reader, Row, Secret, Setting, settings};
use super::storage::{MediaStorage, StorageKind};
use super::webhook::WebhookSettings;
use super::{CorsOrigins, Database, Env, parse};
use crate::disk::FreeDisk;
use crate::fetch::AllowedOrigins;
use crate::imaging::{Effort, RenditionSizes};
use crate::media::{BucketSettings, s3};
use crate::ratelimit::Quota;
use crate::telemetry::spans::Collector;

settings! {
    combined {
        /// The address to listen on: HOST and PORT.
        listen: SocketAddr;
        /// The store of photos: MEDIA_STORAGE, with the settings of its service if it is one.
        media_storage: MediaStorage;
        /// How each service is reached, also with MEDIA_STORAGE=local, or what is wrong with its settings. The
        /// bucket may have no name.
        buckets: BTreeMap<&'static str, Result<BucketSettings, &'static str>>;
        /// KiB of photos that one client may add to the store: UPLOAD_QUOTA, where `auto` depends on
        /// RATE_LIMIT_UPLOAD.
        upload_quota: Option<Quota>;
        /// Most photos of one draft: MAX_PHOTOS_PER_DRAFT, or else MAX_UPLOADS_PER_REQUEST.
        max_photos_per_draft: usize;
        /// Whether the upload page is served: UPLOAD_PAGE, or else whether ENV is dev.
        upload_page: bool;
        /// Where events are delivered: WEBHOOK_URL, with WEBHOOK_SECRET.
        webhook: Option<WebhookSettings>;
        /// Where spans are sent: OTEL_EXPORTER_OTLP_ENDPOINT, with its headers and OTEL_SERVICE_NAME.
        collector: Option<Collector>;
        /// The share of new traces that are recorded: OTEL_TRACES_SAMPLER_ARG if there is a collector, else 0.
        trace_share: f64;
        /// The identity provider: JWKS_URL or JWKS_FILE, with JWT_ISSUER and JWT_AUDIENCE.
        provider: Option<ProviderSettings>;
    }

    "Server" {
        pub env: Env = ENV("dev", OneOf(&[("dev", Env::Dev), ("prod", Env::Prod)])),
            "Development or production. prod logs JSON, and refuses a SECRET_KEY that is short or a \
             placeholder.";
        let host: IpAddr = HOST("127.0.0.1", ParsedBy("an IP address", parse::from_str)),
            "Address to listen on.";
        let port: u16 = PORT("8000", Number(0..=65_535)),
            "Port to listen on. 0 takes a free one, and the log says which.";
        pub shutdown_timeout: Duration = SHUTDOWN_TIMEOUT_SECONDS("30", Seconds(1..=600)),
            "Time in which open requests may finish after SIGTERM.";
        pub log_level: String =
            LOG_LEVEL("info", ParsedBy("a filter such as info or vintedbot_ingest=debug", parse::log_filter)),
            "What is logged. SIGHUP reads it anew.";
    }

    "Access" {
        pub secret_key: String = SECRET_KEY("dev-secret", SigningKey, Secret::Everything),
            "Key that signs the bearer tokens (HS256). Another key ends them all. SIGHUP \
             reads it anew.";
        pub secret_key_previous: Option<String> =
            SECRET_KEY_PREVIOUS("", Optional(PreviousSigningKey), Secret::Everything),
            "Key before the present one. Tokens that it signed are still accepted. SIGHUP reads it \
             anew.";
        pub auth_required: bool = AUTH_REQUIRED("false", Bool),
            "If true, uploads and listings need a token: a request without one gets 401, and drafts \
             without an owner are not shown.";
        let jwks_url: Option<Uri> = JWKS_URL(
            "",
            Optional(ParsedBy("an https URL, or with ENV=dev an http URL of this machine", parse::webhook_url))
        ), "URL of the public keys (JWK set) of an identity provider, whose tokens are accepted too: RS256, ES256 and EdDSA. They \
            are fetched every hour, and when a token names an unknown key.";
        let jwks_file: Option<PathBuf> =
            JWKS_FILE("", Optional(ParsedBy("a file, if there is no JWKS_URL", parse::from_str))),
            "File with the public keys of the identity provider, instead of JWKS_URL. SIGHUP reads the file again.";
        let jwt_issuer: Option<String> =
            JWT_ISSUER("", Optional(Text("text, which JWKS_URL and JWKS_FILE need"))),
            "Issuer of the identity provider: the claim iss of its tokens, exactly.";
        let jwt_audience: Option<String> =
            JWT_AUDIENCE("", Optional(Text("text, which JWKS_URL and JWKS_FILE need"))),
            "Audience of this server: the claim aud of the identity provider's tokens is it, or contains it.";
        pub cors_origins: CorsOrigins = CORS_ORIGINS(
            r#"["*"]"#,
            ParsedBy("a list of origins such as https://app.example, or *", parse::cors_origins)
        ), "Origins that a browser may call from.";
        pub trusted_proxies: Vec<IpNet> =
            TRUSTED_PROXIES("[]", ParsedBy("a list of CIDRs such as 10.0.0.0/8", parse::networks)),
            "Proxies whose X-Forwarded-For and Forwarded headers name the client. Without it, every client \
             behind a proxy counts as the proxy.";
        pub proxy_passes_interim: bool = PROXY_PASSES_INTERIM("false", Bool),
            "Whether proxies pass interim responses (104) on, as Caddy and HAProxy do. nginx breaks the \
             connection, so that a request that came through a proxy gets none by default.";
    }

    "Catalog and photos" {
        pub database: Database = DATABASE_URL(
            "sled:data/db",
            ParsedBy(
                "sled:PATH, or postgres://USER:PASSWORD@HOST:PORT/DATABASE with sslmode disable, prefer, \
                 require, verify-ca or verify-full, and sslrootcert",
                Database::parse
            ),
            Secret::AllButHost
        ), "Where drafts and media rows are kept: in an embedded database, or on a PostgreSQL that several \
            instances share.";
        pub database_connections: usize = DATABASE_CONNECTIONS("16", Number(2..=1000)),
            "Most connections of this instance to PostgreSQL. A half of them hold locks on photos while they \
             are recorded.";
        let media_storage: StorageKind =
            MEDIA_STORAGE(
                "local",
                OneOf(&[("local", StorageKind::Local), (s3::SERVICE, StorageKind::Bucket(s3::SERVICE))])
            ),
            "Where photos are kept: in MEDIA_ROOT, or in a bucket.";
        pub media_root: PathBuf = MEDIA_ROOT("data/uploads", ParsedBy("a directory", parse::from_str)),
            "Directory of the photos, created at the start. With MEDIA_STORAGE=s3 it only holds temporary \
             files.";
        pub media_base_url: String = MEDIA_BASE_URL(
            "/media",
            ParsedBy("a path outside /api and /metrics, or an http(s) URL", parse::base_url)
        ), "Prefix of the photos' URLs, for example that of a CDN.";
        pub min_free_disk: FreeDisk = MIN_FREE_DISK_MB("auto", FreeMebibytes(0..=1_048_576)),
            "Free space in MiB below which uploads and changes of drafts get 507. auto is 64, or 1/16 of a volume below 1 GiB. In \
             the same way 1024 inodes are kept free, or 1/16 of a small volume's.";
        pub read_only: bool = READ_ONLY("false", Bool),
            "If true, uploads and changes of drafts get 503 and nothing is removed, while reads go on. For the \
             time in which photos are moved.";
    }

    "S3" {
        let s3_bucket: String = S3_BUCKET("", Text("the name of a bucket, which MEDIA_STORAGE=s3 needs")),
            "Bucket of the photos. A key is media/ and the name of the photo.";
        let s3_endpoint: Option<String> =
            S3_ENDPOINT_URL("", Optional(Text("an http(s) URL"))),
            "URL of an S3-compatible service, which is addressed path-style. Without it the service is \
             Amazon's.";
        let s3_region: Option<String> = S3_REGION("", Optional(Text("text"))),
            "Region. Without it that of AWS_REGION in the process environment, or us-east-1.";
        let s3_access_key: Option<String> = S3_ACCESS_KEY("", Optional(Text("text")), Secret::Everything),
            "Access key. Without keys, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the process \
             environment are used, or the role of the machine or container. SIGHUP reads it anew.";
        let s3_secret_key: Option<String> =
            S3_SECRET_KEY("", Optional(Text("text, together with S3_ACCESS_KEY")), Secret::Everything),
            "Secret key of S3_ACCESS_KEY. SIGHUP reads it anew.";
        let s3_presigned_for: Duration = S3_PRESIGN_SECONDS("0", Seconds(0..=604_800)),
            "Lifetime of the links into the bucket to which GET /media redirects (307). 0: photos come \
             through this server.";
    }

    "Uploads" {
        pub max_uploads_per_request: usize = MAX_UPLOADS_PER_REQUEST("20", Number(1..=1000)),
            "Most photos in one request.";
        let max_photos_per_draft: Option<usize> = MAX_PHOTOS_PER_DRAFT("", Optional(Number(1..=1000))),
            "Most photos of one draft, however they were added. Without it as many as \
             MAX_UPLOADS_PER_REQUEST.";
        pub max_file_bytes: u64 = MAX_FILE_SIZE_MB("15", Mebibytes(1..=1024)),
            "Size of the largest photo, in MiB.";
        pub max_pixels: u64 = MAX_PIXELS("120000000", Number(1..=1_000_000_000)),
            "Most pixels of one photo: its width times its height as the file declares them.";
        pub allowed_mime_prefixes: Vec<String> = ALLOWED_MIME_PREFIXES(
            r#"["image/"]"#, ParsedBy("a list such as image/jpeg,image/png", parse::non_empty_list)
        ), "Prefixes of the types that are accepted. A photo's type is found by its first bytes.";
        let upload_page: Option<bool> = UPLOAD_PAGE("", Optional(Bool)),
            "Whether /upload is a page that uploads photos from a browser. Without it that is so where ENV=dev, \
             and not where ENV=prod.";
        pub max_uploads: usize = MAX_UPLOADS("4096", Number(1..=1_000_000)),
            "Uploads in flight above which each client is held to its share of them.";
    }

    "Drafts" {
        pub idempotency_lifetime: Duration = IDEMPOTENCY_HOURS("24", Hours(1..=8760)),
            "Hours for which a request that succeeded is remembered under its Idempotency-Key.";
    }

    "Photos by URL" {
        pub fetch_enabled: bool = FETCH_ENABLED("false", Bool),
            "If true, POST /api/v1/ingest/photos fetches photos from URLs that clients choose.";
        pub fetch_allow: AllowedOrigins = FETCH_ALLOW(
            r#"["https://*"]"#,
            ParsedBy(
                "a list of https://*, https://*.example.com, and origins such as http://10.0.0.5:9000",
                parse::allowed_origins
            )
        ), "Origins that may be fetched. A wildcard is for port 443 of hosts on the public internet. An origin that is \
            named exactly may have any port and any address, also a private one.";
    }

    "Events" {
        let webhook_url: Option<Uri> = WEBHOOK_URL(
            "", Optional(ParsedBy("an http(s) URL", parse::webhook_url)), Secret::AllButHost
        ), "URL to which each change of a draft is delivered, as a signed POST (Standard Webhooks). A host name \
            must have an address on the public internet; a private address must be in the URL itself.";
        let webhook_secret: Option<String> = WEBHOOK_SECRET(
            "",
            Optional(ParsedBy("a secret, which WEBHOOK_URL needs; base64 if it begins with whsec_", parse::webhook_secret)),
            Secret::Everything
        ), "Secret that signs the deliveries: base64 after whsec_, as Standard Webhooks has it, or other text. 24 random \
              bytes or more are advised. SIGHUP reads it anew.";
    }

    "Stored photos" {
        pub max_dim_px: u32 = MAX_DIM_PX("1600", Number(1..=16_384)),
            "Longer side of the stored JPEG, in pixels. A photo is never enlarged.";
        pub jpeg_quality: u8 = JPEG_QUALITY("80", Number(1..=95)),
            "Quality of the stored JPEG.";
        pub jpeg_effort: Effort =
            JPEG_EFFORT("1", OneOf(&[("1", Effort::Standard), ("2", Effort::Adaptive)])),
            "1 writes the JPEG that libjpeg-turbo writes. 2 writes one of the same visible quality \
             (SSIMULACRA2) with fewer bytes. After a change each photo is decoded once more.";
        pub rendition_sizes: RenditionSizes = RENDITION_WIDTHS(
            "[320,640,1080]",
            ParsedBy("a list of at most 16 lengths in 1..16384, or [] for none", parse::rendition_sizes)
        ), "Longer sides, in pixels, of the smaller copies of a photo that may be asked for.";
        pub renditions_eager: bool = RENDITIONS_EAGER("false", Bool),
            "If true, the smaller copies are made and stored with each photo, not at the first request. For a \
             CDN or a web server that reads the store itself.";
        pub strip_gps: bool = STRIP_GPS("true", Bool),
            "If true, the stored JPEG has no metadata at all. If false, camera, lens, exposure, dates and \
             place are kept.";
    }

    "Limits of a client" {
        pub rate_limit_global: Option<Quota> = RATE_LIMIT_GLOBAL("60/minute", Rate(1..=1_000_000)),
            "Requests of one client. A client is the user of the token, else the address; an IPv6 /64 counts \
             as one address.";
        pub rate_limit_upload: Option<Quota> = RATE_LIMIT_UPLOAD("10/minute", Rate(1..=1_000_000)),
            "Uploads of one client.";
        let upload_quota: UploadQuota = UPLOAD_QUOTA("auto", MebibyteRate(1..=1_000_000)),
            "MiB of new photos, as stored, that one client may add. auto is 2048MB/day, or off where \
             RATE_LIMIT_UPLOAD is off.";
        pub redis_url: Option<String> = REDIS_URL(
            "", Optional(ParsedBy("a redis:// or rediss:// URL", parse::redis_url)), Secret::AllButHost
        ), "Redis (5 or later; rediss is TLS) through which several instances share these limits. While it \
            does not answer, each instance counts by itself.";
    }

    "Image processing" {
        pub workers: usize = WORKERS("0", Threads(0..=256)),
            "Threads that decode and encode photos. 0 takes the number of cores.";
        pub memory_budget_bytes: u64 = MEMORY_BUDGET_MB("256", Mebibytes(16..=1_048_576)),
            "MiB that uploads in flight and photos in progress may hold together.";
        pub pool_queue: usize = POOL_QUEUE("4096", Number(1..=65_536)),
            "Photos that may wait for an image worker. Above it the client with most of them gets 503.";
        pub pool_wait: Duration = POOL_WAIT_SECONDS("30", Seconds(1..=600)),
            "Time that a photo may wait for an image worker or for memory. Then the upload gets 503.";
        pub image_timeout: Duration = IMAGE_TIMEOUT_SECONDS("20", Seconds(1..=600)),
            "Time that one photo may occupy an image worker; waiting for memory does not count. Then the \
             upload gets 422.";
        pub image_processor_time: Duration = IMAGE_PROCESSOR_SECONDS("5", Seconds(1..=600)),
            "Processor time that one photo may take, checked while it is read and decoded. Then the upload \
             gets 422. Raise it on a slow processor.";
    }

    "Connections" {
        pub max_connections: usize = MAX_CONNECTIONS("16384", Number(1..=1_000_000)),
            "Open connections, which clients share. Above it idle ones are closed. Lowered at the start, so \
             that a quarter of the limit of open files is left for photos.";
        pub header_timeout: Duration = HEADER_TIMEOUT_SECONDS("15", Seconds(1..=600)),
            "Time for a complete request head, and for an idle connection.";
        pub body_idle_timeout: Duration = BODY_IDLE_TIMEOUT_SECONDS("30", Seconds(1..=600)),
            "Longest pause inside a request body or in reading an answer, and longest time by which a client \
             may fall behind BODY_MIN_RATE. Then it gets 408.";
        pub body_min_rate: u64 = BODY_MIN_RATE("1024", Number(0..=1_000_000_000)),
            "Bytes a second that a body must move on average, in either direction. 0 is no rate.";
    }

    "Traces" {
        let collector_endpoint: Option<Uri> = OTEL_EXPORTER_OTLP_ENDPOINT(
            "",
            Optional(ParsedBy("an http(s) URL, in a build with the feature otlp", parse::webhook_url)),
            Secret::AllButHost
        ), "URL of a collector of OpenTelemetry, such as http://127.0.0.1:4318. Spans of requests and of the steps of photos are \
            sent to /v1/traces there (OTLP over HTTP, JSON).";
        let collector_headers: Vec<(String, String)> = OTEL_EXPORTER_OTLP_HEADERS(
            "", ParsedBy("a list such as api-key=secret,x-team=photos, values percent-encoded", parse::headers),
            Secret::Everything
        ), "Headers of each request to the collector.";
        let trace_share: f64 =
            OTEL_TRACES_SAMPLER_ARG("1", ParsedBy("a number from 0 to 1", parse::share)),
            "Share of the traces that begin here that is recorded. Of a trace that a client began, the client decides.";
        let service_name: String = OTEL_SERVICE_NAME("vintedbot-ingest", Text("text")),
            "Name of this service in traces.";
    }

    "Background jobs" {
        pub jobs_enabled: bool = JOBS_ENABLED("true", Bool),
            "Whether this instance removes photos that nothing refers to and old drafts, and verifies stored \
             photos.";
        pub media_grace: Duration = MEDIA_GRACE_HOURS("24", Hours(1..=8760)),
            "Hours for which a photo that nothing refers to stays in the store.";
        pub upload_lifetime: Duration = UPLOAD_TTL_HOURS("24", Hours(1..=8760)),
            "Hours for which an unfinished upload, or a finished one in no draft, is kept after its last byte. Needs \
             JOBS_ENABLED.";
        pub draft_ttl_days: u64 = DRAFT_TTL_DAYS("0", Number(0..=36_500)),
            "Days after which a draft in the state `draft` is removed if it did not change. 0: never. Needs \
             JOBS_ENABLED.";
        pub scrub_hours: u64 = SCRUB_HOURS("720", Number(0..=87_600)),
            "Hours in which each stored photo is read once and verified against its name. 0: never. Needs \
             JOBS_ENABLED.";
        pub maintenance_requests_per_hour: u32 = MAINTENANCE_REQUESTS_PER_HOUR("3600", Number(0..=1_000_000)),
            "Requests to the bucket that background jobs of this instance make in an hour, at most. 0: any number.";
    }
}
