//! The trace that a request belongs to: W3C Trace Context, level 1, <https://www.w3.org/TR/trace-context/>.
//!
//! A valid `traceparent` of the client is continued, any other one is replaced by a new trace, as section 4.3 says. The response
//! names the span of this server, and so does every line of the log about the request. Vendors' `tracestate` is not kept, because
//! nothing here sends it on.

use hyper::header::{HeaderMap, HeaderName};
use uuid::Uuid;

use crate::telemetry::spans::{self, Sampler};

/// `traceparent`, in requests and in every response.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static(super::headers::TRACEPARENT.0);

/// The number of characters of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// One request's place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// The `traceparent` of version 00.
    header: String,
    /// The span of the client. 0: none.
    parent: u64,
}

/// The fields of a valid header that are kept.
struct Continued {
    trace: u128,
    parent: u64,
    is_sampled: bool,
}

impl TraceContext {
    /// Returns the place of a request with these headers: a new span of the client's trace, or of a new one. `sampler` decides
    /// whether a new trace is recorded, and the client whether its own is.
    pub(crate) fn of(headers: &HeaderMap, sampler: Sampler) -> Self {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let continued = match (sent.next(), sent.next()) {
            (Some(only), None) => continued(only.as_bytes()),
            _ => None,
        };
        let Continued { trace, parent, is_sampled } = continued.unwrap_or_else(|| {
            // Not zero, because a UUID has a version.
            let trace = Uuid::now_v7().as_u128();
            Continued { trace, parent: 0, is_sampled: sampler.takes(trace) }
        });
        Self { header: header(trace, spans::new_id(), is_sampled), parent }
    }

    /// Returns the value of the header.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// Returns the id of the trace, in 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> &str {
        self.header.get(3..35).unwrap_or_default()
    }

    /// Returns the id of the span, in 16 hexadecimal digits.
    pub(crate) fn span_id(&self) -> &str {
        self.header.get(36..52).unwrap_or_default()
    }

    /// Returns the flags of the trace, in two hexadecimal digits: `01` if it is recorded.
    pub(crate) fn flags(&self) -> &str {
        self.header.get(53..).unwrap_or_default()
    }

    /// Returns the id of the client's span. 0: none.
    pub(crate) fn parent(&self) -> u64 {
        self.parent
    }

    /// Returns the id of the trace if it is recorded.
    pub(crate) fn recorded_id(&self) -> Option<&str> {
        (self.flags() == "01").then(|| self.trace_id())
    }
}

/// Returns the header. Each request has one, and `format!` took 1,400 instructions.
fn header(trace: u128, span: u64, is_sampled: bool) -> String {
    let (mut trace_digits, mut span_digits) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let trace = Uuid::from_u128(trace).simple().encode_lower(&mut trace_digits);
    let span = Uuid::from_u128(span.into()).simple().encode_lower(&mut span_digits);
    let span = span.get(16..).unwrap_or_default();
    ["00-", trace, "-", span, if is_sampled { "-01" } else { "-00" }].concat()
}

/// Returns the fields of a valid header.
fn continued(header: &[u8]) -> Option<Continued> {
    let (known, later) = header.split_at_checked(LENGTH)?;
    let mut fields = known.split(|byte| *byte == b'-');
    let mut field = |length| fields.next().filter(|field| field.len() == length).and_then(number);
    let (version, trace, parent, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // A later version may append fields, and only those.
    let is_complete = later.is_empty() || version > 0 && later.starts_with(b"-");
    let is_valid = version < 0xFF && trace != 0 && parent != 0 && is_complete;
    let parent = u64::try_from(parent).ok().filter(|_| is_valid)?;
    Some(Continued { trace, parent, is_sampled: flags % 2 == 1 })
}

/// Returns the value of lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    let is_lower_case = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(digits).ok().filter(|_| is_lower_case)?;
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    fn of_sampled(headers: &[&str], share: f64) -> TraceContext {
        let headers = headers.iter().map(|value| (TRACEPARENT, value.parse().unwrap())).collect();
        TraceContext::of(&headers, Sampler::of_share(share))
    }

    fn of(headers: &[&str]) -> TraceContext {
        of_sampled(headers, 0.0)
    }

    #[test]
    fn valid_trace_is_continued_in_a_new_span() {
        for (rest, is_sampled) in [("-01", true), ("-00", false), ("-03", true), ("-fe", false)] {
            let context = of(&[&format!("00-{TRACE:032x}-00f067aa0ba902b7{rest}")]);
            assert_eq!(context.trace_id(), format!("{TRACE:032x}"));
            assert_ne!(context.span_id(), "00f067aa0ba902b7");
            assert_eq!(context.span_id().len(), 16);
            let flags = u8::from(is_sampled);
            assert_eq!(context.header(), format!("00-{TRACE:032x}-{}-{flags:02x}", context.span_id()));
            assert_eq!(
                (context.parent(), context.recorded_id().is_some()),
                (0x00f0_67aa_0ba9_02b7, is_sampled)
            );
        }
        for later in ["01-", "cc-"] {
            for end in ["-01", "-01-what-comes-later"] {
                let context = of(&[&format!("{later}{TRACE:032x}-00f067aa0ba902b7{end}")]);
                assert_eq!(context.trace_id(), format!("{TRACE:032x}"));
            }
        }
    }

    #[test]
    fn invalid_header_and_none_begin_a_new_trace() {
        let valid = format!("00-{TRACE:032x}-00f067aa0ba902b7-01");
        let bad = [
            format!("{valid}-more"),
            format!("01{}more", &valid[2..]),
            format!("ff{}", &valid[2..]),
            valid.to_uppercase(),
            valid.replace("00f067aa0ba902b7", "0000000000000000"),
            valid.replace(&format!("{TRACE:032x}"), &"0".repeat(32)),
            valid.replace('-', "_"),
            valid.replace("-00f0", "-+0f0"),
            valid[..54].to_owned(),
            String::new(),
            "-".repeat(LENGTH),
        ];
        let sent = format!("{TRACE:032x}");
        for bad in &bad {
            assert_ne!(of(&[bad]).trace_id(), sent, "{bad}");
        }
        assert_ne!(of(&[&valid, &valid]).trace_id(), sent, "two of them are none");
        let [first, second] = [of(&[]), of(&[])];
        assert!(first.trace_id() != "0".repeat(32) && first.span_id() != "0".repeat(16));
        assert!(first.header().ends_with("-00") && first.header().len() == LENGTH && first.parent() == 0);
        assert_eq!(of_sampled(&[], 1.0).flags(), "01");
        assert_eq!(
            of_sampled(&[&format!("{}0", &valid[..54])], 1.0).flags(),
            "00",
            "the client decides of its own"
        );
        assert!(first.trace_id() != second.trace_id() && first.span_id() != second.span_id());
    }
}
