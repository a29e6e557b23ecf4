//! Makes spans for the collector of the events in `telemetry/spans.rs`.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::metrics::Counter;
use crate::telemetry::spans::{REQUEST, SPANS, new_id};

static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
});

/// Queues the spans of requests that are sampled.
pub(super) struct SpanLayer {
    queue: mpsc::Sender<SpanData>,
    lost: Counter,
}

impl SpanLayer {
    /// Creates a layer that queues into `queue`, and counts what does not fit as lost.
    pub(super) fn new(queue: mpsc::Sender<SpanData>, lost: Counter) -> Self {
        Self { queue, lost }
    }

    /// Returns the layer behind a filter, so that other events and spans do not reach it.
    pub(super) fn filtered<S>(self) -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.with_filter(filter_fn(|found| match found.is_span() {
            true => found.name() == REQUEST && found.target().starts_with(env!("CARGO_CRATE_NAME")),
            false => found.target() == SPANS,
        }))
    }
}

/// A request that is sampled.
#[derive(Debug, Clone, Copy)]
struct Sampled {
    trace: TraceId,
    span: SpanId,
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(sampled), Some(span)) = (fields.sampled(), context.span(id)) {
            span.extensions_mut().insert(sampled);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let request = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Sampled>().copied()));
        let Some(request) = request else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        if self.queue.try_send(fields.span(request)).is_err() {
            self.lost.inc();
        }
    }
}

/// The fields of an event, or of the `tracing` span of a request.
#[derive(Debug, Default)]
struct Fields {
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, u64)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.push((field.name(), value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.push((field.name(), value));
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Fields {
    fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(of, _)| *of == name).map(|(_, text)| text.as_str())
    }

    fn number(&self, name: &str) -> u64 {
        self.numbers.iter().find(|(of, _)| *of == name).map_or(0, |(_, number)| *number)
    }

    /// Returns the ids of a request that is sampled.
    fn sampled(&self) -> Option<Sampled> {
        let trace = TraceId::from_hex(self.text("trace_id")?).ok()?;
        let span = SpanId::from_hex(self.text("span_id")?).ok()?;
        (self.text("trace_flags") == Some("01")).then_some(Sampled { trace, span })
    }

    /// Returns the span of an event in this request. Names are those of the semantic conventions of OpenTelemetry for HTTP servers,
    /// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.
    fn span(&self, Sampled { trace, span }: Sampled) -> SpanData {
        let end = SystemTime::now();
        let text = |name| self.text(name).unwrap_or_default().to_owned();
        let (id, parent, kind, name, attributes, status);
        if let Some(step) = self.text("step") {
            (id, parent, kind) = (SpanId::from_bytes(new_id().to_be_bytes()), span, SpanKind::Internal);
            (name, status) = (step.to_owned(), Status::Unset);
            let mime = text("mime");
            attributes = if mime.is_empty() { Vec::new() } else { vec![KeyValue::new("photo.type", mime)] };
        } else {
            (id, kind) = (span, SpanKind::Server);
            parent = SpanId::from_bytes(self.number("parent").to_be_bytes());
            let (method, route, code) = (text("method"), text("route"), self.number("status"));
            // Without a route a name would have as many values as clients have ideas.
            name = format!("{method} {route}").trim_end().to_owned();
            status = if code < 500 { Status::Unset } else { Status::error("") };
            let code = i64::try_from(code).unwrap_or_default();
            let mut known = vec![
                KeyValue::new(
                    "http.request.method",
                    if method == "other" { "_OTHER".to_owned() } else { method },
                ),
                KeyValue::new("http.response.status_code", code),
            ];
            known.extend((!route.is_empty()).then(|| KeyValue::new("http.route", route)));
            attributes = known;
        }
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: kind == SpanKind::Server,
            span_kind: kind,
            name: name.into(),
            start_time: end.checked_sub(Duration::from_micros(self.number("micros"))).unwrap_or(end),
            end_time: end,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: SCOPE.clone(),
        }
    }
}
