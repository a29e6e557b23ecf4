//! The text formats in which metrics are answered.
//!
//! OpenMetrics for a client that names it in `Accept`, as Prometheus does, and the older text format of Prometheus, version
//! 0.0.4, for all others. The second is made from the first: only names and comments differ.

use std::fmt::Write;

/// A text format for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// [OpenMetrics 1.0.0](https://prometheus.io/docs/specs/om/open_metrics_spec/).
    OpenMetrics,
    /// [Version 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format) of Prometheus' own format.
    Text,
}

impl Exposition {
    /// All formats.
    pub(crate) const ALL: [Self; 2] = [Self::OpenMetrics, Self::Text];

    /// Returns the content type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns the format that the value of an `Accept` header asks for (RFC 9110 section 12.5.1). OpenMetrics only if it is named and not
    /// liked less than plain text: a person with a browser or curl gets the format that everything reads.
    pub(crate) fn accepted(accept: &str) -> Self {
        let quality = |name: &str| {
            let of_range = |range: &str| {
                let mut parts = range.split(';').map(str::trim);
                let is_named = parts.next().is_some_and(|found| found.eq_ignore_ascii_case(name));
                let quality =
                    parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
                is_named.then(|| quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
            };
            accept.split(',').filter_map(of_range).fold(0.0, f32::max)
        };
        let open_metrics = quality("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Returns `open_metrics`, a text in OpenMetrics, in this format.
    pub(super) fn write(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// Converts OpenMetrics to version 0.0.4. There a counter's comments have the name of its samples, with `_total`; there are no units,
/// no exemplars and no end mark.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            // The type, which decides the name, follows the help.
            (Some("#"), Some("HELP"), Some(name), Some(rest)) => help = Some((name, rest)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                // OpenMetrics calls a metric without a type `unknown`, which Prometheus calls `untyped`.
                let kind = if kind == "unknown" { "untyped" } else { kind };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    let _infallible = writeln!(text, "# HELP {name}{suffix} {help}");
                }
                let _infallible = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                // An exemplar follows a sample after ` # {`. No label here contains that.
                text.push_str(line.split_once(" # {").map_or(line, |(sample, _)| sample));
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_answered_only_where_it_is_named() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                             text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            ("", Exposition::Text),
            ("*/*", Exposition::Text),
            ("text/plain", Exposition::Text),
            ("text/html, application/xhtml+xml, */*;q=0.8", Exposition::Text),
            (of_prometheus, Exposition::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0; Q=0.4", Exposition::OpenMetrics),
            ("application/openmetrics-text;q=0.4, text/plain", Exposition::Text),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/openmetrics-text;q=much", Exposition::Text),
        ] {
            assert_eq!(Exposition::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn text_has_the_names_of_samples_in_comments_and_neither_units_nor_exemplars() {
        let open_metrics = "# HELP a_read_bytes Bytes read.\n# TYPE a_read_bytes counter\n# UNIT a_read_bytes bytes\n\
                            a_read_bytes_total{to=\"x # y\"} 7 # {trace=\"1\"} 3 1.5\n\
                            # HELP a_open Open.\n# TYPE a_open gauge\na_open 3\n\
                            # TYPE a_odd unknown\na_odd 1\n# EOF\n";
        let expected = "# HELP a_read_bytes_total Bytes read.\n# TYPE a_read_bytes_total counter\n\
                        a_read_bytes_total{to=\"x # y\"} 7\n\
                        # HELP a_open Open.\n# TYPE a_open gauge\na_open 3\n\
                        # TYPE a_odd untyped\na_odd 1\n";
        assert_eq!(Exposition::Text.write(open_metrics.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.write(open_metrics.to_owned()), open_metrics);
    }
}
