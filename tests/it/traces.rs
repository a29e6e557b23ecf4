//! Spans of requests and of the steps of photos, as a collector gets them.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use reqwest::Client;
use serde_json::Value;

use crate::support::{BOUNDARY, Server, UPLOAD, eventually, file, form, photo, photo_numbered};
use crate::webhook::{Got, serve};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";
const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

/// A collector that gives one answer.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Collector {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&got);
        serve(listener, move |request| {
            seen.lock().unwrap().push(request);
            answer
        });
        Self { address, got }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let endpoint = format!("http://{}/otlp/", self.address);
        Server::start(&[&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())], more].concat())
    }

    /// Returns all spans.
    fn spans(&self) -> Vec<Value> {
        let got = self.got.lock().unwrap();
        let bodies = got.iter().map(|(_, _, body)| serde_json::from_slice::<Value>(body).unwrap());
        let of = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        bodies.flat_map(of).collect()
    }
}

/// Uploads two photos in the trace of a client with these flags. Returns the id of the server's span.
async fn upload(server: &Server, flags: &str) -> String {
    let body = form(&[file(&photo(640, 480)), file(&photo_numbered(64, 48, 1))]);
    let request = Client::new()
        .post(server.url(UPLOAD))
        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .header("traceparent", format!("00-{TRACE}-{CLIENT}-{flags}"));
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.headers()["traceparent"].to_str().unwrap()[36..52].to_owned()
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|it| it["key"] == name).map_or(&Value::Null, |it| &it["value"])
}

fn nanos(span: &Value, name: &str) -> u64 {
    span[name].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn spans_of_an_upload_reach_the_collector_in_the_trace_of_the_client() {
    let collector = Collector::start(TAKEN);
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret,x-team=photos");
    let server = collector.server(&[headers, ("OTEL_SERVICE_NAME", "of the test")]);
    let span = upload(&server, "01").await;
    let metrics =
        Client::new().get(server.url("/metrics")).header("accept", "application/openmetrics-text").send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
    assert!(metrics.lines().any(|line| line.contains("duration_seconds_bucket") && line.contains(&exemplar)));
    // What waits is sent at the end.
    server.stop();
    {
        let got = collector.got.lock().unwrap();
        let (first, head, body) = &got[0];
        assert_eq!(first, "POST /otlp/v1/traces HTTP/1.1");
        assert_eq!((&head["api-key"], &head["x-team"]), (&"a secret".to_owned(), &"photos".to_owned()));
        let body: Value = serde_json::from_slice(body).unwrap();
        let resource = &body["resourceSpans"][0]["resource"];
        assert_eq!(attribute(resource, "service.name")["stringValue"], "of the test");
    }
    let all = collector.spans();
    let spans: Vec<&Value> = all.iter().filter(|it| it["traceId"] == TRACE).collect();
    let (requests, steps): (Vec<&Value>, Vec<_>) = spans.iter().partition(|it| it["spanId"] == span.as_str());
    let [request] = requests[..] else { panic!("{all:#?}") };
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&CLIENT.into(), &2.into()));
    assert_eq!(request["name"], format!("POST {UPLOAD}"));
    assert_eq!(attribute(request, "http.route")["stringValue"], UPLOAD);
    assert_eq!(attribute(request, "http.response.status_code")["intValue"], "201");
    let mut names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let twice =
        ["decode", "decode", "encode", "encode", "receive", "receive", "store", "store", "wait", "wait"];
    assert_eq!(names, [&["commit"], &twice[..]].concat());
    for step in steps {
        assert_eq!((&step["parentSpanId"], &step["kind"]), (&span.as_str().into(), &1.into()), "{step}");
        let (start, end) = (nanos(step, "startTimeUnixNano"), nanos(step, "endTimeUnixNano"));
        assert!(start <= end && end <= nanos(request, "endTimeUnixNano"), "{step}");
        let mime = attribute(step, "photo.type")["stringValue"].as_str();
        assert_eq!(mime, (step["name"] != "commit").then_some("image/jpeg"));
    }
}

#[tokio::test]
async fn only_sampled_traces_are_sent() {
    let collector = Collector::start(TAKEN);
    let server = collector.server(&[("OTEL_TRACES_SAMPLER_ARG", "0")]);
    upload(&server, "00").await;
    let fresh = server.get("/api/v1/listings/1").await;
    assert!(fresh.headers()["traceparent"].to_str().unwrap().ends_with("-00"));
    server.stop();
    assert_eq!(collector.spans(), Vec::<Value>::new());
    let server = collector.server(&[]);
    let fresh = server.get("/api/v1/listings/7").await;
    let traceparent = fresh.headers()["traceparent"].to_str().unwrap().to_owned();
    assert!(traceparent.ends_with("-01"), "{traceparent}");
    server.stop();
    let spans = collector.spans();
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (&span["traceId"], &span["spanId"]),
        (&traceparent[3..35].into(), &traceparent[36..52].into())
    );
    assert_eq!(span["name"], "GET /api/v1/listings/{id}");
    assert_eq!(span["parentSpanId"].as_str().unwrap_or_default(), "", "it is the first of its trace");
}

#[tokio::test]
async fn spans_that_the_collector_refuses_are_counted_and_requests_go_on() {
    let collector = Collector::start(REFUSED);
    let server = collector.server(&[]);
    upload(&server, "01").await;
    server.logs(&["spans cannot be sent"]).await;
    eventually("all are lost", || server.metric("spans_lost_total") >= 12).await;
    assert_eq!(server.metric("spans_exported_total"), 0);
    upload(&server, "01").await;
}
