//! Reads the settings anew while the server runs, and takes over those that can change: secrets and the level of the log.

use std::path::Path;
use std::sync::Arc;

use crate::auth::Tokens;
use crate::config::{MediaStorage, Reloaded, Settings, Source};
use crate::events::{Events, SigningSecret};
use crate::media::s3::S3Keys;
use crate::telemetry::logging;

/// The parts of a server whose settings can change.
pub struct Reloader {
    /// The settings in force.
    pub(crate) source: Source,
    /// The verifier of tokens.
    pub(crate) tokens: Arc<Tokens>,
    /// What signs deliveries, if there are any.
    pub(crate) events: Option<Arc<Events>>,
    /// The keys of the bucket of the photos, if there is one with keys.
    pub(crate) bucket_keys: Option<S3Keys>,
}

impl Reloader {
    /// Reads the settings from the environment, which cannot have changed, and from the file `dotenv`. Takes over those that can
    /// change, and logs the names of those that changed, and reads the file of JWKS_FILE again. If a setting is not valid, none is taken over, and all problems are logged.
    ///
    /// Returns false if the settings are not valid.
    pub async fn reload(&mut self, dotenv: &Path) -> bool {
        let source = match Source::from_process(dotenv) {
            Ok(source) => source,
            Err(lines) => return refuse(&lines),
        };
        let settings = match Settings::load(&source) {
            Ok(settings) => settings,
            Err(errors) => return refuse(&errors.to_string()),
        };
        for near_miss in source.near_misses() {
            tracing::warn!("{near_miss}");
        }
        let changes = self.source.changes(&source);
        let (mut taken_over, mut not_here) = (Vec::new(), Vec::new());
        for (name, what) in changes.reloaded {
            let names = if self.take_over(what, &settings) { &mut taken_over } else { &mut not_here };
            names.push(name);
        }
        self.source.take_over(&source, &taken_over);
        let later = [not_here, changes.later].concat();
        if !later.is_empty() {
            tracing::warn!("these settings changed, and need a restart: {}", later.join(", "));
        }
        match taken_over.is_empty() {
            true => tracing::info!("settings read anew: no change took effect"),
            false => tracing::info!("settings read anew, now in effect: {}", taken_over.join(", ")),
        }
        if let Some(provider) = self.tokens.provider()
            && let Err(error) = provider.reload().await
        {
            tracing::error!("JWKS_FILE has no effect, the keys that were in effect stay: {error}");
        }
        true
    }

    /// Takes over the values of `settings` for one part. Returns false if this server was started without that part.
    fn take_over(&self, what: Reloaded, settings: &Settings) -> bool {
        match what {
            Reloaded::LogFilter => logging::set_filter(&settings.log_level),
            Reloaded::TokenKeys => {
                self.tokens.replace(&settings.secret_key, settings.secret_key_previous.as_deref());
            }
            Reloaded::WebhookSecret => match (&self.events, &settings.webhook) {
                (Some(events), Some(webhook)) => events.replace_secret(SigningSecret::new(&webhook.secret)),
                _ => return false,
            },
            Reloaded::BucketKeys => match (&self.bucket_keys, bucket_keys(settings)) {
                (Some(keys), Some(newer)) => keys.replace(newer),
                _ => return false,
            },
        }
        true
    }
}

/// Returns the keys of the bucket of the photos.
pub(crate) fn bucket_keys(settings: &Settings) -> Option<&S3Keys> {
    match &settings.media_storage {
        MediaStorage::Bucket(bucket) => bucket.keys(),
        MediaStorage::Local => None,
    }
}

fn refuse(problems: &str) -> bool {
    for problem in problems.lines() {
        tracing::error!("{problem}");
    }
    tracing::error!("the settings are not valid: those that were in effect stay");
    false
}
