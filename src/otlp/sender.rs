//! Requests to the collector, over the HTTP client and the TLS that the rest of this server uses.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter as Exporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::time::timeout;

use crate::outbound::OWN_NAME;
use crate::telemetry::spans::Collector;
use crate::tls::{self, TlsError};

/// How long one request may take, its answer included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection without a request is kept: longer than batches are apart.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 << 10;

/// Why nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetUpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the exporter cannot be built")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends batches of spans.
pub(super) struct Sender(Exporter);

impl Sender {
    pub(super) fn new(collector: &Collector) -> Result<Self, SetUpError> {
        let Collector { endpoint, headers, service } = collector;
        let connector = tls::connector(HttpConnector::new(), tls::client()?, CONNECT_TIMEOUT);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(connector);
        let mut exporter = Exporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/')))
            .with_timeout(ANSWER_TIMEOUT)
            .with_headers(headers.iter().cloned().collect())
            .with_http_client(Hyper(client))
            .build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder_empty().with_service_name(service.clone()).with_attribute(version);
        exporter.set_resource(&resource.build());
        Ok(Self(exporter))
    }

    /// Sends spans. The library repeats a request that the collector asks to repeat.
    pub(super) async fn send(&self, spans: Vec<SpanData>) -> Result<(), OTelSdkError> {
        self.0.export(spans).await
    }
}

/// hyper as the client of the library.
#[derive(Debug)]
struct Hyper(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

#[async_trait]
impl HttpClient for Hyper {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(OWN_NAME));
        let sent = async {
            let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        timeout(ANSWER_TIMEOUT, sent).await?
    }
}
