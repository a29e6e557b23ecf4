//! Metrics, alerts and the dashboard, with a real Prometheus that scrapes the server.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::prometheus_server::{Prometheus, program, until_found};
use crate::support::{Server, UPLOAD, file, form, photo, photo_numbered};

const CONTENT_TYPE: &str = "multipart/form-data; boundary=----test-boundary";
const ALERTS: &str = include_str!("../../deploy/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana.json");
const RUNBOOK: &str = include_str!("../../docs/operations.md");

async fn scrape(server: &Server, accept: Option<&str>) -> (String, String) {
    let request = reqwest::Client::new().get(server.url("/metrics"));
    let request = accept.into_iter().fold(request, |request, accept| request.header("accept", accept));
    let answer = request.send().await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(answer.headers()["vary"].to_str().unwrap().to_lowercase().split(',').next(), Some("accept"));
    (content_type, answer.text().await.unwrap())
}

#[tokio::test]
async fn metrics_are_open_metrics_where_named_and_else_the_text_that_promtool_accepts() {
    let server = Server::start(&[]);
    assert_eq!(server.upload(form(&[file(&photo(640, 480))])).await.0, 201);
    let (content_type, text) =
        scrape(&server, Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1")).await;
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(
        text.ends_with("\n# EOF\n") && text.contains("# TYPE vintedbot_photos_stored counter\n"),
        "{text}"
    );

    let (content_type, text) = scrape(&server, None).await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE vintedbot_photos_stored_total counter",
        "vintedbot_photos_stored_total 1",
        "vintedbot_photo_step_duration_seconds_count{step=\"decode\",mime=\"image/jpeg\"} 1",
        "vintedbot_photo_step_duration_seconds_count{step=\"commit\",mime=\"\"} 1",
        "# TYPE process_cpu_seconds_total counter",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
    }
    assert!(text.contains("vintedbot_build_info{version=\""), "{text}");
    let Some(promtool) = program("VINTEDBOT_TEST_PROMTOOL") else { return };
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[tokio::test]
async fn monitoring_requests_are_in_the_log_only_if_they_fail_or_at_debug() {
    for (level, expected) in [("info", 0), ("debug", 3)] {
        let server = Server::start(&[("LOG_LEVEL", level)]);
        for path in ["/api/v1/health", "/api/v1/ready", "/metrics"] {
            assert_eq!(server.get(path).await.status(), 200, "{path}");
        }
        assert_eq!(server.get("/nowhere").await.status(), 404);
        let is_last = |line: &String| line.contains("/nowhere");
        crate::support::eventually("the last line", || server.output().iter().any(is_last)).await;
        let lines = server.output();
        let monitoring = |line: &&String| {
            line.contains(" request")
                && ["\"/api/v1/health\"", "\"/api/v1/ready\"", "\"/metrics\""]
                    .iter()
                    .any(|path| line.contains(path))
        };
        assert_eq!(lines.iter().filter(monitoring).count(), expected, "{level}: {lines:#?}");
    }
}

/// Returns the names of the rules.
fn alerts() -> BTreeSet<&'static str> {
    ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_promtool_accepts_all() {
    for alert in alerts() {
        assert!(RUNBOOK.contains(&format!("\n#### {alert}\n")), "{alert}");
        assert!(
            ALERTS.contains(&format!("runbook: docs/operations.md#{}\n", alert.to_lowercase())),
            "{alert}"
        );
    }
    let sections = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("#### "))
        .filter(|name| name.starts_with("Vintedbot"));
    assert_eq!(sections.collect::<BTreeSet<_>>(), alerts());
    let Some(promtool) = program("VINTEDBOT_TEST_PROMTOOL") else { return };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts.yaml");
    let output = Command::new(promtool).args(["check", "rules", rules]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Shortens the times of the rules, so that minutes of them pass in seconds: ranges to ten, others to one.
fn hurried(rules: &str) -> String {
    let ranges = rules.replace("[5m]", "[10s]").replace("[30m]", "[10s]").replace("[1h]", "[10s]");
    let pauses =
        ranges.replace("for: 1m", "for: 1s").replace("for: 2m", "for: 1s").replace("for: 5m", "for: 1s");
    pauses.replace("> 900", "> 1")
}

/// What cannot be caused from outside in a moment: a panic, a 500, events of three days, processes that end. Answers scrapes with
/// counters that grow, until the test ends.
fn exporter() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (count, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let mut text = String::new();
            for name in [
                "vintedbot_image_panics_total",
                "vintedbot_events_given_up_total",
                "process_start_time_seconds",
                "vintedbot_rejects_total{reason=\"internal\"}",
            ] {
                writeln!(text, "{name} {count}").unwrap();
            }
            let length = text.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = socket.write_all((head + &text).as_bytes());
        }
    });
    address
}

/// Starts a server on the data of one that was stopped, of which one photo was removed and one damaged.
async fn with_lost_photos() -> (Server, Vec<u8>) {
    let server = Server::start(&[]);
    let bodies = [1, 2].map(|number| form(&[file(&photo_numbered(320, 240, number))]));
    let mut files = Vec::new();
    for body in &bodies {
        let (status, draft) = server.upload(body.clone()).await;
        assert_eq!(status, 201, "{draft}");
        let url = draft["photos"][0]["media"]["url"].as_str().unwrap().to_owned();
        files.push(server.media_root().join(url.strip_prefix("/media/").unwrap()));
    }
    let dir = server.stop();
    std::fs::remove_file(&files[0]).unwrap();
    let mut damaged = std::fs::read(&files[1]).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&files[1], damaged).unwrap();
    let [_, second] = bodies;
    (Server::start_in(dir, &[]), second)
}

/// Returns the photo with a comment, so that it is another file with the same pixels.
fn with_comment(jpeg: &[u8], comment: [u64; 3]) -> Vec<u8> {
    let (start, rest) = jpeg.split_at(2);
    [start, &[0xFF, 0xFE, 0, 26], &comment.map(u64::to_be_bytes).concat(), rest].concat()
}

/// Limits the files that the server may have open to those that it has, and a few for the next scrape.
fn leave_few_files(server: &Server) {
    let most = server.open_files().len() + 3;
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &server.id().to_string(), &format!("--nofile={most}:")]);
    assert!(limit.status().unwrap().success());
}

/// Uploads different photos at the same time, and ignores the answers.
async fn burst(server: &Server, round: usize, side: usize, count: usize) {
    let client = reqwest::Client::new();
    let forms = (0..count).map(|number| form(&[file(&photo_numbered(side, side, round * count + number))]));
    join_all(forms.map(|form| server.try_upload(&client, form))).await;
}

/// Every alert of `deploy/alerts.yaml`, with shortened times, fires for its cause, and none fires for a server that is well and busy.
/// Every query of the dashboard finds something.
#[tokio::test]
async fn each_alert_fires_for_its_cause_and_each_query_of_the_dashboard_finds_series() {
    let Some(prometheus) = program("VINTEDBOT_TEST_PROMETHEUS") else { return };
    let well = Server::start(&[]);
    let down = Server::start(&[]);
    let (lost, damaged_form) = with_lost_photos().await;
    let full = Server::start(&[("MIN_FREE_DISK_MB", "1048576")]);
    let unavailable = Server::start(&[
        ("MEDIA_STORAGE", "s3"),
        ("S3_BUCKET", "photos"),
        ("S3_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("S3_ACCESS_KEY", "a"),
        ("S3_SECRET_KEY", "b"),
    ]);
    let busy = Server::start(&[("WORKERS", "1"), ("POOL_QUEUE", "1"), ("POOL_WAIT_SECONDS", "1")]);
    let queued = Server::start(&[("WORKERS", "1")]);
    let crowded = Server::start(&[("MAX_CONNECTIONS", "64")]);
    let no_redis = Server::start(&[
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("RATE_LIMIT_GLOBAL", "1000/minute"),
        ("RATE_LIMIT_UPLOAD", "1000/minute"),
    ]);
    let no_receiver = Server::start(&[
        ("WEBHOOK_URL", "http://127.0.0.1:1/"),
        ("WEBHOOK_SECRET", "a secret of this test, long enough"),
        ("FETCH_ALLOW", "http://127.0.0.1:1"),
    ]);
    assert_eq!(no_receiver.upload(form(&[file(&photo(64, 48))])).await.0, 201);
    let few_files = Server::start(&[]);
    let unread = Unread::start();

    let servers = [
        &well,
        &down,
        &lost,
        &full,
        &unavailable,
        &busy,
        &queued,
        &crowded,
        &no_redis,
        &no_receiver,
        &few_files,
    ];
    let targets = servers
        .map(|server| server.address.to_string())
        .into_iter()
        .chain([unread.address.clone(), exporter()]);
    let prometheus = Prometheus::start(&prometheus, &hurried(ALERTS), &Vec::from_iter(targets));
    until_found(&prometheus, "count(up == 1) == 13").await;
    drop(down);
    // Enough at a time that the queue is never empty while the next ones are sent.
    let large = photo(2000, 2000);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..3 {
        let (large, url) = (large.clone(), queued.url(UPLOAD));
        senders.spawn(async move {
            let client = reqwest::Client::new();
            for round in 0_u64.. {
                let forms =
                    (0..10).map(|number| form(&[file(&with_comment(&large, [sender, round, number]))]));
                let send = |form| client.post(&url).header("content-type", CONTENT_TYPE).body(form).send();
                join_all(forms.map(send)).await;
            }
        });
    }

    let well_address = well.address.to_string();
    let mut missed = alerts();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    for round in 0.. {
        leave_few_files(&few_files);
        let idle: Vec<_> = (0..100).map(|_| crowded.connect()).collect();
        tokio::join!(
            burst(&full, round, 64, 1),
            burst(&unavailable, round, 64, 1),
            burst(&no_redis, round, 64, 1),
            burst(&well, round, 300, 2),
            unread.chatter(),
            async { drop(lost.post(damaged_form.clone()).await) },
            async {
                // Only until its alert has fired: these photos take most of the processors, which the other causes need too.
                if missed.contains("VintedbotBusy") {
                    burst(&busy, round, 1500, 8).await;
                }
            },
        );
        drop(idle);
        if !missed.contains("VintedbotQueueLong") {
            senders.abort_all();
        }
        for labels in prometheus.firing().await {
            let alert = labels["alertname"].as_str().unwrap();
            // On a loaded machine a scrape may take longer than its second.
            let is_well = alert != "VintedbotDown" && labels["instance"] == well_address.as_str();
            assert!(!is_well, "{labels}");
            missed.remove(alert);
        }
        if missed.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "these alerts do not fire: {missed:?}");
    }

    senders.shutdown().await;

    let url = format!("/media/{}", well.files()[0]);
    assert_eq!(well.get(&url).await.status(), 200);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "10s").replace("$instance", ".*");
            until_found(&prometheus, &expression).await;
        }
    }
}

/// A server whose output nothing reads after the ready line.
struct Unread {
    child: std::process::Child,
    address: String,
    _output: std::io::BufReader<std::process::ChildStdout>,
    client: reqwest::Client,
    _dir: Arc<tempfile::TempDir>,
}

impl Unread {
    fn start() -> Self {
        use std::io::BufRead;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut command = crate::support::binary(dir.path());
        command.envs([("PORT", "0"), ("RATE_LIMIT_GLOBAL", "off")]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut address) = (String::new(), None);
        while !line.starts_with('✅') {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the ready line must appear");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let end =
                    rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
                address = Some(rest[..end].to_owned());
            }
        }
        Self { child, address: address.unwrap(), _output: output, client: reqwest::Client::new(), _dir: dir }
    }

    /// Sends requests whose long lines fill the pipe and the buffer.
    async fn chatter(&self) {
        let path = "x".repeat(7000);
        join_all((0..60).map(|_| self.client.get(format!("http://{}/{path}", self.address)).send())).await;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
