//! Describes the machine, the time and the revision of a measurement.

use std::process::Command;
use std::time::SystemTime;

use crate::participant::{About, variable};

/// Returns the measured revision, with a `+` if files are modified.
pub(crate) fn commit() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(revision) = output_of("git", &["rev-parse", "--short", "HEAD"]) else {
        return version.to_owned();
    };
    let changed = output_of("git", &["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    format!("{version} ({revision}{})", if changed { "+" } else { "" })
}

/// Returns the load average of the last minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Returns the head of the report.
pub(crate) fn describe(abouts: &[About], rounds: usize, load: &str) -> String {
    // "Mon, 23 Nov 2026 18:53:00 GMT"
    let now = httpdate::fmt_http_date(SystemTime::now());
    let date = now.get(5..16).unwrap_or(&now);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
    let rustc = output_of("rustc", &["--version"]).unwrap_or_default();
    let formats = variable("VINTEDBOT_COMPARE_FORMATS")
        .map_or_else(String::new, |words| format!("VINTEDBOT_COMPARE_FORMATS={words} "));
    let versions: Vec<_> = abouts.iter().map(|about| format!("{} {}", about.name, about.version)).collect();
    format!(
        "### {date}, {model}, {cores} cores, {}\n\n\
         `{formats}VINTEDBOT_COMPARE_ROUNDS={rounds} make compare`; all on one core; load average at the start {load}.\n\
         {}. {rustc}.\n",
        std::env::consts::ARCH,
        versions.join(", ")
    )
}

/// Returns the output of a program, if it runs and succeeds.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
