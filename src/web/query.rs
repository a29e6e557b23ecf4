//! Parameters of the query of a request target (RFC 3986 section 3.4), as forms encode them.

use std::borrow::Cow;

/// The query is ambiguous: it has a parameter twice, and a filter in front could read the other one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The query has the parameter {0} twice.")]
pub(crate) struct Repeated(pub &'static str);

/// Returns the value of a parameter, or `None` if the query does not have it.
///
/// # Errors
/// The parameter occurs twice.
pub(crate) fn parameter<'q>(
    query: Option<&'q str>,
    name: &'static str,
) -> Result<Option<Cow<'q, str>>, Repeated> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Repeated(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_decoded_and_refused_if_repeated() {
        let value = |query| parameter(Some(query), "a").map(|value| value.map(Cow::into_owned));
        assert_eq!(parameter(None, "a"), Ok(None));
        assert_eq!(value("b=1&a=x%20y+z"), Ok(Some("x y z".into())));
        assert_eq!(value("a"), Ok(Some(String::new())));
        assert_eq!(value("aa=1"), Ok(None));
        assert_eq!(value("a=1&a=1"), Err(Repeated("a")));
    }
}
