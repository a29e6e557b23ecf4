//! Tokens of an identity provider: verified with its public keys, which it publishes as a JWK set.
//!
//! Keys are fetched at the start, every hour, and when a token names a key that the set does not have. The last is what strangers can
//! cause, and happens at most once a minute. A fetch that fails leaves the keys as they are, and is tried again within a minute.

mod keys;
mod source;
mod subjects;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(super) use self::keys::Algorithm;
use self::keys::{KeySet, NoKey};
pub(crate) use self::source::KeysError;
use self::source::Source;
pub(crate) use self::subjects::Subjects;
use super::jws::{Jws, Members};
use super::scope::Scopes;
use super::{Reason, check_extensions, check_times};
use crate::catalog::Identity;
use crate::config::ProviderSettings;
use crate::telemetry::metrics::{Metrics, Reading, Unit};
use crate::tls::TlsError;

/// By how much the clocks of the provider and of this machine may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// Longest subject in characters (OpenID Connect Core section 2).
const MAX_SUBJECT_CHARS: usize = 255;
/// Time between a fetch that worked and the next.
const HOUR: Duration = Duration::from_secs(3600);
/// Shortest time between two fetches that tokens cause.
const ASKED_AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// The first and the longest pause between a fetch that failed and the next.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Verifies tokens of a provider.
pub(crate) struct Provider {
    issuer: String,
    audience: String,
    source: Source,
    keys: RwLock<Option<Arc<KeySet>>>,
    asked: Mutex<Asked>,
    is_wanted: Notify,
    fetched: AtomicU64,
    failed: AtomicU64,
}

/// The fetches that tokens cause.
#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    /// Whether no fetch that began since then has worked yet.
    is_pending: bool,
}

impl Provider {
    /// Creates a verifier without keys. [`run`](Self::run) fetches those of a URL, [`reload`](Self::reload) reads those of a file.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(settings: &ProviderSettings) -> Result<Self, TlsError> {
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            source: Source::new(&settings.keys)?,
            keys: RwLock::default(),
            asked: Mutex::default(),
            is_wanted: Notify::new(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Registers the metrics.
    pub(crate) fn register(self: &Arc<Self>, metrics: &mut Metrics) {
        let read = |figure: fn(&Self) -> u64| {
            let provider = Arc::clone(self);
            move || figure(&provider)
        };
        let help = "Sets of keys of the identity provider that were read";
        let figure = Reading::counter(read(|provider| provider.fetched.load(Ordering::Relaxed)));
        metrics.register("provider_keys_read", Unit::Of("sets"), help, figure);
        let help = "Failed attempts to read the keys of the identity provider; older keys stay in use";
        let figure = Reading::counter(read(|provider| provider.failed.load(Ordering::Relaxed)));
        metrics.register("provider_keys_failed", Unit::Of("attempts"), help, figure);
        let help = "Usable keys of the identity provider";
        let figure = Reading::gauge(read(|provider| provider.present().map_or(0, |keys| keys.len() as u64)));
        metrics.register("provider_keys", Unit::Of("keys"), help, figure);
    }

    /// Reads the keys of a file anew. Those in use stay if that fails. The keys of a URL are fetched by [`run`](Self::run) only.
    ///
    /// # Errors
    /// The file cannot be read, or is no set with a usable key.
    pub(crate) async fn reload(&self) -> Result<(), KeysError> {
        match self.source {
            Source::File(_) => self.refresh().await,
            Source::Url(..) => Ok(()),
        }
    }

    /// Reads the keys once, without using them. Returns how many are usable.
    ///
    /// # Errors
    /// They cannot be had.
    pub(crate) async fn count_keys(&self) -> Result<usize, KeysError> {
        Ok(self.source.load().await?.len())
    }

    /// Fetches the keys of a URL now, hourly and when they are wanted, until `stop` is cancelled.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        if matches!(self.source, Source::File(_)) {
            return;
        }
        let mut retry = FIRST_RETRY;
        loop {
            let asked = self.asked().last;
            let refreshed = tokio::select! {
                () = stop.cancelled() => return,
                refreshed = self.refresh() => refreshed,
            };
            let pause = match refreshed {
                Ok(()) => {
                    let mut now = self.asked();
                    now.is_pending &= now.last != asked;
                    retry = FIRST_RETRY;
                    HOUR
                }
                Err(error) => {
                    tracing::warn!(%error, "the keys of the identity provider cannot be fetched; to be tried again");
                    let pause = retry;
                    retry = (retry * 2).min(LONGEST_RETRY);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
                () = self.is_wanted.notified() => {}
            }
        }
    }

    async fn refresh(&self) -> Result<(), KeysError> {
        match self.source.load().await {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "the keys of the identity provider were read");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
                self.fetched.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn present(&self) -> Option<Arc<KeySet>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for newer keys, unless a token did so within the last minute. Returns whether they may still come.
    fn ask(&self) -> bool {
        if matches!(self.source, Source::File(_)) {
            return false;
        }
        let mut asked = self.asked();
        if asked.last.is_none_or(|last| last.elapsed() >= ASKED_AT_MOST_EVERY) {
            *asked = Asked { last: Some(Instant::now()), is_pending: true };
            self.is_wanted.notify_one();
        }
        asked.is_pending
    }

    /// Returns the subject and the scopes of a token whose header names `algorithm`, if it is valid at `now`, a time since 1970.
    /// Verifies at most one signature, and parses no claim before.
    pub(super) fn verify(
        &self,
        token: &Jws<'_>,
        header: &Members,
        algorithm: Algorithm,
        now: Duration,
    ) -> Result<(Identity, Scopes), Reason> {
        let keys = self.present().ok_or(Reason::KeysPending)?;
        check_extensions(header)?;
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(_) => return Err(Reason::KeyId),
        };
        let key = keys.find(algorithm, id).map_err(|error| match error {
            NoKey::UnknownId if id.is_some() && self.ask() => Reason::KeysPending,
            NoKey::UnknownId | NoKey::Unfit => Reason::KeyId,
        })?;
        if !key.has_signed(token) {
            return Err(Reason::Signature);
        }
        let claims = Members::parse(&token.payload).ok_or(Reason::Json("payload"))?;
        check_times(&claims, now.as_secs_f64(), LEEWAY.as_secs_f64())?;
        self.check_addressee(&claims)?;
        let scopes = Scopes::of_claims(&claims).ok_or(Reason::Scopes)?;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_subject(subject));
        let subject = subject.ok_or(Reason::Subject)?.to_owned();
        Ok((Identity { issuer: self.issuer.clone(), subject }, scopes))
    }

    /// Checks that the provider issued the token, and for this server (RFC 7519 sections 4.1.1 and 4.1.3).
    fn check_addressee(&self, claims: &Members) -> Result<(), Reason> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Reason::Issuer);
        }
        let is_own = |value: &Value| value.as_str() == Some(&self.audience);
        match claims.get("aud") {
            Some(Value::Array(all)) if all.iter().any(is_own) => Ok(()),
            Some(one) if is_own(one) => Ok(()),
            _ => Err(Reason::Audience),
        }
    }
}

/// Returns whether a text can be a subject: databases and logs take no control characters.
fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
