//! JSON objects in requests: read within a cap, and taken apart member by member, so that a problem names the member.

use std::fmt;

use futures_util::TryStreamExt;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::body_head::{refuse_encoding, refuse_length};
use crate::web::body::{ReadError, RequestBody};
use crate::web::problem::{self, Problem, ProblemKind};

/// The members of a JSON object, in order. No name occurs twice.
#[derive(Debug, PartialEq)]
pub(super) struct Members(Vec<(String, Value)>);

impl Members {
    /// Reads the body, of one of the `types`, with at most `cap` bytes.
    ///
    /// # Errors
    /// The body is none of that, or does not arrive.
    pub(super) async fn read(
        headers: &HeaderMap,
        body: RequestBody,
        types: &[&str],
        cap: u64,
    ) -> Result<Self, Problem> {
        refuse_other_types(headers, types)?;
        refuse_encoding(headers)?;
        refuse_length(headers, cap)?;
        let mut bytes = Vec::new();
        let mut body = body.map_err(|error| match error {
            ReadError::Slow => problem::request_timeout(),
            ReadError::Aborted => cut_off(),
        });
        while let Some(chunk) = body.try_next().await? {
            if (bytes.len() + chunk.len()) as u64 > cap {
                return Err(problem::body_too_large(format!("The body is larger than {cap} bytes.")));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            // The text of the parser names the fault and its place, and nothing of this server.
            Problem::new(
                ProblemKind::MalformedJson,
                format!("The body is not a JSON object as expected: {error}."),
            )
        })
    }

    /// Removes a member and returns its value, or `None` if the object does not have it.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Refuses the first member that was not taken.
    pub(super) fn end(self, expected: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let detail =
                    format!("The member `{name}` is unknown or cannot be written. Expected are {expected}.");
                Err(bad_member(&name, detail))
            }
        }
    }
}

/// Returns 422 for a member. `pointer` is a JSON pointer (RFC 6901), as RFC 9457 section 3 uses it.
pub(super) fn bad_member(name: &str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let name = name.replace('~', "~0").replace('/', "~1");
    Problem::new(ProblemKind::BadMember, detail).with("pointer", format!("/{name}"))
}

fn cut_off() -> Problem {
    Problem::new(ProblemKind::CutOff, "The connection ended before the body did.")
}

fn refuse_other_types(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        // Two are refused, because a filter in front could read the other one.
        _ => "",
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|expected| expected.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    let detail = format!("The body must have one Content-Type, and it must be {}.", types.join(" or "));
    Err(Problem::new(ProblemKind::NotJson, detail))
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.iter().any(|(member, _)| *member == name) {
                        return Err(A::Error::custom("a member occurs twice"));
                    }
                    // A body of small members must not cost a search through all of them for each.
                    if members.len() == MAX_MEMBERS {
                        return Err(A::Error::custom("there are too many members"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Most members of an object, far above what any endpoint knows.
const MAX_MEMBERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_taken_once_and_the_rest_is_named() {
        let mut members: Members = serde_json::from_str(r#"{"title": "a", "a/~b": 1}"#).unwrap();
        assert_eq!(members.take("title"), Some("a".into()));
        assert_eq!(members.take("title"), None);
        let problem = members.end("`title`").unwrap_err().to_json("id");
        assert_eq!(problem["pointer"], "/a~1~0b");
    }

    #[test]
    fn repeated_members_and_other_values_are_refused() {
        for bad in [r#"{"a":1,"a":1}"#, "[]", "null", "1", "{", "{}{}", "\"a\""] {
            assert!(serde_json::from_str::<Members>(bad).is_err(), "{bad}");
        }
        let many: String = (0..=MAX_MEMBERS).map(|n| format!("\"{n}\":0,")).collect();
        assert!(serde_json::from_str::<Members>(&format!("{{{}}}", many.trim_end_matches(','))).is_err());
    }
}
