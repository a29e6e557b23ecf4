//! Formats log lines as text without colours, as `tracing-subscriber` does, in a third of its time: its own format prepares to
//! paint each part, also where nothing is painted. The access log writes a line for each request.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::format::{DefaultFields, DefaultVisitor, Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Room for a line of the access log.
const LINE_BYTES: usize = 384;

/// The format. What it does not write itself it leaves to the subscriber's own format.
pub(super) struct TextLines<T> {
    timer: T,
    full: Format<Full, T>,
}

impl<T: Clone> TextLines<T> {
    /// Creates the format with this clock.
    pub(super) fn new(timer: T) -> Self {
        Self { full: Format::default().with_timer(timer.clone()), timer }
    }
}

impl<S, N, T> FormatEvent<S, N> for TextLines<T>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Events of the crate `log` have this target, and their own one among their fields.
        if writer.has_ansi_escapes() || metadata.target() == "log" {
            return self.full.format_event(context, writer, event);
        }
        // The writer is called once, because each call goes through several layers.
        let mut line = String::with_capacity(LINE_BYTES);
        self.timer.format_time(&mut Writer::new(&mut line))?;
        let level = metadata.level().as_str();
        write!(line, " {level:>5} ")?;
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                line.push_str(span.name());
                let extensions = span.extensions();
                let fields =
                    extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
                if !fields.is_empty() {
                    ["{", fields, "}"].into_iter().for_each(|part| line.push_str(part));
                }
                line.push(':');
            }
            line.push(' ');
        }
        line.push_str(metadata.target());
        line.push_str(": ");
        let mut fields = Fields::after(&mut line);
        event.record(&mut fields);
        fields.result?;
        line.push('\n');
        writer.write_str(&line)
    }
}

/// Formats the fields of spans likewise.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        if writer.has_ansi_escapes() {
            return DefaultFields::new().format_fields(writer, fields);
        }
        let mut text = String::new();
        let mut visitor = Fields::after(&mut text);
        fields.record(&mut visitor);
        visitor.result?;
        writer.write_str(&text)
    }
}

/// Appends fields to a text.
struct Fields<'t> {
    text: &'t mut String,
    is_first: bool,
    result: fmt::Result,
}

impl<'t> Fields<'t> {
    fn after(text: &'t mut String) -> Self {
        Self { text, is_first: true, result: Ok(()) }
    }

    fn begin(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(' ');
        }
        self.text.push_str(name);
        self.text.push('=');
    }

    /// Lets the subscriber write a field: it frees messages of control characters, and renames fields or leaves them out.
    fn delegate(&mut self, field: &Field, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        let mut visitor = DefaultVisitor::new(Writer::new(self.text), self.is_first);
        record(&mut visitor);
        self.result = self.result.and(visitor.finish());
        self.is_first &= field.name().starts_with("log.");
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if name == "message" || name.starts_with("r#") || name.starts_with("log.") {
            self.delegate(field, |visitor| visitor.record_debug(field, value));
        } else {
            self.begin(name);
            self.result = self.result.and(write!(self.text, "{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if field.name() == "message" || field.name().starts_with("log.") {
            self.record_debug(field, &format_args!("{value}"));
        } else if value.bytes().all(is_plain) && !field.name().starts_with("r#") {
            // The same text as that of `Debug`, which looks at each character.
            self.begin(field.name());
            ["\"", value, "\""].into_iter().for_each(|part| self.text.push_str(part));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.delegate(field, |visitor| visitor.record_error(field, value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[derive(Clone)]
    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
            writer.write_str("2026-11-28T12:00:00.000000Z")
        }
    }

    fn log_everything() {
        let failed = io::Error::other(fmt::Error);
        tracing::info!("\u{1b}[31mred\u{7f}");
        tracing::warn!(
            port = 80,
            text = "a \"b\"\n\u{1b}",
            some = Some(3),
            none = None::<u8>,
            "listening on {}",
            1
        );
        tracing::error!(error = &failed as &dyn std::error::Error, %failed, ?failed, is_last = true, share = 0.5);
        let outer = tracing::info_span!("request", request_id = "r-17", path = tracing::field::Empty);
        outer.in_scope(|| {
            tracing::info!(path = "/a b", status = 200, refusal = None::<&str>, "request");
            outer.record("path", "/later");
            tracing::debug_span!("inner").in_scope(|| tracing::info!(r#type = "x", "inside"));
        });
        tracing::trace!(target: "log", { log.target = "sled", log.line = 3 }, "from another crate");
        tracing::info!(target: "somewhere", port = 80, "");
    }

    #[test]
    fn lines_are_those_of_the_subscriber() {
        let own = Lines::default();
        let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let subscriber = builder
            .with_writer(own.clone())
            .event_format(TextLines::new(Noon))
            .fmt_fields(TextFields)
            .finish();
        tracing::subscriber::with_default(subscriber, log_everything);
        let theirs = Lines::default();
        let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let subscriber = builder.with_writer(theirs.clone()).with_timer(Noon).finish();
        tracing::subscriber::with_default(subscriber, log_everything);
        let [own, theirs] =
            [own, theirs].map(|lines| String::from_utf8(lines.0.lock().unwrap().clone()).unwrap());
        assert_eq!(own.lines().count(), 7, "{own}");
        assert_eq!(own, theirs);
    }
}
