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

    /// Returns the span of an event in this request.
    fn span(&self, request: Sampled) -> SpanData {
        match self.text("step") {
            Some(step) => self.of_step(step, request),
            None => self.of_request(request),
        }
    }

    fn of_step(&self, step: &str, request: Sampled) -> SpanData {
        let mime = self.text("mime").filter(|mime| !mime.is_empty());
        SpanData {
            name: step.to_owned().into(),
            attributes: mime.map(|mime| KeyValue::new("photo.type", mime.to_owned())).into_iter().collect(),
            ..self.part(request.trace, SpanId::from_bytes(new_id().to_be_bytes()), request.span)
        }
    }

    /// Names are those of the semantic conventions of OpenTelemetry for HTTP servers,
    /// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.
    fn of_request(&self, request: Sampled) -> SpanData {
        let parent = SpanId::from_bytes(self.number("parent").to_be_bytes());
        let method = self.text("method").unwrap_or_default();
        let route = self.text("route").filter(|route| !route.is_empty());
        let status = self.number("status");
        let mut attributes = vec![
            KeyValue::new(
                "http.request.method",
                if method == "other" { "_OTHER" } else { method }.to_owned(),
            ),
            KeyValue::new("http.response.status_code", i64::try_from(status).unwrap_or_default()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        SpanData {
            span_kind: SpanKind::Server,
            parent_span_is_remote: true,
            // Without a route the method alone: a path would give as many names as clients have ideas.
            name: route.map_or(method.to_owned(), |route| format!("{method} {route}")).into(),
            status: if status < 500 { Status::Unset } else { Status::error("") },
            attributes,
            ..self.part(request.trace, request.span, parent)
        }
    }

    /// Returns a span without a name, which ends now.
    fn part(&self, trace: TraceId, id: SpanId, parent: SpanId) -> SpanData {
        let end = SystemTime::now();
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: end.checked_sub(Duration::from_micros(self.number("micros"))).unwrap_or(end),
            end_time: end,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: SCOPE.clone(),
        }
    }
}
