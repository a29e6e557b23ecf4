//! The composition root: builds every part from the settings and connects them. It contains no other logic.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, AccessLog, Api, MediaUrls, Routes};
use crate::auth::{KeysError, Provider, Subjects, Tokens};
use crate::budget::Budget;
use crate::catalog::{Catalog, Event, Outbox, TaskLeases};
use crate::config::{CorsOrigins, MediaStorage, Settings, Source, WebhookSettings};
use crate::control::{ControlSocket, Served};
use crate::events::{Events, SigningSecret, Webhook};
use crate::fetch::Fetcher;
use crate::imaging::{Pool, RenditionSizes};
use crate::ingest::{Ingest, Limits};
use crate::listings::Listings;
use crate::maintenance::{Maintenance, Measuring, Rules};
use crate::media::s3::S3Keys;
#[cfg(feature = "otlp")]
use crate::otlp;
use crate::publication::Publisher;
use crate::ratelimit::{self, MemoryLimiter, Quota, RateLimiter, RedisError, RedisLimiter, RedisLink};
use crate::reload::{self, Reloader};
use crate::renditions::{self, Renditions};
use crate::server::{self, Listener, Stopped, descriptors};
use crate::stores::{self, Mode, OpenError, Stores};
use crate::telemetry::connections::Connections;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Sampler;
use crate::telemetry::{logging, process};
use crate::tls::TlsError;
use crate::upload_page::{PageLimits, PhotoSources, UploadPage};
use crate::uploads::{self, ResumableUploads};
use crate::web::body::ReadLimits;
use crate::web::cors::Cors;
use crate::web::min_rate::MinRate;
use crate::web::stack::Stack;

/// Pause between two pages of maintenance, which then uses less than a fifth of a core, and some minutes for a million photos.
const MAINTENANCE_PAUSE: Duration = Duration::from_millis(20);

/// How long the server goes on to accept connections after shutdown began. Each client that sends a request in this time notices
/// the shutdown without an error. An embedded catalog is free for the next process only after it.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How long the spans of the last requests may take to reach the collector.
#[cfg(feature = "otlp")]
const SPANS_TIME: Duration = Duration::from_secs(2);

/// An image worker is stuck if it has had a photo for this many times IMAGE_TIMEOUT_SECONDS, and [`TURN_SLACK`]. A photo that is
/// too slow ends at its next check, which on a busy machine may be late.
const TURN_TOLERANCE: u32 = 2;
/// See [`TURN_TOLERANCE`].
const TURN_SLACK: Duration = Duration::from_secs(10);

/// Why the server could not start. Each text names what to check.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The catalog or the photos.
    #[error(transparent)]
    Stores(#[from] OpenError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// TLS to the receiver of events, or to servers from which photos are fetched.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The image threads.
    #[error("the image pool cannot start: {0}")]
    Pool(io::Error),
    /// The keys of the identity provider.
    #[error("JWKS_FILE cannot be used: {0}")]
    ProviderKeys(#[source] KeysError),
    /// The path of `MEDIA_BASE_URL`.
    #[error("MEDIA_BASE_URL={0:?} hides a path of the API")]
    MediaBaseUrl(String),
    /// The listener that the supervisor passed.
    #[error("the listener that the supervisor passed cannot be used: {0}")]
    Inherit(io::Error),
    /// The listening address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

/// A server that listens and is ready to serve.
pub struct App {
    listener: Listener,
    address: SocketAddr,
    pool: Arc<Pool>,
    longest_turn: Duration,
    stack: Arc<Stack<Api>>,
    ingest: Arc<Ingest>,
    uploads: Arc<ResumableUploads>,
    /// Whether expired uploads are removed.
    expires_uploads: bool,
    maintenance: Arc<Maintenance>,
    events: Option<Arc<Events>>,
    control: Option<(ControlSocket, Served)>,
    bucket_keys: Option<S3Keys>,
    limits: server::Limits,
    trusted_proxies: Vec<IpNet>,
    connections: Connections,
}

impl App {
    /// Opens the stores, starts the image pool and listens: on the listener that the supervisor `passed`, or else on the address of
    /// the settings. Called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: &Settings, passed: Option<TcpListener>) -> Result<Self, StartError> {
        let Stores { catalog, media } = stores::open(settings, Mode::Serve).await?;
        let (restorable, outbox): (_, Arc<dyn Outbox>) = (Arc::clone(&catalog), Arc::clone(&catalog) as _);
        let leases: Arc<dyn TaskLeases> = Arc::clone(&catalog) as _;
        let catalog: Arc<dyn Catalog> = catalog;
        let stores::Media { store, renditions, partial, scratch } = media;
        let budget = Budget::new(settings.memory_budget_bytes);
        let pool = Pool::start(settings.workers, budget.images, settings.pool_queue, settings.pool_wait)
            .map_err(StartError::Pool)?;
        let pool = Arc::new(pool);
        let limits = Limits {
            photos: settings.max_uploads_per_request.min(settings.max_photos_per_draft),
            photos_per_draft: settings.max_photos_per_draft,
            photo_bytes: settings.max_file_bytes,
            body_bytes: settings.max_body_bytes(),
            mime_prefixes: settings.allowed_mime_prefixes.clone(),
            memory_wait: settings.pool_wait,
            uploads: settings.max_uploads,
        };
        let recipe = settings.recipe();
        let publisher = Arc::new(Publisher::new(Arc::clone(&store), Arc::clone(&catalog)));
        let rendition_rules =
            renditions::Rules { sizes: settings.rendition_sizes.clone(), recipe, keeps: !settings.read_only };
        let rendition_store = Arc::clone(&renditions);
        let places = renditions::Places { photos: Arc::clone(&store), renditions, scratch: scratch.clone() };
        let outputs = Arc::clone(&budget.outputs);
        let renditions = Arc::new(Renditions::new(rendition_rules, places, Arc::clone(&pool), outputs));
        let measuring = Measuring::new(Arc::clone(&pool), recipe);
        let ingest = Ingest::new(limits, recipe, budget, Arc::clone(&pool), Arc::clone(&publisher), scratch);
        let redis = match &settings.redis_url {
            Some(url) => Some(RedisLink::open(url).await?),
            None => None,
        };
        let limiter = |name, quota| limiter(redis.as_ref(), name, quota);
        let upload_quota = settings.upload_quota.map(|quota| limiter("photos", quota));
        let eager = match settings.renditions_eager {
            true => settings.rendition_sizes.clone(),
            false => RenditionSizes::default(),
        };
        let ingest = Arc::new(ingest.with_quota(upload_quota.clone()).with_renditions(eager));
        let upload_rules = uploads::Rules {
            lifetime: settings.upload_lifetime,
            auth_required: settings.auth_required,
            id_key: blake3::derive_key("vintedbot-ingest ids of uploads v1", settings.secret_key.as_bytes()),
            attempt_lifetime: settings.idempotency_lifetime,
            describe_photo: api::photo_problem,
            describe_form: api::form_problem,
            note: api::rejected_note,
        };
        let served = Served {
            catalog: restorable,
            publisher: Arc::clone(&publisher),
            partial: Arc::clone(&partial),
            connections: settings.max_connections,
        };
        let control = control_socket(settings).map(|socket| (socket, served));
        let (rows, stored) = (Arc::clone(&catalog), Arc::clone(&ingest));
        let uploads = Arc::new(ResumableUploads::new(rows, partial, stored, upload_quota, upload_rules));
        let collects = settings.jobs_enabled && !settings.read_only;
        let rules = Rules {
            collects,
            grace: settings.media_grace,
            pause: MAINTENANCE_PAUSE,
            scrub_hours: settings.scrub_hours,
            attempt_lifetime: settings.idempotency_lifetime,
            draft_ttl: match settings.draft_ttl_days {
                0 => None,
                days => Some(Duration::from_secs(days * 86_400)),
            },
            requests_per_hour: settings.maintenance_requests_per_hour,
        };
        let maintenance =
            Arc::new(Maintenance::new(rules, Arc::clone(&publisher), rendition_store, leases, measuring));
        // This may remove photos. A read-only server leaves it to a later start, because no upload waits for it.
        let reconciled = if settings.read_only { Ok(0) } else { publisher.reconcile_crashed().await };
        match reconciled {
            Ok(0) => {}
            Ok(photos) => {
                tracing::info!(photos, "photos that an earlier process left pending were reconciled");
            }
            Err(error) => {
                tracing::warn!(%error, "photos that an earlier process left pending stay pending");
            }
        }
        let urls = MediaUrls::new(settings.media_base_url.clone(), settings.rendition_sizes.clone());
        let events = match settings.webhook.clone() {
            Some(WebhookSettings { url, secret }) => {
                let webhook = Webhook { url, secret: SigningSecret::new(&secret) };
                let urls = urls.clone();
                let render = Box::new(move |event: &Event| api::event_body(event, &urls));
                let (catalog, store) = (Arc::clone(&catalog), Arc::clone(&store));
                Some(Arc::new(Events::new(outbox, catalog, store, webhook, render)?))
            }
            None => None,
        };
        let fetcher = if settings.fetch_enabled {
            Some(Arc::new(Fetcher::new(settings.fetch_allow.clone())?))
        } else {
            None
        };
        let upload_page = settings.upload_page.then(|| {
            let limits =
                PageLimits { photos: settings.max_photos_per_draft, photo_bytes: settings.max_file_bytes };
            let photos = PhotoSources {
                base_url: &settings.media_base_url,
                may_redirect: settings.media_storage != MediaStorage::Local,
            };
            UploadPage::new(limits, photos)
        });
        let provider = match &settings.provider {
            Some(settings) => {
                let provider = Arc::new(Provider::new(settings)?);
                provider.reload().await.map_err(StartError::ProviderKeys)?;
                Some(provider)
            }
            None => None,
        };
        let connections = Connections::default();
        let global_limiter = settings.rate_limit_global.map(|quota| limiter("global", quota));
        let upload_limiter = settings.rate_limit_upload.map(|quota| limiter("upload", quota));
        let mut metrics = Metrics::default();
        process::register(&mut metrics);
        let access_log = AccessLog::new(&mut metrics);
        ingest.register(&mut metrics);
        uploads.register(&mut metrics);
        renditions.register(&mut metrics);
        publisher.register(&mut metrics);
        maintenance.register(&mut metrics);
        ratelimit::register(&mut metrics, global_limiter.iter().chain(&upload_limiter).cloned());
        if let Some(events) = &events {
            events.register(&mut metrics);
        }
        if let Some(provider) = &provider {
            provider.register(&mut metrics);
        }
        if let Some(fetcher) = &fetcher {
            fetcher.register(&mut metrics);
        }
        connections.register(&mut metrics);
        logging::register(&mut metrics);
        #[cfg(feature = "otlp")]
        otlp::register(&mut metrics);
        let tokens = Tokens::new(&settings.secret_key, settings.secret_key_previous.as_deref());
        let api = Api {
            routes: Routes::new(&settings.media_base_url, settings.upload_page)
                .map_err(|_| StartError::MediaBaseUrl(settings.media_base_url.clone()))?,
            ingest: Arc::clone(&ingest),
            uploads: Arc::clone(&uploads),
            fetcher,
            upload_page,
            maintenance: Arc::clone(&maintenance),
            listings: Arc::new(Listings::new(Arc::clone(&catalog), settings.auth_required)),
            subjects: Subjects::new(Arc::clone(&catalog)),
            catalog,
            store,
            renditions,
            global_limiter,
            upload_limiter,
            metrics,
            access_log,
            tokens: Arc::new(tokens.with_provider(provider)),
            read_only: settings.read_only,
            auth_required: settings.auth_required,
            proxy_passes_interim: settings.proxy_passes_interim,
            idempotency_lifetime: settings.idempotency_lifetime,
            urls,
        };
        let min_rate =
            MinRate { bytes_per_second: settings.body_min_rate, grace: settings.body_idle_timeout };
        let stack = Stack {
            app: api,
            trusted_proxies: settings.trusted_proxies.clone(),
            cors: match &settings.cors_origins {
                CorsOrigins::Any => Cors::new(None, api::cors_names()),
                CorsOrigins::Exact(origins) => Cors::new(Some(origins), api::cors_names()),
            },
            read_limits: ReadLimits { min_rate, drain_bytes: settings.max_body_bytes() },
            sampler: Sampler::of_share(settings.trace_share),
        };
        let listen = |source| StartError::Listen { address: settings.listen, source };
        let listener = match passed {
            Some(socket) => Listener::inherit(socket).map_err(StartError::Inherit)?,
            None => Listener::bind(settings.listen).map_err(listen)?,
        };
        let address = listener.local_addr().map_err(listen)?;
        let limits = server::Limits {
            connections: descriptors::limit_connections(settings.max_connections),
            head_timeout: settings.header_timeout,
            write_rate: min_rate,
            drain_time: DRAIN_TIME,
            shutdown_timeout: settings.shutdown_timeout,
        };
        let trusted_proxies = settings.trusted_proxies.clone();
        let stack = Arc::new(stack);
        Ok(Self {
            listener,
            address,
            pool,
            longest_turn: settings.image_timeout * TURN_TOLERANCE + TURN_SLACK,
            stack,
            ingest,
            uploads,
            expires_uploads: collects,
            maintenance,
            events,
            control,
            bucket_keys: reload::bucket_keys(settings).cloned(),
            limits,
            trusted_proxies,
            connections,
        })
    }

    /// Returns the address of the listener, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a check of the parts that no request waits for if they stop: it returns the problem of the first that makes no
    /// progress. A store that does not answer is none, because another process would get no answer either.
    pub fn check_progress(&self) -> impl Fn() -> Result<(), String> + Send + 'static {
        let (pool, longest) = (Arc::clone(&self.pool), self.longest_turn);
        move || match pool.longest_turn() {
            Some(turn) if turn > longest => {
                Err(format!("an image worker has had the same photo for {} s", turn.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Returns what reads the settings anew, which come from `source` now.
    pub fn reloader(&self, source: Source) -> Reloader {
        Reloader {
            source,
            tokens: Arc::clone(&self.stack.app.tokens),
            events: self.events.clone(),
            bucket_keys: self.bucket_keys.clone(),
        }
    }

    /// Returns the longest time that [`run`](Self::run) takes after its `shutdown` has completed.
    pub fn longest_stop(&self) -> Duration {
        // Once for the connections, and once for what belongs to none.
        self.limits.drain_time + 2 * self.limits.shutdown_timeout
    }

    /// Serves until `shutdown` completes and open requests are answered or the deadline passed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Stopped {
        let stop = CancellationToken::new();
        let maintenance = tokio::spawn({
            let (maintenance, stop) = (self.maintenance, stop.clone());
            async move { maintenance.run(stop).await }
        });
        let events = tokio::spawn({
            let (events, stop) = (self.events, stop.clone());
            async move {
                if let Some(events) = events {
                    events.run(stop).await;
                }
            }
        });
        let provider = tokio::spawn({
            let (tokens, stop) = (Arc::clone(&self.stack.app.tokens), stop.clone());
            async move {
                if let Some(provider) = tokens.provider() {
                    provider.run(stop).await;
                }
            }
        });
        let control = self.control.and_then(|(socket, served)| {
            let serving = socket.serve(served, stop.clone());
            serving.inspect_err(|error| tracing::warn!(%error, "the control socket cannot be served")).ok()
        });
        let control = async move {
            if let Some(ended) = control {
                let _ended = ended.await;
            }
        };
        let expiry = tokio::spawn({
            let (uploads, stop) = (Arc::clone(&self.uploads), stop.clone());
            let expires = self.expires_uploads;
            async move {
                if expires {
                    uploads.run(stop).await;
                }
            }
        });
        let shutdown = async move {
            shutdown.await;
            stop.cancel();
        };
        // Until the last request is answered.
        #[cfg(feature = "otlp")]
        let (spans_end, spans) = {
            let end = CancellationToken::new();
            (end.clone().drop_guard(), tokio::spawn(otlp::run(end)))
        };
        let stack = self.stack;
        let handler = move |request, peer| Arc::clone(&stack).handle(request, peer);
        let (limits, proxies) = (self.limits, self.trusted_proxies);
        let ended = server::run(self.listener, handler, limits, proxies, self.connections, shutdown).await;
        // Waits for commits whose clients disconnected. They are short, and belong to no connection.
        let rest = async {
            self.uploads.drained().await;
            tokio::join!(self.ingest.drained(), maintenance, events, expiry, provider, control)
        };
        let _cut_off = tokio::time::timeout(self.limits.shutdown_timeout, rest).await;
        #[cfg(feature = "otlp")]
        {
            drop(spans_end);
            let _lost = tokio::time::timeout(SPANS_TIME, spans).await;
        }
        ended
    }
}

/// Listens for the operator's commands, if the catalog is one that only this process can open. A server works without.
fn control_socket(settings: &Settings) -> Option<ControlSocket> {
    let bound = ControlSocket::bind(settings.database.directory()?);
    bound
        .inspect_err(|error| {
            tracing::warn!(
                "export, backup and fsck need a stop of the server, which has no control socket: {error}"
            );
        })
        .ok()
}

fn limiter(redis: Option<&Arc<RedisLink>>, name: &str, quota: Quota) -> Arc<dyn RateLimiter> {
    match redis {
        Some(link) => Arc::new(RedisLimiter::new(Arc::clone(link), name, quota)),
        None => Arc::new(MemoryLimiter::new(quota)),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::config::Source;
    use crate::telemetry::metrics::{Description, MetricType};

    #[tokio::test]
    async fn docs_metrics_md_has_every_metric_of_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = [
            ("PORT", "0".to_owned()),
            ("DATABASE_URL", format!("sled:{}", path("db"))),
            ("MEDIA_ROOT", path("uploads")),
            ("FETCH_ENABLED", "true".to_owned()),
            ("SECRET_KEY", "a key of this test".to_owned()),
            ("JWKS_URL", "http://127.0.0.1:1/".to_owned()),
            ("JWT_ISSUER", "https://id.example".to_owned()),
            ("JWT_AUDIENCE", "photos".to_owned()),
            ("WEBHOOK_URL", "http://127.0.0.1:1/".to_owned()),
            ("WEBHOOK_SECRET", "a secret of this test".to_owned()),
        ];
        let settings = Settings::load(&Source::from_pairs(settings)).unwrap();
        let app = App::start(&settings, None).await.unwrap();
        let mut text = String::from(
            "# Metrics\n\nWhat `GET /metrics` answers: in the OpenMetrics text format if `Accept` names it, as Prometheus does, else in \
             Prometheus' text format, version 0.0.4.\n\n\
             | name | type | unit | meaning |\n|---|---|---|---|\n",
        );
        let mut rows = app.stack.app.metrics.descriptions().to_vec();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        for Description { name, unit, help, kind } in rows {
            assert!(!unit.is_empty() && !help.is_empty() && !help.ends_with('.'), "{name}");
            let suffix = if matches!(kind, MetricType::Counter) { "_total" } else { "" };
            writeln!(text, "| `{name}{suffix}` | {} | {unit} | {help} |", kind.as_str()).unwrap();
        }
        crate::docs::assert_page("metrics.md", &text);
    }
}
