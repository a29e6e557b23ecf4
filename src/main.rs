//! The process: arguments, settings, runtime, signals, exit code.

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use vintedbot_ingest::allocator;
use vintedbot_ingest::app::App;
use vintedbot_ingest::cli::{self, Command, EXIT_FAILURE, EXIT_USAGE, Request};
use vintedbot_ingest::commands::{self, Verdict};
use vintedbot_ingest::config::{Env, Settings, Source};
#[cfg(feature = "otlp")]
use vintedbot_ingest::otlp;
use vintedbot_ingest::reload::Reloader;
use vintedbot_ingest::server::{Stopped, descriptors};
use vintedbot_ingest::supervisor;
use vintedbot_ingest::telemetry::logging::{self, Form, SpanSink};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match cli::request() {
        Request::Command(command) => command,
        Request::Manual(manual) => {
            return match manual.write(cli::arguments()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(EXIT_FAILURE, &format!("the manual cannot be written: {error}")),
            };
        }
    };
    let (settings, source) = match cli::settings() {
        Ok(read) => read,
        Err(lines) => return fail(EXIT_USAGE, &lines),
    };
    match command {
        Command::CheckConfig if !source.near_misses().is_empty() => {
            fail(EXIT_USAGE, &cli::lines(source.near_misses().iter().map(ToString::to_string)))
        }
        Command::CheckConfig => {
            say("The settings are valid.");
            ExitCode::SUCCESS
        }
        Command::Operate(command) => match commands::run(&command, &settings) {
            Ok(Verdict::Well) => ExitCode::SUCCESS,
            Ok(Verdict::Problems) => ExitCode::from(EXIT_FAILURE),
            Err(message) => fail(EXIT_FAILURE, &message),
        },
        // Before any other thread starts, because it removes variables of the environment.
        Command::Serve => {
            match supervisor::passed_listener().map(|passed| serve(&settings, source, passed)) {
                Ok(Ok(())) => ExitCode::SUCCESS,
                Ok(Err(message)) => fail(EXIT_FAILURE, &message),
                Err(error) => fail(EXIT_USAGE, &error.to_string()),
            }
        }
    }
}

/// Threads that wait for the disk. tokio's default of 512 would all start for thousands of slow phones, each with its own stack. More threads
/// than a disk works on at a time only cost memory.
const DISK_THREADS: usize = 16;
/// Least number of threads that answer requests. With one for each core, as many image threads take their processor time: on two cores under
/// `make load`, 99 % of the health checks take at most 30 ms with four threads, and 60 ms with two.
const LEAST_ANSWERING_THREADS: usize = 4;
/// Most threads that answer requests, for each core. On one core four threads answered 32 % fewer requests for small photos than two: each batch
/// of requests wakes one more thread, which then finds nothing to do.
const ANSWERING_THREADS_A_CORE: usize = 2;

/// How long the exit waits for a reader of the log.
const LOG_FLUSH: Duration = Duration::from_secs(1);

/// How long the process takes to end after the last request, at most.
const EXIT_TIME: Duration = Duration::from_secs(10);

fn serve(settings: &Settings, source: Source, passed: Option<TcpListener>) -> Result<(), String> {
    let form = if settings.env == Env::Prod { Form::Json } else { Form::Text };
    let logging = logging::start(form, &settings.log_level, spans(settings));
    logging.map_err(|error| format!("the log cannot start: {error}"))?;
    for near_miss in source.near_misses() {
        tracing::warn!("{near_miss}");
    }
    let ended = run(settings, source, passed);
    logging::flush(LOG_FLUSH);
    ended
}

/// Returns the sink for spans, or `None` if the settings name no collector.
fn spans(settings: &Settings) -> Option<SpanSink> {
    #[cfg(feature = "otlp")]
    if let Some(collector) = &settings.collector {
        return Some(Box::new(otlp::layer(collector.clone())));
    }
    // Without the feature the settings have no collector.
    let _none = &settings.collector;
    None
}

fn run(settings: &Settings, source: Source, passed: Option<TcpListener>) -> Result<(), String> {
    small_pages();
    allocator::configure();
    raise_file_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let answering = cores.max(LEAST_ANSWERING_THREADS.min(cores * ANSWERING_THREADS_A_CORE));
    runtime.worker_threads(answering).max_blocking_threads(DISK_THREADS);
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(async {
        let listener = if passed.is_some() { "of the supervisor; HOST and PORT are not used" } else { "own" };
        let app = supervisor::extend_start(App::start(settings, passed)).await;
        let app = app.map_err(|error| error.to_string())?;
        let address = app.address();
        tracing::info!(
            port = address.port(),
            workers = settings.workers,
            listener,
            "listening on http://{address}"
        );
        let longest_stop = app.longest_stop() + EXIT_TIME;
        let stop = signals(app.reloader(source), address.to_string(), longest_stop);
        let stop = stop.map_err(|error| format!("signals cannot be received: {error}"))?;
        supervisor::start_watchdog(app.check_progress());
        logging::line(&format!(
            "✅ /ingest/upload ready | storage={} | MAX_DIM={} | JPEG_QUALITY={}",
            settings.media_storage.name(),
            settings.max_dim_px,
            settings.jpeg_quality
        ));
        // Connections wait in the queue of the listener until they are accepted.
        supervisor::ready(&serving(&address.to_string()));
        let ended = app.run(stop).await;
        if let Stopped::Aborted(connections) = ended {
            tracing::warn!(connections, "requests were cut off at the deadline");
        }
        tracing::info!("stopped");
        Ok(())
    })
}

fn serving(address: &str) -> String {
    format!("serving on http://{address}")
}

/// Receives signals from now on. The result completes at the first SIGTERM or SIGINT. SIGHUP runs `reloader`, or
/// stops the server if it has a terminal.
fn signals(
    reloader: Reloader,
    address: String,
    longest_stop: Duration,
) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A terminal that closes sends SIGHUP. If that only reloaded, the server would go on without a terminal.
    let has_terminal = std::io::stdin().is_terminal();
    Ok(async move {
        let closed = async {
            if has_terminal {
                hangup.recv().await;
            } else {
                reload_at(hangup, reloader, &address).await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = closed => {}
        }
        supervisor::stopping(longest_stop);
        tracing::info!("stopping: open requests may finish");
    })
}

/// Reads the settings anew at each SIGHUP.
async fn reload_at(mut hangup: Signal, mut reloader: Reloader, address: &str) {
    while hangup.recv().await.is_some() {
        supervisor::reloading();
        if reloader.reload(Path::new(cli::DOTENV)).await {
            supervisor::ready(&serving(address));
        } else {
            supervisor::ready("the new settings are not valid: those that were in effect stay");
        }
    }
    // No further signal can arrive, which does not happen while the runtime exists.
    std::future::pending::<()>().await;
}

/// Raises the limit of open files as far as possible, because each phone and each spilled photo takes a file descriptor.
fn raise_file_limit() {
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Disables transparent huge pages. With them an idle server held 75 MB instead of 13, and growing uploads took memory in steps
/// of 2 MiB. The allocator is built not to request them, but some systems use them unrequested.
fn small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::warn!(%error, "transparent huge pages could not be refused; memory will be used in larger steps");
    }
}

/// Prints a line on stdout. If its reader is gone, the process continues.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _reader_left = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn fail(code: u8, lines: &str) -> ExitCode {
    let _reader_left = writeln!(std::io::stderr().lock(), "{lines}");
    ExitCode::from(code)
}
