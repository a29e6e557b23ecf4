//! A Prometheus for one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, ReservedPort};

/// Returns a program that `make test` found. If it is missing, the test is reported as skipped, or fails where nothing may be skipped.
pub(crate) fn program(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if found.is_none() {
        common::skip(&format!("{variable} is not set; `make test` sets it"));
    }
    found
}

/// A Prometheus on a loopback port that scrapes and evaluates once a second. Killed on drop.
pub(crate) struct Prometheus {
    port: ReservedPort,
    child: Child,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts it with these rules and with these targets, under the name `vintedbot`.
    pub(crate) fn start(program: &str, rules: &str, targets: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs: [{{job_name: vintedbot, static_configs: [{{targets: {targets:?}}}]}}]\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let port = ReservedPort::new();
        let child = run(program, dir.path(), port.number());
        Self { port, child, _dir: dir }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.port.number());
        let answer = reqwest::get(url).await.ok()?;
        // 503 until it has started.
        assert_ne!(answer.status(), 400, "{}", answer.text().await.unwrap());
        answer.json().await.ok()
    }

    /// Returns the series that a query gives now.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let expression = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let answer = self.ask(&format!("/api/v1/query?query={expression}")).await;
        answer.and_then(|answer| answer["data"]["result"].as_array().cloned()).unwrap_or_default()
    }

    /// Returns the labels of the alerts that fire now.
    pub(crate) async fn firing(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/alerts").await.unwrap_or_default();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts
            .into_iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"].clone())
            .collect()
    }
}

fn run(program: &str, dir: &Path, port: u16) -> Child {
    let mut command = Command::new(program);
    command.current_dir(dir).arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a query gives something.
pub(crate) async fn until_found(prometheus: &Prometheus, expression: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while prometheus.query(expression).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nothing for {expression}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
