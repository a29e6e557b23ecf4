//! Log lines on stdout: text in development, JSON in production. Logging never waits for the reader: see `LogWriter`.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::log_writer::{CAPACITY, LogWriter};
use super::metrics::{Metrics, Reading, Unit};
use super::spans::SPANS;
use super::text_lines::{TextFields, TextLines};

/// The log of this process. It is global because the `tracing` subscriber is.
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// Replaces the filter of the log.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// What takes the spans of this process, beside the log.
pub type SpanSink = Box<dyn Layer<Registry> + Send + Sync>;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, in colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging, including panics. `filter` has the syntax of [`EnvFilter`], and does not hold for `spans`. Only the first call in
/// a process has an effect.
///
/// # Errors
/// The thread that writes the log cannot be started.
pub fn start(form: Form, filter: &str, spans: Option<SpanSink>) -> io::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let log = LogWriter::start(stdout(), CAPACITY, move |missing| notice(missing, form == Form::Json))?;
    let log = LOG.get_or_init(|| log);
    let lines = tracing_subscriber::fmt::layer().with_timer(Clock).with_writer(log.clone());
    let lines = match form {
        Form::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        Form::Text => lines
            .with_ansi(std::io::stdout().is_terminal())
            .event_format(TextLines::new(Clock))
            .fmt_fields(TextFields)
            .boxed(),
    };
    let (filter, handle) = reload::Layer::new(env_filter(filter));
    let subscriber = tracing_subscriber::registry().with(spans).with(lines.with_filter(filter));
    let _already_started = subscriber.try_init();
    SET_FILTER.get_or_init(|| Box::new(move |filter| handle.reload(filter)));
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().map(|text| text.lines().next().unwrap_or(""));
        if location.as_deref().is_some_and(|location| location.contains("/sled-")) {
            tracing::error!("the embedded catalog failed in a way that it does not expect");
            tracing::debug!(location, text, "a thread of the embedded catalog panicked");
            return;
        }
        tracing::error!(location, text, "a thread panicked");
    }));
    Ok(())
}

/// Replaces the filter that [`start`] was called with.
pub fn set_filter(filter: &str) {
    if let Some(set_filter) = SET_FILTER.get()
        && let Err(error) = set_filter(env_filter(filter))
    {
        tracing::warn!(%error, "the filter of the log could not be replaced");
    }
}

fn env_filter(filter: &str) -> EnvFilter {
    // sled's messages are meant for its developers, and the catalog logs its own. LOG_LEVEL can enable them.
    EnvFilter::new(format!("sled=off,{SPANS}=off,{filter}"))
}

/// Writes a line that is not a log event to stdout, in order with the others.
pub fn line(text: &str) {
    if let Some(log) = LOG.get() {
        log.push(format!("{text}\n").as_bytes());
    }
}

/// Registers the metrics of the log.
pub fn register(metrics: &mut Metrics) {
    let help = "Log lines dropped because stdout did not take them";
    let dropped = Reading::counter(|| LOG.get().map_or(0, LogWriter::dropped));
    metrics.register("log_lines_dropped", Unit::Of("lines"), help, dropped);
}

/// Waits until every line is written, but no longer than `limit`.
pub fn flush(limit: Duration) {
    if let Some(log) = LOG.get() {
        log.flush(limit);
    }
}

/// Writes the time as the subscriber's own clock does, in a tenth of its time.
#[derive(Clone)]
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_micros(SystemTime::now()))
    }
}

/// Returns stdout without the standard library's lock, which a thread holds as long as its write blocks.
fn stdout() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(stdout) => Box::new(File::from(stdout)),
        Err(_) => Box::new(io::stdout()),
    }
}

/// Returns the line that reports missing lines, in the format of the others.
fn notice(missing: u64, is_json: bool) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now());
    let (target, message) = (module_path!(), "log lines were dropped because stdout did not take them");
    if is_json {
        let line = serde_json::json!({
            "timestamp": time.to_string(), "level": "WARN", "message": message, "lines": missing, "target": target,
        });
        format!("{line}\n")
    } else {
        format!("{time}  WARN {target}: {message} lines={missing}\n")
    }
}
