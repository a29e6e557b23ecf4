//! The metrics of the process and of its build, by the names that all programs share.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::metrics::{Metrics, Reading, Unit};

/// Shortest time between two counts of open files.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    /// The kind of processor.
    architecture: &'static str,
}

/// Registers the metrics.
pub(crate) fn register(metrics: &mut Metrics) {
    let build = Build { version: env!("CARGO_PKG_VERSION"), architecture: std::env::consts::ARCH };
    let info = Family::<Build, Gauge<u64, AtomicU64>>::default();
    info.get_or_create(&build).set(1);
    metrics.register("build_info", Unit::Of("builds"), "The version that runs; always 1", info);

    let help = "Processor time of this process, in the kernel and outside it";
    metrics.register_process("cpu", Unit::Seconds, help, Reading::counter_of(processor_seconds));
    let help = "When this process started, in seconds since 1970";
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    metrics.register_process("start_time", Unit::Seconds, help, Reading::gauge(move || started));
    let help = "Memory of this process that is in RAM";
    metrics.register_process("resident_memory", Unit::Bytes, help, Reading::gauge(|| memory("VmRSS:")));
    let help = "Address space of this process";
    metrics.register_process("virtual_memory", Unit::Bytes, help, Reading::gauge(|| memory("VmSize:")));
    let help = "Open files and connections of this process";
    let open = OpenFiles::default();
    metrics.register_process("open_fds", Unit::Of("files"), help, Reading::gauge(move || open.count()));
    let help = "Files and connections that this process may have open";
    metrics.register_process("max_fds", Unit::Of("files"), help, Reading::gauge(most_files));
}

/// Returns 0 if the kernel does not say, as the other functions here do.
fn processor_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let [user, system] = [usage.user_time(), usage.system_time()]
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        user + system
    })
}

/// Returns a line of `/proc/self/status` that counts KiB, in bytes.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0) << 10
}

/// Counts open files at most once a second: with thousands of connections a count takes milliseconds, and requests for metrics are
/// not limited.
#[derive(Debug, Default)]
struct OpenFiles(Mutex<Option<(Instant, u64)>>);

impl OpenFiles {
    fn count(&self) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((counted, files)) if counted.elapsed() < COUNT_EVERY => files,
            _ => last.insert((Instant::now(), open_files())).1,
        }
    }
}

fn open_files() -> u64 {
    match std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is read.
        Ok(files) => files.count().saturating_sub(1) as u64,
        Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => most_files(),
        Err(_) => 0,
    }
}

fn most_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_not_zero() {
        assert!(processor_seconds() > 0.0);
        assert!(memory("VmRSS:") > 1 << 20);
        assert!(memory("VmSize:") >= memory("VmRSS:"));
        assert!(open_files() >= 3);
        assert!(most_files() >= open_files());
    }
}
