//! Log lines on stdout: for eyes in development, JSON in production.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Env, Settings};

/// Starts logging, of panics too: whoever causes one answers for it, and the log says where it was. The first call of a process counts; others change nothing.
pub fn start(settings: &Settings) {
    // What sled says is for its authors, and the catalog says it in words of its own. LOG_LEVEL may turn it on.
    let filter = EnvFilter::new(format!("sled=off,{}", settings.log_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let _already_started = match settings.env {
        Env::Prod => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
        Env::Dev => builder.with_ansi(std::io::stdout().is_terminal()).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let said = panic.payload_as_str().map(|text| text.lines().next().unwrap_or(""));
        if place.as_deref().is_some_and(|place| place.contains("/sled-")) {
            tracing::error!("the embedded catalog failed in a way that it does not expect");
            tracing::debug!(place, said, "a thread of the embedded catalog panicked");
            return;
        }
        tracing::error!(place, said, "a thread panicked");
    }));
}
